"""Which tasks are worth a second dispatch: they take much longer than others of their stage, or nobody starts them.

Near a stage's end, when nothing of it waits to be dispatched, a task that has been out for twice as long as others
took gets a copy. Before that, or while there is nothing to compare with, only a dispatch that nobody starts does, and
only if the work queue is empty: it has lost the dispatch, or a worker holds it that has more to do than it can.
The first `Done` wins, so a copy costs some work at most.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.coordination import tries
from mapreduce.coordination.clock import BUSY_SECS
from mapreduce.state import JobState, Task

#: times the median of what tasks of the stage took
SLOW = 2.0
#: nothing is slow that has been out for less
FLOOR_SECS = 1.0
#: a dispatch that nobody has started for so long is worth a copy if the queue is empty; while tasks of the job run, not
#: before one of its stage would have been slow, for then a worker may hold it in advance
COPY_UNSTARTED_SECS = 10.0
#: live dispatches of a task that nobody has started: each is waited for twice as long as the one before
MAX_LIVE = 4
#: copies that are out at a time: so many, or a tenth of what is out
MIN_COPIES = 4

_ENDS = (ev.AttemptFailed, ev.Lost, ev.Returned)


class _Durations:
    """What the tasks of a stage took, at least one of them, as far as it matters for what is slow."""

    def __init__(self) -> None:
        self._short = 0  #: tasks that could be the median and change nothing: there may be millions of them
        self._others: list[float] = []  #: seconds, sorted

    def add(self, seconds: float) -> None:
        if SLOW * seconds <= FLOOR_SECS:
            self._short += 1
        else:
            insort(self._others, seconds)

    @property
    def limit(self) -> float:
        """Seconds after which a task is slow."""
        middle = (self._short + len(self._others)) // 2
        return FLOOR_SECS if middle < self._short else SLOW * self._others[middle - self._short]


class Stragglers:
    """Times of one job's dispatches, and what tasks of each stage took."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._out: dict[int, float] = {}  #: since when a dispatch is out, or runs
        self._durations: dict[int, _Durations] = {}  #: of each stage's tasks

    def note(self, entry: Any, at: float, read_later: bool) -> None:
        """An entry of the log; ``read_later``: it was written before this coordinator took over, at ``at`` or a
        little later."""
        since = at + BUSY_SECS if read_later else at
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                self._out.setdefault(item.dispatch, since)
        elif isinstance(entry, ev.Started):
            self._out[entry.dispatch] = since
        elif isinstance(entry, ev.Done):
            began = self._out.pop(entry.dispatch, at)
            seconds = entry.stats.get("seconds")
            took = seconds if isinstance(seconds, (int, float)) else max(0.0, at - began)
            if entry.revision == self._state.revision:
                self._durations.setdefault(entry.stage, _Durations()).add(float(took))
        elif isinstance(entry, _ENDS):
            self._out.pop(entry.dispatch, None)

    def restart(self) -> None:
        """The job had failed and goes on with other code: what tasks took before says nothing of it."""
        self._durations.clear()

    def slow(self, at: float) -> Iterator[tuple[int, int]]:
        """Tasks, by stage and index, that have been out for too long near the end of their stage."""
        self._tidy()
        if self._none_is_out_for(FLOOR_SECS, at):
            return
        for stage, index, task in self._candidates():
            limit = self._limit(stage)
            if limit is None or self._state.stages[stage].pending:
                continue
            running = any(task.live.values())
            if running and (not self._half_done(stage) or not self._may_run_twice(stage, task)):
                continue
            if not running and self._is_next():
                continue
            if self._waited(task, at) > limit:
                yield stage, index

    def unstarted(self, at: float) -> Iterator[tuple[int, int]]:
        """Tasks, by stage and index, that nobody has started for so long that an empty queue must have lost them."""
        if self._none_is_out_for(COPY_UNSTARTED_SECS, at):
            return
        for stage, index, task in self._candidates():
            limit = self._limit(stage) if self._state.busy else None
            if not any(task.live.values()) and self._waited(task, at) > max(
                COPY_UNSTARTED_SECS, limit or 0.0
            ):
                yield stage, index

    def any_unstarted(self, at: float) -> bool:
        """Whether it is worth asking if the queue is empty."""
        return self.room() > 0 and next(self.unstarted(at), None) is not None

    def room(self) -> int:
        """How many copies may still go out; none if the job does not want any."""
        state = self._state
        if state.spec is None or not state.spec.copies:
            return 0
        places = [*state.unstarted.values(), *state.running.values()]
        return max(MIN_COPIES, len(places) // 10) - (len(places) - len(set(places)))

    def _candidates(self) -> Iterator[tuple[int, int, Task]]:
        """Tasks that one more dispatch could help, the oldest first."""
        for stage, index in dict.fromkeys([*self._state.unstarted.values(), *self._state.running.values()]):
            task = self._state.task(stage, index)
            if task is not None and len(task.live) < MAX_LIVE:
                yield stage, index, task

    def _none_is_out_for(self, secs: float, at: float) -> bool:
        """While tasks are short there are hundreds of candidates, and not one is worth a look."""
        return at - min(self._out.values(), default=at) <= secs

    def _may_run_twice(self, stage: int, task: Task) -> bool:
        """One more attempt beside the one that runs: not if that is careful, or has seen another fail.

        A job that only one worker has ever worked for, as without a broker, has nowhere else to run it.
        """
        assert self._state.spec is not None
        alone = len(task.live) == 1 and not task.spared
        return alone and len(self._state.workers) > 1 and not tries.is_careful(self._state.spec, stage, task)

    def _is_next(self) -> bool:
        """Whether what nobody has started just waits its turn: the only worker there is is busy."""
        return len(self._state.workers) == 1 and bool(self._state.running)

    def _waited(self, task: Task, at: float) -> float:
        """How long the youngest dispatch has been out, by the patience that it is worth."""
        youngest = max(self._out.get(dispatch, at) for dispatch in task.live)
        return (at - youngest) / 2.0 ** (len(task.live) - 1)

    def _limit(self, stage: int) -> Optional[float]:
        durations = self._durations.get(stage)
        return durations.limit if durations is not None else None

    def _half_done(self, stage: int) -> bool:
        state = self._state.stages[stage]
        return state.total is not None and 2 * state.done >= state.total

    def _tidy(self) -> None:
        """Forget dispatches that ended with their task; now and then, for it costs a look at each."""
        live = len(self._state.unstarted) + len(self._state.running)
        if len(self._out) > 2 * live + 100:
            known = (self._state.unstarted, self._state.running)
            self._out = {d: at for d, at in self._out.items() if any(d in each for each in known)}
