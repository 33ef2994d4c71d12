"""What a worker says of itself: lines and JSON, which of its reports, and what it tells of its tasks."""

from __future__ import annotations

import io
import json
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mapreduce.effects import Command, Execute, ExecutorDone, ExecutorFailed, KillExecutor, Report
from mapreduce.logs import Log
from mapreduce.refs import Failure, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.tasklog import TaskLog
from tests.support import Process, mr, mr_ok


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
    return Execute(slot, "job-1@5", spec, TaskSpec("job-1", 1, 7, attempt, "/nowhere", None, ()))


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
            assert isinstance(report, Report) and report.job == "job-1" and "job-1 " in report.text
            told.append((report.level, report.event, report.stage, report.task))

    happens(None, run(0, 100), run(1, 101))
    happens(ExecutorDone(0, 99, {}, {}))  # of an attempt that was ended before
    happens(ExecutorDone(0, 100, {}, {}), run(0, 102))
    happens(ExecutorFailed(1, 101, Failure("raised", "ValueError: no")), KillExecutor(1, 101))
    happens(None, KillExecutor(0, 102))
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


# ---------------------------------------------------------------- a worker

JOBS = Path(__file__).with_name("profile_jobs.py")


@pytest.mark.broker
def test_a_worker_logs_what_it_does_as_json_and_its_profile_reaches_whoever_asks(
    rabbit_url: str, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("a\n")
    place = ["--broker", rabbit_url, "--pool", "logs"]
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
    log = ["--log-format", "json", "--log-level", "debug"]
    worker = Process("worker", *place, "-c", 1, *log, "--metrics", port)
    try:
        worker.wait_for("ready")
        run = mr("run", f"{JOBS}:uneven_job", text, *place, "--profile", "--retain", "1m")
        assert (run.returncode, run.stdout) == (0, b"a\t1\n"), run.stderr
        submitted, head, line, *_ = run.stderr.decode().splitlines()
        job = submitted.split()[2]
        assert head.startswith("hottest lines of map: ")
        assert re.search(r"\d%.* profile_jobs.py:20  busy  while time.process_time\(\) < end:", line)
        assert line in mr_ok("status", job, "--broker", rabbit_url, "--profile").decode().splitlines()
        assert mr("run", f"{JOBS}:failing_job", text, *place, "--tries", 1).returncode == 1
        worker.wait_for("task_failed")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            counted = answer.read()
        assert b'mapreduce_worker_tasks_total{outcome="done"} 2.0' in counted
        assert b'mapreduce_worker_tasks_total{outcome="raised"} 1.0' in counted
    finally:
        worker.stop()
    said = [json.loads(line) for line in worker.errors if line != "(end)"]
    name = said[0]["worker"]
    assert {each["worker"] for each in said} == {name} and said[0]["event"] == "ready"
    of_job = [(each["event"], each["stage"], each["task"]) for each in said if each.get("job") == job]
    partition = of_job[-1][2]
    assert of_job == [
        ("task_started", 0, 0),
        ("task_done", 0, 0),
        ("task_started", 1, partition),
        ("task_done", 1, partition),
    ]
    (failed,) = [each for each in said if each["event"] == "task_failed"]
    assert failed["level"] == "warning" and "ValueError: a" in failed["text"]


def test_the_error_that_ends_a_worker_is_logged_as_json() -> None:
    ended = mr("worker", "--broker", "amqp://127.0.0.1:1/", "--log-format", "json")
    said = json.loads(ended.stderr)
    assert (ended.returncode, said["level"], said["event"]) == (6, "error", "ended")
