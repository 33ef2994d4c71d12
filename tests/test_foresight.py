"""When a worker asks for its next dispatch, which it does by acking one that is over."""

from __future__ import annotations

from typing import Any

import pytest

from mapreduce.brokers import base
from mapreduce.effects import Connected, Execute, ExecutorFailed, Shutdown, Tick, WakeAt
from mapreduce.foresight import REMEMBERED, WAYS_SECS
from mapreduce.refs import Failure
from mapreduce.spec import LONG_SECS
from tests.test_worker import Bench, logged, published

LONG_TASK_SECS = 2.0


def acked(commands: list[Any]) -> list[int]:
    return [command.receipt.number for command in commands if isinstance(command, base.Ack)]


def alarms(commands: list[Any]) -> list[float]:
    return [command.when for command in commands if isinstance(command, WakeAt)]


class Line(Bench):
    """A worker with one executor and the next task in advance; dispatches have their numbers as receipts."""

    def __init__(self, task_secs: float) -> None:
        super().__init__()
        self._task_secs = task_secs
        started = published(self.start(1))[0]
        self._running = self.attempt
        self._serial = 1
        self.tell(base.Confirmed(started.token))
        self.dispatch(2)

    def next(self) -> list[Any]:
        """The task that runs ends, the one in advance begins; what is asked for then."""
        self.now += self._task_secs
        over, commands = self._running, self.done(self._running)
        assert sorted(logged(commands)) == ["Done", "Started"]
        (self._running,) = (each for each in self.worker._attempts.values() if each is not over)
        asked = self.tell(base.Confirmed(f"worker/start:{self._running.number}"))
        assert isinstance(asked[0], Execute)
        return [*asked, *self.tell(base.Confirmed(f"worker/close:{over.number}"))]


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
    foresight, running = line.worker._foresight, line._running
    for secs in (0.5, *[0.1] * (REMEMBERED - 1)):
        foresight.has_read(running, secs)
    assert alarms(line.next()) == [line.now + LONG_TASK_SECS - WAYS_SECS - 0.5]


def test_the_shortest_of_the_last_tasks_counts() -> None:
    line = Line(LONG_TASK_SECS)
    line.worker._foresight.has_run(line._running, 0.5)
    assert alarms(line.next()) == [line.now + 0.5 - WAYS_SECS]


def test_an_idle_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    assert acked(line.next()) == []
    line.now += 1.0
    assert logged(line.done(line._running)) == ["Done"]
    assert acked(line.tell(base.Confirmed(f"worker/close:{line._running.number}"))) == [2]
    assert not line.worker._over


def test_a_failed_executor_s_next_is_asked_for_at_once() -> None:
    line = Line(LONG_TASK_SECS)
    line.next()
    failure = Failure("raised", "ValueError")
    assert acked(line.tell(ExecutorFailed(0, line._running.number, failure))) == [1]


def test_nothing_is_held_for_long_after_its_end() -> None:
    line = Line(LONG_TASK_SECS)
    for _ in range(REMEMBERED):
        line.worker._foresight.has_run(line._running, 10 * LONG_SECS)
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
    assert line.worker._foresight._stages
    line.worker._foresight.forget("job")
    assert not line.worker._foresight._stages
