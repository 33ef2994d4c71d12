"""How often a task is tried, when it is careful, what it leaves out, and when it is given up."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Optional

import pytest

from mapreduce import events as ev
from mapreduce.coordination import tries, verdict
from mapreduce.refs import Failure, Segment, Skipped, Split
from mapreduce.spec import JobSpec
from mapreduce.state import Task
from tests.coordinating import SPEC, Bench, done, failed, of_type, splits, started


def ended(bench: Bench) -> Optional[ev.Failed]:
    found = of_type(bench.said, ev.Failed)
    return found[0] if found else None


def play(spec: JobSpec, *failures: tuple[str, int]) -> tuple[list[ev.Dispatch], Optional[ev.Failed]]:
    """One task whose attempts fail like this, kind and position: its dispatches, and the job's end."""
    bench = Bench(splits(1), spec=spec)
    for number, (kind, position) in enumerate(failures, 1):
        assert len(of_type(bench.said, ev.Dispatch)) == number
        dispatch = of_type(bench.said, ev.Dispatch)[-1].dispatch
        bench.echo(bench.said[:])
        bench.log(started(dispatch), failed(dispatch, 0, kind, position))
        bench.wait(30)
    return of_type(bench.said, ev.Dispatch), ended(bench)


def modes(dispatches: list[ev.Dispatch]) -> list[Any]:
    return [each.careful for each in dispatches]


def test_the_last_try_is_careful() -> None:
    dispatches, end = play(replace(SPEC, tries=3), ("raised", -1), ("raised", -1), ("raised", 7))
    assert modes(dispatches) == [False, False, True]
    assert end is not None and end.tries == 3 and end.failure.position == 7


def test_a_plain_attempt_that_fails_late_does_not_use_up_the_careful_last_try() -> None:
    """A takeover has delayed the news of its dispatch beyond the failure of the one before it."""
    bench = Bench(splits(1), spec=replace(SPEC, tries=2, skip_bad=1))
    [first] = of_type(bench.said, ev.Dispatch)
    bench.echo(bench.said[:])
    bench.log(started(first.dispatch), failed(first.dispatch, plain=True))
    bench.log(ev.Dispatched((ev.DispatchRef(2, 0, 0),)), started(2), failed(2, plain=True))
    bench.wait(5)
    assert ended(bench) is None
    [careful] = of_type(bench.said, ev.Dispatch)[1:]
    assert careful.careful
    bench.echo(bench.said[:])
    bench.log(started(careful.dispatch), failed(careful.dispatch, position=3))
    end = ended(bench)
    assert end is not None and end.failure.position == 3


def test_with_one_plain_try_a_second_failure_that_is_plain_ends_the_job_all_the_same() -> None:
    bench = Bench(splits(1), spec=replace(SPEC, tries=1))
    bench.log(started(1), failed(1, plain=True))
    assert ended(bench) is not None


@pytest.mark.parametrize("kind", ["died", "timeout", "memory"])
def test_whatever_ends_the_process_makes_all_further_tries_careful(kind: str) -> None:
    dispatches, end = play(SPEC, (kind, -1), ("raised", 3))
    assert modes(dispatches) == [False, True, True] and end is None


def test_tries_of_a_stage_of_its_own() -> None:
    _, end = play(replace(SPEC, stage_tries={0: 2}), ("raised", -1), ("raised", -1))
    assert end is not None and end.tries == 2
    assert tries.tries_of(replace(SPEC, stage_tries={1: 2}), 0) == SPEC.tries


def test_a_single_try_is_plain_and_one_that_dies_gets_a_second_that_names_the_record() -> None:
    once = replace(SPEC, tries=1)
    assert modes(play(once)[0]) == [False]
    _, end = play(once, ("raised", -1))
    assert end is not None
    dispatches, end = play(once, ("died", -1), ("died", 5))
    assert modes(dispatches) == [False, True] and end is not None and end.failure.position == 5
    _, end = play(once, ("died", -1), ("died", -1))  # before its first record
    assert end is not None


def test_with_records_to_leave_out_a_single_try_is_careful() -> None:
    dispatches, end = play(replace(SPEC, tries=1, skip_bad=2), ("died", 5), ("timeout", 9), ("died", 11))
    assert [(each.careful, each.skip, each.skip_limit) for each in dispatches] == [
        (True, (), 2),
        (True, (5,), 1),
        (True, (5, 9), 0),
    ]
    assert end is not None and end.failure.position == 11


@pytest.mark.parametrize(
    ("kind", "skip_bad", "final"),
    [
        ("input", 0, True),
        ("input", 1, True),
        ("counters", 0, True),
        ("counters", 1, True),
        ("value", 0, True),
        ("value", 1, False),
        ("raised", 0, False),
        ("code", 0, False),
    ],
)
def test_what_another_try_cannot_mend_is_not_tried_again(kind: str, skip_bad: int, final: bool) -> None:
    dispatches, end = play(replace(SPEC, skip_bad=skip_bad), (kind, -1))
    assert (end is not None) == final
    assert kind != "value" or final or dispatches[1].careful


def test_trouble_that_is_not_the_tasks_own_is_bounded() -> None:
    for kind in ("disk", "files", "code", "lost"):
        _, end = play(replace(SPEC, tries=2), *[(kind, -1)] * (tries.MAX_TROUBLES - 1))
        assert end is None
        _, end = play(replace(SPEC, tries=2), *[(kind, -1)] * tries.MAX_TROUBLES)
        assert end is not None and (end.failure.kind, end.tries) == (kind, tries.MAX_TROUBLES)


@pytest.mark.parametrize("kind", ["disk", "files", "code"])
def test_one_workers_trouble_does_not_end_a_job_whose_other_workers_are_fine(kind: str) -> None:
    bench = Bench((*splits(2), started(9, 1, "good")))
    for dispatch in range(100, 100 + tries.MAX_LOCAL_TROUBLES):
        assert ended(bench) is None
        bench.log(started(dispatch, 0, "bad"), failed(dispatch, 0, kind, worker="bad"))
    assert ended(bench) is not None


def test_user_code_that_fails_after_much_trouble_has_its_tries_left() -> None:
    bench = Bench((*splits(2), started(9, 1, "good")), spec=replace(SPEC, tries=3))
    for dispatch in range(100, 100 + tries.MAX_TROUBLES + 1):
        bench.log(started(dispatch, 0, "bad"), failed(dispatch, 0, "disk", worker="bad"))
    bench.log(started(200), failed(200))
    assert ended(bench) is None


def test_backoff_doubles_has_a_limit_and_never_overflows() -> None:
    task, rng = Task(), random.Random(1)
    for failures in (1, 4, 12, 5000):
        task.failures = failures
        limit = min(tries.BACKOFF_SECS * 2.0 ** min(failures - 1, 50), tries.MAX_BACKOFF_SECS)
        assert all(limit / 2 <= tries.backoff(task, rng) <= limit for _ in range(20))


def test_a_full_folder_has_two_minutes_to_be_emptied_before_a_task_is_given_up() -> None:
    task, rng, waited = Task(), random.Random(1), 0.0
    task.failure = Failure("folder", "no space left")
    for _ in range(tries.MAX_TROUBLES - 1):
        task.troubles += ("w",)
        waited += tries.backoff(task, rng)
    assert 120.0 < waited < 300.0
    task.troubles = task.troubles[:1]
    assert tries.backoff(task, rng) <= tries.FOLDER_BACKOFF_SECS, "one that sees it gets the task soon"


def test_backoff_goes_on_over_a_takeover() -> None:
    entries = [*splits(1)]
    for dispatch in range(1, 11):  # a minute of backoff, nearly
        entries += [started(dispatch), failed(dispatch)]
    patient = replace(SPEC, tries=100)
    assert not of_type(Bench(tuple(entries), spec=patient).wait(20), ev.Dispatch)
    assert of_type(Bench((*entries, ev.Passed(60.0)), spec=patient).said, ev.Dispatch)


# ---------------------------------------------------------------- more than may be left out, losses, voids


def test_attempts_side_by_side_that_leave_out_too_much_end_the_job() -> None:
    def win(index: int, *positions: int) -> ev.Done:
        skipped = tuple(Skipped(n, "f", 10 * n, f"'{n}'", "ValueError: no") for n in positions)
        return ev.Done(index, 0, index, 0, index, "w", {0: 1}, {}, {}, skipped)

    bench = Bench(splits(3), spec=replace(SPEC, skip_bad=3))
    bench.log(win(1, 4, 8))
    assert ended(bench) is None
    bench.log(win(0, 2, 6))
    end = ended(bench)
    assert end is not None and (end.stage, end.index, end.failure.record) == (0, 1, "'8'")
    assert end.failure.message == "ValueError: no; 4 records fail, and only 3 may be left out"


def test_a_chunk_that_ends_every_host_is_set_aside_and_named() -> None:
    split = ev.SplitInput(Split((Segment("big.txt", "/tmp/copy", 0, 50, 800, True),)))
    bench = Bench((ev.Splits(0, (split,)), ev.InputComplete(1)))
    for dispatch in range(1, tries.MAX_LOSSES + 1):
        bench.log(started(dispatch, 0, f"w{dispatch}"), ev.Lost(dispatch, 0, 0))
    sent = len(of_type(bench.said, ev.Dispatch))
    bench.wait(verdict.GRACE_SECS)
    assert ended(bench) is None and len(of_type(bench.said, ev.Dispatch)) == sent
    bench.wait(1)
    text = f"{tries.MAX_LOSSES} workers died while they ran it: bytes 800 to 850 of big.txt"
    failure = Failure("died", text, source="big.txt", offset=800)
    assert ended(bench) == ev.Failed(failure, 0, 0, tries.MAX_LOSSES)


def test_a_chunk_whose_workers_turn_out_to_live_is_tried_again() -> None:
    bench = Bench(splits(1))
    for dispatch in range(1, tries.MAX_LOSSES + 1):
        bench.log(started(dispatch, 0, f"w{dispatch}"), ev.Lost(dispatch, 0, 0))
    sent = len(of_type(bench.said, ev.Dispatch))
    bench.echo(bench.said[:])
    bench.log(*(ev.Lost(each.dispatch, 0, 0) for each in of_type(bench.said, ev.Dispatch)), ev.Back("w2"))
    bench.wait(60)
    assert ended(bench) is None and len(of_type(bench.said, ev.Dispatch)) > sent


def test_a_broker_that_keeps_cutting_a_stream_ends_in_a_failure_that_names_it() -> None:
    bench = Bench(splits(1))
    for times in range(verdict.MAX_VOIDS + 1):
        assert ended(bench) is None
        bench.log(done(100 + times), ev.StageSealed(1, times))
        bench.log(ev.Missing(5, 1, 1, times, (100 + times,)))
    end = ended(bench)
    assert end is not None and end.failure.kind == "lost"
    assert end.failure.message.endswith(f"the last time from {ev.partition_stream('job', 1, 1)}")
