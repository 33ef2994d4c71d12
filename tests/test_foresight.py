"""When a worker asks for its next dispatch, which it does by acking one that is over."""

from __future__ import annotations

from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Attempt, Delivery
from mapreduce.brokers import base
from mapreduce.demand import ANSWER_SECS, Demand
from mapreduce.effects import Connected, Execute, ExecutorFailed, Shutdown, Tick, WakeAt
from mapreduce.foresight import REMEMBERED, REMEMBERED_INPUTS, WAYS_SECS, Foresight
from mapreduce.refs import Failure
from mapreduce.slots import Slots
from mapreduce.spec import LONG_SECS
from tests.test_worker import SPLIT, Bench, logged, published

LONG_TASK_SECS = 2.0


def acked(commands: list[Any]) -> list[int]:
    return [command.receipt.number for command in commands if isinstance(command, base.Ack)]


def alarms(commands: list[Any]) -> list[float]:
    return [command.when for command in commands if isinstance(command, WakeAt)]


class Line(Bench):
    """A worker whose executors are all at work, and the next task in advance; dispatches have their numbers as
    receipts."""

    def __init__(self, task_secs: float, slots: int = 1, queues: tuple[str, ...] = ("tasks",)) -> None:
        super().__init__(slots, queues=queues)
        self._task_secs = task_secs
        self._confirm_start(self.start(1))
        self._serial = 1
        for number in range(2, slots + 1):
            self._confirm_start(self.dispatch(number))
        self.dispatch(slots + 1)

    @property
    def running(self) -> Any:
        """The attempt that was begun first of those that run."""
        return min(self.worker._slots.at_work, key=lambda attempt: (attempt.began, attempt.slot))

    def next(self) -> list[Any]:
        """The task that runs, the first of them, ends, and one in advance begins; what is asked for then."""
        over = self.running
        self.now = over.began + self._task_secs
        commands = self.done(over)
        assert sorted(logged(commands)) == ["Done", "Started"]
        commands += self._confirm_start(commands)
        return commands + self.tell(base.Confirmed(f"worker/close:{over.number}"))

    def tick_at(self, now: float) -> list[int]:
        """What is acked then."""
        self.now = now
        return acked(self.tell(Tick()))

    def _confirm_start(self, commands: list[Any]) -> list[Any]:
        (token,) = [each.token for each in published(commands) if each.token.startswith("worker/start:")]
        begun = self.tell(base.Confirmed(token))
        assert isinstance(begun[0], Execute)
        return begun


def test_a_long_task_s_next_is_asked_for_shortly_before_its_end() -> None:
    line = Line(LONG_TASK_SECS)
    commands = line.next()
    assert acked(commands) == [] and alarms(commands) == [line.now + LONG_TASK_SECS - WAYS_SECS]
    line.now = alarms(commands)[0] - 0.01
    assert acked(line.tell(Tick())) == []
    line.now += 0.01
    assert acked(line.tell(Tick())) == [1]


def test_what_came_in_time_is_not_followed_by_another_until_the_next_end_is_near() -> None:
    line = Line(LONG_TASK_SECS)
    line.now = alarms(line.next())[0]
    assert acked(line.tell(Tick())) == [1]
    line.dispatch(3)
    line.now -= LONG_TASK_SECS - WAYS_SECS
    commands = line.next()
    assert acked(commands) == []
    line.now = alarms(commands)[0]
    assert acked(line.tell(Tick())) == [2]


def test_short_tasks_have_the_next_in_advance_at_once() -> None:
    line = Line(WAYS_SECS)
    commands = line.next()
    assert acked(commands) == [1] and alarms(commands) == []


def test_slow_input_is_asked_for_sooner() -> None:
    line = Line(LONG_TASK_SECS)
    for _ in range(REMEMBERED_INPUTS):
        line.worker._attempts.foresight.has_read(line.running, 0.5)
    assert alarms(line.next()) == pytest.approx([line.now + LONG_TASK_SECS - WAYS_SECS - 0.5])


def test_one_input_that_was_late_is_not_taken_for_the_usual() -> None:
    line = Line(LONG_TASK_SECS)
    for secs in (0.5, *[0.1] * (REMEMBERED_INPUTS - 1)):
        line.worker._attempts.foresight.has_read(line.running, secs)
    assert alarms(line.next()) == pytest.approx([line.now + LONG_TASK_SECS - WAYS_SECS - 0.1])


def test_the_input_of_another_job_s_tasks_counts_for_what_comes_may_be_of_that() -> None:
    line = Line(LONG_TASK_SECS)
    line.deliver("worker/tasks0", ev.Dispatch("other", 3, 0, 0, 0, SPLIT))
    line.now = 1.0
    line.submitted("other")  # its input is here one second after its dispatch
    assert alarms(line.next()) == pytest.approx([line.now + LONG_TASK_SECS - WAYS_SECS - 1.0])


def test_slow_inputs_count_while_some_come() -> None:
    line = Line(LONG_TASK_SECS)
    line.deliver("worker/tasks0", ev.Dispatch("other", 3, 0, 0, 0, SPLIT))
    line.now = 1.0
    line.submitted("other")
    for _ in range(REMEMBERED_INPUTS - 1):
        line.worker._attempts.foresight.has_read(line.running, 0.1)
    began, slow, cheap = line.running.began, WAYS_SECS + 1.0, WAYS_SECS + 0.1
    line.worker._attempts.foresight.has_run(line.running, began + LONG_TASK_SECS)
    assert line.worker._attempts.foresight.asks_at(line.running) == pytest.approx(
        began + LONG_TASK_SECS - slow
    )
    line.worker._attempts.foresight.has_read(line.running, 0.1)
    assert line.worker._attempts.foresight.asks_at(line.running) == pytest.approx(
        began + LONG_TASK_SECS - cheap
    )


def test_a_distant_broker_is_asked_sooner() -> None:
    line = Line(LONG_TASK_SECS)
    line.worker._attempts.foresight.has_run(line.running, line.running.began + LONG_TASK_SECS)
    for secs, way in ((0.3, WAYS_SECS), (0.3, 0.3), (0.3, 0.3), (4.0, 0.3)):  # after one that took no time
        line.worker._attempts.foresight.has_heard(secs)
        assert line.worker._attempts.foresight.asks_at(line.running) == pytest.approx(LONG_TASK_SECS - way)


def test_the_shortest_of_the_last_tasks_counts() -> None:
    line = Line(LONG_TASK_SECS)
    line.worker._attempts.foresight.has_run(line.running, 0.5)
    assert alarms(line.next()) == [line.now + 0.5 - WAYS_SECS]


WRITES_SECS = 0.1


def writes_in_the_end() -> Line:
    """One whose tasks write when they have computed for two seconds, and take no less than that."""
    line = Line(LONG_TASK_SECS)
    for secs in (LONG_TASK_SECS, *[LONG_TASK_SECS + 1] * (REMEMBERED - 1)):
        line.running.wrote_at = secs - WRITES_SECS
        line.worker._attempts.foresight.has_run(line.running, secs)
    line.running.wrote_at = None
    return line


def test_of_tasks_that_write_in_the_end_the_usual_time_counts_until_they_do() -> None:
    line = writes_in_the_end()
    assert alarms(line.next()) == pytest.approx([line.now + LONG_TASK_SECS + 1 - WAYS_SECS])


def test_what_is_written_tells_of_the_end() -> None:
    line = writes_in_the_end()
    line.next()
    line.now += 0.5
    line.wrote(line.running, 0)
    assert alarms(line.tell(Tick())) == pytest.approx([line.now + WRITES_SECS - WAYS_SECS])
    assert line.tick_at(line.now + WRITES_SECS - WAYS_SECS) == [1]


def test_of_tasks_that_write_all_the_time_the_shortest_counts() -> None:
    line = Line(LONG_TASK_SECS)
    for secs in (LONG_TASK_SECS, LONG_TASK_SECS + 1, LONG_TASK_SECS + 1):
        line.running.wrote_at = 0.0
        line.worker._attempts.foresight.has_run(line.running, secs)
    line.next()
    line.wrote(line.running, 0)
    assert line.worker._attempts.foresight.asks_at(line.running) == pytest.approx(
        line.now + LONG_TASK_SECS - WAYS_SECS
    )


def test_an_idle_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    assert acked(line.next()) == []
    line.now += 1.0
    over = line.running
    commands = line.done(over)
    assert logged(commands) == ["Done"] and acked(commands) == [1]
    assert acked(line.tell(base.Confirmed(f"worker/close:{over.number}"))) == [], "one is on its way"


def test_a_failed_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    failure = Failure("raised", "ValueError")
    assert acked(line.tell(ExecutorFailed(0, line.running.number, failure))) == [1]


def test_nothing_is_held_for_long_after_its_end() -> None:
    line = Line(LONG_TASK_SECS)
    for _ in range(REMEMBERED):
        line.worker._attempts.foresight.has_run(line.running, 10 * LONG_SECS)
    assert acked(line.next()) == []
    line.now = LONG_SECS + 0.1
    assert acked(line.tell(Tick())) == [1]


def test_who_leaves_acks_what_is_over() -> None:
    line = Line(LONG_TASK_SECS)
    assert acked(line.next()) == []
    assert acked(line.tell(Shutdown())) == [1]


@pytest.mark.parametrize("seconds", [0.0, LONG_TASK_SECS])
def test_the_next_session_does_not_ack_what_this_one_held(seconds: float) -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    line.tell(base.Disconnected("cut"))
    line.tell(Connected())
    line.now += seconds
    assert acked(line.tell(Tick())) == []


def test_of_a_job_that_is_gone_nothing_is_known() -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    assert line.worker._attempts.foresight._stages
    line.deliver("worker/control", ev.StopJob("job"))
    assert not line.worker._attempts.foresight._stages


def test_the_executor_that_is_free_first_is_asked_for_first() -> None:
    line = Line(LONG_TASK_SECS, slots=2)
    second = line.worker._slots.at_work[1]
    second.began = 0.5
    commands = line.next()
    assert acked(commands) == [] and alarms(commands) == pytest.approx([0.5 + LONG_TASK_SECS - WAYS_SECS])
    assert line.tick_at(alarms(commands)[0]) == [1]
    line.dispatch(4)
    commands = line.next()
    assert second not in line.worker._slots.at_work
    assert acked(commands) == [] and alarms(commands) == pytest.approx([2 * LONG_TASK_SECS - WAYS_SECS])
    assert line.tick_at(alarms(commands)[0]) == [2]


def test_what_is_learnt_meanwhile_counts() -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    line.worker._attempts.foresight.has_run(line.running, line.now + 1.0)
    assert alarms(line.tell(Tick())) == pytest.approx([line.now + 1.0 - WAYS_SECS])
    assert alarms(line.tell(Tick())) == []


def with_three_over() -> Line:
    """One that had three tasks in advance, of two queues: their acks are all held while the last one runs."""
    line = Line(LONG_TASK_SECS, queues=("tasks", "more"))
    for number in (3, 4):
        line.deliver("worker/tasks1", ev.Dispatch("job", number, 0, 0, 0, SPLIT))
    assert [acked(line.next()) for _ in range(3)] == [[], [], []]
    return line


def test_of_several_queues_no_more_is_asked_for_than_is_wanted() -> None:
    line = with_three_over()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [1]
    assert line.tick_at(line.now) == [], "it is on its way"
    line.dispatch(5)
    assert line.tick_at(line.now) == []
    line.next()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [2], (
        "the oldest, so that the queues take turns"
    )


def test_where_nothing_came_an_idle_executor_asks_the_other_queue() -> None:
    line = with_three_over()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [1]
    commands = line.done(line.running)
    assert acked(commands) == [] and alarms(commands) == [line.now + WAYS_SECS]
    assert line.tick_at(alarms(commands)[0]) == [2]
    assert line.tick_at(line.now + WAYS_SECS) == [3]


def test_who_takes_no_tasks_for_a_while_acks_all_that_is_over() -> None:
    line = with_three_over()
    assert acked(line.tell(ExecutorFailed(0, line.running.number, Failure("disk", "full")))) == [1, 2, 3]


def test_a_range_brings_one_message_and_that_at_its_end() -> None:
    line = Line(LONG_TASK_SECS)
    assert line.tick_at(alarms(line.next())[0]) == [1]
    messages = [wire.encode(ev.Dispatch("job", number, 0, number, 0, SPLIT)) for number in (3, 4)]
    its = base.Receipt("worker/tasks0", 3)
    line.tell(base.Delivered("worker/tasks0", its, wire.join(messages), None, False))
    line.next()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [], "the second waits already"
    line.next()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [2]
    line._serial = 4
    line.dispatch(5)
    line.next()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [3]


def test_who_has_acked_already_since_it_took_long_brings_none() -> None:
    line = Line(LONG_SECS + 2)
    line.now = LONG_SECS + 1
    commands = line.tell(Tick())
    assert logged(commands) == ["Long", "Returned"]
    assert [acked(line.tell(base.Confirmed(each.token))) for each in published(commands)] == [[1], [2]]
    for number in (3, 4):
        line.dispatch(number)
    assert acked(line.next()) == []
    line._task_secs = LONG_TASK_SECS
    line.next()
    assert line.tick_at(line.now + LONG_TASK_SECS - WAYS_SECS) == [3]


def at_work(job: str, priority: int, number: int = 1) -> Attempt:
    delivery = Delivery(base.Receipt("worker/tasks0", number), 1, priority)
    return Attempt(number, ev.Dispatch(job, number, 0, 0, 0, SPLIT), delivery, "/d", 0.0)


class Beside:
    """One executor is at a task of a job that goes first; a dispatch is over. Nothing is known of its stage."""

    def __init__(self, job: str, priority: int) -> None:
        """``job``, ``priority``: of the dispatch that came last."""
        self._slots = Slots(1)
        self._demand = Demand(self._slots, Foresight())
        self._runs = at_work("small", 5)
        self._slots.enter(self._runs, 0, 0.0)
        self._demand.came(job, priority)
        self._demand.is_over(at_work("large", 3, 2))

    def asks(self, now: float) -> list[Any]:
        return self._demand.ask(len(self._slots) - len(self._slots.at_work), 0, LONG_SECS, now)

    def ends(self, now: float) -> None:
        self._slots.leave(self._runs, now)
        self._demand.left(self._runs, now)


def test_an_executor_at_a_job_that_goes_first_waits_a_moment_for_its_next_stage() -> None:
    beside = Beside("large", 3)
    assert beside.asks(1.0) == []
    beside.ends(2.0)
    assert alarms(beside.asks(2.0)) == [2.0 + WAYS_SECS]
    assert acked(beside.asks(2.0 + WAYS_SECS)) == [2]


@pytest.mark.parametrize(("job", "priority"), [("small", 4), ("large", 5)])
def test_more_of_that_job_or_of_an_equal_is_asked_for_in_advance(job: str, priority: int) -> None:
    assert acked(Beside(job, priority).asks(1.0)) == [2]


@pytest.mark.parametrize(("job", "priority"), [("small", 4), ("large", 5)])
def test_nobody_waits_for_more_of_a_job_that_has_more_on_the_queue(job: str, priority: int) -> None:
    beside = Beside(job, priority)
    beside.ends(2.0)
    assert acked(beside.asks(2.0)) == [2]


def two_due() -> Demand:
    """Both executors are at tasks of which nothing is known, and two dispatches are over."""
    slots = Slots(2)
    demand = Demand(slots, Foresight())
    for slot in range(2):
        slots.enter(at_work("job", 5, slot), slot, 0.0)
        demand.is_over(at_work("job", 5, 2 + slot))
    return demand


def test_in_advance_one_is_asked_for_after_the_other() -> None:
    demand = two_due()
    commands = demand.ask(0, 0, LONG_SECS, 1.0)
    assert acked(commands) == [2] and alarms(commands) == [1.0 + ANSWER_SECS]
    assert acked(demand.ask(0, 0, LONG_SECS, 1.0)) == []
    assert acked(demand.ask(0, 0, LONG_SECS, alarms(commands)[0])) == [3]


@pytest.mark.parametrize(("job", "priority", "asked"), [("job", 5, [3]), ("other", 4, [])])
def test_what_has_come_tells_whether_the_next_is_asked_for(job: str, priority: int, asked: list[int]) -> None:
    demand = two_due()
    assert acked(demand.ask(0, 0, LONG_SECS, 1.0)) == [2]
    demand.came(job, priority)
    assert acked(demand.ask(0, 0, LONG_SECS, 1.0)) == asked
