"""Short tasks by the dozen: several dispatches in one message, each of which is started and ended for itself."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Phase
from mapreduce.brokers import base
from mapreduce.coordination import dispatcher
from mapreduce.effects import Connected, Execute, ExecutorDone, ExecutorFailed, Report, Shutdown, Tick
from mapreduce.haste import LONG_SECS as LONG_TASK_SECS
from mapreduce.haste import SHORT_SECS
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import LONG_SECS, JobSpec
from mapreduce.worker import Worker
from tests import (
    coordinating,
    strategies,  # noqa: F401  # its profile
)
from tests.coordinating import QUEUE, done, failed, started
from tests.support import handled

SPEC = JobSpec("j", {}, {}, 2, 2)
SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))
RECEIPT = base.Receipt("worker/tasks0", 1)
ACK = base.Ack(RECEIPT)


# ---------------------------------------------------------------- workers


class Bench:
    """A worker that knows the job, and what it logs; each publication is confirmed as soon as it is asked for."""

    def __init__(self, slots: int = 1) -> None:
        self.worker = Worker("w", slots, ("tasks",), "/d", False, random.Random(1))
        self.now = 0.0
        self.logged: list[Any] = []
        for event in (Connected(), base.Declared("tasks")):
            self.tell(event)

    def tell(self, event: Any) -> list[Any]:
        """What the worker does, also upon the broker's confirms."""
        todo = handled(self.worker, event, self.now)
        commands: list[Any] = []
        while todo:
            command = todo.pop(0)
            commands.append(command)
            if isinstance(command, base.Publish):
                self.logged += [event for event, _ in wire.decode_all(command.head)]
                todo += handled(self.worker, base.Confirmed(command.token), self.now)
            elif isinstance(command, base.Consume) and command.tag.startswith("worker/job:"):
                body = wire.encode(ev.Submitted("job", SPEC, "0", 0.0))
                receipt = base.Receipt(command.tag, 1)
                todo += handled(self.worker, base.Delivered(command.tag, receipt, body, 0, False), self.now)
        return commands

    def deliver(self, body: bytes, redelivered: bool = False) -> list[Any]:
        return self.tell(base.Delivered("worker/tasks0", RECEIPT, body, None, redelivered))

    def said(self, kind: Any) -> list[int]:
        """Dispatches of which such an event was logged."""
        return [event.dispatch for event in self.logged if isinstance(event, kind)]

    @property
    def at_work(self) -> Any:
        """The attempt that an executor has."""
        return next(each for each in self.worker._attempts.values() if each.phase is Phase.RUNNING)

    def done(self) -> list[Any]:
        attempt = self.at_work
        return self.tell(ExecutorDone(attempt.slot, attempt.number, {}, {}))


def message(number: int) -> bytes:
    return wire.encode(ev.Dispatch("job", number, 0, number, 0, SPLIT))


def together(*numbers: int) -> bytes:
    return wire.join([message(number) for number in numbers])


def test_each_of_a_range_is_started_and_ended_for_itself_and_the_last_end_is_followed_by_the_ack() -> None:
    bench = Bench()
    commands = bench.deliver(together(1, 2, 3))
    for number in (1, 2):
        assert bench.at_work.dispatch.dispatch == number
        commands += bench.done()
    assert ACK not in commands and bench.said(ev.Done) == [1, 2]
    assert ACK in bench.done()
    assert bench.said(ev.Started) == bench.said(ev.Done) == [1, 2, 3]
    assert not bench.worker._attempts


def test_the_failure_of_one_is_its_own() -> None:
    bench = Bench()
    bench.deliver(together(1, 2, 3))
    failing = bench.at_work
    bench.tell(ExecutorFailed(failing.slot, failing.number, Failure("died", "no")))
    bench.done()
    assert ACK in bench.done()
    assert bench.said(ev.AttemptFailed) == [1] and bench.said(ev.Done) == [2, 3]


def test_all_of_a_redelivered_range_are_reported_and_none_is_run() -> None:
    bench = Bench()
    commands = bench.deliver(together(1, 2, 3), redelivered=True)
    assert bench.said(ev.Lost) == [1, 2, 3] and commands.count(ACK) == 1 and commands[-1] == ACK
    assert not bench.said(ev.Started) and not bench.worker._attempts


def test_a_stopped_attempt_leaves_its_range() -> None:
    bench = Bench()
    bench.deliver(together(1, 2))
    stop = ev.StopAttempt(bench.at_work.number)
    bench.tell(
        base.Delivered("worker/control", base.Receipt("worker/control", 1), wire.encode(stop), None, False)
    )
    assert bench.said(ev.Returned) == [1] and bench.at_work.dispatch.dispatch == 2
    assert ACK in bench.done()


def test_what_waits_behind_one_that_takes_long_goes_back_also_where_no_task_was_short_before() -> None:
    bench = Bench(slots=2)
    bench.deliver(together(*range(1, 11)))
    bench.now += LONG_TASK_SECS + 0.1
    bench.tell(Tick())
    kept = [each.dispatch.dispatch for each in bench.worker._attempts.values() if each.phase < Phase.CLOSING]
    assert kept == [1, 2, 3]  # as many as a worker may hold that is not in haste
    assert bench.said(ev.Returned) == list(range(4, 11))


def test_a_worker_whose_tasks_are_not_short_keeps_no_range() -> None:
    bench = Bench()
    for number in range(40):
        bench.deliver(message(100 + number))
        bench.now += 5 * SHORT_SECS
        bench.done()
    bench.deliver(together(*range(1, 6)))
    bench.tell(Tick())
    assert bench.said(ev.Returned) == [3, 4, 5]


def test_a_long_one_lets_go_of_its_range_with_the_others() -> None:
    bench = Bench()
    bench.deliver(together(1, 2, 3))
    bench.now += LONG_TASK_SECS + 0.1
    assert ACK not in bench.tell(Tick()) and bench.said(ev.Returned) == [3]
    bench.now += LONG_SECS
    assert bench.tell(Tick()).count(ACK) == 1
    assert bench.said(ev.Long) == [1, 2]
    bench.now += 61
    bench.tell(Tick())
    assert bench.said(ev.Alive) == [1, 2]
    assert ACK not in bench.done() + bench.done()


def test_a_worker_that_leaves_hands_back_what_has_not_begun() -> None:
    bench = Bench()
    bench.deliver(together(1, 2, 3, 4))
    begun = bench.said(ev.Started)
    commands = bench.tell(Shutdown())
    assert bench.said(ev.Returned) == [number for number in (1, 2, 3, 4) if number not in begun]
    for number in begun:
        assert ACK not in commands and bench.at_work.dispatch.dispatch == number
        commands = bench.done()
    assert commands.count(ACK) == 1 and bench.worker.finished


def test_what_cannot_be_read_of_a_range_is_set_aside_and_the_rest_is_run() -> None:
    bench = Bench()
    nonsense = wire.encode(ev.Present())
    commands = bench.deliver(wire.join([message(1), nonsense, message(2)]))
    [aside] = [each for each in commands if isinstance(each, base.Publish) and each.to == ev.ASIDE]
    assert bytes(wire.decode(aside.head)[1]) == nonsense
    assert [each.level for each in commands if isinstance(each, Report)] == ["warning"]
    assert ACK not in commands + bench.done() and ACK in bench.done()


def test_a_range_of_nothing_that_can_be_read_is_set_aside_before_its_ack() -> None:
    bench = Bench()
    commands = bench.deliver(wire.join([b"\1" + b"x" * 20, b"\1" + b"y" * 20]))
    asides = [n for n, each in enumerate(commands) if isinstance(each, base.Publish)]
    assert len(asides) == 2 and commands.count(ACK) == 1 and commands.index(ACK) > asides[-1]


def test_a_small_block_travels_with_what_tells_of_it() -> None:
    bench = Bench()
    [execute] = [each for each in bench.deliver(message(1)) if isinstance(each, Execute)]
    assert execute.task.carries > 0


# ---------------------------------------------------------------- the coordinator


def coordinator(count: int, *entries: Any, split: ev.SplitInput = SPLIT, secs: float = 0.001) -> Any:
    """Of a job of so many splits of which forty are done, each in so many seconds."""
    short = [entry for n in range(40) for entry in (started(1000 + n, n), done(1000 + n, n, seconds=secs))]
    bench: Any = coordinating.Bench(
        (ev.Splits(0, (split,) * count), ev.InputComplete(count), *short, *entries)
    )
    bench.worked = set()
    return bench


def ranges(bench: Any) -> list[list[ev.Dispatch]]:
    """What was sent to the work queue, message by message."""
    sent = [each for each in bench.said if isinstance(each, base.Publish) and each.to == QUEUE]
    return [[dispatch for dispatch, _ in wire.decode_all(each.head)] for each in sent]


def work(bench: Any, count: int, secs: float = 0.001) -> None:
    """So many of the tasks that were sent are started and done within a moment, in their order."""
    seen = 0
    while seen < len(bench.said):
        each = bench.said[seen]
        seen += 1
        if not isinstance(each, base.Publish) or each.to != QUEUE or each.token in bench.worked:
            continue
        if count <= 0:
            return
        bench.worked.add(each.token)
        bench.echo([each])
        for dispatch, _ in wire.decode_all(each.head):
            count -= 1
            bench.log(started(dispatch.dispatch, dispatch.index))
            bench.log(done(dispatch.dispatch, dispatch.index, seconds=secs))


@pytest.mark.parametrize(("secs", "longest"), [(0.001, dispatcher.MAX_RANGE), (2 * SHORT_SECS, 1)])
def test_dispatches_travel_together_while_tasks_are_short(secs: float, longest: int) -> None:
    bench = coordinator(1000, secs=secs)
    work(bench, 600, secs)
    assert max(map(len, ranges(bench))) == longest
    indexes = [each.index for some in ranges(bench) for each in some]
    assert indexes == list(range(40, 40 + len(indexes)))


def test_a_job_of_short_tasks_does_not_wait_until_it_is_known_how_many_are_started_in_half_a_second() -> None:
    def sent(secs: float) -> int:
        bench = coordinator(5000, secs=secs)
        work(bench, 60, secs)
        return len(bench.it.state.unstarted) + len(bench.it._dispatcher._in_flight)

    assert sent(0.001) > 5 * sent(2 * SHORT_SECS)


def test_there_are_ranges_for_many_workers() -> None:
    bench = coordinator(1000)
    work(bench, 300)
    sent = {each.dispatch: len(some) for some in ranges(bench) for each in some}
    unstarted = [sent[dispatch] for dispatch in [*bench.it.state.unstarted, *bench.it._dispatcher._in_flight]]
    assert 1 < max(unstarted) <= len(unstarted) / (dispatcher.RANGE_SHARE - 2)


def test_none_travels_in_company_that_may_end_its_host() -> None:
    lost = [*(started(n, n, "gone") for n in (50, 60)), *(ev.Lost(n, 0, n) for n in (50, 60))]
    bench = coordinator(500, *lost, started(70, 70), failed(70, 70, "died"))
    bench.wait(5)
    work(bench, 460)
    assert max(map(len, ranges(bench))) > 1
    alone = [some for some in ranges(bench) if any(each.alone for each in some)]
    assert {each.index for some in alone for each in some} == {50, 60, 70}
    assert all(len(some) == 1 for some in alone)


def test_none_travels_in_company_whose_input_is_in_a_stream() -> None:
    bench = coordinator(500, split=SPLIT._replace(pieces=1))
    work(bench, 300)
    assert max(map(len, ranges(bench))) == 1


def test_one_that_is_handed_back_ends_ranges_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "MAX_RANGE", 8)  # less than what makes tasks short again
    monkeypatch.setattr(dispatcher, "MAX_WINDOW", 100)
    bench = coordinator(5000)
    work(bench, 200)
    before = len(ranges(bench))
    bench.log(*(ev.Returned(each.dispatch, 0, each.index) for each in ranges(bench)[-1][1:]))
    for message in ranges(bench)[before:]:
        assert len(message) == 1
    after = len(ranges(bench))
    work(bench, 20)
    assert len(ranges(bench)) > after and all(len(some) == 1 for some in ranges(bench)[after:])
    work(bench, 200)
    assert len(ranges(bench)[-1]) > 1


def test_a_range_is_announced_and_returned_as_one() -> None:
    bench = coordinator(1000)
    work(bench, 200)
    waiting = [each for each in bench.said if isinstance(each, base.Publish) and each.to == QUEUE]
    *_, other, last = (
        each for each in waiting if each.token not in bench.worked and b"Many" in each.head[:20]
    )
    numbers = [dispatch.dispatch for dispatch, _ in wire.decode_all(last.head)]
    [said] = coordinating.of_type(bench.tell(base.Confirmed(last.token)), ev.Dispatched)
    assert [item.dispatch for item in said.items] == numbers
    gone = {dispatch.dispatch for dispatch, _ in wire.decode_all(other.head)}
    assert gone <= set(bench.it._dispatcher._in_flight)
    bench.tell(base.Unroutable(other.token))
    assert not gone & set(bench.it._dispatcher._in_flight)


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 1]), st.integers(0, 1024), st.booleans()), max_size=80),
    st.integers(1, dispatcher.MAX_RANGE),
)
def test_ranges_keep_the_order_and_are_bounded(tasks: list[tuple[int, int, bool]], size: int) -> None:
    messages = [
        ev.Dispatch(
            "j",
            n,
            0,
            n,
            0,
            SPLIT._replace(pieces=pieces, data=None if pieces else b"x" * length),
            alone=alone,
        )
        for n, (pieces, length, alone) in enumerate(tasks)
    ]
    found = list(dispatcher._ranges(iter(messages), size))
    assert [each for some in found for each in some] == messages
    assert all(0 < len(some) <= size for some in found)
    assert all(len(wire.encode_all(some)) < 2 * dispatcher.MAX_RANGE_BYTES for some in found)
    for some in found:
        assert len(some) == 1 or all(dispatcher._is_sociable(each) for each in some)


def test_the_last_tasks_are_sent_though_they_fill_no_range() -> None:
    bench = coordinator(345)
    work(bench, 305)
    assert {each.index for some in ranges(bench) for each in some} == set(range(40, 345))
    assert bench.it.state.stages[0].complete
