"""What anyone knows of a job: a fold over its log.

    state = JobState()
    for event in log: state.apply(event)

Coordinators, clients, progress displays: all fold the same events in the same order, so all agree on which
attempt won a task and which seal is current. `apply` is pure, total (no event can make it raise) and indifferent
to repeats. The first valid terminal event freezes the outcome.

Life of a task:  pending ─Dispatched─▶ live ─Started─▶ live, running ─Done─▶ won
                    ▲                    │
                    └── Lost, Returned, AttemptFailed of its last live dispatch; Missing, which voids a win

What a failure costs: a try, unless another attempt of the task still runs (the try is not over), the failure is the
worker's or the broker's own trouble (`Task.troubles`), or it names a record that may be left out (`Task.skips`).

A job that has failed goes on when somebody says `Retried`, until `Expired` stands in its log: what was won stays, all
else is forgotten, and nothing counts any more that was dispatched before, or decided (`JobState.revision`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable, NamedTuple, Optional, Union

from mapreduce import events as ev
from mapreduce.refs import Counters, Failure, Skipped, Stats
from mapreduce.spec import JobSpec

Terminal = Union[ev.Failed, ev.Cancelled, ev.Abandoned, ev.Delivered]

#: failures that ended the process in which the attempt ran: only a careful attempt can name the record
KILLED = ("died", "timeout", "memory")
#: failures of one worker, which others may not have: its disk, its descriptors, what the job needs and it has not got
LOCAL = ("disk", "files", "folder", "code")
#: failures that neither the user's code nor its data are to blame for
TROUBLE = (*LOCAL, "lost")


class Running(NamedTuple):
    """A started attempt."""

    attempt: int
    worker: str
    long: bool = False


class Winner(NamedTuple):
    """The attempt whose blocks count."""

    attempt: int
    blocks: dict[int, int]
    counters: Counters
    stats: Stats
    skipped: tuple[Skipped, ...] = ()


class Voided(NamedTuple):
    """A win that was taken back, because the broker does not hold what it wrote."""

    times: int  #: that this task's wins were
    stage: int
    task: int  #: index in its stage
    partition: int  #: of the stage after it, the last one that missed something


#: shared by all tasks that have none: each would take 60 to 200 bytes
_NO_RECORDS: Mapping[int, Skipped] = MappingProxyType({})
_NO_DISPATCHES: frozenset[int] = frozenset()


class Task:
    """One split or partition."""

    __slots__ = (
        "careful", "failure", "failures", "live", "losses", "plain_failures", "skips", "spared", "troubles",
        "unaware", "winner",
    )  # fmt: skip

    def __init__(self) -> None:
        self.winner: Optional[Winner] = None
        #: dispatches on their way or running: None until started
        self.live: dict[int, Optional[Running]] = {}
        #: tries used up
        self.failures = 0
        self.plain_failures = 0  #: those among them that no careful attempt used up
        self.failure: Optional[Failure] = None  #: the last one
        #: workers that failed it for reasons of their own or of the broker's, one entry for each time
        self.troubles: tuple[str, ...] = ()
        #: something ended the process of an attempt: from now on attempts are careful
        self.careful = False
        #: a failure has cost no try because another attempt still runs
        self.spared = False
        #: records to leave out, by position: careful attempts ended on them
        self.skips: Mapping[int, Skipped] = _NO_RECORDS
        #: dispatches that were live when the last of these became known, or the last try failed: they may end so, too
        self.unaware = _NO_DISPATCHES
        #: workers that fell silent with a started attempt of this task; a sign of life strikes them out
        self.losses: tuple[str, ...] = ()


@dataclass
class Stage:
    """Tasks that read the same kind of input. The stage after the last one stands for the client's `out`."""

    #: how often the input of this stage has been voided; seals and results of other generations are void
    generation: int = 0
    #: whether the seals of this generation have been written (stage 0 needs none)
    sealed: bool = False
    #: how many tasks there are, once that is known
    total: Optional[int] = None
    done: int = 0
    tasks: dict[int, Task] = field(default_factory=dict)
    #: tasks that have neither a winner nor a live dispatch, in order of appearance
    pending: dict[int, None] = field(default_factory=dict)
    #: blocks that winners wrote, per partition
    written: dict[int, int] = field(default_factory=dict)
    #: how often a win of a task was voided because the broker lost what it wrote; survives all generations
    voids: Counter[int] = field(default_factory=Counter)
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def complete(self) -> bool:
        """Every task has a winner."""
        return self.total is not None and self.done == self.total


class JobState:
    """The fold. Read its attributes freely; only `apply` changes them."""

    def __init__(self) -> None:
        self.job = ""
        self.spec: Optional[JobSpec] = None
        #: by its client's clock, for people: seconds since the epoch
        self.submitted_at = 0.0
        self.stages: list[Stage] = []
        self.splits: dict[int, ev.SplitInput] = {}
        self.lease: Optional[ev.Rank] = None
        self.cancel_reason: Optional[str] = None
        self.terminal: Optional[Terminal] = None
        self.delivered = False
        #: the `Retried` that were valid, by their numbers
        self.retries: list[int] = []
        self.revision = 0  #: how many these are: how often the job went on after it had failed
        self._retries_read: set[int] = set()  #: valid or not: one that comes again is void
        #: what was kept of the failed job is given up
        self.expired = False
        self.counters: Counters = {}
        #: live dispatches that no worker has started, oldest first
        self.unstarted: dict[int, tuple[int, int]] = {}
        #: live dispatches that run
        self.running: dict[int, tuple[int, int]] = {}
        #: how many of these each worker runs; nobody has a zero
        self.busy: Counter[str] = Counter()
        self.workers: dict[str, None] = {}
        #: workers that have won a task
        self.able: set[str] = set()
        #: records that are left out as things stand: what winners did leave out, and `skips` of tasks without one
        self.left_out = 0
        #: of all tasks the one whose wins were voided most often
        self.most_voided: Optional[Voided] = None
        self.attempts = 0
        self.failures = 0
        self.losses = 0
        #: grows whenever a coordinator's work bears fruit: a task starts, or is won
        self.progress = 0
        #: dispatches whose end is known; a `Dispatched` or `Started` that comes late must not revive them
        self._ended: set[int] = set()
        self._waiting_for_pardon: dict[str, set[tuple[int, int]]] = {}

    # ------------------------------------------------------------ reading

    @property
    def out(self) -> Stage:
        """The stage that stands for the job's output."""
        return self.stages[-1]

    @property
    def last(self) -> int:
        """Number of the last stage that runs tasks."""
        return len(self.stages) - 2

    @property
    def ready(self) -> bool:
        """The output is complete and sealed, ready to be collected."""
        return bool(self.stages) and self.stages[-1].sealed

    @property
    def kept(self) -> bool:
        """It has failed, and all its streams are there, to be looked into."""
        failed = self.terminal if isinstance(self.terminal, ev.Failed) else None
        if failed is None or self.spec is None or self.expired:
            return False
        return self.spec.keep_secs > 0 and failed.failure.kind != "lost"

    @property
    def can_go_on(self) -> bool:
        """A `Retried` is valid now: the job is kept, and its input all there."""
        return self.kept and self.stages[0].total is not None

    def task(self, stage: int, index: int) -> Optional[Task]:
        """The task, if it exists in the current generation."""
        return self.stages[stage].tasks.get(index) if 0 <= stage < len(self.stages) else None

    def seal_entries(self, stage: int) -> dict[int, list[ev.SealEntry]]:
        """Per partition of ``stage``, what its seal says, from the winners of the stage before (complete).

        Partitions that got no block are left out: there is nothing to read, so there is no task.
        """
        entries: dict[int, list[ev.SealEntry]] = {}
        tasks = self.stages[stage - 1].tasks
        for index in sorted(tasks):
            winner = tasks[index].winner
            if winner is not None:
                for partition, blocks in winner.blocks.items():
                    entries.setdefault(partition, []).append(ev.SealEntry(index, winner.attempt, blocks))
        return entries

    def has_ended(self, dispatch: int) -> bool:
        """Whether the log has its end; what it says of the dispatch later means nothing."""
        return dispatch in self._ended

    def skipped(self) -> list[tuple[int, int, Skipped]]:
        """The records that the winners left out, with stage and index of their task, in this order."""
        return [
            (number, index, record)
            for number, stage in enumerate(self.stages)
            for index, task in sorted(stage.tasks.items())
            if task.winner is not None
            for record in sorted(task.winner.skipped)
        ]

    # ------------------------------------------------------------ folding

    def apply(self, event: Any) -> None:
        """Take the next event of the log."""
        kind = type(event)
        worker = getattr(event, "worker", None)
        if worker is not None and kind not in _FOR_VIEWERS:
            self.workers.setdefault(worker)
            if worker in self._waiting_for_pardon:
                self._pardon(worker)
        if self.terminal is not None and kind not in _AFTER_THE_END:
            return
        if not (self.stages or self.terminal) and kind not in _FIRST:
            return  # the first event is lost or garbage: nothing that follows has a meaning
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, event)

    def _pardon(self, worker: str) -> None:
        """It is alive after all."""
        for stage, index in self._waiting_for_pardon.pop(worker):
            task = self.task(stage, index)
            if task is not None and worker in task.losses:
                task.losses = tuple(each for each in task.losses if each != worker)

    def _submitted(self, event: ev.Submitted) -> None:
        if self.spec is None:
            self.job, self.spec, self.submitted_at = event.job, event.spec, event.at
            self.stages = [Stage() for _ in range(event.spec.stages + 1)]
            self.stages[0].sealed = True

    def _splits(self, event: ev.Splits) -> None:
        for index, split in enumerate(event.splits, event.first):
            if index not in self.splits:
                self.splits[index] = split
                self._add_task(self.stages[0], index)

    def _input_complete(self, event: ev.InputComplete) -> None:
        if self.stages[0].total is None:
            self.stages[0].total = event.count

    def _took(self, event: ev.Took) -> None:
        if self.lease is None or event.rank > self.lease:
            self.lease = event.rank

    def _dispatched(self, event: ev.Dispatched) -> None:
        for item in event.items if event.revision == self.revision else ():
            self._add_dispatch(item.dispatch, item.stage, item.task)

    def _started(self, event: ev.Started) -> None:
        task = self._current(event)
        if task is None or task.winner is not None:
            return
        if event.dispatch not in task.live:  # it was published before its `Dispatched` was
            self._add_dispatch(event.dispatch, event.stage, event.index)
        if event.dispatch not in task.live:  # its end is known already: a zombie's last words
            return
        before = task.live[event.dispatch]
        if before is None:
            self.unstarted.pop(event.dispatch, None)
            self.running[event.dispatch] = (event.stage, event.index)
            self.attempts += 1
            self.progress += 1
        else:
            self._leave_worker(before)
        self.busy[event.worker] += 1
        task.live[event.dispatch] = Running(event.attempt, event.worker)

    def _long(self, event: ev.Long) -> None:
        task = self.task(event.stage, event.index)
        running = task.live.get(event.dispatch) if task is not None else None
        if task is not None and running is not None and running.attempt == event.attempt:
            task.live[event.dispatch] = running._replace(long=True)

    def _done(self, event: ev.Done) -> None:
        task = self._current(event)
        if task is None or task.winner is not None:
            self._end_dispatch(event.stage, event.index, event.dispatch)
            return
        stage = self.stages[event.stage]
        self._ended.add(event.dispatch)
        self._forget_dispatches(task)
        counters, stats = _whole(event.counters), _whole(event.stats)
        task.winner = Winner(event.attempt, event.blocks, counters, stats, event.skipped)
        task.losses = ()
        self.able.add(event.worker)
        stage.pending.pop(event.index, None)
        stage.done += 1
        self.progress += 1
        self._account(stage, task, task.winner, 1)

    def _attempt_failed(self, event: ev.AttemptFailed) -> None:
        task = self._current(event)
        counts = task is not None and task.winner is None and event.dispatch in task.live
        self._end_dispatch(event.stage, event.index, event.dispatch)
        if task is not None and counts:
            self.failures += 1
            self._charge(task, event)

    def _charge(self, task: Task, event: ev.AttemptFailed) -> None:
        """What the failure costs its task."""
        failure = task.failure = event.failure
        if failure.kind in KILLED:
            task.careful = True
            known = failure.position in task.skips and event.dispatch in task.unaware
            if known or self._leave_out(task, failure):
                return
        if failure.kind in TROUBLE:
            task.troubles += (event.worker,)
        elif any(task.live.values()):
            task.spared = True
        elif event.dispatch not in task.unaware:
            # else it was sent out before the last failure: a copy, no new try
            task.failures += 1
            task.plain_failures += event.plain
            task.unaware = frozenset(task.live)

    def _leave_out(self, task: Task, failure: Failure) -> bool:
        """Whether the record that ended a careful attempt may be left out from now on."""
        assert self.spec is not None
        position = failure.position
        if position < 0 or position in task.skips or self.left_out >= self.spec.skip_bad:
            return False
        its = (failure.source, failure.offset, failure.record, failure.message)
        task.skips = {**task.skips, position: Skipped(position, *its)}
        task.unaware = frozenset(task.live)
        self.left_out += 1
        return True

    def _lost(self, event: ev.Lost) -> None:
        task = self.task(event.stage, event.index)
        running = task.live.get(event.dispatch) if task is not None else None
        if task is not None and running is not None:
            self.losses += 1
            if running.worker not in task.losses:  # who is silent with two attempts of a task has died once
                task.losses += (running.worker,)
            self._waiting_for_pardon.setdefault(running.worker, set()).add((event.stage, event.index))
        self._end_dispatch(event.stage, event.index, event.dispatch)

    def _returned(self, event: ev.Returned) -> None:
        self._end_dispatch(event.stage, event.index, event.dispatch)

    def _missing(self, event: ev.Missing) -> None:
        if not 0 < event.stage < len(self.stages) or self.stages[event.stage].generation != event.generation:
            return  # that seal is void already
        before = self.stages[event.stage - 1]
        # Every task whose winner is named; one Missing may name many.
        named = set(event.attempts)
        voided = [i for i, t in before.tasks.items() if t.winner and t.winner.attempt in named]
        for index in voided:
            self._void(event.stage - 1, index, event.index)
        if voided:
            self._reopen(event.stage)
        else:  # somebody else has said so already; the reader has ended all the same
            self._end_dispatch(event.stage, event.index, event.dispatch)

    def _stage_sealed(self, event: ev.StageSealed) -> None:
        if not 0 < event.stage < len(self.stages):
            return
        stage, before = self.stages[event.stage], self.stages[event.stage - 1]
        if stage.sealed or stage.generation != event.generation or not before.complete:
            return
        stage.sealed = True
        if stage is not self.out:
            partitions = sorted(p for p, blocks in before.written.items() if blocks)
            stage.total = len(partitions)
            for partition in partitions:
                self._add_task(stage, partition)

    def _cancel_requested(self, event: ev.CancelRequested) -> None:
        """Of a job that has failed: it need not be kept."""
        if self.cancel_reason is None and isinstance(self.terminal, (type(None), ev.Failed)):
            self.cancel_reason = event.reason

    def _delivered(self, event: ev.Delivered) -> None:
        if self.terminal is not None:
            self.delivered = True
        elif self.ready and self.out.generation == event.generation:
            self.terminal, self.delivered = event, True

    def _end(self, event: Any) -> None:
        self.terminal = event

    def _failed(self, event: ev.Failed) -> None:
        if event.revision == self.revision:
            self._end(event)

    def _expired(self, event: ev.Expired) -> None:
        if self.kept and event.revision == self.revision:
            self.expired = True

    def _retried(self, event: ev.Retried) -> None:
        is_new = event.number not in self._retries_read
        self._retries_read.add(event.number)
        if not (is_new and self.can_go_on):
            return
        assert self.spec is not None
        self.retries.append(event.number)
        self.revision += 1
        self.terminal, self.delivered, self.cancel_reason = None, False, None
        self.progress += 1
        if event.bundle is not None:
            self.spec = replace(self.spec, bundle=event.bundle)
        for stage in self.stages:
            for index, task in stage.tasks.items():
                if task.winner is None:
                    self._begin_anew(stage, index, task)

    # ------------------------------------------------------------ pieces of the above

    def _current(self, event: Any) -> Optional[Task]:
        """The event's task, if the event speaks of the input that is valid now, and of the code."""
        if not 0 <= event.stage < len(self.stages) or event.revision != self.revision:
            return None
        stage = self.stages[event.stage]
        return stage.tasks.get(event.index) if stage.generation == event.generation else None

    def _add_task(self, stage: Stage, index: int) -> None:
        stage.tasks[index] = Task()
        stage.pending[index] = None

    def _begin_anew(self, stage: Stage, index: int, task: Task) -> None:
        """As if it had never been tried."""
        self._ended.update(task.live)
        self._forget_dispatches(task)
        self.left_out -= len(task.skips)
        self._add_task(stage, index)

    def _add_dispatch(self, dispatch: int, stage: int, index: int) -> None:
        if dispatch in self._ended:
            return
        task = self.task(stage, index)
        if task is not None and task.winner is None and dispatch not in task.live:
            task.live[dispatch] = None
            self.unstarted[dispatch] = (stage, index)
            self.stages[stage].pending.pop(index, None)

    def _end_dispatch(self, stage: int, index: int, dispatch: int) -> None:
        self._ended.add(dispatch)
        task = self.task(stage, index)
        if task is None or dispatch not in task.live:
            return
        self._leave_queues(dispatch, task.live.pop(dispatch))
        if not task.live:
            task.spared = False
            if task.winner is None:
                self.stages[stage].pending[index] = None

    def _forget_dispatches(self, task: Task) -> None:
        for dispatch, running in task.live.items():
            self._leave_queues(dispatch, running)
        task.live.clear()
        task.spared = False

    def _leave_queues(self, dispatch: int, running: Optional[Running]) -> None:
        if running is None:
            self.unstarted.pop(dispatch, None)
        else:
            self.running.pop(dispatch, None)
            self._leave_worker(running)

    def _leave_worker(self, running: Running) -> None:
        self.busy[running.worker] -= 1
        if not self.busy[running.worker]:
            del self.busy[running.worker]

    def _void(self, number: int, index: int, partition: int) -> None:
        """Take a win back: the task has to run again."""
        stage = self.stages[number]
        task = stage.tasks[index]
        assert task.winner is not None
        self._account(stage, task, task.winner, -1)
        task.winner = None
        stage.done -= 1
        stage.pending[index] = None
        stage.voids[index] += 1
        times = stage.voids[index]
        if self.most_voided is None or times > self.most_voided.times:
            self.most_voided = Voided(times, number, index, partition)

    def _reopen(self, number: int) -> None:
        """The input of this stage is void: so are its seal, its tasks and all that was read from them."""
        stage = self.stages[number]
        stage.generation += 1
        if not stage.sealed:
            return
        for task in stage.tasks.values():
            self._forget_dispatches(task)
            if task.winner is not None:
                self._account(stage, task, task.winner, -1)
            self.left_out -= len(task.skips)
        stage.sealed, stage.total, stage.done = False, None, 0
        stage.tasks, stage.pending = {}, {}
        if number + 1 < len(self.stages):
            self._reopen(number + 1)

    def _account(self, stage: Stage, task: Task, winner: Winner, sign: int) -> None:
        self.left_out += sign * (len(winner.skipped) - len(task.skips))
        for partition, blocks in winner.blocks.items():
            stage.written[partition] = stage.written.get(partition, 0) + sign * blocks
        for name, value in winner.counters.items():
            self.counters[name] = self.counters.get(name, 0) + sign * value
            if not self.counters[name]:
                del self.counters[name]
        stage.records_in += sign * winner.stats.get("records_in", 0)
        stage.records_out += sign * winner.stats.get("records_out", 0)
        stage.bytes_in += sign * winner.stats.get("bytes_in", 0)
        stage.bytes_out += sign * winner.stats.get("bytes_out", 0)


def _whole(numbers: dict[str, Any]) -> dict[str, int]:
    """Those that can be added up: a log may hold anything."""
    if set(map(type, numbers.values())) <= _INT:
        return numbers
    return {name: number for name, number in numbers.items() if type(number) is int}


_INT = frozenset([int])
#: they may come late, or never, and change nothing
_FOR_VIEWERS = frozenset([ev.Printed, ev.Profiled, ev.Marked])
#: they mean something before `Submitted`
_FIRST = frozenset([ev.Submitted, ev.Took, ev.Failed, ev.Cancelled, ev.Abandoned])
_AFTER_THE_END = frozenset([ev.Took, ev.Delivered, ev.CancelRequested, ev.Retried, ev.Expired])

_HANDLERS: dict[type, Callable[[JobState, Any], None]] = {
    ev.Submitted: JobState._submitted,
    ev.Splits: JobState._splits,
    ev.InputComplete: JobState._input_complete,
    ev.Took: JobState._took,
    ev.Dispatched: JobState._dispatched,
    ev.Started: JobState._started,
    ev.Done: JobState._done,
    ev.AttemptFailed: JobState._attempt_failed,
    ev.Lost: JobState._lost,
    ev.Returned: JobState._returned,
    ev.Missing: JobState._missing,
    ev.Long: JobState._long,
    ev.StageSealed: JobState._stage_sealed,
    ev.CancelRequested: JobState._cancel_requested,
    ev.Delivered: JobState._delivered,
    ev.Failed: JobState._failed,
    ev.Retried: JobState._retried,
    ev.Expired: JobState._expired,
    ev.Cancelled: JobState._end,
    ev.Abandoned: JobState._end,
}
