"""What one coordinator says to what it reads, second by second."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import coordinator as rules
from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination import dispatcher, journal, sealer, verdict, watch
from mapreduce.coordination.clock import IDLE_SECS
from mapreduce.coordination.succession import MAX_TAKEOVERS, MAX_UNREAD, why_parked
from mapreduce.coordinator import Coordinator
from mapreduce.effects import Command, Shutdown, Tick
from mapreduce.leases import LeaseKeeper
from mapreduce.refs import Failure
from mapreduce.spec import LONG_SECS, JobSpec
from tests.coordinating import (
    QUEUE,
    RANK,
    SPEC,
    SPLIT,
    Bench,
    dispatched,
    done,
    failed,
    of_type,
    publications,
    published,
    splits,
    started,
)

# ---------------------------------------------------------------- limits and silence


def test_limits_fit_each_other() -> None:
    assert watch.UNSTARTED_SECS > LONG_SECS + 60  # workers hand back what they cannot start
    assert max(rules.RENEW_SECS, rules.UNREAD_SECS) < 600 - 60


@pytest.mark.parametrize(("last_sign", "limit"), [((), watch.STARTED_SECS), ((1,), watch.ALIVE_SECS)])
def test_a_started_attempt_that_falls_silent_is_lost(last_sign: tuple[int, ...], limit: float) -> None:
    longs = [ev.Long(7, 0, 0, 7, "w") for _ in last_sign]
    bench = Bench((*splits(1), started(7), *longs))
    assert not of_type(bench.wait(limit - 1), ev.Lost)
    assert of_type(bench.wait(5), ev.Lost) == [ev.Lost(7, 0, 0)]
    assert not of_type(bench.said, ev.Lease)


def test_a_long_attempt_that_is_heard_is_left_alone() -> None:
    bench = Bench((*splits(1), started(7), ev.Long(7, 0, 0, 7, "w")))
    for _ in range(7):
        assert not of_type(bench.wait(60), ev.Lost)
        bench.log(ev.Alive(7, 0, 0, 7, "w"))


def test_an_empty_queue_has_lost_what_was_on_it() -> None:
    bench = Bench((*splits(1), dispatched(0)), spec=replace(SPEC, copies=False))
    assert base.Inspect(QUEUE) not in bench.wait(watch.UNSTARTED_SECS - 1)
    assert base.Inspect(QUEUE) in bench.wait(5)
    assert of_type(bench.tell(base.Depth(QUEUE, 0, 1)), ev.Lost) == [ev.Lost(0, 0, 0)]


def test_a_dispatch_that_was_overtaken_long_ago_is_lost() -> None:
    bench = Bench((*splits(3), dispatched(0, 1, 2), started(1, 1), ev.Long(1, 0, 1, 1, "w")))
    for _ in range(6):
        assert not of_type(bench.wait(60), ev.Lost)
        bench.log(ev.Alive(1, 0, 1, 1, "w"))
    assert of_type(bench.wait(60), ev.Lost) == [ev.Lost(0, 0, 0)]  # 2 may still be on a long queue


def test_a_dispatch_behind_others_is_repeated_once_and_no_more_soon() -> None:
    bench = Bench((*splits(2), dispatched(0, 1)))
    bench.wait(watch.UNSTARTED_SECS + 1)
    again = bench.tell(base.Depth(QUEUE, 50, 1))
    assert [d.index for d in of_type(again, ev.Dispatch)] == [0]
    assert not published(bench.tell(base.Depth(QUEUE, 50, 1)))
    bench.log(ev.Dispatched((ev.DispatchRef(of_type(again, ev.Dispatch)[0].dispatch, 0, 0),)))
    assert not published(bench.tell(base.Depth(QUEUE, 50, 1)))


# ---------------------------------------------------------------- seals, splits, streams


def sealed() -> tuple[Any, ...]:
    return (*splits(1), done(7), ev.StageSealed(1, 0))


def test_seals_that_somebody_may_wait_for_are_written_again_now_and_then() -> None:
    bench = Bench((*sealed(), ev.Passed(sealer.FIRST_PAUSE_SECS - 10), done(8, 1, stage=1)))
    assert not of_type(bench.wait(9), ev.Seal)
    seals = [c for c in bench.wait(3) if isinstance(c, base.Publish) and "seal" in c.token]
    assert [c.to for c in seals] == [ev.partition_stream("job", 1, p) for p in (0, 1)]
    for seal in seals:
        assert not of_type(bench.tell(base.Confirmed(seal.token)), ev.StageSealed)


def test_the_seal_of_the_output_is_repeated_only_while_a_client_may_wait() -> None:
    ready = (*sealed(), done(8, 0, stage=1), done(9, 1, stage=1), ev.StageSealed(2, 0))
    out = ev.output_stream("job")
    assert published(Bench(ready).wait(sealer.LAST_PAUSE_SECS + 1), out)
    alone = JobSpec("j", {}, {}, 2, 2, detached=True)
    assert published(Bench(ready, spec=alone).wait(sealer.LAST_PAUSE_SECS + 1), out)
    long_ago = (*ready, ev.Passed(rules.CLIENT_WAITS_SECS))
    assert not published(Bench(long_ago, spec=alone).wait(sealer.LAST_PAUSE_SECS + 1), out)


def test_seals_are_repeated_soon_at_first_whoever_coordinates() -> None:
    times = [15, 45, 105, 225, 345, 465]
    one = Bench(sealed(), spec=replace(SPEC, partitions=1))
    found = [second for second in range(1, 471) if of_type(one.wait(1), ev.Seal)]
    assert [second - second % 5 for second in found] == times
    for late in range(0, 470, 10):
        other = Bench((*sealed(), ev.Passed(float(late))))
        wait = next(second for second in range(1, 200) if of_type(other.wait(1), ev.Seal))
        assert late + wait == pytest.approx(next(at for at in (*times, 585) if at > late), abs=1)


@given(st.lists(st.integers(0, 2**63), max_size=300), st.integers(1, 50))
def test_a_long_seal_is_cut_and_loses_nothing(attempts: list[int], most: int) -> None:
    entries = [ev.SealEntry(task, attempt, 1) for task, attempt in enumerate(attempts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealer, "SEAL_ENTRIES", most)
        parts = list(sealer._cut(entries))
    assert [entry for part in parts for entry in part] == entries
    assert parts and all(len(part) <= most for part in parts)


def test_no_part_of_a_seal_is_larger_than_a_mebibyte() -> None:
    largest = ev.SealEntry(2**63, 2**64 - 1, 2**63)
    assert len(wire.encode(ev.Seal(0, 0, 1, (largest,) * sealer.SEAL_ENTRIES))) <= 1 << 20


def test_what_the_broker_refuses_for_good_ends_the_job_with_its_reason() -> None:
    for kind in (ev.Dispatch, ev.Dispatched, ev.Seal):
        bench = Bench(splits(1))
        if kind is ev.Seal:
            bench.log(done(7))
        elif kind is ev.Dispatched:
            bench.tell(base.Confirmed(publications(bench.said, ev.Dispatch)[0].token))
        refused = publications(bench.said, kind)[0]
        [end] = of_type(bench.tell(base.Unroutable(refused.token, "too large")), ev.Failed)
        assert end.failure.kind == "value" and "too large" in end.failure.message
        assert not of_type(bench.wait(sealer.LAST_PAUSE_SECS), kind)


def test_an_end_that_is_refused_is_said_shorter_and_comes_all_the_same() -> None:
    bench = Bench((*splits(1), started(7)))
    long = Failure("input", "m" * 10_000, traceback="t" * 10_000, record="r" * 10_000)
    [end] = publications(bench.log(ev.AttemptFailed(7, 0, 0, 0, 7, "w", long)), ev.Failed)
    [short] = publications(bench.tell(base.Unroutable(end.token, "too large")), ev.Failed)
    assert len(short.head) < 500 and of_type([short], ev.Failed)[0].failure.message == "m" * 200
    bench.tell(base.Unroutable(short.token, "too large"))
    assert base.Delete(ev.output_stream("job")) in bench.wait(3)


def test_a_returned_seal_ends_the_job_and_names_the_stream() -> None:
    bench = Bench((*splits(1),))
    seal = next(c for c in bench.log(done(7)) if isinstance(c, base.Publish) and "seal" in c.token)
    failed = of_type(bench.tell(base.Unroutable(seal.token)), ev.Failed)
    assert failed == [ev.Failed(Failure("lost", f"the broker has no stream {seal.to} any more"), 1, 0, 0)]


def test_lost_splits_end_the_job() -> None:
    bench = Bench((ev.Splits(0, (SPLIT,)), ev.InputComplete(3)))
    [failed] = of_type(bench.said, ev.Failed)
    assert (failed.failure.kind, failed.index) == ("lost", 1)


@pytest.mark.parametrize(("kind", "final"), [("input", True), ("value", True), ("raised", False)])
def test_what_another_try_cannot_mend_is_not_tried_again(kind: str, final: bool) -> None:
    bench = Bench((*splits(1), started(7)))
    commands = bench.log(ev.AttemptFailed(7, 0, 0, 0, 7, "w", Failure(kind, "no")))
    assert bool(of_type(commands, ev.Failed)) == final


# ---------------------------------------------------------------- renewals


def test_a_coordinator_that_lives_on_clears_its_job_of_suspicion() -> None:
    bench = Bench(splits(1), takeovers=5)
    [lease] = of_type(bench.wait(rules.PROOF_SECS + 2), ev.Lease)
    assert lease.takeovers == 0


def test_a_parked_job_stays_parked() -> None:
    lease = ev.Lease("job", RANK, MAX_TAKEOVERS + 1, 1, 1)
    it = Coordinator(lease, base.Receipt("leases/jobs", 1), "me", random.Random(1), "leases/1/")
    said = it.park(0.0)
    for second in range(int(rules.PROOF_SECS) * 2):
        said += it.handle(Tick(), float(second))
    assert not of_type(said, ev.Lease)


def test_a_returned_renewal_is_tried_again_but_not_at_once() -> None:
    bench = Bench(splits(1))
    [renewal] = [
        c for c in bench.wait(rules.RENEW_SECS + 2) if isinstance(c, base.Publish) and c.to == ev.JOBS
    ]
    assert bench.tell(base.Unroutable(renewal.token)) == [base.Declare(ev.JOBS, base.Kind.QUEUE)]
    assert len(of_type(bench.wait(3), ev.Lease)) == 1


def test_a_took_that_is_lost_is_logged_again() -> None:
    lease = ev.Lease("job", RANK, 0, 1, 1)
    it = Coordinator(lease, base.Receipt("leases/jobs", 1), "me", random.Random(1), "leases/1/")
    took = next(c for c in it.start(0.0) if isinstance(c, base.Publish))
    said = it.handle(base.Confirmed(took.token), 0.0)
    for second in range(int(journal.AGAIN_SECS) + 3):
        said += it.handle(Tick(), float(second))
    assert of_type(said, ev.Took) == [ev.Took(RANK, "me")]


def keeper_with(lease: ev.Lease) -> tuple[LeaseKeeper, list[Command]]:
    keeper = LeaseKeeper("me", random.Random(1))
    delivery = base.Delivered("leases/jobs", base.Receipt("leases/jobs", 1), wire.encode(lease), None, True)
    return keeper, keeper.handle(delivery, 0.0)


def test_a_redelivered_lease_outranks_itself_and_a_provisional_one_stays_so() -> None:
    for renewals in (0, 3):
        lease = ev.Lease("job", ev.Rank(renewals, 99), 0, 1, 1)
        [again] = of_type(keeper_with(lease)[1], ev.Lease)
        assert again.rank > lease.rank and again.takeovers == 1
        assert (again.rank.renewals == 0) == (renewals == 0)


def test_deaths_of_those_who_only_wait_do_not_park_a_job() -> None:
    lease = ev.Lease("job", ev.Rank(0, 99), 0, 1, 1)
    for _ in range(2 * MAX_TAKEOVERS):
        said = keeper_with(lease)[1]
        [again] = of_type(said, ev.Lease)
        assert again.rank > lease.rank and again.takeovers <= MAX_TAKEOVERS
        lease = again
    assert lease.rank.renewals > 0 and lease.takeovers < MAX_TAKEOVERS  # the deaths since it is a proper one


def test_a_reissued_lease_that_comes_back_is_not_given_up() -> None:
    keeper, [publication] = keeper_with(ev.Lease("job", RANK, 0, 1, 1))
    assert isinstance(publication, base.Publish)
    declare = base.Declare(ev.JOBS, base.Kind.QUEUE)
    assert keeper.handle(base.Unroutable(publication.token), 0.0) == [declare, publication]
    assert keeper.handle(base.Confirmed(publication.token), 0.0) == [base.Ack(base.Receipt("leases/jobs", 1))]


# ---------------------------------------------------------------- dispatching, time, the end


def test_what_busy_workers_may_hold_leaves_room_for_idle_ones() -> None:
    bench = Bench(splits(50))
    assert len(of_type(bench.said, ev.Dispatch)) == dispatcher.MIN_WINDOW
    bench = Bench((*splits(50), *(started(100 + n, n, f"w{n % 5}") for n in range(10))))
    bench.wait(2)
    assert len(of_type(bench.said, ev.Dispatch)) >= dispatcher.MIN_WINDOW_RUNNING + 5


@pytest.mark.parametrize("back", [False, True])
def test_a_dispatch_says_whether_its_task_may_have_ended_a_host_or_a_process(back: bool) -> None:
    lost = (started(7, 0, "gone"), ev.Lost(7, 0, 0), *([ev.Back("gone")] if back else []))
    bench = Bench((*splits(3), *lost, started(8, 1), failed(8, 1, "died")))
    said = of_type([*bench.said, *bench.wait(10)], ev.Dispatch)
    assert {dispatch.index: dispatch.alone for dispatch in said} == {0: not back, 1: True, 2: False}


def test_a_deleted_work_queue_is_declared_again_and_not_flooded() -> None:
    bench = Bench()
    first = next(c for c in bench.log(splits(1)[0]) if isinstance(c, base.Publish) and c.to == QUEUE)
    answer = bench.tell(base.Unroutable(first.token))
    assert answer == [base.Declare(QUEUE, base.Kind.PRIORITY)]
    assert not bench.tell(Tick())
    assert of_type(bench.wait(2), ev.Dispatch)


def test_time_in_which_the_process_was_suspended_does_not_count() -> None:
    bench = Bench((*splits(2), started(7)))
    bench.wait(10)
    bench.now += 3600
    commands = bench.wait(10)
    assert not of_type(commands, ev.Abandoned) and not of_type(commands, ev.Lost)
    assert of_type(bench.wait(SPEC.client_timeout_secs), ev.Abandoned)


@pytest.mark.parametrize("data_first", [True, False])
def test_a_log_that_goes_while_the_job_winds_up_ends_it(data_first: bool) -> None:
    bench = Bench((*splits(1), ev.Cancelled("x")))
    gone = base.Gone("leases/1/log")
    deletions = [c for c in bench.wait(3) if isinstance(c, base.Delete)]
    assert deletions
    if not data_first:
        bench.tell(gone)
    for deletion in deletions:
        bench.tell(base.Deleted(deletion.name))
    if data_first:
        bench.tell(gone)
    assert bench.it.finished and base.Ack(base.Receipt("leases/jobs", 1)) in bench.said


def test_a_worker_that_leaves_hands_its_leases_on() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    body = wire.encode(ev.Lease("job", RANK, 0, 1, 1))
    keeper.handle(base.Delivered("leases/jobs", base.Receipt("leases/jobs", 1), body, None, False), 0.0)
    [renewal] = [c for c in keeper.handle(Shutdown(), 1.0) if isinstance(c, base.Publish)]
    assert not keeper.finished
    keeper.handle(base.Confirmed(renewal.token), 1.0)
    assert keeper.finished


def test_where_acks_are_overdue_soon_leases_are_renewed_after_a_third_of_that() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    for secs, held in ((0.0, rules.RENEW_SECS), (90.0, 30.0), (600.0, 30.0), (5000.0, 30.0)):
        keeper.handle(base.Disconnected("gone", ack_timeout_secs=secs), 0.0)
        body = wire.encode(ev.Lease("job", RANK, 0, 1, 1))
        keeper.handle(base.Delivered("leases/jobs", base.Receipt("leases/jobs", 1), body, None, False), 0.0)
        [coordinator] = keeper.coordinators.values()
        [tag] = keeper.coordinators
        entries = (ev.Submitted("job", SPEC, "0", 0.0), ev.Took(RANK, "me"))
        for offset, entry in enumerate(entries):
            receipt = base.Receipt(f"{tag}log", offset)
            keeper.handle(base.Delivered(f"{tag}log", receipt, wire.encode(entry), offset, False), 0.0)
        said = [c for second in range(int(held) + 3) for c in coordinator.handle(Tick(), float(second))]
        first = next(n for n, c in enumerate(said) if of_type([c], ev.Lease))
        assert len(of_type(said, ev.Lease)) == 1 and of_type(said[:first], ev.Passed)
        assert held == rules.RENEW_SECS or of_type(said, ev.Passed)[-1].total_secs <= held + 2


def test_a_parked_jobs_log_goes_before_a_short_ack_timeout_ends_the_session() -> None:
    lease = ev.Lease("job", RANK, MAX_TAKEOVERS + 1, 1, 1)
    it = Coordinator(lease, base.Receipt("leases/jobs", 1), "me", random.Random(1), "leases/1/", 20.0)
    said = it.park(0.0)
    for second in range(25):
        said += it.handle(Tick(), float(second))
    assert base.Delete(ev.log_stream("job")) in said


def test_an_end_that_the_broker_loses_is_logged_again() -> None:
    bench = Bench(splits(1))
    bench.log(ev.CancelRequested("enough"))
    [first] = [c for c in bench.said if of_type([c], ev.Cancelled)]
    assert isinstance(first, base.Publish)
    bench.tell(base.Confirmed(first.token))
    assert not of_type(bench.wait(journal.AGAIN_SECS), ev.Cancelled)
    assert of_type(bench.wait(1), ev.Cancelled) == [ev.Cancelled("enough")]


@pytest.mark.parametrize("over", [(), (ev.Cancelled("enough"),)])
def test_a_took_that_the_broker_loses_is_logged_again_even_if_the_job_has_ended(
    over: tuple[Any, ...],
) -> None:
    bench = Bench(over, took=False)
    [took] = publications(bench.said, ev.Took)
    bench.tell(base.Confirmed(took.token))
    assert not of_type(bench.wait(journal.AGAIN_SECS), ev.Took)
    assert of_type(bench.wait(1), ev.Took) == [ev.Took(RANK, "me")]


def test_what_is_read_before_a_took_that_had_to_be_repeated_is_not_dated_back_to_the_first_one() -> None:
    bench = Bench(splits(1), spec=replace(SPEC, client_timeout_secs=60.0), took=False)
    bench.tell(base.Confirmed(publications(bench.said, ev.Took)[0].token))
    [again] = publications(bench.wait(journal.AGAIN_SECS + 1), ev.Took)
    bench.log(ev.Present())
    bench.tell(base.Confirmed(again.token))
    bench.log(ev.Took(RANK, "me"))
    assert not of_type(bench.wait(58), ev.Abandoned)
    assert of_type(bench.wait(IDLE_SECS + 5), ev.Abandoned)


def test_a_dispatch_whose_news_is_lost_is_announced_again() -> None:
    bench = Bench(splits(1))
    [dispatch] = [c for c in bench.said if of_type([c], ev.Dispatch)]
    assert isinstance(dispatch, base.Publish)
    [announced] = [c for c in bench.tell(base.Confirmed(dispatch.token)) if of_type([c], ev.Dispatched)]
    assert isinstance(announced, base.Publish)
    bench.tell(base.Confirmed(announced.token))
    assert of_type(bench.wait(journal.AGAIN_SECS + 1), ev.Dispatched)


# ---------------------------------------------------------------- a broker that takes no messages


def deliver(keeper: LeaseKeeper, lease: ev.Lease, now: float = 0.0) -> list[Command]:
    """A lease that comes for the first time."""
    receipt = base.Receipt("leases/jobs", 1)
    return keeper.handle(base.Delivered("leases/jobs", receipt, wire.encode(lease), None, False), now)


def test_who_takes_over_during_an_alarm_does_not_count_it_as_its_clients_silence() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    keeper.handle(base.Blocked("memory"), 0.0)
    [took] = publications(deliver(keeper, ev.Lease("job", RANK, 0, 1, 1)), ev.Took)
    now = 0.0
    while now < 2 * SPEC.client_timeout_secs:
        now += 0.25
        keeper.handle(Tick(), now)
    keeper.handle(base.Unblocked(), now)
    keeper.handle(base.Confirmed(took.token), now)
    said: list[Command] = []
    for offset, entry in enumerate((ev.Submitted("job", SPEC, "0", 0.0), *splits(1), ev.Took(RANK, "me"))):
        receipt = base.Receipt("leases/1/log", offset)
        said += keeper.handle(base.Delivered("leases/1/log", receipt, wire.encode(entry), offset, False), now)
    assert of_type(said, ev.Dispatch) and not of_type(said, ev.Abandoned)


def test_the_clock_of_a_coordinator_begins_when_the_broker_has_its_took() -> None:
    it = Coordinator(
        ev.Lease("job", RANK, 0, 1, 1), base.Receipt("leases/jobs", 1), "me", random.Random(1), "l/1/"
    )
    [took] = publications(it.start(0.0), ev.Took)
    said: list[Command] = []
    for quarter in range(4 * 700):  # the broker is slow; nobody has said so
        said += it.handle(Tick(), quarter / 4)
    said += it.handle(base.Confirmed(took.token), 700.0)
    for offset, entry in enumerate((ev.Submitted("job", SPEC, "0", 0.0), *splits(1), ev.Took(RANK, "me"))):
        body = wire.encode(entry)
        said += it.handle(
            base.Delivered("l/1/log", base.Receipt("l/1/log", offset), body, offset, False), 701.0
        )
    assert of_type(said, ev.Dispatch) and not of_type(said, ev.Abandoned)


def test_a_client_has_time_to_say_that_it_is_there_once_there_is_somebody_to_hear_it() -> None:
    late = (*splits(1), ev.Passed(SPEC.client_timeout_secs - 1))
    heard, unheard = Bench(late), Bench(late)
    for bench in (heard, unheard):
        assert not of_type(bench.wait(SPEC.present_every_secs - 1), ev.Abandoned)
    heard.log(ev.Present())
    assert not of_type(heard.wait(5), ev.Abandoned)
    assert of_type(unheard.wait(5), ev.Abandoned)


# ---------------------------------------------------------------- leases that are handed on


def test_a_provisional_lease_that_is_handed_on_stays_provisional() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    lease = ev.Lease("job", ev.Rank(0, 99), 3, 1, 1)
    deliver(keeper, lease)
    [again] = of_type(keeper.handle(Shutdown(), 1.0), ev.Lease)
    assert again.rank.renewals == 0 and again.rank > lease.rank and again.takeovers == 3


def test_a_provisional_lease_by_which_somebody_coordinates_becomes_a_proper_one() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    deliver(keeper, ev.Lease("job", ev.Rank(0, 99), 0, 1, 1))
    keeper.handle(Tick(), rules.PROVISIONAL_SECS)
    for offset, entry in enumerate((ev.Submitted("job", SPEC, "0", 0.0), ev.Took(ev.Rank(0, 99), "me"))):
        body = wire.encode(entry)
        keeper.handle(
            base.Delivered("leases/1/log", base.Receipt("leases/1/log", offset), body, offset, False), 11.0
        )
    [again] = of_type(keeper.handle(Shutdown(), 12.0), ev.Lease)
    assert again.rank.renewals == 1


LEASE_RECEIPT = base.Receipt("leases/jobs", 1)


def test_who_has_a_lease_of_the_first_hand_leaves_to_the_holder_of_a_higher_one() -> None:
    bench = Bench(splits(1))
    assert base.Ack(LEASE_RECEIPT) in bench.log(ev.Took(ev.Rank(2, 5), "other"))
    assert bench.it.finished and not of_type(bench.said, ev.Lease)


def test_a_reissued_lease_outranks_all_that_were_taken_for_they_may_be_lost() -> None:
    taken = (
        ev.Took(ev.Rank(2, 5), "other"),
        ev.Took(ev.Rank(3, 9), "other"),
        ev.Took(ev.Rank(2, 8), "other"),
    )
    bench = Bench((*splits(1), *taken), takeovers=4)
    [renewal] = publications(bench.said, ev.Lease)
    [lease] = of_type([renewal], ev.Lease)
    assert lease.rank > ev.Rank(3, 9) and lease.takeovers == 0
    assert not of_type(bench.said, ev.Dispatch) and base.Ack(LEASE_RECEIPT) not in bench.said
    assert not published(bench.wait(100))  # all that is left to do is to wait
    assert bench.tell(base.Confirmed(renewal.token)) == [base.Ack(LEASE_RECEIPT)] and bench.it.finished


def test_a_reissued_lease_that_is_superseded_later_outranks_that_one_too() -> None:
    bench = Bench(splits(1), takeovers=1)
    [lease] = of_type(bench.log(ev.Took(ev.Rank(2, 5), "other")), ev.Lease)
    assert lease.rank > ev.Rank(2, 5)
    assert not published(bench.log(ev.Took(ev.Rank(7, 5), "other")))


def test_a_lease_that_outranks_is_published_until_it_is_there() -> None:
    bench = Bench((*splits(1), ev.Took(ev.Rank(2, 5), "other")), takeovers=1)
    [renewal] = publications(bench.said, ev.Lease)
    bench.tell(base.Unroutable(renewal.token))
    assert len(of_type(bench.wait(5), ev.Lease)) == 1 and not bench.it.finished


def test_a_lease_is_kept_until_its_renewal_is_confirmed_though_somebody_has_taken_that() -> None:
    bench = Bench(splits(1), hold_secs=33.0)
    [renewal] = publications(bench.wait(34), ev.Lease)
    [lease] = of_type([renewal], ev.Lease)
    assert base.Ack(LEASE_RECEIPT) not in bench.log(ev.Took(lease.rank, "other"))
    assert not published(bench.wait(100))
    assert bench.tell(base.Confirmed(renewal.token)) == [base.Ack(LEASE_RECEIPT)] and bench.it.finished


def test_a_lease_that_comes_after_the_worker_was_told_to_leave_is_handed_on_however_often_it_takes() -> None:
    keeper = LeaseKeeper("me", random.Random(1))
    keeper.handle(Shutdown(), 0.0)
    [renewal] = publications(deliver(keeper, ev.Lease("job", RANK, 0, 1, 1)), ev.Lease)
    assert not keeper.finished
    assert keeper.handle(base.Unroutable(renewal.token), 1.0) == [base.Declare(ev.JOBS, base.Kind.QUEUE)]
    [again] = publications(keeper.handle(Tick(), 1.0 + rules.RENEW_AGAIN_SECS), ev.Lease)
    assert keeper.handle(base.Confirmed(again.token), 3.0) == [base.Ack(base.Receipt("leases/jobs", 1))]
    assert keeper.finished


def test_a_lease_is_renewed_while_its_log_is_still_being_read_and_not_for_ever() -> None:
    lease, lives = ev.Lease("job", RANK, 0, 1, 1), 0
    while not why_parked(lease):
        receipt = base.Receipt("leases/jobs", 1)
        it = Coordinator(lease, receipt, "me", random.Random(1), "l/1/", 20.0)
        said = it.start(0.0)
        for quarter in range(4 * 41):
            said += it.handle(Tick(), quarter / 4)
        [following] = of_type(said, ev.Lease)
        assert following.rank > lease.rank
        lease, lives = following, lives + 1
    assert lives == MAX_UNREAD + 1 and lease.takeovers == 0
    [parked] = of_type(Coordinator(lease, receipt, "me", random.Random(1), "l/1/").park(0.0), ev.Abandoned)
    assert "could not read its log before" in parked.reason


def test_a_job_that_only_waits_for_its_client_is_not_parked_because_workers_come_and_go() -> None:
    fed = Bench((*splits(1), done(7)), takeovers=5, spec=replace(SPEC, stages=1))
    waits, works = Bench(takeovers=5), Bench((ev.Splits(0, (SPLIT,)),), takeovers=5)
    for bench in (fed, waits):
        [lease] = of_type(bench.wait(rules.IDLE_PROOF_SECS + 1), ev.Lease)
        assert lease.takeovers == 0
    assert not of_type(works.wait(rules.IDLE_PROOF_SECS + 1), ev.Lease)


# ---------------------------------------------------------------- counters


def test_the_counters_of_a_job_are_bounded_whoever_counts_them() -> None:
    def counts(index: int, names: range) -> ev.Done:
        return replace(done(7 + index, index), counters={f"c{name}": 1 for name in names})

    entries = (*splits(3), counts(0, range(600)), counts(1, range(300, verdict.MAX_JOB_COUNTERS)))
    bench = Bench(entries)
    assert not of_type(bench.wait(1), ev.Failed)
    last = counts(2, range(verdict.MAX_JOB_COUNTERS, verdict.MAX_JOB_COUNTERS + 1))
    [end] = of_type(bench.log(last), ev.Failed)
    assert end.failure.kind == "counters" and repr("c1000") in end.failure.message and end.index == 2
    taken_over = Bench((*entries, last))
    assert of_type(taken_over.said, ev.Failed) == [end], "whoever coordinates says the same"


def test_a_log_that_appears_behind_a_provisional_look_is_found() -> None:
    lease = ev.Lease("job", ev.Rank(0, 9), 0, 1, 1)
    it = Coordinator(lease, base.Receipt("leases/jobs", 1), "me", random.Random(1), "l/1/")
    it.start(0.0)
    [took] = publications([c for second in range(31) for c in it.handle(Tick(), float(second))], ev.Took)
    it.handle(base.Unroutable(took.token), 30.5)  # not there yet; and then the consumer met it
    said = [c for second in range(31, 62) for c in it.handle(Tick(), float(second))]
    assert of_type(said, ev.Took) == [ev.Took(lease.rank, "me")]
