"""The coordinator of one job: decides which task is dispatched when, from the fold of the job's log.

    lease taken ─▶ log `Took`, read the log from its start ─▶ own `Took` seen: caught up
        ─▶ coordinating: dispatch, seal, fail, …    ─▶ terminal event seen: winding up ─▶ lease acked: finished
    a higher `Took` seen, at any time: superseded ─▶ lease acked: finished

It has no state of its own that matters: everything is in the log, so that any worker can take over at any moment,
which happens every few minutes on purpose. All it says may be said twice, or by two coordinators at once.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.effects import Command, Report, Tick
from mapreduce.refs import Failure
from mapreduce.state import JobState
from mapreduce.watch import Watch

#: nothing is held unacked for ten minutes; and every limit in `watch` is shorter, or would never be reached
RENEW_SECS = 480.0
#: a coordinator that lives so long with the whole log read is not killed by it
PROOF_SECS = 10.0
PARKED_LOG_SECS = 120.0
#: a client's first lease is there in case it dies while it declares the job's streams; touching a stream that is
#: being declared ends the connection (RabbitMQ 3.10), and a lease that outranks this one is on its way
PROVISIONAL_SECS = 10.0
#: how long workers have to stop before the streams that they publish to are deleted; a publication that meets a
#: deletion ends the connection too
STOP_SECS = 1.0
#: a log that does not exist this long after its lease was taken never will: it is declared first
NO_LOG_SECS = 60.0
#: how long after that its first entry may take: thousands of streams are declared in between
SUBMISSION_SECS = 300.0
LOOK_AGAIN_SECS = 1.0
#: an own `Took` that has not come back by then is logged again
TOOK_AGAIN_SECS = 60.0
#: how long after a returned publication the next try comes
RETURNED_SECS = 1.0
#: how often the work queue is asked whether it is empty, once a dispatch has waited for long
DEPTH_SECS = 20.0
#: longer between two events than this: the process was suspended, and such time does not count
SUSPENDED_SECS = 5.0
#: a task whose executor or whole host died so often is given up
MAX_LOSSES = 4
#: how long a worker that lost its connection has to come back before its silence counts as its death
GRACE_SECS = 15.0
MIN_WINDOW = 4
MAX_WINDOW = 1000
WINDOW_SECS = 0.5
BACKOFF_SECS = 0.1
MAX_BACKOFF_SECS = 60.0
#: failures that another try cannot mend
FINAL_KINDS = ("input", "value")
SEAL_ENTRIES = 50_000
LOG_PREFETCH = 500

_CLIENT_EVENTS = (ev.Submitted, ev.Splits, ev.InputComplete, ev.Present, ev.CancelRequested, ev.Delivered)


class Coordinator:
    """One job's coordinator, for as long as its lease is the highest."""

    def __init__(
        self, lease: ev.Lease, receipt: base.Receipt, worker: str, rng: random.Random, prefix: str
    ) -> None:
        self.prefix = prefix
        self.finished = False
        self.lease = lease
        self.state = JobState()
        self.caught_up = False
        self._receipt: Optional[base.Receipt] = receipt
        self._worker = worker
        self._rng = rng
        self._log = ev.log_stream(lease.job)
        self._log_tag = f"{prefix}log"
        self._last = 0.0  #: when something happened last, on the host's clock
        self._slept = 0.0  #: how much of the host's clock this process was suspended
        self._taken_at = 0.0
        self._took_at = 0.0  #: when `Took` was logged
        self._caught_up_at = float("inf")
        self._idle_since = 0.0
        self._look_again_at: Optional[float] = None
        self._next_offset = 0
        self._reading = False
        self._progress_before = 0
        #: dispatches published, whose `Dispatched` has not come back through the log yet
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._announce: list[ev.DispatchRef] = []  #: confirmed by the queue, to be logged
        self._delays: dict[tuple[int, int], float] = {}
        self._dispatch_from = 0.0
        self._watch = Watch()
        self._suspects: dict[tuple[int, int], float] = {}
        self._starts: deque[float] = deque()
        self._sealing: dict[int, tuple[int, set[str]]] = {}  #: stage -> generation, seals not yet confirmed
        self._concluded = False
        self._renewing = False
        self._renew_from = 0.0
        self._leaving = False
        self._to_delete: Optional[set[str]] = None
        self._log_deleted = False
        self._stop_at: Optional[float] = None
        self._depth_asked_at = float("-inf")
        self._handlers: dict[type, Callable[[Any, float], list[Command]]] = {
            base.Delivered: self._on_log_entry,
            base.Confirmed: self._on_confirmed,
            base.Unroutable: self._on_unroutable,
            base.Gone: self._on_gone,
            base.Deleted: self._on_deleted,
            base.Depth: self._on_depth,
            Tick: self._on_tick,
        }

    def start(self, now: float) -> list[Command]:
        """Take the job over."""
        self._last = self._taken_at = now
        self._idle_since = now - self.lease.idle_secs
        if self.lease.rank.renewals == 0:
            self._look_again_at = now + PROVISIONAL_SECS
            return []
        return self._open_log(now)

    def park(self, now: float) -> list[Command]:
        """End a job whose coordinators keep dying, without reading its log: that may be what kills them."""
        self._last = self._taken_at = self._idle_since = now
        text = (
            f"{self.lease.takeovers} coordinators died without any progress; its log may be what kills them"
        )
        self.state.apply(ev.Abandoned(text))
        self.caught_up = True
        return [self._log_event(ev.Abandoned(text)), *self._act(now)]

    def hand_on(self, now: float) -> list[Command]:
        """Renew at once: this worker is leaving."""
        self._leaving = True
        return [] if self._renewing else self._publish_renewal(self._awake(now))

    def leave_if_provisional(self) -> list[Command]:
        """The job has ended: what this lease was kept for cannot happen any more."""
        return self._finish([]) if self._look_again_at is not None and self._next_offset == 0 else []

    @property
    def handed_on(self) -> bool:
        """The lease is somebody else's, or about to be."""
        return self._receipt is None

    def handle(self, event: Any, now: float) -> list[Command]:
        handler = self._handlers.get(type(event))
        if handler is None or self.finished:
            return []
        now = self._awake(now)
        return handler(event, now) + self._act(now)

    def _awake(self, now: float) -> float:
        """The host's clock without the times at which this process was suspended, and could not listen."""
        if now - self._last > SUSPENDED_SECS:
            self._slept += now - self._last
        self._last = now
        return now - self._slept

    # ------------------------------------------------------------ what happens

    def _on_log_entry(self, event: base.Delivered, now: float) -> list[Command]:
        commands: list[Command] = [base.Ack(event.receipt)]
        assert event.offset is not None
        if event.offset < self._next_offset:
            return commands
        self._next_offset = event.offset + 1
        try:
            entry, _ = wire.decode(event.body)
        except wire.BadMessage as error:
            text = (
                f"job {self.lease.job}: entry {event.offset} of its log is unreadable and left out: {error}"
            )
            return [*commands, Report("warning", text)]
        commands += self._before(entry)
        was_ready, was_over = self.state.ready, self.state.terminal is not None
        self.state.apply(entry)
        self._note(entry, now)
        if (self.state.ready, self.state.terminal is not None) != (was_ready, was_over) and self.caught_up:
            self._idle_since = now
        if isinstance(entry, ev.Took):
            commands += self._on_took(entry, now)
        return commands

    def _on_took(self, entry: ev.Took, now: float) -> list[Command]:
        if entry.rank == self.lease.rank and entry.worker == self._worker:
            return [] if self.caught_up else self._catch_up(now)
        if entry.rank > self.lease.rank:
            return self._finish([base.Cancel(self._log_tag)])
        return []

    def _catch_up(self, now: float) -> list[Command]:
        self.caught_up = True
        self._caught_up_at = now
        self._progress_before = self.state.progress
        if self.state.spec is None:
            return []
        return [base.Declare(self._tasks_queue(), base.Kind.QUEUE), *self._seal_again(now)]

    def _before(self, entry: Any) -> list[Command]:
        """What has to be looked up before the entry changes the state."""
        if isinstance(entry, ev.Done) and self.caught_up:
            task = self.state.task(entry.stage, entry.index)
            if task is not None and task.winner is None:
                losers = [
                    r.attempt for r in task.live.values() if r is not None and r.attempt != entry.attempt
                ]
                return [base.Broadcast(wire.encode(ev.StopAttempt(attempt))) for attempt in losers]
        return []

    def _note(self, entry: Any, now: float) -> None:
        """Book-keeping that belongs to this coordinator alone: times, and whom to look at."""
        self._watch.note(entry, now if self.caught_up else self._took_at)
        if isinstance(entry, ev.Dispatched):
            for item in entry.items:
                self._in_flight.pop(item.dispatch, None)
        elif isinstance(entry, ev.Started):
            self._in_flight.pop(entry.dispatch, None)
            self._starts.append(now)
        elif isinstance(entry, (ev.AttemptFailed, ev.Lost)):
            self._suspects[entry.stage, entry.index] = now
        elif isinstance(entry, _CLIENT_EVENTS) and self.caught_up:
            self._idle_since = now

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        kind, _, rest = event.token[len(self.prefix) :].partition(":")
        if kind == "dispatch":
            dispatch = int(rest)
            if dispatch in self._in_flight:
                self._announce.append(ev.DispatchRef(dispatch, *self._in_flight[dispatch]))
        elif kind == "seal":
            stage = int(rest.split(":")[0])
            generation, open_seals = self._sealing.get(stage, (-1, set()))
            if event.token in open_seals:
                open_seals.discard(event.token)
                if not open_seals and not self.state.stages[stage].sealed:
                    return [self._log_event(ev.StageSealed(stage, generation))]
        elif kind == "renewed" and self._receipt is not None:
            receipt, self._receipt = self._receipt, None
            return [base.Ack(receipt)]
        return []

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        kind, _, rest = event.token[len(self.prefix) :].partition(":")
        if kind == "dispatch":
            self._in_flight.pop(int(rest), None)
            self._dispatch_from = now + RETURNED_SECS
            return [base.Declare(self._tasks_queue(), base.Kind.QUEUE)]
        if kind == "renewed":
            self._renewing = False
            self._renew_from = now + RETURNED_SECS
            return [base.Declare(ev.JOBS, base.Kind.QUEUE)]
        if kind == "seal":
            return self._on_seal_returned(*map(int, rest.split(":")))
        if kind == "took" and not self._log_deleted and self.lease.rank.renewals > 0:
            self._look_again_at = now + LOOK_AGAIN_SECS  # the client may still be declaring
        # A log that is gone shows as `Gone`.
        return []

    def _on_seal_returned(self, stage: int, generation: int, partition: int, part: int) -> list[Command]:
        """Streams are deleted after the end alone, or by somebody else: nothing brings the data back."""
        if self._concluded or self.state.terminal is not None:
            return []
        name = ev.reads_from(self.lease.job, stage, partition, len(self.state.stages) - 1)
        failure = Failure("lost", f"the broker has no stream {name} any more")
        return self._conclude(ev.Failed(failure, stage, partition, 0))

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        if event.tag != self._log_tag or self._log_deleted:
            return []
        self._reading = False
        provisional = self.lease.rank.renewals == 0
        if self._next_offset == 0 and now - self._taken_at < NO_LOG_SECS and not provisional:
            self._look_again_at = now + LOOK_AGAIN_SECS
            return []
        self._log_deleted = True
        if self._to_delete is None:
            return self._begin_deleting()
        return [] if self._to_delete else self._finish([])

    def _on_deleted(self, event: base.Deleted, now: float) -> list[Command]:
        if self._to_delete is None or event.name not in self._to_delete:
            return []
        self._to_delete.discard(event.name)
        return self._finish([]) if not self._to_delete and self._log_deleted else []

    def _on_depth(self, event: base.Depth, now: float) -> list[Command]:
        """The work queue says how much it holds, because the oldest dispatch has waited for long.

        An empty one has lost it. In any other it may stand behind other jobs' dispatches. What is dispatched later
        tells: it cannot be started before it. If there is nothing left to dispatch, the oldest is repeated.
        """
        overdue = self._watch.overdue(self.state, now)
        if event.name != self._tasks_queue() or not overdue or self.state.terminal is not None:
            return []
        if event.ready <= 0:
            return [self._log_event(lost) for lost in overdue]
        if len(overdue) < len(self.state.unstarted) or self._in_flight:
            return []
        stage, index = overdue[0].stage, overdue[0].index
        return [self._dispatch_one(stage, index, self.state.stages[stage].generation)]

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        commands: list[Command] = []
        if self._look_again_at is not None and now >= self._look_again_at:
            self._look_again_at = None
            commands += self._open_log(now)
        if not self.caught_up and self._reading and now - self._took_at > TOOK_AGAIN_SECS:
            commands += self._log_took(now)
        if not self.caught_up or self.state.terminal is not None:
            return commands
        commands += [self._log_event(lost) for lost in self._watch.lost(self.state, now)]
        if now - self._depth_asked_at > DEPTH_SECS and self._watch.overdue(self.state, now):
            self._depth_asked_at = now
            commands.append(base.Inspect(self._tasks_queue()))
        return commands

    # ------------------------------------------------------------ what to do about it

    def _act(self, now: float) -> list[Command]:
        """The next steps that the state calls for; called after every event, so each step notes what it began."""
        if not self.caught_up or self.finished:
            return []
        if self.state.terminal is not None:
            return self._wind_up(now)
        if self.state.spec is None:  # its client died while it submitted, or is about to
            late = now - self._taken_at > SUBMISSION_SECS and not self._concluded
            return [
                *(self._conclude(ev.Abandoned("it was never submitted")) if late else []),
                *self._renew(now),
            ]
        return [
            *self._judge(now),
            *self._announce_dispatches(),
            *self._seal(),
            *self._dispatch(now),
            *self._renew(now),
        ]

    def _judge(self, now: float) -> list[Command]:
        """End the job if it must end."""
        if self._concluded:
            return []
        if self.state.cancel_reason is not None:
            return self._conclude(ev.Cancelled(self.state.cancel_reason))
        splits = self.state.stages[0]
        if splits.total is not None and len(splits.tasks) < splits.total:  # the log is ordered
            index = next(i for i in range(splits.total) if i not in splits.tasks)
            text = "the broker lost a part of the list of splits that it had confirmed"
            return self._conclude(ev.Failed(Failure("lost", text), 0, index, 0))
        assert self.state.spec is not None
        for (stage, index), since in list(self._suspects.items()):
            task = self.state.task(stage, index)
            if task is None or task.winner is not None:
                del self._suspects[stage, index]
            elif task.failure is not None and (
                task.failures >= self.state.spec.tries or task.failure.kind in FINAL_KINDS
            ):
                return self._conclude(ev.Failed(task.failure, stage, index, task.failures))
            elif len(task.losses) >= MAX_LOSSES and now - since > GRACE_SECS:
                text = f"{len(task.losses)} workers died while they ran it"
                return self._conclude(ev.Failed(Failure("died", text), stage, index, len(task.losses)))
        return self._judge_idle(now)

    def _judge_idle(self, now: float) -> list[Command]:
        spec = self.state.spec
        assert spec is not None
        idle = now - self._idle_since
        if spec.detached and self.state.stages[0].total is not None:
            if self.state.ready and idle > spec.expiry_secs:
                return self._conclude(ev.Abandoned(f"nobody collected its results for {idle:.0f} seconds"))
        elif idle > spec.client_timeout_secs:
            return self._conclude(ev.Abandoned(f"nothing was heard of its client for {idle:.0f} seconds"))
        return []

    def _announce_dispatches(self) -> list[Command]:
        """Log what the work queue has confirmed: what the log calls dispatched was truly on the queue."""
        if not self._announce:
            return []
        items, self._announce = tuple(self._announce), []
        return [self._log_event(ev.Dispatched(items))]

    def _seal(self) -> list[Command]:
        """Write the seals of every stage whose input has become complete."""
        commands: list[Command] = []
        for number in range(1, len(self.state.stages)):
            stage, before = self.state.stages[number], self.state.stages[number - 1]
            if stage.sealed or not (before.complete and before.sealed):
                continue
            if self._sealing.get(number, (-1, ()))[0] != stage.generation:
                commands += self._write_seals(number, stage.generation)
        return commands

    def _seal_again(self, now: float) -> list[Command]:
        """Repeat what somebody may wait for: a confirmed seal that is lost after all would stop the job for good."""
        commands: list[Command] = []
        for number, stage in enumerate(self.state.stages):
            waited_for = (
                now - self._idle_since < 2 * RENEW_SECS if stage is self.state.out else not stage.complete
            )
            if number > 0 and stage.sealed and waited_for and self.state.terminal is None:
                commands += self._write_seals(number, stage.generation)
        return commands

    def _write_seals(self, stage: int, generation: int) -> list[Command]:
        entries = self.state.seal_entries(stage)
        stages = len(self.state.stages) - 1
        if stage == stages:
            entries.setdefault(0, [])  # the client waits for the seal of `out` even if it holds nothing
        commands: list[Command] = []
        tokens = set()
        for partition in sorted(entries):
            target = ev.reads_from(self.lease.job, stage, partition, stages)
            whole = entries[partition]
            cuts = range(0, max(len(whole), 1), SEAL_ENTRIES)
            for part, cut in enumerate(cuts):
                seal = ev.Seal(generation, part, len(cuts), tuple(whole[cut : cut + SEAL_ENTRIES]))
                token = f"{self.prefix}seal:{stage}:{generation}:{partition}:{part}"
                tokens.add(token)
                commands.append(base.Publish(target, wire.encode(seal), token))
        self._sealing[stage] = (generation, tokens)
        if not tokens:  # nothing was written for this stage, so there is nothing to read
            commands.append(self._log_event(ev.StageSealed(stage, generation)))
        return commands

    def _dispatch(self, now: float) -> list[Command]:
        """Keep a few dispatches waiting on the work queue: about half a second's worth.

        Each worker may hold one more than it runs, so that many may be unstarted without waiting for anybody.
        """
        if self._concluded or now < self._dispatch_from:
            return []
        while self._starts and now - self._starts[0] > WINDOW_SECS:
            self._starts.popleft()
        window = min(max(len(self._starts), MIN_WINDOW), MAX_WINDOW)
        room = window + len(self.state.busy) - len(self.state.unstarted) - len(self._in_flight)
        commands: list[Command] = []
        busy = set(self._in_flight.values())
        for number, stage in enumerate(self.state.stages[:-1]):
            if not stage.sealed:
                break
            for index in stage.pending:
                if room <= 0:
                    return commands
                if (number, index) in busy or self._delayed(number, index, now):
                    continue
                commands.append(self._dispatch_one(number, index, stage.generation))
                room -= 1
        return commands

    def _delayed(self, stage: int, index: int, now: float) -> bool:
        """Whether the task's next try must wait: exponential backoff with jitter."""
        task = self.state.task(stage, index)
        if task is None or not task.failures:
            return False
        if (stage, index) not in self._delays:
            limit = min(BACKOFF_SECS * 2 ** (task.failures - 1), MAX_BACKOFF_SECS)
            self._delays[stage, index] = now + limit * self._rng.uniform(0.5, 1.0)
        if now < self._delays[stage, index]:
            return True
        del self._delays[stage, index]
        return False

    def _dispatch_one(self, stage: int, index: int, generation: int) -> Command:
        dispatch = self._rng.getrandbits(63)
        self._in_flight[dispatch] = (stage, index)
        source = self.state.splits[index] if stage == 0 else None
        msg = ev.Dispatch(self.lease.job, dispatch, stage, index, generation, source)
        return base.Publish(self._tasks_queue(), wire.encode(msg), f"{self.prefix}dispatch:{dispatch}")

    def _renew(self, now: float) -> list[Command]:
        """Hand the lease on (perhaps to ourselves), so that nothing is held for long and takeover is routine."""
        if self._renewing or now < self._renew_from:
            return []
        survived = self.lease.takeovers > 0 and self._harmless(now)
        if not (survived or self._leaving or now - self._taken_at > RENEW_SECS):
            return []
        return self._publish_renewal(now)

    def _harmless(self, now: float) -> bool:
        """It is not the log that kills coordinators."""
        grown = self.caught_up and self.state.progress > self._progress_before
        return grown or now - self._caught_up_at > PROOF_SECS

    def _publish_renewal(self, now: float) -> list[Command]:
        self._renewing = True
        rank = ev.Rank(self.lease.rank.renewals + 1, self._rng.getrandbits(63))
        stuck = 0 if self._harmless(now) else self.lease.takeovers
        renewed = replace(self.lease, rank=rank, takeovers=stuck, idle_secs=now - self._idle_since)
        return [base.Publish(ev.JOBS, wire.encode(renewed), f"{self.prefix}renewed:")]

    def _conclude(self, event: Any) -> list[Command]:
        self._concluded = True
        return [self._log_event(event)]

    # ------------------------------------------------------------ the end

    def _wind_up(self, now: float) -> list[Command]:
        """After a terminal event: stop all, delete the data, and the log once nobody needs it."""
        commands: list[Command] = []
        if self._stop_at is None:
            self._stop_at = now if isinstance(self.state.terminal, ev.Delivered) else now + STOP_SECS
            commands.append(base.Broadcast(wire.encode(ev.StopJob(self.lease.job))))
        if self._to_delete is None and now >= self._stop_at:
            commands += self._begin_deleting()
        if not self._log_deleted and self._to_delete is not None and self._log_may_go(now):
            self._log_deleted = True
            self._to_delete.add(self._log)
            commands += [base.Cancel(self._log_tag), base.Delete(self._log)]
        if not self._log_deleted:
            commands += self._renew(now)
        return commands

    def _begin_deleting(self) -> list[Command]:
        names = ev.data_streams(self.lease.job, self.lease.stages, self.lease.partitions)
        self._to_delete = set(names)
        return [base.Delete(name) for name in names]

    def _log_may_go(self, now: float) -> bool:
        spec = self.state.spec
        idle = now - self._idle_since
        if spec is None:
            return idle > PARKED_LOG_SECS  # time for its client to read why
        if self.state.delivered:
            return idle >= spec.retain_secs
        return idle > (spec.expiry_secs if spec.detached else spec.client_timeout_secs)

    def _finish(self, commands: list[Command]) -> list[Command]:
        self.finished = True
        if self._receipt is not None:
            commands.append(base.Ack(self._receipt))
            self._receipt = None
        return commands

    # ------------------------------------------------------------ pieces

    def _open_log(self, now: float) -> list[Command]:
        commands = self._log_took(now)
        if not self._reading:
            self._reading = True
            commands.append(base.Consume(self._log_tag, self._log, LOG_PREFETCH, "first"))
        return commands

    def _log_took(self, now: float) -> list[Command]:
        self._took_at = now
        took = wire.encode(ev.Took(self.lease.rank, self._worker))
        return [base.Publish(self._log, took, f"{self.prefix}took:")]

    def _log_event(self, event: Any) -> Command:
        return base.Publish(self._log, wire.encode(event), f"{self.prefix}event:")

    def _tasks_queue(self) -> str:
        spec = self.state.spec
        return ev.tasks_queue(spec.pool, spec.interpreter) if spec is not None else ""
