"""Several attempts given to one executor: each has its own end, limits and output, whatever becomes of the others."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import capture as capture_module
from mapreduce.capture import Capture, Captures, Kept, new_mark, open_pipe
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed
from mapreduce.sort import read_blocks
from tests import strategies  # noqa: F401  # its profile
from tests.test_executor import PATIENCE_SECS, Bench, eventually

JOBS = Path(__file__).with_name("ahead_jobs.py")


class Line:
    """Attempts of which an executor is given all at once, and what becomes of each."""

    def __init__(self, bench: Bench, *records: str) -> None:
        self.bench = bench
        self.pids: dict[int, int] = {}
        self.ends: dict[int, Any] = {}
        self.attempts = [bench.submit("job", f"{record}\n") for record in records]

    def run(self, count: int) -> Line:
        """Until so many have ended."""
        deadline = time.monotonic() + PATIENCE_SECS
        while len(self.ends) < count:
            assert time.monotonic() < deadline, self.ends
            for event in self.bench.poll():
                if isinstance(event, ExecutorBlock):
                    [(_, [pid])] = read_blocks([event.block])
                    self.pids[event.attempt] = pid
                elif isinstance(event, (ExecutorDone, ExecutorFailed)):
                    assert event.attempt not in self.ends
                    self.ends[event.attempt] = event
        return self

    @property
    def outcomes(self) -> list[str]:
        """In the order of the attempts."""
        return [self._outcome(attempt) for attempt in self.attempts]

    def _outcome(self, attempt: int) -> str:
        end = self.ends.get(attempt)
        return "none" if end is None else "done" if isinstance(end, ExecutorDone) else end.failure.kind

    def processes(self) -> int:
        return len(set(self.pids.values()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, jobs=JOBS).pool_closed() as made:
        yield made


def test_one_process_runs_them_in_their_order(bench: Bench) -> None:
    line = Line(bench, *(f"task {n}" for n in range(40))).run(40)
    assert line.outcomes == ["done"] * 40 and line.processes() == 1
    assert list(line.ends) == line.attempts


def test_what_each_prints_is_its_own(bench: Bench) -> None:
    records = [f"{('print', 'write', 'nothing', 'echo')[n % 4]} {n}" for n in range(40)]
    line = Line(bench, *records).run(40)
    assert [bench.said(attempt) for attempt in line.attempts] == [
        "" if record.startswith("nothing") else f"{n}\n" for n, record in enumerate(records)
    ]


def test_the_one_that_dies_is_to_blame_and_the_others_are_run_by_another_process(bench: Bench) -> None:
    line = Line(bench, "task", "print last words", "die", "task", "task").run(5)
    assert line.outcomes == ["done", "done", "died", "done", "done"] and line.processes() == 2
    assert [bench.said(attempt) for attempt in line.attempts] == ["", "last words\n", "", "", ""]


def test_behind_one_that_leaves_its_process_unfit_another_goes_on(bench: Bench) -> None:
    line = Line(bench, "task", "leave", "task", "task").run(4)
    assert line.outcomes == ["done"] * 4
    one, two, three, four = (line.pids[attempt] for attempt in line.attempts)
    assert one == two != three == four


def test_each_has_its_own_time(tmp_path: Path) -> None:
    with Bench(tmp_path, jobs=JOBS, task_timeout_secs=2.0).pool_closed() as bench:
        line = Line(bench, *["sleep 0.8"] * 3).run(3)
        assert line.outcomes == ["done"] * 3
        line = Line(bench, "sleep 600", "task", "task").run(3)
        assert line.outcomes == ["timeout", "done", "done"]


def test_kill_ends_the_one_and_no_other(bench: Bench) -> None:
    line = Line(bench, "task", "sleep 600", "task", "task").run(1)
    bench.pool.kill(0, line.attempts[1])
    assert line.run(3).outcomes == ["done", "none", "done", "done"] and line.processes() == 2


def test_what_was_killed_before_it_began_does_not_keep_the_others(bench: Bench) -> None:
    line = Line(bench, "sleep 0.5", "sleep 600", "task", "task")
    bench.pool.kill(0, line.attempts[1])
    assert line.run(3).outcomes == ["done", "none", "done", "done"]


def test_when_all_are_killed_nothing_is_told_and_nothing_runs(bench: Bench) -> None:
    line = Line(bench, "sleep 600", "sleep 600", "sleep 600")
    for attempt in line.attempts:
        bench.pool.kill(0, attempt)
    assert Line(bench, "task").run(1).outcomes == ["done"]


def test_what_comes_after_those_that_were_killed_can_be_killed_too(tmp_path: Path) -> None:
    with Bench(tmp_path, 2, jobs=JOBS).pool_closed() as bench:
        line = Line(bench, "sleep 600", "task")
        assert eventually(lambda: bench.pool.poll() == [] and all(c.ready for c in bench.pool._children()))
        for attempt in line.attempts:
            bench.pool.kill(0, attempt)
        bench.pool.kill(0, bench.submit("other", "sleep 600\n"))
        assert Line(bench, "task").run(1).outcomes == ["done"]


def test_only_tasks_of_one_job_wait_for_one_executor(bench: Bench) -> None:
    Line(bench, "sleep 600")
    with pytest.raises(ValueError, match="slot 0 is busy"):
        bench.submit("other", "task\n")
    with pytest.raises(ValueError, match="slot 0 is busy"):
        bench.submit("job", "task\n", careful=True)


# ---------------------------------------------------------------- marks in what is printed


@settings(max_examples=40)
@given(
    st.lists(
        st.binary(max_size=6) | st.sampled_from([b"\xff", b"\xff\0", b"a\xff\0\xfe"]), min_size=1, max_size=5
    ),
    st.data(),
)
def test_marks_part_the_outputs_however_they_are_read(outputs: list[bytes], data: st.DataObject) -> None:
    capture = Capture(-1)
    capture.mark = new_mark()
    stream = capture.mark.join(outputs)
    begins = [sum(len(each) + len(capture.mark) for each in outputs[:n]) for n in range(len(outputs))]
    found: list[str] = []
    at = 0
    while len(found) < len(outputs):
        written = data.draw(st.integers(at, len(stream)))
        capture._take(stream[at:written])
        at = written
        # marks are written whole: its executor's answer can only be read when none is half there
        while (
            len(found) < len(outputs)
            and _whole(at, begins, outputs)
            and at >= _end(begins, outputs, len(found))
        ):
            if not data.draw(st.booleans()) and at < len(stream):
                break
            capture.complete()
            found.append(capture.kept.words())
            capture.kept = Kept()
            capture.go_on()
    assert found == [each.decode("utf-8", "replace") for each in outputs]


def test_a_mark_of_which_half_was_read_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = open_pipe()
    with selectors.DefaultSelector() as selector:
        captures, capture = Captures(selector), Capture(ours)
        capture.mark = new_mark()
        os.write(theirs, capture.mark.join([b"one\n", b"two\n", b"three\n"]))
        said = []
        for attempt in (1, 2, 3):
            captures.begin(capture, 0, "job", attempt, 0.0, behind=attempt > 1)
            with monkeypatch.context() as patch:
                if attempt == 1:  # so much at once ends within the mark
                    patch.setattr(capture_module, "_TURN_BYTES", 10)
                    patch.setattr(capture_module, "_READ_BYTES", 10)
                said.append([each.text for each in captures.end(capture, 0.0, failed=False)])
    os.close(ours)
    os.close(theirs)
    assert said == [["one\n"], ["two\n"], ["three\n"]]


def _end(begins: list[int], outputs: list[bytes], number: int) -> int:
    return begins[number] + len(outputs[number])


def _whole(at: int, begins: list[int], outputs: list[bytes]) -> bool:
    """So much of the stream is there, and no mark in part."""
    return any(begin <= at <= _end(begins, outputs, n) for n, begin in enumerate(begins))
