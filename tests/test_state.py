"""The fold: indifferent to repeats, total, and strict about what counts."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce.refs import Failure, Segment, Skipped, Split
from mapreduce.spec import JobSpec
from mapreduce.state import JobState, Voided

SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))
FAILURE = Failure("raised", "ValueError: no")


def job(splits: int = 2, stages: int = 2, skip_bad: int = 0) -> JobState:
    state = JobState()
    state.apply(ev.Submitted("job", JobSpec("j", {}, {}, stages, 2, skip_bad=skip_bad), "0", 0.0))
    state.apply(ev.Splits(0, (SPLIT,) * splits))
    state.apply(ev.InputComplete(splits))
    return state


def started(
    dispatch: int, index: int, attempt: int, stage: int = 0, generation: int = 0, worker: str = "w"
) -> Any:
    return ev.Started(dispatch, stage, index, generation, attempt, worker)


def done(
    dispatch: int,
    index: int,
    attempt: int,
    stage: int = 0,
    generation: int = 0,
    worker: str = "w",
    n: int = 1,
) -> Any:
    return ev.Done(dispatch, stage, index, generation, attempt, worker, {0: 1, 1: 1}, {"n": n}, {})


def test_the_first_valid_done_wins_and_counts_once() -> None:
    state = job()
    state.apply(started(1, 0, 10))
    state.apply(started(2, 0, 20))
    state.apply(done(2, 0, 20, n=5))
    state.apply(done(1, 0, 10, n=7))
    state.apply(done(2, 0, 20, n=5))
    task = state.stages[0].tasks[0]
    assert task.winner is not None and task.winner.attempt == 20
    assert state.counters == {"n": 5} and state.stages[0].done == 1
    assert not task.live and not state.running


def test_a_lost_dispatch_makes_its_task_pending_again() -> None:
    state = job()
    state.apply(ev.Dispatched((ev.DispatchRef(1, 0, 0),)))
    assert list(state.stages[0].pending) == [1] and list(state.unstarted) == [1]
    state.apply(ev.Lost(1, 0, 0))
    assert 0 in state.stages[0].pending and not state.unstarted


@pytest.mark.parametrize("late", [ev.Dispatched((ev.DispatchRef(1, 0, 0),)), started(1, 0, 10)])
def test_a_dispatch_whose_end_is_known_is_not_revived(late: Any) -> None:
    state = job()
    state.apply(ev.Lost(1, 0, 0))
    state.apply(late)
    assert not state.stages[0].tasks[0].live and 0 in state.stages[0].pending


def test_a_zombies_done_still_wins() -> None:
    state = job()
    state.apply(started(1, 0, 10))
    state.apply(ev.Lost(1, 0, 0))
    state.apply(done(1, 0, 10))
    assert state.stages[0].done == 1 and 0 not in state.stages[0].pending


def test_a_loss_is_pardoned_by_a_sign_of_life() -> None:
    state = job()
    state.apply(started(1, 0, 10, worker="a"))
    state.apply(ev.Lost(1, 0, 0))
    assert state.stages[0].tasks[0].losses == ("a",)
    state.apply(ev.Back("a"))
    assert not state.stages[0].tasks[0].losses


@pytest.mark.parametrize("entry", [ev.Printed(0, 0, 10, "a", "late words"), ev.Marked(7)])
def test_what_is_for_viewers_changes_nothing(entry: Any) -> None:
    state = job()
    state.apply(started(1, 0, 10, worker="a"))
    state.apply(ev.Lost(1, 0, 0))
    before = len(state.workers), state.progress, state.losses
    state.apply(entry)
    assert state.stages[0].tasks[0].losses == ("a",)  # no sign of life
    assert (len(state.workers), state.progress, state.losses) == before


def test_a_worker_that_falls_silent_with_two_attempts_of_a_task_is_lost_once() -> None:
    state = job()
    state.apply(started(1, 0, 10, worker="a"))
    state.apply(ev.Dispatched((ev.DispatchRef(5, 0, 0),)))
    state.apply(started(5, 0, 11, worker="a"))
    state.apply(ev.Lost(1, 0, 0))
    state.apply(ev.Lost(5, 0, 0))
    assert state.stages[0].tasks[0].losses == ("a",) and state.losses == 2


def sealed() -> JobState:
    state = job()
    for index in range(2):
        state.apply(done(index, index, 100 + index))
    state.apply(ev.StageSealed(1, 0))
    return state


def test_a_seal_lists_the_winners() -> None:
    state = sealed()
    assert state.seal_entries(1)[0] == [ev.SealEntry(0, 100, 1), ev.SealEntry(1, 101, 1)]
    assert sorted(state.stages[1].tasks) == [0, 1] and state.stages[1].total == 2


def test_partitions_without_blocks_have_no_task() -> None:
    state = job(1)
    state.apply(ev.Done(1, 0, 0, 0, 10, "w", {1: 3}))
    state.apply(ev.StageSealed(1, 0))
    assert sorted(state.stages[1].tasks) == [1] and state.stages[1].total == 1


def test_a_seal_is_not_taken_before_its_input_is_complete() -> None:
    state = job()
    state.apply(done(1, 0, 10))
    state.apply(ev.StageSealed(1, 0))
    assert not state.stages[1].sealed


def test_missing_voids_the_winner_the_seal_and_every_reader_of_it() -> None:
    state = sealed()
    state.apply(done(5, 0, 200, stage=1))
    assert state.counters == {"n": 3}
    state.apply(ev.Missing(6, 1, 1, 0, (101,)))
    assert state.stages[0].tasks[1].winner is None and 1 in state.stages[0].pending
    assert state.stages[0].tasks[0].winner is not None
    assert (state.stages[1].generation, state.stages[1].sealed, state.stages[1].done) == (1, False, 0)
    assert state.counters == {"n": 1}
    state.apply(done(7, 1, 102))
    state.apply(done(8, 0, 201, stage=1))  # of the old generation, and before the new seal
    state.apply(ev.StageSealed(1, 1))
    state.apply(done(9, 0, 202, stage=1))  # read the old seal
    assert state.stages[1].done == 0
    state.apply(done(9, 0, 203, stage=1, generation=1))
    assert state.stages[1].done == 1


def test_a_second_missing_of_the_same_seal_changes_nothing() -> None:
    state = sealed()
    state.apply(ev.Missing(6, 1, 1, 0, (101,)))
    state.apply(ev.Missing(7, 1, 0, 0, (101,)))
    assert state.stages[1].generation == 1 and state.stages[0].done == 1


def test_the_first_terminal_event_freezes_the_outcome() -> None:
    state = job()
    state.apply(ev.Failed(FAILURE, 0, 0, 4))
    state.apply(ev.Cancelled("late"))
    state.apply(done(1, 0, 10))
    assert isinstance(state.terminal, ev.Failed) and state.stages[0].done == 0
    state.apply(ev.Delivered(-1))
    assert state.delivered and isinstance(state.terminal, ev.Failed)


def test_delivered_counts_only_for_the_sealed_output() -> None:
    state = job(1, stages=1)
    state.apply(ev.Delivered(0))
    assert state.terminal is None
    state.apply(ev.Done(1, 0, 0, 0, 10, "w", {0: 1}))
    state.apply(ev.StageSealed(1, 0))
    state.apply(ev.Delivered(7))
    assert state.terminal is None and state.ready
    state.apply(ev.Delivered(0))
    assert isinstance(state.terminal, ev.Delivered)


# ---------------------------------------------------------------- what failures cost


def died(dispatch: int, position: int = -1, kind: str = "died", index: int = 0) -> Any:
    failure = Failure(kind, "killed by signal 11", "map", "f", 8, "'bad'", position=position)
    return ev.AttemptFailed(dispatch, 0, index, 0, 10 * dispatch, "w", failure)


def raised(dispatch: int, kind: str = "raised", worker: str = "w") -> Any:
    return ev.AttemptFailed(dispatch, 0, 0, 0, 10 * dispatch, worker, Failure(kind, "no"))


def test_a_failure_while_another_attempt_runs_costs_no_try() -> None:
    state = job()
    task = state.stages[0].tasks[0]
    for event in (started(1, 0, 10), started(2, 0, 20), raised(1), raised(1)):
        state.apply(event)
    assert (task.failures, task.spared) == (0, True)
    state.apply(raised(2))
    assert (task.failures, task.spared, state.failures) == (1, False, 2)


def test_a_failure_beside_a_dispatch_that_nobody_started_costs_a_try() -> None:
    state = job()
    for event in (ev.Dispatched((ev.DispatchRef(2, 0, 0),)), started(1, 0, 10), raised(1)):
        state.apply(event)
    assert state.stages[0].tasks[0].failures == 1


@pytest.mark.parametrize("kind", ["disk", "files", "code", "lost"])
def test_what_the_task_is_not_to_blame_for_costs_no_try(kind: str) -> None:
    state = job()
    for dispatch in (1, 2):
        state.apply(started(dispatch, 0, 10 * dispatch))
        state.apply(raised(dispatch, kind, f"w{dispatch}"))
    task = state.stages[0].tasks[0]
    assert (task.failures, task.troubles) == (0, ("w1", "w2")) and 0 in state.stages[0].pending


def test_a_record_that_kills_is_left_out_and_costs_no_try_while_there_are_few() -> None:
    state = job(skip_bad=1)
    task = state.stages[0].tasks[0]
    for dispatch, position in ((1, -1), (2, 7), (3, 9)):
        state.apply(started(dispatch, 0, 10 * dispatch))
        state.apply(died(dispatch, position))
    assert task.careful and task.failures == 2
    assert task.skips == {7: Skipped(7, "f", 8, "'bad'", "killed by signal 11")} and state.left_out == 1


def test_a_repeat_of_a_known_record_costs_a_try_unless_it_was_on_its_way() -> None:
    state = job(skip_bad=9)
    task = state.stages[0].tasks[0]
    for event in (started(1, 0, 10), started(2, 0, 20), died(1, 7), died(2, 7)):
        state.apply(event)
    assert task.failures == 0 and list(task.skips) == [7]
    for event in (started(3, 0, 30), died(3, 7)):
        state.apply(event)
    assert task.failures == 1


def test_what_winners_left_out_counts_once_and_not_when_the_win_is_void() -> None:
    state = job(skip_bad=3)
    records = (Skipped(4, "f", 0, "'x'", "no"), Skipped(2, "f", 0, "'y'", "no"))
    for event in (started(1, 0, 10), died(1, 2)):
        state.apply(event)
    for dispatch, index in ((2, 0), (3, 1)):
        state.apply(ev.Done(dispatch, 0, index, 0, 100 + index, "w", {0: 1}, skipped=records[index:]))
    assert state.left_out == 3
    assert state.skipped() == [(0, 0, records[1]), (0, 0, records[0]), (0, 1, records[1])]
    state.apply(ev.StageSealed(1, 0))
    state.apply(ev.Missing(5, 1, 0, 0, (100,)))
    assert state.left_out == 2 and state.skipped() == [(0, 1, records[1])]
    assert list(state.stages[0].tasks[0].skips) == [2]  # known for the next attempt


def test_voids_are_counted_over_all_generations() -> None:
    state = job()
    for times in range(1, 4):
        for index in range(2):
            state.apply(done(10 * times + index, index, 100 * times + index))
        state.apply(ev.StageSealed(1, times - 1))
        state.apply(ev.Missing(0, 1, 1, times - 1, (100 * times,)))
        assert state.most_voided == Voided(times, 0, 0, 1)


# ---------------------------------------------------------------- any log


def random_event(rng: random.Random) -> Any:
    """Any event, sensible or not."""
    stage, index, attempt = rng.randrange(-1, 4), rng.randrange(-1, 4), rng.randrange(9)
    dispatch = 100 * stage + 10 * index + rng.randrange(3)  # a dispatch belongs to one task
    generation, worker = rng.randrange(3), f"w{rng.randrange(3)}"
    blocks = {rng.randrange(2): rng.randrange(3) for _ in range(rng.randrange(3))}
    failure = Failure(rng.choice(["raised", "died", "disk"]), "no", position=rng.randrange(-1, 3))
    skipped = tuple(Skipped(n, "f", -1, "", "no") for n in range(rng.randrange(3)))
    choices = [
        ev.Splits(rng.randrange(3), (SPLIT,) * rng.randrange(3)),
        ev.InputComplete(rng.randrange(4)),
        ev.Took(ev.Rank(rng.randrange(3), rng.randrange(3)), worker),
        ev.Dispatched((ev.DispatchRef(dispatch, stage, index),)),
        ev.Started(dispatch, stage, index, generation, attempt, worker),
        ev.Done(dispatch, stage, index, generation, attempt, worker, blocks, {"n": 1}, {}, skipped),
        ev.AttemptFailed(dispatch, stage, index, generation, attempt, worker, failure),
        ev.Lost(dispatch, stage, index),
        ev.Returned(dispatch, stage, index),
        ev.Missing(dispatch, stage, index, generation, (attempt, rng.randrange(9))),
        ev.Long(dispatch, stage, index, attempt, worker),
        ev.Alive(dispatch, stage, index, attempt, worker),
        ev.Back(worker),
        ev.StageSealed(stage, generation),
    ]
    return rng.choice(choices)


@pytest.mark.parametrize("seed", range(200))
def test_any_log_can_be_folded_and_its_books_balance(seed: int) -> None:
    rng = random.Random(seed)
    state = job(2, stages=rng.choice([1, 2, 3]), skip_bad=rng.randrange(4))
    for _ in range(300):
        state.apply(random_event(rng))
        live = {d for stage in state.stages for task in stage.tasks.values() for d in task.live}
        assert live == set(state.unstarted) | set(state.running)
        assert not set(state.unstarted) & set(state.running)
        run_by = [r.worker for s in state.stages for t in s.tasks.values() for r in t.live.values() if r]
        assert state.busy == Counter(run_by)
        for stage in state.stages:
            won = [task for task in stage.tasks.values() if task.winner is not None]
            assert stage.done == len(won)
            idle = {i for i, t in stage.tasks.items() if t.winner is None and not t.live}
            assert idle == set(stage.pending)
            assert all(n >= 0 for n in stage.written.values())
        counted = sum(t.winner.counters["n"] for s in state.stages for t in s.tasks.values() if t.winner)
        assert state.counters.get("n", 0) == counted
        tasks = [task for stage in state.stages for task in stage.tasks.values()]
        assert state.left_out == sum(len(t.winner.skipped if t.winner else t.skips) for t in tasks)
        assert all(task.live for task in tasks if task.spared)


def picture(state: JobState) -> Any:
    """All that a fold knows, as plain data."""
    tasks = [
        [{i: [getattr(t, name) for name in t.__slots__] for i, t in stage.tasks.items()}, stage.pending]
        for stage in state.stages
    ]
    numbers = [(s.generation, s.sealed, s.total, s.done, s.written, s.voids) for s in state.stages]
    sums = (state.counters, state.left_out, state.progress, state.most_voided, state.terminal)
    return [tasks, numbers, sums, state.unstarted, state.running, state.busy]


@pytest.mark.parametrize("seed", range(100))
def test_saying_everything_twice_at_once_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    once, twice = job(2, skip_bad=1), job(2, skip_bad=1)
    for _ in range(200):
        event = random_event(rng)
        once.apply(event)
        twice.apply(event)
        twice.apply(event)
        assert picture(once) == picture(twice), event
