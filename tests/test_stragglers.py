"""Copies: of what is slow near a stage's end, of what the queue has lost; few, and stopped when they lose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination import stragglers
from mapreduce.coordination.clock import BUSY_SECS
from mapreduce.effects import Command
from mapreduce.spec import JobSpec
from tests.coordinating import QUEUE, SPEC, Bench, dispatched, done, failed, of_type, splits, started

PATIENT = replace(SPEC, client_timeout_secs=1e9)


def copies(commands: list[Command]) -> list[int]:
    """The tasks of these dispatches."""
    return [each.index for each in of_type(commands, ev.Dispatch)]


def stopped(commands: list[Command]) -> list[Any]:
    return [wire.decode(each.body)[0] for each in commands if isinstance(each, base.Broadcast)]


def near_the_end(
    count: int = 4, slow: int = 1, seconds: float = 3.0, spec: JobSpec = PATIENT
) -> tuple[Bench, list[int]]:
    """A bench on which all tasks but the last ``slow`` are done; these run."""
    bench = Bench((*splits(count), dispatched(*range(count))), spec=spec)
    bench.log(*(started(n, n, f"w{n}") for n in range(count)))
    bench.log(*(done(n, n, seconds=seconds) for n in range(count - slow)))
    return bench, list(range(count - slow, count))


def test_what_takes_twice_as_long_as_others_gets_one_copy() -> None:
    bench, [slow] = near_the_end()
    assert not copies(bench.wait(6))
    copy = bench.wait(0.5)
    assert copies(copy) == [slow]
    bench.echo(copy)
    assert not copies(bench.wait(100))


def test_the_first_to_be_done_wins_and_the_other_is_stopped() -> None:
    bench, [slow] = near_the_end()
    [copy] = of_type(bench.wait(7), ev.Dispatch)
    bench.log(ev.Started(copy.dispatch, 0, slow, 0, 77, "other"))
    assert ev.StopAttempt(slow) in stopped(bench.log(ev.Done(copy.dispatch, 0, slow, 0, 77, "other", {0: 1})))
    assert bench.it.state.stages[0].done == 4


def test_a_copy_that_starts_after_its_task_is_won_is_stopped() -> None:
    bench, [slow] = near_the_end()
    [copy] = of_type(bench.wait(7), ev.Dispatch)
    bench.log(done(slow, slow))
    assert stopped(bench.log(ev.Started(copy.dispatch, 0, slow, 0, 77, "other"))) == [ev.StopAttempt(77)]
    assert not stopped(bench.log(ev.Started(slow, 0, slow, 0, slow, "w")))  # the winner's, once more


@pytest.mark.parametrize(("count", "slow"), [(3, 3), (5, 3)])
def test_what_runs_is_not_copied_before_half_of_the_stage_is_done(count: int, slow: int) -> None:
    bench, _ = near_the_end(count, slow)
    assert not copies(bench.wait(100))


def test_nothing_is_copied_while_tasks_of_the_stage_wait_to_be_dispatched() -> None:
    bench = Bench(splits(40), spec=PATIENT)
    bench.log(dispatched(*range(30)), *(started(n, n, "w") for n in range(30)))
    bench.log(*(done(n, n, seconds=0.1) for n in range(25)))
    assert bench.it.state.stages[0].pending
    assert all(index >= 30 for index in copies(bench.wait(60)))


def test_a_job_that_wants_no_copies_gets_none() -> None:
    bench, _ = near_the_end(spec=replace(PATIENT, copies=False))
    commands = bench.wait(100)
    assert not copies(commands) and base.Inspect(QUEUE) not in commands


@pytest.mark.parametrize("secs", [0.01, 3.0])
def test_what_ran_when_the_coordinator_took_over_may_be_younger_than_it_looks(secs: float) -> None:
    entries = (*splits(2), dispatched(0, 1), started(0, 0), done(0, 0, seconds=secs), started(1, 1))
    bench = Bench(entries, spec=PATIENT)
    patience = BUSY_SECS + max(stragglers.FLOOR_SECS, stragglers.SLOW * secs)
    assert not copies(bench.wait(patience))
    assert copies(bench.wait(1)) == [1]


def test_a_careful_attempt_is_not_copied() -> None:
    bench, [slow] = near_the_end()
    bench.log(failed(slow, slow, "died"))
    again = [each for each in of_type(bench.wait(2), ev.Dispatch) if each.index == slow]
    assert [each.careful for each in again] == [True]
    bench.log(ev.Started(again[0].dispatch, 0, slow, 0, 5, "w"))
    assert not copies(bench.wait(100))


def test_an_attempt_beside_which_another_has_failed_gets_no_further_copy() -> None:
    bench, [slow] = near_the_end()
    [copy] = of_type(bench.wait(7), ev.Dispatch)
    bench.log(ev.Started(copy.dispatch, 0, slow, 0, 77, "other"), failed(copy.dispatch, slow))
    assert bench.it.state.stages[0].tasks[slow].failures == 0
    assert not copies(bench.wait(100))


def test_one_worker_alone_runs_nothing_twice() -> None:
    bench = Bench((*splits(2), dispatched(0, 1)), spec=PATIENT)
    bench.log(started(0, 0, "me"), started(1, 1, "me"), replace(done(0, seconds=0.1), worker="me"))
    assert not copies(bench.wait(100))
    bench.log(ev.Back("another"))
    assert copies(bench.wait(1)) == [1]


def test_what_waits_for_the_only_worker_is_not_copied_while_that_is_busy() -> None:
    bench = Bench((*splits(3), dispatched(0, 1, 2)), spec=PATIENT)
    bench.log(started(0, 0, "me"), started(1, 1, "me"), replace(done(0, seconds=0.1), worker="me"))
    assert not copies(bench.wait(100))
    bench.log(replace(done(1, 1, seconds=0.1), worker="me"))
    assert copies(bench.wait(1)) == [2]


def test_few_copies_are_out_at_a_time() -> None:
    bench, slow = near_the_end(40, 20, seconds=0.1)
    first = bench.wait(3)
    assert copies(first) == slow[: stragglers.MIN_COPIES]
    bench.echo(first)
    assert not copies(bench.wait(3))
    bench.log(*(done(n, n) for n in slow[:2]))
    assert copies(bench.wait(1)) == slow[4:6]


# ---------------------------------------------------------------- dispatches that are lost


def test_a_lost_dispatch_near_the_end_is_repeated_within_seconds_and_so_is_its_copy() -> None:
    bench = Bench((*splits(4), dispatched(0, 1, 2, 3)), spec=PATIENT)
    bench.log(*(started(n, n) for n in range(3)), done(0, 0, seconds=0.1))
    first = bench.wait(BUSY_SECS + 2)
    assert copies(first) == [3]
    bench.echo(first)
    second = bench.wait(3)
    assert copies(second) == [3]


def test_a_purged_queue_is_noticed_before_anything_is_done() -> None:
    bench = Bench((*splits(2), dispatched(0, 1)), spec=PATIENT)
    assert base.Inspect(QUEUE) not in bench.wait(BUSY_SECS + stragglers.COPY_UNSTARTED_SECS)
    assert base.Inspect(QUEUE) in bench.wait(1)
    assert not bench.tell(base.Depth(QUEUE, 3, 1))
    assert copies(bench.tell(base.Depth(QUEUE, 0, 1))) == [0, 1]
    assert not copies(bench.tell(base.Depth(QUEUE, 0, 1)))


def test_a_purge_in_the_middle_of_a_stage_does_not_stall_it() -> None:
    bench = Bench(splits(50), spec=PATIENT)
    window = of_type(bench.said, ev.Dispatch)
    bench.echo(bench.said)
    bench.wait(stragglers.COPY_UNSTARTED_SECS + 1)
    assert copies(bench.tell(base.Depth(QUEUE, 0, 1))) == [each.index for each in window]


def test_the_first_task_that_runs_is_never_copied() -> None:
    bench = Bench((*splits(1), dispatched(0), started(0)), spec=PATIENT)
    commands = bench.wait(300)
    assert not copies(commands) and base.Inspect(QUEUE) not in commands


def test_what_reads_input_that_is_void_is_stopped() -> None:
    entries = (*splits(1), done(7), ev.StageSealed(1, 0))
    bench = Bench((*entries, *(ev.Started(8 + n, 1, n, 0, 8 + n, "w") for n in range(2))))
    assert stopped(bench.log(ev.Missing(8, 1, 0, 0, (99,)))) == [], "nobody's win"
    assert stopped(bench.log(ev.Missing(8, 1, 0, 0, (7,)))) == [ev.StopAttempt(9)]
    assert stopped(bench.log(ev.Missing(9, 1, 1, 0, (7,)))) == [], "of a seal that is void already"
