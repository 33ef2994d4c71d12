"""A worker's run queue: its attempts that wait for an executor, which may be logged as started, and which runs next.

There are no more started than executors, but in `Haste`: then some wait for one, so that a short task does not wait for
its `Started` to be confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from mapreduce.attempt import Attempt, Phase
from mapreduce.haste import Haste
from mapreduce.slots import Slots


class Line:
    """``attempts``: all that are here."""

    def __init__(self, slots: Slots, haste: Haste, attempts: Mapping[int, Attempt]) -> None:
        self._slots = slots
        self._haste = haste
        self._attempts = attempts
        self._ready: dict[int, Attempt] = {}
        self._started: dict[int, Attempt] = {}  #: that may run, in this order, as slots get free
        self._begun = 0  #: attempts from `Phase.STARTING` to `Phase.RUNNING`
        self._alone: dict[int, Attempt] = {}  #: those that have to be alone with this host

    @property
    def free(self) -> int:
        """Executors without an attempt; negative, so many are started and wait for one."""
        return len(self._slots) - self._begun

    @property
    def is_empty(self) -> bool:
        """Nobody waits, and no executor has anything."""
        return not (self._begun or self._ready)

    @property
    def waiting(self) -> list[Attempt]:
        """In the order in which they would run."""
        return [*self._started.values(), *self._ready.values()]

    def came(self, attempt: Attempt) -> None:
        """It is here, without its input; one that has to be alone is kept in mind until it is over."""
        if attempt.dispatch.alone:
            self._alone[attempt.number] = attempt

    def ready(self, attempt: Attempt) -> None:
        """Its input is here."""
        attempt.phase = Phase.READY
        self._ready[attempt.number] = attempt

    def started(self, attempt: Attempt) -> None:
        """The log has that it is."""
        attempt.phase = Phase.STARTED
        self._started[attempt.number] = attempt

    def next_to_start(self, now: float) -> Optional[Attempt]:
        """It is to be logged as started; None: there is no place."""
        attempt = next(iter(self._ready.values()), None)
        if attempt is None or not self._may_start(attempt):
            return None
        del self._ready[attempt.number]
        attempt.phase, attempt.begun, attempt.started_at = Phase.STARTING, True, now
        self._begun += 1
        return attempt

    def next_to_run(self, now: float) -> Optional[Attempt]:
        """It has its slot; None: there is none."""
        attempt = next(iter(self._started.values()), None)
        if attempt is None:
            return None
        slot = self._slots.place_for(attempt, self._haste.behind, now)
        if slot is None:
            return None
        del self._started[attempt.number]
        self._slots.enter(attempt, slot, now)
        return attempt

    def leave(self, attempt: Attempt, now: float) -> None:
        """It waits for no executor and has none."""
        self._ready.pop(attempt.number, None)
        self._started.pop(attempt.number, None)
        if attempt.begun:
            attempt.begun = False
            self._begun -= 1
        self._slots.leave(attempt, now)

    def drop(self, attempt: Attempt, now: float) -> None:
        """It is over."""
        self.leave(attempt, now)
        self._alone.pop(attempt.number, None)

    def _may_start(self, attempt: Attempt) -> bool:
        """Whether there is a slot for it, or in haste a place in the line for one.

        This host's death is charged to all that the log has as started and not as ended. So what may bring it is
        never in that line, nor takes the slot of one whose end is still on its way to the log; and no line forms
        behind it.
        """
        slots = len(self._slots)
        if attempt.dispatch.alone:
            return sum(each.phase >= Phase.STARTING for each in self._attempts.values()) < slots
        if self._begun < slots:
            return True
        in_line = self._haste.short and self._begun < slots * (1 + self._haste.ahead)
        return in_line and not any(each.phase >= Phase.STARTING for each in self._alone.values())
