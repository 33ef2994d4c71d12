"""Which job goes first: priorities of dispatches, and who is passed over for too long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination import watch
from mapreduce.coordination.standing import LEVELS_SECS, PASSED_OVER_SECS
from mapreduce.effects import Command
from tests.coordinating import SPEC, Bench, done, failed, of_type, publications, splits, started


def used(secs: float) -> tuple[Any, ...]:
    """Task 0 is done, and has taken so long."""
    return started(100), replace(done(100), secs=secs)


def queued(*tasks: int, priority: int = 0) -> ev.Dispatched:
    return ev.Dispatched(tuple(ev.DispatchRef(task, 0, task, priority) for task in tasks))


def priorities(commands: list[Command]) -> list[tuple[int, int]]:
    """Of the dispatches among the commands: task and priority."""
    its = publications(commands, ev.Dispatch)
    return [(wire.decode(each.head)[0].index, each.priority) for each in its]


def go_first(commands: list[Command]) -> list[int]:
    """Tasks that are dispatched with the highest priority."""
    return [task for task, priority in priorities(commands) if priority == base.MAX_PRIORITY]


@pytest.mark.parametrize(
    ("secs", "priority"), [(0.0, 5), (0.9, 5), (1.0, 4), (15.9, 3), (256.0, 0), (1e9, 0)]
)
def test_the_more_a_job_has_used_the_later_it_is_served(secs: float, priority: int) -> None:
    assert len(LEVELS_SECS) == base.MAX_PRIORITY
    assert priorities(Bench((*splits(2), *used(secs))).said) == [(1, priority)]


def test_a_failed_try_is_time_used_too() -> None:
    bench = Bench((*splits(2), started(100), replace(failed(100), secs=20.0)))
    assert priorities(bench.said) == [(1, 2)]


def test_the_log_says_with_which_priority_a_task_was_dispatched() -> None:
    bench = Bench((*splits(2), *used(5.0)))
    (publication,) = publications(bench.said, ev.Dispatch)
    (entry,) = of_type(bench.tell(base.Confirmed(publication.token)), ev.Dispatched)
    assert [(item.task, item.priority) for item in entry.items] == [(1, 3)]


class PassedOver(Bench):
    """A job of which two tasks wait on the queue, and none runs."""

    def __init__(self, tasks: int, copies: bool = True) -> None:
        waiting = queued(1, 2, priority=3)
        super().__init__((*splits(tasks), *used(5.0), waiting), spec=replace(SPEC, copies=copies))
        self.arrive(self.said)

    def arrive(self, commands: list[Command]) -> list[int]:
        """The dispatches among the commands reach the queue, and the log."""
        for each in publications(commands, ev.Dispatch):
            for said in of_type(self.tell(base.Confirmed(each.token)), ev.Dispatched):
                self.log(said)
        return [each.dispatch for each in of_type(commands, ev.Dispatch)]


def test_who_is_passed_over_has_one_task_go_first_and_no_second_one() -> None:
    bench = PassedOver(tasks=9)
    assert not priorities(bench.wait(PASSED_OVER_SECS - 1))
    first = bench.wait(2)
    assert priorities(first) == [(5, base.MAX_PRIORITY)]
    (number,) = bench.arrive(first)
    assert not priorities(bench.wait(5 * PASSED_OVER_SECS))
    bench.arrive(bench.log(started(number, 5)))
    assert not go_first(bench.wait(5 * PASSED_OVER_SECS)), "nobody is passed over who has a task running"
    bench.log(done(number, 5))
    assert len(go_first(bench.wait(PASSED_OVER_SECS + 1))) == 1


def test_the_last_tasks_go_first_as_copies_if_the_job_allows_any() -> None:
    for copies, first in ((True, [1]), (False, [])):
        bench = PassedOver(tasks=3, copies=copies)
        said: list[Command] = []
        for _ in range(round(PASSED_OVER_SECS) + 1):
            now = bench.wait(1)  # copies like others, too, for nobody has started these
            bench.arrive(now)
            said += now
        assert go_first(said) == first


def test_a_takeover_alone_lets_nothing_go_first() -> None:
    passed = ev.Passed(10 * PASSED_OVER_SECS, 1)
    bench = Bench((*splits(9), *used(5.0), queued(1, 2, priority=3), passed))
    assert not go_first(bench.said) and not go_first(bench.wait(PASSED_OVER_SECS - 1))
    assert len(go_first(bench.wait(2))) == 1


def test_whoever_takes_over_knows_that_a_task_goes_first_already() -> None:
    waiting = (queued(1, 2, priority=3), queued(3, priority=base.MAX_PRIORITY))
    assert not go_first(Bench((*splits(9), *used(5.0), *waiting)).wait(3 * PASSED_OVER_SECS))


@pytest.mark.parametrize(("starts", "lost"), [(2, []), (3, [1, 2])])
def test_what_goes_first_does_not_prove_that_others_are_lost(starts: int, lost: list[int]) -> None:
    """It may have overtaken them; one of no higher priority has not."""
    waiting = (queued(1, priority=3), queued(2, priority=5), queued(3, priority=2))
    runs = (started(starts, starts), ev.Long(starts, 0, starts, starts, "w"))
    bench = Bench((*splits(4), *used(5.0), *waiting, *runs))
    found: list[int] = []
    for _ in range(round(watch.UNSTARTED_SECS / 60) + 1):
        found += [each.dispatch for each in of_type(bench.wait(60), ev.Lost)]
        bench.log(ev.Alive(starts, 0, starts, starts, "w"))
    assert found == lost
