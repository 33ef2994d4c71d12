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
        #: unstarted dispatches: their place in the order of the queue, and since when they are there
        self._waiting: dict[int, tuple[int, float]] = {}
        self._places = 0
        #: places of dispatches that were started, growing, and when
        self._reached: deque[tuple[float, int]] = deque()
        self._passed = -1

    def note(self, entry: Any, at: float) -> None:
        """An entry of the log that was written at about this time."""
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                if item.dispatch not in self._waiting:
                    self._waiting[item.dispatch] = (self._places, at)
                    self._places += 1
        elif isinstance(entry, ev.Started):
            place, _ = self._waiting.pop(entry.dispatch, (-1, at))
            if place > (self._reached[-1][1] if self._reached else self._passed):
                self._reached.append((at, place))
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
        """A queue keeps its order: what stood before a dispatch that was started long ago is there no more."""
        while self._reached and now - self._reached[0][0] > UNSTARTED_SECS:
            self._passed = self._reached.popleft()[1]
        result = []
        for dispatch in state.unstarted:  # oldest first
            place, _ = self._waiting.get(dispatch, (self._places, now))
            if place >= self._passed:
                break
            result.append(ev.Lost(dispatch, *state.unstarted[dispatch]))
        for lost in result:
            del self._waiting[lost.dispatch]
        return result

    def overdue(self, state: JobState, now: float) -> list[ev.Lost]:
        """What has waited so long that it is lost, if its queue is empty; oldest first."""
        self._tidy(state)
        result = []
        for dispatch, (stage, index) in state.unstarted.items():
            if now - self._waiting.get(dispatch, (0, now))[1] <= UNSTARTED_SECS:
                break
            result.append(ev.Lost(dispatch, stage, index))
        return result

    def _tidy(self, state: JobState) -> None:
        """Forget dispatches that ended with their task; now and then, for it costs a look at each."""
        if len(self._waiting) > 2 * len(state.unstarted) + 100:
            self._waiting = {d: known for d, known in self._waiting.items() if d in state.unstarted}
