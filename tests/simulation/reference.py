"""What a log says, folded a second time: small, obvious, slow, and sharing nothing with `mapreduce.state` but events.

A coordinator that has read the log up to some entry must know exactly this. Where the two folds part, one is wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple, Optional

from mapreduce import events as ev
from mapreduce.spec import JobSpec
from mapreduce.state import JobState

_KILLED = ("died", "timeout", "memory")
_TERMINAL = (ev.Failed, ev.Cancelled, ev.Abandoned)
TaskId = tuple[int, int]  #: stage, index


class Facts(NamedTuple):
    """What must not be in doubt."""

    terminal: Any
    delivered: bool
    retries: list[int]
    expired: bool
    unwanted: bool
    generations: list[int]
    sealed: list[bool]
    tasks: set[TaskId]
    winners: dict[TaskId, int]
    live: dict[int, TaskId]
    counters: dict[str, int]
    skips: dict[TaskId, set[int]]
    left_out: int


class Reference:
    """Of one job."""

    def __init__(self) -> None:
        self.spec: Optional[JobSpec] = None
        self.terminal: Any = None
        self.delivered = False
        self.retries: list[int] = []  #: those that let the job go on
        self.bundles: list[dict[str, Any]] = []  #: the code of each revision
        self.expired = False
        self.unwanted = False  #: somebody has cancelled it
        self.total: Optional[int] = None  #: splits
        self.generations: list[int] = []
        self.sealed: list[bool] = []
        self.tasks: set[TaskId] = set()
        self.winners: dict[TaskId, ev.Done] = {}
        self.live: dict[int, TaskId] = {}
        self.skips: dict[TaskId, set[int]] = {}
        self._ended: set[int] = set()
        self._retries_read: list[int] = []

    # ------------------------------------------------------------ reading

    def facts(self) -> Facts:
        counters: Counter[str] = Counter()
        for done in self.winners.values():
            counters.update(done.counters)
        return Facts(
            self.terminal,
            self.delivered,
            list(self.retries),
            self.expired,
            self.unwanted,
            list(self.generations),
            list(self.sealed),
            set(self.tasks),
            {task: done.attempt for task, done in self.winners.items()},
            dict(self.live),
            dict(counters),
            {task: set(positions) for task, positions in self.skips.items()},
            self.left_out(),
        )

    def kept(self) -> bool:
        """It has failed, and nothing of it may be deleted yet."""
        if not isinstance(self.terminal, ev.Failed) or self.spec is None or self.expired:
            return False
        return self.spec.keep_secs > 0 and self.terminal.failure.kind != "lost"

    def knows_end_of(self, dispatch: int) -> bool:
        """It cannot be live any more."""
        return dispatch in self._ended

    def left_out(self) -> int:
        waiting = sum(len(where) for task, where in self.skips.items() if task not in self.winners)
        return waiting + sum(len(done.skipped) for done in self.winners.values())

    def complete(self, stage: int) -> bool:
        """Every task of it has been won, and there will be no more."""
        if not self.sealed[stage] or (stage == 0 and self.total is None):
            return False
        tasks = [task for task in self.tasks if task[0] == stage]
        return all(task in self.winners for task in tasks) and (stage > 0 or len(tasks) == self.total)

    def to_be_sealed(self) -> Optional[tuple[int, int]]:
        """Stage and generation of the seals that are due."""
        if self.terminal is None:
            for stage in range(1, len(self.sealed)):
                if not self.sealed[stage] and self.complete(stage - 1):
                    return stage, self.generations[stage]
        return None

    # ------------------------------------------------------------ folding

    def apply(self, event: Any) -> None:
        """The next entry of the log."""
        if isinstance(event, ev.Delivered) and self.terminal is not None:
            self.delivered = True
        if isinstance(event, ev.CancelRequested) and isinstance(self.terminal, ev.Failed):
            self.unwanted = True
        if isinstance(event, ev.Retried) and self.spec is not None:
            self._retry(event)
        if isinstance(event, ev.Expired) and event.revision == len(self.retries) and self.kept():
            self.expired = True
        if self.terminal is not None:
            return
        if isinstance(event, _TERMINAL):
            if not isinstance(event, ev.Failed) or event.revision == len(self.retries):
                self.terminal = event
        elif isinstance(event, ev.Submitted) and self.spec is None:
            self.spec = event.spec
            self.bundles = [event.spec.bundle]
            self.generations = [0] * (event.spec.stages + 1)
            self.sealed = [True] + [False] * event.spec.stages
        elif self.spec is not None:
            handler = getattr(self, f"_{type(event).__name__}", None)
            if handler is not None:
                handler(event)

    def _retry(self, event: ev.Retried) -> None:
        """Only what was won is still known."""
        again = event.number in self._retries_read
        self._retries_read.append(event.number)
        if again or not self.kept() or self.total is None:
            return
        assert self.spec is not None
        self.retries.append(event.number)
        self.terminal, self.delivered, self.unwanted = None, False, False
        self._ended |= set(self.live)
        self.live = {}
        self.skips = {task: where for task, where in self.skips.items() if task in self.winners}
        if event.bundle is not None:
            self.spec = replace(self.spec, bundle=event.bundle)
        self.bundles.append(self.spec.bundle)

    def _CancelRequested(self, event: ev.CancelRequested) -> None:
        self.unwanted = True

    def _Splits(self, event: ev.Splits) -> None:
        self.tasks |= {(0, index) for index, _ in enumerate(event.splits, event.first)}

    def _InputComplete(self, event: ev.InputComplete) -> None:
        if self.total is None:
            self.total = event.count

    def _Dispatched(self, event: ev.Dispatched) -> None:
        for item in event.items if event.revision == len(self.retries) else ():
            self._revive(item.dispatch, (item.stage, item.task))

    def _Started(self, event: ev.Started) -> None:
        if self._is_current(event):
            self._revive(event.dispatch, (event.stage, event.index))

    def _Done(self, event: ev.Done) -> None:
        task = (event.stage, event.index)
        self._end(event.dispatch)
        if self._is_current(event) and task not in self.winners:
            self.winners[task] = event
            self.live = {dispatch: t for dispatch, t in self.live.items() if t != task}

    def _AttemptFailed(self, event: ev.AttemptFailed) -> None:
        task, at = (event.stage, event.index), event.failure.position
        counts = self._is_current(event) and event.dispatch in self.live
        ended_by_new = event.failure.kind in _KILLED and at >= 0 and at not in self.skips.get(task, ())
        if counts and ended_by_new and self.spec is not None and self.left_out() < self.spec.skip_bad:
            self.skips.setdefault(task, set()).add(at)
        self._end(event.dispatch)

    def _Lost(self, event: Any) -> None:
        self._end(event.dispatch)

    _Returned = _Lost

    def _Missing(self, event: ev.Missing) -> None:
        if not 0 < event.stage < len(self.sealed) or event.generation != self.generations[event.stage]:
            return
        void = [
            task
            for task, done in self.winners.items()
            if task[0] == event.stage - 1 and done.attempt in event.attempts
        ]
        if not void:
            self._end(event.dispatch)
            return
        for task in void:
            del self.winners[task]
        for stage in range(event.stage, len(self.sealed)):  # all that was read from them, directly or not
            self.generations[stage] += 1
            if not self.sealed[stage]:
                break
            self.sealed[stage] = False
            self._drop(stage)

    def _StageSealed(self, event: ev.StageSealed) -> None:
        stage = event.stage
        if not 0 < stage < len(self.sealed) or self.sealed[stage]:
            return
        if event.generation == self.generations[stage] and self.complete(stage - 1):
            self.sealed[stage] = True
            if stage < len(self.sealed) - 1:
                before = [done for task, done in self.winners.items() if task[0] == stage - 1]
                self.tasks |= {(stage, p) for done in before for p, blocks in done.blocks.items() if blocks}

    def _Delivered(self, event: ev.Delivered) -> None:
        if self.sealed[-1] and event.generation == self.generations[-1]:
            self.terminal, self.delivered = event, True

    # ------------------------------------------------------------ pieces of the above

    def _is_current(self, event: Any) -> bool:
        now = (
            (self.generations[event.stage], len(self.retries)) if event.stage < len(self.generations) else ()
        )
        return (event.stage, event.index) in self.tasks and now == (event.generation, event.revision)

    def _revive(self, dispatch: int, task: TaskId) -> None:
        if task in self.tasks and task not in self.winners and dispatch not in self._ended:
            self.live[dispatch] = task

    def _end(self, dispatch: int) -> None:
        self._ended.add(dispatch)
        self.live.pop(dispatch, None)

    def _drop(self, stage: int) -> None:
        self.tasks = {task for task in self.tasks if task[0] != stage}
        self.winners = {task: done for task, done in self.winners.items() if task[0] != stage}
        self.skips = {task: where for task, where in self.skips.items() if task[0] != stage}
        self.live = {dispatch: task for dispatch, task in self.live.items() if task[0] != stage}


def facts_of(state: JobState) -> Facts:
    """The same of the fold that the engine has."""
    tasks = {(n, index): task for n, stage in enumerate(state.stages) for index, task in stage.tasks.items()}
    return Facts(
        state.terminal,
        state.delivered,
        list(state.retries),
        state.expired,
        state.cancel_reason is not None,
        [stage.generation for stage in state.stages],
        [stage.sealed for stage in state.stages],
        set(tasks),
        {place: task.winner.attempt for place, task in tasks.items() if task.winner is not None},
        {**state.unstarted, **state.running},
        state.counters,
        {place: set(task.skips) for place, task in tasks.items() if task.skips},
        state.left_out,
    )
