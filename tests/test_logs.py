"""What a worker says of itself: lines and JSON, which of its reports, and what it tells of its tasks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from mapreduce.effects import Command, Execute, ExecutorDone, ExecutorFailed, KillExecutor, Report
from mapreduce.logs import Log
from mapreduce.refs import Failure, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.tasklog import TaskLog


def said(form: str, level: str, *reports: Report) -> list[str]:
    stream = io.StringIO()
    log = Log(stream, "host:1:ab", form, level, clock=lambda: 1795286401.1234)
    for report in reports:
        log(report)
    return stream.getvalue().splitlines()


def test_text_is_a_line_for_people() -> None:
    report = Report("warning", "lost the connection", "connection_lost", "job-1")
    assert said("text", "info", report) == ["mr: lost the connection"]


def test_json_is_one_object_a_line_with_what_is_known() -> None:
    lines = said(
        "json",
        "info",
        Report("warning", "ValueError: ‘a\nb’", "task_failed", "job-1", 0, 17),
        Report("info", "hello"),
    )
    assert [json.loads(line) for line in lines] == [
        {
            "at": "2026-11-21T18:40:01.123Z",
            "level": "warning",
            "event": "task_failed",
            "worker": "host:1:ab",
            "job": "job-1",
            "stage": 0,
            "task": 17,
            "text": "ValueError: ‘a\nb’",
        },
        {
            "at": "2026-11-21T18:40:01.123Z",
            "level": "info",
            "event": "note",
            "worker": "host:1:ab",
            "text": "hello",
        },
    ]


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_said(level: str, count: int) -> None:
    reports = [Report(each, each) for each in ("debug", "info", "warning", "error")]
    assert len(said("text", level, *reports)) == count


def test_a_log_that_cannot_be_written_stops_no_work() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    Log(Full(), "w", "json", "info")(Report("info", "hello"))


class Scripted:
    """A worker that answers as it is told."""

    prefix = "worker/"
    finished = False

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def handle(self, event: Any, now: float) -> list[Command]:
        return self.commands


def run(slot: int, attempt: int) -> Execute:
    spec = JobSpec("job", {}, {}, stages=2)
    return Execute(slot, "job-1", spec, TaskSpec("job-1", 1, 7, attempt, "/nowhere", None, ()))


@pytest.mark.parametrize("everything", [True, False])
def test_tasks_are_told_of_by_job_stage_and_index(everything: bool) -> None:
    worker = Scripted()
    log = TaskLog(worker, everything)
    told: list[tuple[str, str, Any, Any]] = []

    def happens(event: Any, *commands: Command) -> None:
        worker.commands = list(commands)
        answer = log.handle(event, 0.0)
        assert answer[: len(commands)] == list(commands), "what the worker asks for is done as ever"
        for report in answer[len(commands) :]:
            assert isinstance(report, Report) and report.job == "job-1"
            told.append((report.level, report.event, report.stage, report.task))

    happens(None, run(0, 100), run(1, 101))
    happens(ExecutorDone(0, 99, {}, {}))  # of an attempt that was ended before
    happens(ExecutorDone(0, 100, {}, {}), run(0, 102))
    happens(ExecutorFailed(1, 101, Failure("raised", "ValueError: no")), KillExecutor(1))
    happens(None, KillExecutor(0))
    failure = ("warning", "task_failed", 1, 7)
    began = ("debug", "task_started", 1, 7)
    stopped = ("debug", "task_stopped", 1, 7)
    everything_told = [began, began, ("debug", "task_done", 1, 7), began, failure, stopped]
    assert told == (everything_told if everything else [failure])


def test_it_is_finished_when_the_worker_is() -> None:
    worker = Scripted()
    log = TaskLog(worker, everything=False)
    log.handle(None, 0.0)
    assert not log.finished
    worker.finished = True
    log.handle(None, 0.0)
    assert log.finished
