"""When a worker asks for its next dispatch, which it does by acking one that is over."""

from __future__ import annotations

from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.effects import Connected, Execute, ExecutorFailed, Shutdown, Tick, WakeAt
from mapreduce.foresight import REMEMBERED, WAYS_SECS
from mapreduce.refs import Failure
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
    for secs in (0.5, *[0.1] * (REMEMBERED - 1)):
        line.worker._foresight.has_read(secs)
    assert alarms(line.next()) == [line.now + LONG_TASK_SECS - WAYS_SECS - 0.5]


def test_the_input_of_another_job_s_tasks_counts_for_what_comes_may_be_of_that() -> None:
    line = Line(LONG_TASK_SECS)
    line.deliver("worker/tasks0", ev.Dispatch("other", 3, 0, 0, 0, SPLIT))
    line.now = 1.0
    line.submitted("other")  # its input is here one second after its dispatch
    assert alarms(line.next()) == pytest.approx([line.now + LONG_TASK_SECS - WAYS_SECS - 1.0])


def test_a_distant_broker_is_asked_sooner() -> None:
    line = Line(LONG_TASK_SECS)
    line.now = LONG_TASK_SECS
    started = published(line.done(line.running))[-1]
    line.now += 0.3
    line.tell(base.Confirmed(started.token))
    assert line.worker._foresight.asks_at(line.running) == pytest.approx(line.now + LONG_TASK_SECS - 0.3)


def test_the_shortest_of_the_last_tasks_counts() -> None:
    line = Line(LONG_TASK_SECS)
    line.worker._foresight.has_run(line.running, 0.5)
    assert alarms(line.next()) == [line.now + 0.5 - WAYS_SECS]


def test_an_idle_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    assert acked(line.next()) == []
    line.now += 1.0
    over = line.running
    assert logged(line.done(over)) == ["Done"]
    assert acked(line.tell(base.Confirmed(f"worker/close:{over.number}"))) == [2]
    assert not line.worker._over


def test_a_failed_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    failure = Failure("raised", "ValueError")
    assert acked(line.tell(ExecutorFailed(0, line.running.number, failure))) == [1]


def test_nothing_is_held_for_long_after_its_end() -> None:
    line = Line(LONG_TASK_SECS)
    for _ in range(REMEMBERED):
        line.worker._foresight.has_run(line.running, 10 * LONG_SECS)
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
    assert line.worker._foresight._ran
    line.deliver("worker/control", ev.StopJob("job"))
    assert not line.worker._foresight._ran


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
    line.worker._foresight.has_run(line.running, 1.0)
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
    assert acked(line.done(line.running)) == [2, 3]


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
