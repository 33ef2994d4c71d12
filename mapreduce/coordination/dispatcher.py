"""Which task is dispatched when: first runs, tries after failures, losses, copies of stragglers: one path for all.

A dispatch goes to the work queue first and is logged as `Dispatched` once that has confirmed it. While tasks are short
several go in one message, a *range*: to one worker, which starts and ends each of them for itself.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination import tries
from mapreduce.coordination.journal import Journal
from mapreduce.coordination.standing import Standing
from mapreduce.effects import Command
from mapreduce.haste import Haste
from mapreduce.refs import Failure
from mapreduce.state import JobState

#: dispatches that wait for a worker: at least, while nothing of the job runs, and while something does. Tasks may be
#: long, and other jobs' tasks stand behind them
MIN_WINDOW = 4
MIN_WINDOW_RUNNING = 2
MAX_WINDOW = 1000
WINDOW_SECS = 0.5
#: while tasks are short, what is started in less than that says how much is started in that; but what is started at
#: once, for all of it was there at once, says no more than it would if it had taken so long
LEAST_SECS = 0.02
#: a range has so many dispatches and bytes at most, and is such a part of what waits: there is one for every worker
MAX_RANGE = 32
MAX_RANGE_BYTES = 64 << 10
RANGE_SHARE = 8
#: dispatches that are sent at a time: workers begin with these while more are being made
MAX_AT_ONCE = 128
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
        #: all in the message of a dispatch, the first of its range, that is on its way to the queue
        self._ranges: dict[int, list[ev.DispatchRef]] = {}
        self._haste = Haste()
        self._standing = Standing(state)
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
        self._standing.note(entry)
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                self._in_flight.pop(item.dispatch, None)
        elif isinstance(entry, ev.Started):
            self._in_flight.pop(entry.dispatch, None)
            if not read_later:
                self._starts.append(at)
        elif isinstance(entry, ev.Done):
            seconds = entry.stats.get("seconds")
            if isinstance(seconds, (int, float)):
                self._haste.took(seconds)
        elif isinstance(entry, ev.Returned):
            self._haste.stop()  # whoever had it has something that takes long
        elif isinstance(entry, ev.AttemptFailed):
            task = self._state.task(entry.stage, entry.index)
            if task is not None and task.failure is not None:
                self._not_before[entry.stage, entry.index] = at + tries.backoff(task, self._rng)

    def restart(self, corrected: Optional[ev.CodeRef]) -> None:
        """The job had failed and goes on: with other code, if that is ``corrected``. What was dispatched is void."""
        self._code = corrected or self._code
        self._in_flight.clear()
        self._ranges.clear()
        self._confirmed.clear()
        self._not_before.clear()

    def confirmed(self, first: int) -> None:
        """The queue has the message that begins with this dispatch."""
        for each in self._ranges.pop(first, ()):
            if each.dispatch in self._in_flight:
                self._confirmed.append(each)

    def refused(self, first: int, reason: str) -> Optional[ev.Failed]:
        """The broker does not take such a message, now or ever. None: it is void by now."""
        failure = Failure("value", f"its dispatch cannot be sent: {reason}")
        task = self._in_flight.get(first)
        self._forget(first)
        return ev.Failed(failure, *task, 0) if task is not None else None

    def returned(self, first: int, at: float) -> list[Command]:
        """There is no such queue (any more)."""
        self._forget(first)
        self._paused_until = at + RETURNED_SECS
        return [base.Declare(self.queue, base.Kind.PRIORITY)]

    def _forget(self, first: int) -> None:
        for each in self._ranges.pop(first, ()):
            self._in_flight.pop(each.dispatch, None)

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
        if self._standing.passed_over(at):
            return self._go_first(at)
        window = self._window(at)
        room = window + len(self._state.busy) - len(self._state.unstarted) - len(self._in_flight)
        size = max(1, min(window // RANGE_SHARE, MAX_RANGE)) if self._haste.seems_short else 1
        if room < size:
            return []  # when more have been started
        messages = (self._message(*task) for task in islice(self._due(at), min(room, MAX_AT_ONCE)))
        return [self._publish(some) for some in _ranges(messages, size)]

    def _window(self, at: float) -> int:
        """How many are started in half a second, by what was started in the last one."""
        starts = self._starts
        while starts and at - starts[0] > WINDOW_SECS:
            starts.popleft()
        window = len(starts)
        if starts and self._haste.seems_short:
            # where a job begins, or goes on after a pause, half a second may be as long as all of it takes
            window = int(window * WINDOW_SECS / max(at - starts[0], LEAST_SECS))
        least = MIN_WINDOW_RUNNING if self._state.running else MIN_WINDOW
        return min(max(window, least), MAX_WINDOW)

    def _due(self, at: float) -> Iterator[tuple[int, int]]:
        """Tasks that can be dispatched now, in order."""
        on_their_way = set(self._in_flight.values())
        for number, stage in enumerate(self._state.stages[:-1]):
            if not stage.sealed:
                break
            for index in stage.pending:
                if (number, index) not in on_their_way and self._is_due(number, index, at):
                    yield number, index

    def _go_first(self, at: float) -> list[Command]:
        """One task before all others of the pool: the next, or, if there is none, one that waits there already.

        The latter makes a copy, for what waited may be started, too. So the last tasks of a job without copies, for
        which none may run beside another, wait for their turn; it does not come while others' of a higher priority do.
        """
        task = next(self._due(at), None)
        if task is not None:
            return [self._publish([self._message(*task)], base.MAX_PRIORITY)]
        copies = self._state.spec is not None and self._state.spec.copies
        return self.copy(self._state.unstarted.values(), 1, base.MAX_PRIORITY) if copies else []

    def copy(
        self, tasks: Iterable[tuple[int, int]], most: int, priority: Optional[int] = None
    ) -> list[Command]:
        """Dispatch tasks once more that are out already, so many at most."""
        on_their_way = set(self._in_flight.values())
        most -= len(on_their_way & {*self._state.unstarted.values(), *self._state.running.values()})
        wanted = [task for task in dict.fromkeys(tasks) if task not in on_their_way]
        return [self._publish([self._message(*task)], priority) for task in wanted[: max(0, most)]]

    def _is_due(self, stage: int, index: int, at: float) -> bool:
        task = self._state.stages[stage].tasks[index]
        if len(task.losses) >= tries.MAX_LOSSES or at < self._not_before.get((stage, index), 0.0):
            return False
        self._not_before.pop((stage, index), None)
        return True

    def dispatch(self, stage: int, index: int) -> Command:
        """One dispatch of a task of the current generation."""
        return self._publish([self._message(stage, index)])

    def _publish(self, messages: list[ev.Dispatch], priority: Optional[int] = None) -> Command:
        """``priority``: other than that of the job."""
        first = messages[0].dispatch
        priority = self._standing.priority if priority is None else priority
        self._ranges[first] = [
            ev.DispatchRef(each.dispatch, each.stage, each.index, priority) for each in messages
        ]
        self._in_flight.update((each.dispatch, (each.stage, each.index)) for each in messages)
        body = wire.encode_all(messages)
        return base.Publish(self.queue, body, f"{self._prefix}{first}", priority=priority)

    def _message(self, stage: int, index: int) -> ev.Dispatch:
        state, spec = self._state, self._state.spec
        assert spec is not None
        task = state.stages[stage].tasks[index]
        number = self._rng.getrandbits(63)
        msg = ev.Dispatch(
            self._job, number, stage, index, state.stages[stage].generation,
            state.splits[index] if stage == 0 else None, alone=bool(task.losses) or task.careful,
            revision=state.revision, code=self._code,
        )  # fmt: skip
        if tries.is_careful(spec, stage, task):
            left = max(0, spec.skip_bad - state.left_out)
            msg = replace(msg, careful=True, skip=tuple(sorted(task.skips)), skip_limit=left)
        return msg


def _ranges(messages: Iterable[ev.Dispatch], size: int) -> Iterator[list[ev.Dispatch]]:
    """What travels as one message."""
    some: list[ev.Dispatch] = []
    bytes_left = MAX_RANGE_BYTES
    for message in messages:
        bytes_left -= _weight(message)
        fits = some and len(some) < size and bytes_left >= 0 and all(map(_is_sociable, (some[0], message)))
        if some and not fits:
            yield some
            some, bytes_left = [], MAX_RANGE_BYTES - _weight(message)
        some.append(message)
    if some:
        yield some


def _is_sociable(message: ev.Dispatch) -> bool:
    """Not one that has to be alone with its worker; nor one whose input a worker would have to read from a stream,
    for it begins to with all that it holds."""
    return not message.alone and message.input is not None and not message.input.pieces


def _weight(message: ev.Dispatch) -> int:
    """Bytes that it takes, about."""
    if message.input is None:
        return 100
    names = sum(100 + len(each.name) + len(each.path) for each in message.input.split.segments)
    return 100 + names + len(message.input.data or b"")
