"""Flow control by credit: when a worker asks for its next dispatch, which it does by acking one that is over.

The broker gives a dispatch for each that is acked, the first of those that wait then. So what is over is acked when
another is wanted: at once while tasks are short or an executor is idle, else shortly before one is (`foresight`).

A job that goes before the others and has nothing left on the queue, as what came last was of a lower priority, often
has more in a moment: when the last tasks of a stage end, the next stage is dispatched. So for an executor that is at
one of its tasks nothing is asked for in advance, and when it is free only after a moment. The other jobs lose that much
once for each such task; the first would wait for a whole task of theirs.
"""

from __future__ import annotations

from collections import deque
from typing import Optional

from mapreduce.attempt import Attempt
from mapreduce.effects import Command, WakeAt
from mapreduce.foresight import WAYS_SECS, Foresight
from mapreduce.slots import Slots

#: in advance one is asked for so long after another: what that brings tells what the queue holds
ANSWER_SECS = 0.005


class Demand:
    """What is over, what was asked for, and when the next is. All times are in seconds."""

    def __init__(self, slots: Slots, foresight: Foresight) -> None:
        self._slots = slots
        self._foresight = foresight
        #: attempts that are over and whose dispatches are not acked yet, for no other is wanted so soon
        self._over: list[Attempt] = []
        #: for dispatches that have not come: until when they are on their way; then the queue may be empty
        self._asked: deque[float] = deque()
        self._last: Optional[tuple[str, int]] = None  #: job and priority of the dispatch that came last
        self._waits_until = 0.0  #: with a free executor, for the next of the job that it was at
        self._answered_at = 0.0  #: what was asked for last should be here by then
        self._wakes_at = 0.0  #: when the host was told to last

    def came(self, job: str, priority: int) -> None:
        """A message with dispatches."""
        self._last = job, priority
        if self._asked:
            self._asked.popleft()

    def left(self, attempt: Attempt, now: float) -> None:
        """Its executor is done with it."""
        if self._has_more_soon(attempt):
            self._waits_until = now + WAYS_SECS

    def is_over(self, attempt: Attempt) -> None:
        """Its dispatch may be acked."""
        self._over.append(attempt)

    def disconnected(self) -> None:
        """What was over is another session's to worry about."""
        self._over.clear()
        self._asked.clear()
        self._last = None

    def all_over(self) -> list[Command]:
        """No more is wanted, or as many as there are."""
        over, self._over = self._over, []
        return [command for attempt in over for command in attempt.acknowledge()]

    def ask(self, free: int, waiting: int, hold_secs: float, now: float) -> list[Command]:
        """Ack as many as are wanted, and what has been held for ``hold_secs``.

        ``free``: executors without an attempt; negative, so many are started and stand in line. ``waiting``: attempts
        that are here and not started.
        """
        if not self._over:
            return []
        wanted, over, self._over = self._wanted(free, waiting, now), self._over, []
        commands: list[Command] = []
        for attempt in over:  # the oldest first, so that the queues take turns
            if len(commands) < wanted or now - attempt.delivered_at > hold_secs:
                commands += attempt.acknowledge()
            else:
                self._over.append(attempt)
        if commands:
            self._asked.extend([now + WAYS_SECS] * len(commands))
            self._answered_at = now + ANSWER_SECS
        return commands + self._wake(free, now)

    def _wanted(self, free: int, waiting: int, now: float) -> int:
        """How many are to be asked for: those that an executor could run at once, and in advance one at a time."""
        while self._asked and self._asked[0] <= now:
            self._asked.popleft()
        if free > 0 and now < self._waits_until:
            free = 0
        free -= waiting + len(self._asked)
        due = sum(when <= now for when in self._asks_at())
        at_a_time = 0 if self._asked and now < self._answered_at else 1
        return min(free + due, max(0, free) + at_a_time)

    def _wake(self, free: int, now: float) -> list[Command]:
        """When the next executor is about to be free; ends of other tasks may have changed what is known of that."""
        times = [max(when, self._answered_at) for when in self._asks_at()]
        if free > 0:
            times += [self._waits_until, *self._asked]
        later = [when for when in times if when > now]
        if not self._over or not later or min(later) == self._wakes_at:
            return []
        self._wakes_at = min(later)
        return [WakeAt(self._wakes_at)]

    def _asks_at(self) -> list[float]:
        """When something is to be asked for in advance, for each executor for which it is at all."""
        return [self._foresight.asks_at(a) for a in self._slots.at_work if not self._has_more_soon(a)]

    def _has_more_soon(self, attempt: Attempt) -> bool:
        """Perhaps: what comes now is others', who go after its job."""
        if self._last is None:
            return False
        job, priority = self._last
        return job != attempt.job and priority < attempt.delivery.priority
