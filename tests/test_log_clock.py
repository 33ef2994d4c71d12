"""The log's clock: limits hold over any number of coordinators, and sleep does not count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import events as ev
from mapreduce.coordination import verdict, watch
from mapreduce.coordination.clock import BUSY_SECS, FIRST_SECS, IDLE_SECS, AwakeClock, LogClock
from mapreduce.spec import JobSpec
from tests import strategies  # noqa: F401  # settings for busy machines
from tests.coordinating import RANK, SPEC, Bench, of_type, splits, started


def test_a_clock_shows_what_others_logged_and_goes_on_with_its_own_time() -> None:
    clock = LogClock(salt=7)
    for secs, salt in ((5.0, 1), (-3.0, 2), (2.5, 3)):
        clock.note(ev.Passed(secs, salt))
    assert clock.read(100.0) == 7.5
    clock.start(100.0)
    clock.note(ev.Passed(50.0, 4))  # a rival's
    assert clock.read(103.0) == 10.5 and clock.heard == 7.5
    assert clock.passed(103.0) == ev.Passed(3.0, 7) and clock.passed(104.0) == ev.Passed(4.0, 7)
    clock.note(ev.Passed(3.0, 7))
    clock.note(ev.Passed(3.0, 7))
    assert clock.heard == 10.5
    clock.note(ev.Passed(4.0, 7))
    assert clock.heard == 11.5


@given(st.lists(st.floats(0.0, 500.0), min_size=1, max_size=6), st.data())
def test_what_comes_twice_late_or_not_at_all_does_not_move_the_clock(totals: list[float], data: Any) -> None:
    """But for the last of each lease, which says it all."""
    entries = [ev.Passed(total, salt) for salt in (1, 2) for total in sorted(totals)]
    last = [entries[len(totals) - 1], entries[-1]]
    clock = LogClock()
    for entry in [
        *data.draw(st.lists(st.sampled_from(entries), max_size=20)),
        *data.draw(st.permutations(last)),
    ]:
        clock.note(entry)
    assert clock.read(0.0) == pytest.approx(2 * max(totals))


def test_a_lease_that_is_delivered_again_goes_on_with_its_sum() -> None:
    first, second, heir = LogClock(salt=7), LogClock(salt=7), LogClock(salt=8)
    first.start(0.0)
    entries = [first.passed(42.0)]
    second.note(entries[0])
    second.start(100.0)
    assert second.due(101.0, BUSY_SECS)  # however much was logged before it
    entries.append(second.passed(101.0))
    for entry in entries:
        heir.note(entry)
    assert heir.read(0.0) == second.read(101.0) == 43.0


@settings(max_examples=40)
@given(st.lists(st.floats(0.0, 500.0), max_size=4), st.booleans())
def test_at_least_half_of_each_coordinators_life_is_logged(lives: list[float], busy: bool) -> None:
    """Whatever kills it, and whenever; all but the first second of it."""
    logged: list[ev.Passed] = []
    for life in lives:
        clock, before = LogClock(), max((each.total_secs for each in logged), default=0.0)
        for each in logged:
            clock.note(each)
        clock.start(0.0)
        now = 0.0
        while now <= life:
            assert clock.read(now) == pytest.approx(before + now)
            if clock.due(now, BUSY_SECS if busy else IDLE_SECS):
                logged.append(clock.passed(now))
            now += 0.5
        mine = max((each.total_secs for each in logged), default=0.0) - before
        assert mine <= life
        assert mine >= life - max(life / 2, FIRST_SECS) - 1.0


def test_a_clock_that_is_awake_leaves_out_the_times_it_slept() -> None:
    clock = AwakeClock(10.0)
    assert [clock.read(now) for now in (11.0, 14.0, 3600.0, 3601.0)] == [11.0, 14.0, 14.0, 15.0]


def lives(entries: tuple[Any, ...], secs: float, until: type, **options: Any) -> float:
    """Coordinators that live so long and die, one after the other; after how many seconds in all one said it."""
    log = list(entries)
    for life in range(120):
        bench = Bench(tuple(log), **options)
        commands = bench.wait(secs)
        if of_type(bench.said, until):
            return life * secs
        log += of_type(commands, ev.Passed)
    raise AssertionError("it was never said")


@pytest.mark.parametrize("life", [3.0, 20.0, 100.0])
def test_a_silent_attempt_is_lost_however_often_coordinators_die(life: float) -> None:
    entries = (*splits(1), started(7), ev.Long(7, 0, 0, 7, "w"))
    after = lives(entries, life, ev.Lost)
    assert watch.ALIVE_SECS - 2 * life <= after <= 2 * watch.ALIVE_SECS + life


def test_a_silent_client_is_given_up_however_often_coordinators_die() -> None:
    after = lives(splits(1), 30.0, ev.Abandoned)
    assert SPEC.client_timeout_secs - 60 <= after <= 2 * (SPEC.client_timeout_secs + SPEC.present_every_secs)


def test_no_client_is_silent_to_a_coordinator_whose_log_comes_late() -> None:
    bench = Bench(splits(1))
    assert not of_type(bench.wait(2 * SPEC.client_timeout_secs, deaf=True), ev.Abandoned)
    late = [*of_type(bench.said, ev.Passed), ev.Present()]  # in the order in which they were logged, or worse
    assert not of_type(bench.log(late[0], late[-1], *late[1:-1]), ev.Abandoned)


def test_a_job_that_is_never_submitted_is_given_up_though_its_lease_is_renewed_all_the_time() -> None:
    after = lives((), 10.5, ev.Abandoned, submitted=False, hold_secs=10.0)
    assert verdict.SUBMISSION_SECS - 20 <= after <= verdict.SUBMISSION_SECS + 20


def test_the_rest_is_logged_before_the_lease_is_handed_on() -> None:
    bench = Bench(splits(1), hold_secs=33.0)
    said = bench.wait(34)
    [lease] = of_type(said, ev.Lease)
    assert lease.rank > RANK
    before = said[: next(n for n, c in enumerate(said) if of_type([c], ev.Lease))]
    assert of_type(before, ev.Passed)[-1].total_secs == pytest.approx(33.25)


def test_a_client_of_little_patience_is_not_taken_for_silent_by_whoever_takes_over() -> None:
    """It was heard between two `Passed`, which are not further apart than what it says."""
    spec = JobSpec("j", {}, {}, 2, 2, client_timeout_secs=60.0)
    bench = Bench((*splits(0), ev.StageSealed(1, 0), ev.StageSealed(2, 0)), spec=spec)
    for _ in range(20):
        bench.wait(spec.present_every_secs)
        bench.log(ev.Present())
    bench.wait(spec.present_every_secs - 1)
    bench.log(*of_type(bench.it.hand_on(bench.now), ev.Passed))
    heir = Bench(tuple(e for e in bench.entries if not isinstance(e, (ev.Submitted, ev.Took))), spec=spec)
    assert not of_type(heir.said, ev.Abandoned)
    assert not of_type(heir.wait(spec.present_every_secs), ev.Abandoned)


def test_an_idle_log_grows_slowly() -> None:
    alone = JobSpec("j", {}, {}, 2, 2, detached=True)
    bench = Bench((ev.InputComplete(0), ev.StageSealed(1, 0), ev.StageSealed(2, 0)), spec=alone)
    assert 60 <= len(of_type(bench.wait(3600), ev.Passed)) <= 80
