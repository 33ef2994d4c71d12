"""What a job has waited for too long: attempts that fell silent, dispatches that their queue has lost.

All times are the log's, so that the limits hold over any number of coordinators. To be wrong is harmless: the task
runs once more, and the first `Done` wins.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from mapreduce import events as ev
from mapreduce.spec import LONG_SECS
from mapreduce.state import JobState

#: silence of a long attempt that counts as its worker's death; `Alive` comes each minute
ALIVE_SECS = 150.0
#: a started attempt has ended or logged `Long` by then
STARTED_SECS = LONG_SECS + ALIVE_SECS
#: longer than a worker holds a dispatch without starting it or handing it back
UNSTARTED_SECS = 400.0

_ENDS = (ev.Done, ev.AttemptFailed, ev.Lost, ev.Returned)


class Watch:
    """Times of one job's dispatches."""

    def __init__(self) -> None:
        self._deadlines: dict[int, tuple[int, int, float]] = {}  #: of started dispatches
        #: unstarted dispatches: since when they are on the queue, their place in the order of all that were put there,
        #: and their priority
        self._waiting: dict[int, tuple[float, int, int]] = {}
        self._places = 0
        #: dispatches that were started: when, place and priority; of each priority those whose place was the highest
        self._reached: deque[tuple[float, int, int]] = deque()
        self._highest: dict[int, int] = {}
        #: of those that were started long ago the highest place, by priority
        self._passed: dict[int, int] = {}

    def note(self, entry: Any, at: float) -> None:
        """An entry of the log that was written at about this time."""
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                if item.dispatch not in self._waiting:
                    self._waiting[item.dispatch] = (at, self._places, item.priority)
                    self._places += 1
        elif isinstance(entry, ev.Started):
            _, place, priority = self._waiting.pop(entry.dispatch, (at, -1, 0))
            if place > self._highest.get(priority, -1):
                self._highest[priority] = place
                self._reached.append((at, place, priority))
            self._deadlines[entry.dispatch] = (entry.stage, entry.index, at + STARTED_SECS)
        elif isinstance(entry, (ev.Long, ev.Alive)):
            self._deadlines[entry.dispatch] = (entry.stage, entry.index, at + ALIVE_SECS)
        elif isinstance(entry, _ENDS):
            self._deadlines.pop(entry.dispatch, None)
            self._waiting.pop(entry.dispatch, None)

    def lost(self, state: JobState, now: float) -> list[ev.Lost]:
        """What is lost by now; each is named once."""
        self._tidy(state)
        return [*self._silent(state, now), *self._overtaken(state, now)]

    def _silent(self, state: JobState, now: float) -> list[ev.Lost]:
        """Started, and neither ended nor heard of."""
        result = []
        for dispatch, (stage, index, deadline) in list(self._deadlines.items()):
            if dispatch not in state.running:
                del self._deadlines[dispatch]
            elif now > deadline:
                del self._deadlines[dispatch]
                result.append(ev.Lost(dispatch, stage, index))
        return result

    def _overtaken(self, state: JobState, now: float) -> list[ev.Lost]:
        """A queue keeps its order among equals and gives the higher priority first: what has stood there before a
        dispatch that was started long ago, and has no lower priority than that, is there no more."""
        while self._reached and now - self._reached[0][0] > UNSTARTED_SECS:
            _, place, priority = self._reached.popleft()
            self._passed[priority] = place
        most = max(self._passed.values(), default=-1)
        result = []
        for dispatch in state.unstarted:  # oldest first
            _, place, priority = self._waiting.get(dispatch, (now, self._places, 0))
            if place >= most:
                break
            if any(place < passed for lower, passed in self._passed.items() if lower <= priority):
                result.append(ev.Lost(dispatch, *state.unstarted[dispatch]))
        for lost in result:
            del self._waiting[lost.dispatch]
        return result

    def overdue(self, state: JobState, now: float) -> list[ev.Lost]:
        """What has waited so long that it is lost, if its queue is empty; oldest first."""
        self._tidy(state)
        result = []
        for dispatch, (stage, index) in state.unstarted.items():
            if now - self._waiting.get(dispatch, (now,))[0] <= UNSTARTED_SECS:
                break
            result.append(ev.Lost(dispatch, stage, index))
        return result

    def _tidy(self, state: JobState) -> None:
        """Forget dispatches that ended with their task; now and then, for it costs a look at each."""
        if len(self._waiting) > 2 * len(state.unstarted) + 100:
            self._waiting = {d: known for d, known in self._waiting.items() if d in state.unstarted}
