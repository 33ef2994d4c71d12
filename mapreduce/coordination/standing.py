"""The standing of a job among others: which priority its dispatches have on the work queue they share.

The less executor time a job has used, the sooner its tasks are started; nobody has to say how much a job will need.
That is *least attained service*, in levels like those of a multilevel feedback queue (Corbató, Merwin-Daggett, Daley:
An experimental time-sharing system, 1962). So a small job is not held up by a large one, and large ones share the
workers as equals. A job's priority only falls, but for this: one that has tasks waiting and none running, for others
go first, has one go before all after `PASSED_OVER_SECS`. However many small jobs come, a large one goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.brokers.base import MAX_PRIORITY
from mapreduce.state import JobState

#: executor time that a job has used in all; beyond each of them its priority is one lower
LEVELS_SECS = (1.0, 4.0, 16.0, 64.0, 256.0)
#: how long others go first, at most, while nothing of the job runs
PASSED_OVER_SECS = 20.0


class Standing:
    """Of one job. All times are the log's."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._used_secs = 0.0
        #: something ran, or nothing waited; None: not known, as nobody has asked since this coordinator took over
        self._served_at: Optional[float] = None
        #: dispatches that go before the job's others; those that nobody has started yet are among them
        self._first: set[int] = set()

    def note(self, entry: Any) -> None:
        """An entry of the log."""
        if isinstance(entry, ev.Dispatched) and self.priority < MAX_PRIORITY:
            self._first.update(item.dispatch for item in entry.items if item.priority == MAX_PRIORITY)
        elif isinstance(entry, (ev.Done, ev.AttemptFailed)):
            self._used_secs += entry.secs

    @property
    def priority(self) -> int:
        """Of the next dispatch."""
        return MAX_PRIORITY - bisect_right(LEVELS_SECS, self._used_secs)

    def passed_over(self, at: float) -> bool:
        """Whether others have gone first for so long that one task of the job is to go before them; said once."""
        state = self._state
        if self._served_at is None or state.running or not state.unstarted:
            self._served_at = at
        if at - self._served_at < PASSED_OVER_SECS or self.priority == MAX_PRIORITY:
            return False
        self._served_at = at
        self._first.intersection_update(state.unstarted)
        return not self._first
