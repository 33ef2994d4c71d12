"""How the client reads the log: from its start, anew each time, as the broker may have lost what was read before.

It is read again after a lost connection, and when nothing has happened for long: what the client has folded, and what
the others can read, may have come to differ.
"""

from __future__ import annotations

from typing import Any

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.effects import Command

#: at first, and at most, between two readings of a log in which nothing happens
STANDSTILL_SECS = 60.0
MAX_STANDSTILL_SECS = 600.0
LOG_PREFETCH = 500

#: entries that come although nothing happens
_NO_NEWS = frozenset(
    [
        ev.Passed,
        ev.Present,
        ev.Alive,
        ev.Took,
        ev.Resumed,
        ev.InputComplete,
        ev.CancelRequested,
        ev.Missing,
        ev.Printed,
        ev.Profiled,
        ev.Marked,
    ]
)


class LogReading:
    """Which reading is under way, where it has come to, and since when there is nothing new."""

    def __init__(self, job: str, prefix: str) -> None:
        self._job = job
        self._prefix = prefix
        self.number = 0  #: of the reading that is under way, from 1
        self._offset = 0
        self._end = 0  #: of all readings; what lies behind it is new
        self._fresh = False  #: what is read now does
        self._news_at = 0.0
        self._patience = STANDSTILL_SECS

    @property
    def tag(self) -> str:
        """Of the reading that is under way; deliveries of an earlier one mean nothing."""
        return f"{self._prefix}log:{self.number}"

    @property
    def begun(self) -> bool:
        """Something was read."""
        return self._offset > 0

    def begin(self) -> list[Command]:
        """Read from the start."""
        old = self.tag
        self.number += 1
        self._offset = 0
        consume = base.Consume(self.tag, ev.log_stream(self._job), LOG_PREFETCH, "first")
        return [base.Cancel(old), consume] if self.number > 1 else [consume]

    def new_session(self, now: float) -> None:
        """A broker that was down may have lost the end of the log: its places are taken anew."""
        self._end = 0
        self._news_at = now

    def moves_on(self, offset: int) -> bool:
        """Whether this entry is still to be read."""
        if offset < self._offset:
            return False
        self._offset = offset + 1
        self._fresh = self._offset > self._end
        self._end = max(self._end, self._offset)
        return True

    def is_new(self, entry: Any, now: float) -> bool:
        """Whether the entry just read was in no reading before."""
        if not self._fresh:
            return False
        if type(entry) not in _NO_NEWS:
            self._news_at, self._patience = now, STANDSTILL_SECS
        return True

    def stands_still(self, now: float) -> bool:
        """Nothing has happened for long: said once, then less and less often."""
        if now - self._news_at <= self._patience:
            return False
        self._news_at = now
        self._patience = min(2 * self._patience, MAX_STANDSTILL_SECS)
        return True
