"""Which task is dispatched when: first runs, tries after failures, losses, copies of stragglers: one path for all.

A dispatch goes to the work queue first and is logged as `Dispatched` once that has confirmed it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination import tries
from mapreduce.coordination.journal import Journal
from mapreduce.effects import Command
from mapreduce.refs import Failure
from mapreduce.state import JobState

#: dispatches that wait for a worker: at least, while nothing of the job runs, and while something does. Tasks may be
#: long, and other jobs' tasks stand behind them
MIN_WINDOW = 4
MIN_WINDOW_RUNNING = 2
MAX_WINDOW = 1000
WINDOW_SECS = 0.5
#: how long after a returned publication the next try comes
RETURNED_SECS = 1.0


class Dispatcher:
    """Keeps a few dispatches waiting on the work queue. All times are the log's."""

    def __init__(self, job: str, state: JobState, journal: Journal, rng: random.Random, prefix: str) -> None:
        self._job = job
        self._state = state
        self._journal = journal
        self._rng = rng
        self._prefix = f"{prefix}dispatch:"
        #: dispatches published, whose `Dispatched` has not come back through the log yet
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._confirmed: list[ev.DispatchRef] = []  #: by the queue, to be logged
        self._not_before: dict[tuple[int, int], float] = {}  #: when a task's next try comes
        self._paused_until = 0.0
        self._code: Optional[ev.CodeRef] = None
        self._starts: deque[float] = deque()

    @property
    def queue(self) -> str:
        spec = self._state.spec
        return ev.tasks_queue(spec.pool, spec.interpreter) if spec is not None else ""

    @property
    def idle(self) -> bool:
        """Nothing is on its way to the queue."""
        return not self._in_flight

    def note(self, entry: Any, at: float, read_later: bool) -> None:
        """An entry of the log, already folded; ``read_later``: it was written before this coordinator took over."""
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                self._in_flight.pop(item.dispatch, None)
        elif isinstance(entry, ev.Started):
            self._in_flight.pop(entry.dispatch, None)
            if not read_later:
                self._starts.append(at)
        elif isinstance(entry, ev.AttemptFailed):
            task = self._state.task(entry.stage, entry.index)
            if task is not None and task.failure is not None:
                self._not_before[entry.stage, entry.index] = at + tries.backoff(task, self._rng)

    def restart(self, corrected: Optional[ev.CodeRef]) -> None:
        """The job had failed and goes on: with other code, if that is ``corrected``. What was dispatched is void."""
        self._code = corrected or self._code
        self._in_flight.clear()
        self._confirmed.clear()
        self._not_before.clear()

    def confirmed(self, dispatch: int) -> None:
        """The queue has it."""
        if dispatch in self._in_flight:
            self._confirmed.append(ev.DispatchRef(dispatch, *self._in_flight[dispatch]))

    def refused(self, dispatch: int, reason: str) -> Optional[ev.Failed]:
        """The broker does not take such a message, now or ever. None: it is void by now."""
        failure = Failure("value", f"its dispatch cannot be sent: {reason}")
        task = self._in_flight.pop(dispatch, None)
        return ev.Failed(failure, *task, 0) if task is not None else None

    def returned(self, dispatch: int, at: float) -> list[Command]:
        """There is no such queue (any more)."""
        self._in_flight.pop(dispatch, None)
        self._paused_until = at + RETURNED_SECS
        return [base.Declare(self.queue, base.Kind.QUEUE)]

    def announce(self) -> list[Command]:
        """Log what the work queue has confirmed: what the log calls dispatched was truly on the queue."""
        if not self._confirmed:
            return []
        items, self._confirmed = tuple(self._confirmed), []
        return [self._journal.write(ev.Dispatched(items, self._state.revision))]

    def fill(self, at: float) -> list[Command]:
        """About half a second's worth of dispatches, and one for each busy worker, which may hold one in advance."""
        if at < self._paused_until:
            return []
        while self._starts and at - self._starts[0] > WINDOW_SECS:
            self._starts.popleft()
        least = MIN_WINDOW_RUNNING if self._state.running else MIN_WINDOW
        window = min(max(len(self._starts), least), MAX_WINDOW)
        room = window + len(self._state.busy) - len(self._state.unstarted) - len(self._in_flight)
        commands: list[Command] = []
        on_their_way = set(self._in_flight.values())
        for number, stage in enumerate(self._state.stages[:-1]):
            if not stage.sealed:
                break
            for index in stage.pending:
                if room <= 0:
                    return commands
                if (number, index) not in on_their_way and self._is_due(number, index, at):
                    commands.append(self.dispatch(number, index))
                    room -= 1
        return commands

    def copy(self, tasks: Iterable[tuple[int, int]], most: int) -> list[Command]:
        """Dispatch tasks once more that are out already, so many at most."""
        on_their_way = set(self._in_flight.values())
        most -= len(on_their_way & {*self._state.unstarted.values(), *self._state.running.values()})
        wanted = [task for task in dict.fromkeys(tasks) if task not in on_their_way]
        return [self.dispatch(*task) for task in wanted[: max(0, most)]]

    def _is_due(self, stage: int, index: int, at: float) -> bool:
        task = self._state.stages[stage].tasks[index]
        if len(task.losses) >= tries.MAX_LOSSES or at < self._not_before.get((stage, index), 0.0):
            return False
        self._not_before.pop((stage, index), None)
        return True

    def dispatch(self, stage: int, index: int) -> Command:
        """One dispatch of a task of the current generation."""
        state, spec = self._state, self._state.spec
        assert spec is not None
        task = state.stages[stage].tasks[index]
        number = self._rng.getrandbits(63)
        self._in_flight[number] = (stage, index)
        msg = ev.Dispatch(
            self._job, number, stage, index, state.stages[stage].generation,
            state.splits[index] if stage == 0 else None, alone=bool(task.losses) or task.careful,
            revision=state.revision, code=self._code,
        )  # fmt: skip
        if tries.is_careful(spec, stage, task):
            left = max(0, spec.skip_bad - state.left_out)
            msg = replace(msg, careful=True, skip=tuple(sorted(task.skips)), skip_limit=left)
        return base.Publish(self.queue, wire.encode(msg), f"{self._prefix}{number}")
