"""What user code prints: all of it heard, of whoever writes it, as the attempt's that runs; and not too much of it."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import capture
from mapreduce.capture import (
    BURST_BYTES,
    HEAD_BYTES,
    JOB_BYTES,
    TAIL_BYTES,
    WORKER_BYTES_PER_SEC,
    Allowance,
    Capture,
    Captures,
    JobAllowance,
    Kept,
    open_pipe,
)

from . import strategies  # noqa: F401  # hypothesis' settings
from .support import mr
from .test_executor import Bench

JOBS = Path(__file__).with_name("capture_jobs.py")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, jobs=JOBS)
    yield made
    made.pool.close()


def run(bench: Bench, name: str, text: str, **fields: Any) -> str:
    """What an attempt prints, whatever becomes of it."""
    attempt = bench.submit(name, text, **fields)
    bench.wait(attempt)
    return bench.said(attempt)


# ---------------------------------------------------------------- executors


def test_all_ways_to_print_are_heard_in_order_and_nothing_reaches_our_own_streams(
    bench: Bench, capfd: Any
) -> None:
    for line in ("one", "two"):
        assert run(bench, "job_talk", line).splitlines() == [
            f"{line} by print",
            f"{line} to standard error",
            f"{line} in C",
            f"{line} in C, without an end",
            f"{line} by its descriptor",
            f"{line} by a subprocess",
        ]
    assert capfd.readouterr() == ("", "")


def test_what_waits_in_the_c_librarys_buffers_is_the_attempts_own(bench: Bench) -> None:
    assert [run(bench, "job_c_talk", line) for line in ("one", "two")] == ["one in C", "two in C"]


def test_a_thread_that_waits_for_input_in_c_holds_up_nobody(bench: Bench) -> None:
    assert run(bench, "job_c_reader", "a") == "a\n"


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("how", ["kill", "crash"])
def test_the_last_words_of_a_dying_process(bench: Bench, how: str, careful: bool) -> None:
    assert run(bench, "job_die", how, careful=careful) == "long before\nlast words\n"


def test_who_keeps_the_pipe_open_holds_up_nobody(bench: Bench) -> None:
    assert run(bench, "job_leave_talker", "a").startswith("parent\n")
    assert run(bench, "job_talk", "next").startswith("next by print\n")


def test_of_a_timed_out_attempt_the_words_are_heard(tmp_path: Path) -> None:
    with Bench(tmp_path, jobs=JOBS, task_timeout_secs=2.0).pool_closed() as bench:
        assert run(bench, "job_hold_on", str(tmp_path)) == "waiting\nstill there\n"  # it is up
        assert run(bench, "job_hold_on", str(tmp_path / "never")) == "waiting\nstill"


def test_lines_are_told_while_the_attempt_runs(bench: Bench, tmp_path: Path) -> None:
    there = tmp_path / "there"
    attempt = bench.submit("job_hold_on", str(there))
    for _ in bench.events(attempt, printed=True):
        if (
            bench.said(attempt) == "waiting\nstill"
        ):  # a whole line first; the rest of a line when it has stood for long
            there.touch()
    assert bench.said(attempt) == "waiting\nstill there\n"


def test_bytes_that_are_no_text(bench: Bench) -> None:
    assert run(bench, "job_not_utf8", "a") == "caf\ufffd\n\ufffd"


def test_of_a_flood_the_beginning_and_the_end_are_kept(bench: Bench) -> None:
    lines = 300_000
    said = run(bench, "job_flood", str(lines)).splitlines()
    first = HEAD_BYTES // 10
    assert said[:first] == [f"{n:09}" for n in range(first)]
    assert said[-1] == f"{lines - 1:09}"
    assert sum(event.dropped for event in bench.printed) == 10 * lines - sum(
        len(e.text) for e in bench.printed
    )
    assert sum(len(event.text) for event in bench.printed) <= HEAD_BYTES + TAIL_BYTES


def test_what_an_error_is_explained_with_is_told_beyond_the_limit(bench: Bench) -> None:
    for _ in range(6):  # more than a worker may print at once
        assert run(bench, "job_raises", "a").endswith("step 99998\nstep 99999\n")


def test_who_prints_nothing_is_never_told_of(bench: Bench) -> None:
    bench.output("job_talk", "")
    assert bench.printed == [] and bench.pool.wait_secs() is None


def test_whoever_submits_a_job_reads_its_last_words_and_never_as_output(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("kill\n")
    result = mr("run", "--local", f"{JOBS}:job_die", tmp_path / "in", "--tries", 1, "-c", 1)
    assert (result.returncode, result.stdout) == (1, b"")
    lines = result.stderr.decode().splitlines()
    said = ["[map 0] long before", "[map 0] last words"]
    assert lines[:4] == said + said  # the second time carefully, so that the record is known
    assert "killed by SIGKILL" in lines[4]


# ---------------------------------------------------------------- limits


def test_an_allowance_saves_up_and_has_an_end() -> None:
    allowance = Allowance()
    assert allowance.left(5.0) == BURST_BYTES
    allowance.take(BURST_BYTES)
    assert allowance.left(5.0) == 0
    assert allowance.left(6.0) == WORKER_BYTES_PER_SEC
    allowance.take(2 * WORKER_BYTES_PER_SEC)  # debts
    assert [allowance.left(at) for at in (6.5, 7.0, 8.0)] == [0, 0, WORKER_BYTES_PER_SEC]
    assert allowance.left(1e6) == BURST_BYTES
    for _ in range(1000):  # failures, which are told of all the same
        allowance.take(HEAD_BYTES)
    assert allowance.left(1e6 + 5.0) == WORKER_BYTES_PER_SEC  # the others wait a few seconds for that


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("size", [100, HEAD_BYTES, 2 * HEAD_BYTES])
def test_who_has_printed_too_much_says_no_more_than_last_words(failed: bool, size: int) -> None:
    worker = Allowance()
    allowance, other = JobAllowance(worker), JobAllowance(worker)
    allowance.take(JOB_BYTES)
    assert (allowance.left(100.0), other.left(100.0)) == (0, BURST_BYTES)
    kept = Kept()
    printed = (b"%07d\n" % size) * (size // 8)
    kept.add(printed)
    assert kept.take(allowance, 100.0, partial=True) is None
    told = list(kept.take_all(allowance, 100.0, anyhow=failed))
    assert sum(len(each.text) + each.dropped for each in told) == len(printed)
    said = "".join(each.text for each in told).encode()
    assert printed.endswith(said)
    assert len(said) == (
        0 if not failed else size // 8 * 8 if size < TAIL_BYTES else TAIL_BYTES - 8
    )  # whole lines


def test_a_job_that_comes_again_may_print_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "JOB_BYTES", 10)
    for _ in range(2):
        assert run(bench, "job_c_reader", "0123456789\n") != ""
        assert run(bench, "job_c_reader", "more\n") == ""
        bench.pool.forget("job_c_reader")


def test_each_attempt_has_its_own_limit() -> None:
    selector = selectors.DefaultSelector()
    captures = Captures(selector)
    ours, theirs = open_pipe()
    capture = Capture(ours)
    captures.add(capture)
    line = b"x" * 99 + b"\n"
    try:
        for attempt in (1, 2, 3):
            now = 10.0 * attempt
            captures.begin(capture, 0, "job", attempt, now)
            os.write(theirs, line * (HEAD_BYTES // 100))
            captures.hear(capture, now)
            assert captures.wait_secs(now) == 0.0  # so much at once may be more than a pipe holds
            told = list(captures.poll(now + 1.0))  # all of it, and nothing is left for the end
            assert list(captures.end(capture, now + 1.0, failed=False)) == []
            assert [(each.attempt, len(each.text), each.dropped) for each in told] == [
                (attempt, HEAD_BYTES // 100 * 100, 0)
            ]
            assert list(captures.poll(now + 2.0)) == [] and captures.wait_secs(now + 2.0) is None
    finally:
        selector.close()
        os.close(ours)
        os.close(theirs)


def test_a_character_that_is_never_completed_is_told_at_the_end() -> None:
    allowance, kept = JobAllowance(Allowance()), Kept()
    kept.add(b"caf\xc3")
    assert kept.take(allowance, 0.0, partial=True) == ("caf", 0)
    assert list(kept.take_all(allowance, 0.0, anyhow=False)) == [("\ufffd", 0)]


def test_lines_wait_for_their_allowance_and_are_dropped_at_the_end_unless_they_explain_a_failure() -> None:
    for failed in (False, True):
        allowance, kept = JobAllowance(Allowance()), Kept()
        allowance.left(0.0)
        allowance.take(BURST_BYTES - 10)
        kept.add(b"12345\n" * 3)
        told = kept.take(allowance, 0.0, partial=False)
        assert told is not None and told.text == "12345\n"
        assert kept.take(allowance, 0.0, partial=False) is None
        rest = list(kept.take_all(allowance, 0.0, anyhow=failed))
        if failed:
            assert rest == [("12345\n" * 2, 0)]
        else:
            assert "".join(text for text, _ in rest) == "1234" and sum(dropped for _, dropped in rest) == 8


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.booleans(), st.floats(0, 3)), max_size=12), st.booleans()
)
def test_every_byte_is_told_or_counted_and_the_ends_are_kept(
    steps: list[tuple[int, bool, float]], failed: bool
) -> None:
    allowance, kept, now = JobAllowance(Allowance()), Kept(), 0.0
    printed, told = b"", []
    for size, partial, secs in steps:
        data = (b"%07d\n" % len(printed)) * (size // 8) + b"." * (size % 8)
        printed += data
        kept.add(data)
        now += secs
        text = kept.take(allowance, now, partial)
        if text is not None:
            assert text.dropped == 0 and (partial or text.text.endswith("\n"))
            told.append(text)
    told += kept.take_all(allowance, now, anyhow=failed)
    assert sum(len(each.text) + each.dropped for each in told) == len(printed)
    shown, at = 0, 0
    for each in told:
        at += each.dropped
        assert each.text.encode() == printed[at : at + len(each.text)]
        at += len(each.text)
        shown += len(each.text)
    assert shown <= HEAD_BYTES + TAIL_BYTES
    if failed:
        head = min(len(printed), HEAD_BYTES)
        assert "".join(each.text for each in told)[:head].encode() == printed[:head]
        assert not printed or (told[-1].text and printed.endswith(told[-1].text.encode()))
