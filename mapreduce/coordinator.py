"""The coordinator of one job: decides which task is dispatched when, from the fold of the job's log.

    lease taken ─▶ log `Took`, read the log from its start ─▶ own `Took` seen: caught up
        ─▶ coordinating: dispatch, seal, fail, …    ─▶ terminal event seen: winding up ─▶ lease acked: finished
           ▲                                           failed: kept; log `Expired` ─▶ seen: winding up, as above
           └──────────────────── `Retried` seen ─────────────────────┘
    a higher `Took` seen, at any time: superseded ─▶ lease acked: finished
        ─▶ but if its own lease is reissued: a lease above all is published, and confirmed ─▶ lease acked: finished

It has no state of its own that matters: everything is in the log, so that any worker can take over at any moment,
which happens every few minutes on purpose. All it says may be said twice, or by two coordinators at once. What is
decided, and why, is in `coordination`; here is how it comes about: the lease, the log, the order of steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Callable, Optional, Union

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination.clock import BUSY_SECS, IDLE_SECS, AwakeClock, LogClock
from mapreduce.coordination.dispatcher import Dispatcher
from mapreduce.coordination.ending import Ending, shortened
from mapreduce.coordination.journal import Journal
from mapreduce.coordination.losers import losers
from mapreduce.coordination.sealer import Sealer
from mapreduce.coordination.stragglers import Stragglers
from mapreduce.coordination.succession import MAX_STRANGERS, is_provisional, renewed, why_parked
from mapreduce.coordination.verdict import Judge
from mapreduce.coordination.watch import Watch
from mapreduce.effects import Command, Report, Tick
from mapreduce.legible import Legibility, build
from mapreduce.refs import Failure
from mapreduce.state import JobState

#: nothing is held unacked for ten minutes
RENEW_SECS = 480.0
#: the same before its holder has read the log, which the next one would have to read from its start
UNREAD_SECS = 530.0
#: a coordinator that lives so long with the whole log read is not killed by it
PROOF_SECS = 10.0
#: the same while no task is out or waits: then there is nothing else that a coordinator could die of
IDLE_PROOF_SECS = 1.0
PARKED_LOG_SECS = 120.0
#: the same where the log does not say for how long
UNKNOWN_LOG_SECS = 600.0
#: a client's first lease is there in case it dies while it declares the job's streams; touching a stream that is
#: being declared ends the connection (RabbitMQ 3.10), and a lease that outranks this one is on its way
PROVISIONAL_SECS = 30.0
#: a log that does not exist this long after its lease was taken never will: it is declared first
NO_LOG_SECS = 60.0
LOOK_AGAIN_SECS = 1.0
#: how long after a returned renewal the next try comes
RENEW_AGAIN_SECS = 1.0
#: how often the work queue is asked whether it is empty, while dispatches wait for long
DEPTH_SECS = 5.0
#: for so long a silent client may still wait for the seal of the output
CLIENT_WAITS_SECS = 900.0
LOG_PREFETCH = 500
#: by far most entries: they seal, end and fail nothing, which is what half of those who decide want to know
_OF_ATTEMPTS = frozenset([ev.Started, ev.Done])


class Coordinator:
    """One job's coordinator, for as long as its lease is the highest."""

    def __init__(
        self,
        lease: ev.Lease,
        receipt: base.Receipt,
        worker: str,
        rng: random.Random,
        prefix: str,
        hold_secs: float = RENEW_SECS,
        blocked: bool = False,
    ) -> None:
        """``hold_secs``: for how long the broker lets anybody hold a lease; see `RENEW_SECS`. ``blocked``: it takes
        no messages at the moment."""
        self.prefix = prefix
        self.finished = False
        self.lease = lease
        self.state = JobState()
        self.caught_up = False
        self._receipt: Optional[base.Receipt] = receipt
        self._worker = worker
        self._rng = rng
        self._hold_secs = hold_secs
        self._log_tag = f"{prefix}log"
        self._awake = AwakeClock(0.0, blocked)
        self._clock = LogClock(lease.rank.salt)
        self._journal = Journal(ev.log_stream(lease.job), prefix)
        self._dispatcher = Dispatcher(lease.job, self.state, self._journal, rng, prefix)
        self._sealer = Sealer(lease.job, self.state, self._journal, prefix)
        self._judge = Judge(lease.job, self.state)
        self._watch = Watch()
        self._stragglers = Stragglers(self.state)
        self._ending = Ending(lease, self._log_tag)
        self._legibility = Legibility()
        self._taken_at = 0.0
        #: when the broker had our `Took`, the last one: what is read before a repeated one cannot be dated
        self._took_at: Optional[float] = None
        self._caught_up_at = float("inf")
        self._look_again_at: Optional[float] = None
        self._next_offset = 0
        self._reading = False
        self._progress_before = 0
        self._parked = False
        self._concluded = False
        self._expiring = False  #: that is logged, or about to be
        self._crowded_out = False
        self._renewing = False
        self._outranked = False  #: and silent; still here only until our renewal is confirmed
        self._renew_from = 0.0
        self._leaving = False
        self._depth_asked_at = float("-inf")

    def start(self, now: float) -> list[Command]:
        """Take the job over."""
        self._begin(now)
        if is_provisional(self.lease):
            # sooner where the broker would take the lease away: then this session may end, but the job goes on
            self._look_again_at = now + min(PROVISIONAL_SECS, self._held_at_most)
            return []
        return self._open_log(now)

    def park(self, now: float) -> list[Command]:
        """End a job whose coordinators keep dying, without reading its log: that may be what kills them."""
        self._begin(now)
        self._clock.start(now)
        text = why_parked(self.lease)
        self.state.apply(ev.Abandoned(text))
        self.caught_up = self._parked = True
        return [self._journal.write(ev.Abandoned(text)), *self._act(now)]

    def _begin(self, now: float) -> None:
        self._taken_at = now
        self._awake = AwakeClock(now, self._awake.held)

    def hand_on(self, now: float) -> list[Command]:
        """Renew at once: this worker is leaving."""
        self._leaving = True
        return [] if self._renewing else self._publish_renewal(self._awake.read(now))

    def leave_if_provisional(self) -> list[Command]:
        """The job has ended: what this lease was kept for cannot happen any more."""
        return self._finish([]) if self._look_again_at is not None and self._next_offset == 0 else []

    def kept_secs(self, now: float) -> Optional[float]:
        """How long ago the job has ended, if it is still here for people to look at and nobody waits for it."""
        state = self.state
        waits = state.kept or (state.terminal is not None and state.delivered)
        if not (waits and self.caught_up) or self._crowded_out or self._ending.log_is_gone:
            return None
        return self._judge.ended(self._clock.read(self._awake.read(now)))

    @property
    def tasks(self) -> int:
        """How many it knows of, all stages together."""
        return sum(len(stage.tasks) for stage in self.state.stages)

    def make_room(self) -> None:
        """There are too many of these: what is kept of the job goes, with its log."""
        self._crowded_out = True

    @property
    def in_charge(self) -> bool:
        """The job is ours to coordinate, as far as we know; `caught_up` says whether we know how it stands."""
        return not (self.finished or self._outranked or self.handed_on)

    def secs_left(self, now: float) -> Optional[float]:
        """For how long the log will still be there, if nobody does anything; None: for as long as the job runs."""
        state, spec, at = self.state, self.state.spec, self._clock.read(self._awake.read(now))
        if spec is None or not self.caught_up or not (state.terminal or state.ready):
            return None
        if state.kept:
            return max(0.0, spec.keep_secs - self._judge.ended(at))
        if state.delivered:
            return max(0.0, spec.retain_secs - self._judge.idle(at))
        patience = spec.expiry_secs if spec.detached else spec.client_timeout_secs
        return max(0.0, patience - self._judge.idle(at))

    @property
    def handed_on(self) -> bool:
        """The lease is somebody else's, or about to be."""
        return self._receipt is None

    def handle(self, event: Any, now: float) -> list[Command]:
        handler = _HANDLERS.get(type(event))
        if handler is None or self.finished:
            return []
        now = self._awake.read(now)
        if self._outranked and isinstance(event, (base.Delivered, base.Gone, Tick)):
            return self._renew(now)
        return handler(self, event, now) + self._act(now)

    def _on_blocked(self, event: Union[base.Blocked, base.Unblocked], now: float) -> list[Command]:
        """While the broker takes no messages nobody can be heard of, and no limit of time is anybody's fault."""
        self._awake.held = isinstance(event, base.Blocked)
        return []

    # ------------------------------------------------------------ reading the log

    def _on_log_entry(self, event: base.Delivered, now: float) -> list[Command]:
        commands: list[Command] = [base.Ack(event.receipt)]
        assert event.offset is not None
        if event.offset < self._next_offset:
            return commands
        self._next_offset = event.offset + 1
        for entry, _ in wire.decode_all(event.body):
            if self.finished or self._outranked:
                break
            self._legibility.note(entry)
            if isinstance(entry, wire.BadMessage):
                text = f"job {self.lease.job}: entry {event.offset} of its log is unreadable and left out: {entry}"
                commands.append(Report("warning", text, "unreadable", self.lease.job))
            else:
                commands += self._read_entry(entry, event.offset, now)
        return commands

    def _read_entry(self, entry: Any, offset: int, now: float) -> list[Command]:
        commands: list[Command] = []
        if self.caught_up:
            stopped = losers(self.state, entry)
            commands += [base.Broadcast(wire.encode(ev.StopAttempt(attempt))) for attempt in stopped]
        revision = self.state.revision
        self.state.apply(entry)
        if self.state.revision > revision:
            commands += self._go_on(ev.CodeRef(offset, entry.number) if entry.bundle is not None else None)
        self._note(entry, now)
        if isinstance(entry, ev.Took):
            commands += self._on_took(entry, now)
        return commands

    def _go_on(self, corrected: Optional[ev.CodeRef]) -> list[Command]:
        """The job had failed, and somebody has told it to go on, perhaps with corrected code."""
        self._concluded = self._expiring = self._crowded_out = False
        self._ending = Ending(self.lease, self._log_tag)
        self._dispatcher.restart(corrected)
        self._sealer.restart()
        if corrected is not None:
            self._stragglers.restart()
        return self._stop_what_is_void() if self.caught_up else []

    def _stop_what_is_void(self) -> list[Command]:
        """Attempts from before the job went on: who read of its end and of that at once has stopped none of them."""
        before = self.state.revision - 1
        return [base.Broadcast(wire.encode(ev.StopJob(self.lease.job, before)))] if before >= 0 else []

    def _note(self, entry: Any, now: float) -> None:
        """Tell all who decide; `JobState` has the entry already."""
        other = type(entry) not in _OF_ATTEMPTS
        if other:
            self._clock.note(entry)
            self._journal.read(entry)
        at, read_later = self._clock.read(now), not self.caught_up
        self._watch.note(entry, at)
        self._stragglers.note(entry, at, read_later)
        self._dispatcher.note(entry, at, read_later)
        if other:
            self._sealer.note(entry, at)
            self._judge.note(entry, at)

    def _on_took(self, entry: ev.Took, now: float) -> list[Command]:
        mine = entry.rank == self.lease.rank and entry.worker == self._worker
        if self._highest > self.lease.rank:
            return self._step_down(mine, now)
        return self._catch_up(now) if mine and not self.caught_up else []

    def _step_down(self, mine: bool, now: float) -> list[Command]:
        """A higher lease was taken. Does it exist?

        Whoever publishes a lease keeps its own until that is confirmed, so either the higher one exists, or the one
        that it was made from comes back when the broker has restarted, redelivered, and is issued anew. Who holds such
        a one does not rely on the higher one, but outranks all that the log knows when it has read it. That is not
        a reissued lease, so it happens once for each death.
        """
        if self._receipt is None or not (self.lease.takeovers or self._renewing):
            return self._finish([base.Cancel(self._log_tag)])
        if not (mine or self.caught_up):
            return []  # there may be a still higher one
        self._outranked = True
        self._reading = False
        return [base.Cancel(self._log_tag)]

    @property
    def _highest(self) -> ev.Rank:
        """Of all leases that were taken, as far as is known, and our own."""
        return max(self.lease.rank, self.state.lease or self.lease.rank)

    def _catch_up(self, now: float) -> list[Command]:
        self.caught_up = True
        self._caught_up_at = now
        self._clock.start(now if self._took_at is None else self._took_at)
        self._judge.caught_up(self._clock.read(now))
        self._sealer.skip(self._clock.read(now))
        self._progress_before = self.state.progress
        commands = self._stop_what_is_void()
        if self.state.spec is not None:
            commands.append(base.Declare(self._dispatcher.queue, base.Kind.PRIORITY))
        return commands

    # ------------------------------------------------------------ what else happens

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        kind, _, rest = event.token[len(self.prefix) :].partition(":")
        if kind == "dispatch":
            self._dispatcher.confirmed(int(rest))
        elif kind == "seal":
            return self._sealer.confirmed(event.token)
        elif kind != "renewed":
            if kind == ev.Took.__name__:
                self._took_at = now
            self._journal.confirmed(event.token, now)
        elif self._outranked:
            return self._finish([])
        elif self._receipt is not None:
            receipt, self._receipt = self._receipt, None
            return [base.Ack(receipt)]
        return []

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        kind, _, rest = event.token[len(self.prefix) :].partition(":")
        if kind == "dispatch":
            if event.reason:
                return self._conclude_unless_over(self._dispatcher.refused(int(rest), event.reason))
            return self._dispatcher.returned(int(rest), self._clock.read(now))
        if kind == "renewed":
            self._renewing = False
            self._renew_from = now + RENEW_AGAIN_SECS
            return [base.Declare(ev.JOBS, base.Kind.QUEUE)]
        if kind == "seal":
            return self._conclude_unless_over(self._sealer.returned(event.token, event.reason))
        entry = self._journal.returned(event.token)
        if event.reason:
            return self._on_refused(entry, event.reason)
        if kind == ev.Took.__name__ and not self._ending.log_is_gone:  # the client may still be declaring
            self._look_again_at = now + (PROVISIONAL_SECS if is_provisional(self.lease) else LOOK_AGAIN_SECS)
        # A log that is gone shows as `Gone`.
        return []

    def _on_refused(self, entry: Any, reason: str) -> list[Command]:
        """The broker does not take such an entry of the log, now or ever."""
        if isinstance(entry, (ev.Failed, ev.Expired, ev.Cancelled, ev.Abandoned)):
            short = shortened(entry)
            if short != entry:
                return [self._journal.write(short)]
            self.state.apply(entry)  # nothing can be said; what can still be done is to leave nothing behind
            return []
        if entry is None:
            return []
        failure = Failure("value", f"the coordinator's {type(entry).__name__} cannot be logged: {reason}")
        return self._conclude_unless_over(ev.Failed(failure, 0, 0, 0))

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        if event.tag != self._log_tag or self._ending.log_is_gone:
            return []
        self._reading = False
        young = self._next_offset == 0 and now - self._taken_at < NO_LOG_SECS
        if young and not is_provisional(self.lease):
            self._look_again_at = now + LOOK_AGAIN_SECS
            return []
        commands = self._ending.without_log()
        return self._finish([]) if self._ending.over else commands

    def _on_deleted(self, event: base.Deleted, now: float) -> list[Command]:
        self._ending.deleted(event.name)
        return self._finish([]) if self._ending.over else []

    def _on_depth(self, event: base.Depth, now: float) -> list[Command]:
        """The work queue says how much it holds, because dispatches have waited for long.

        An empty one has lost them, or a worker holds them that has no room. In any other they may stand behind other
        jobs' dispatches. What is dispatched later tells: it cannot be started before them. If there is nothing left to
        dispatch, the oldest is repeated.
        """
        at = self._clock.read(now)
        if event.name != self._dispatcher.queue or not self._coordinating:
            return []
        overdue = self._watch.overdue(self.state, at)
        if event.ready <= 0:
            lost = [self._journal.write(each) for each in overdue]
            return [*lost, *self._copy(self._stragglers.unstarted(at))]
        if not overdue or len(overdue) < len(self.state.unstarted) or not self._dispatcher.idle:
            return []
        return [self._dispatcher.dispatch(overdue[0].stage, overdue[0].index)]

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        commands: list[Command] = []
        if self._look_again_at is not None and now >= self._look_again_at:
            self._look_again_at = None
            commands += [] if self._ending.log_is_gone else self._open_log(now)
        if not self._ending.log_is_gone and (
            self.state.terminal is None or self._expiring or not self.caught_up
        ):
            again = self._journal.overdue(now)
            if again and not self.caught_up:
                self._took_at = None  # that one is lost; this one is dated when it is confirmed, or read
            commands += again
        if self.caught_up and not self._ending.log_is_gone:
            commands += self._tell_time(now)
        if self._coordinating:
            commands += self._look_around(now)
        return commands

    def _tell_time(self, now: float) -> list[Command]:
        spec = self.state.spec
        busy = self.state.terminal is None and bool(self.state.unstarted or self.state.running)
        most = BUSY_SECS if busy else spec.present_every_secs if spec is not None else IDLE_SECS
        return [self._journal.mention(self._clock.passed(now))] if self._clock.due(now, most) else []

    def _look_around(self, now: float) -> list[Command]:
        """What has been waited for too long."""
        at = self._clock.read(now)
        commands: list[Command] = [self._journal.write(lost) for lost in self._watch.lost(self.state, at)]
        commands += self._copy(self._stragglers.slow(at))
        if now - self._depth_asked_at > DEPTH_SECS and (
            self._watch.overdue(self.state, at) or self._stragglers.any_unstarted(at)
        ):
            self._depth_asked_at = now
            commands.append(base.Inspect(self._dispatcher.queue))
        return commands

    def _copy(self, tasks: Iterable[tuple[int, int]]) -> list[Command]:
        room = self._stragglers.room()
        return self._dispatcher.copy(tasks, room) if room > 0 else []

    @property
    def _coordinating(self) -> bool:
        over = self._concluded or self.finished or self.state.terminal is not None
        return self.caught_up and self.state.spec is not None and not over

    # ------------------------------------------------------------ what to do about it

    def _act(self, now: float) -> list[Command]:
        """The next steps that the state calls for; called after every event, so each step notes what it began."""
        if self.finished:
            return []
        if self._outranked:
            return self._renew(now)
        if not self.caught_up:
            return [] if self._ending.log_is_gone else self._renew(now)
        unknown = self._why_unknown
        if unknown and not self._legibility.lost and self.lease.unread < MAX_STRANGERS:
            return self._leave_to_others(now)
        if self.state.terminal is not None:
            return self._wind_up(now)
        if self._ending.log_is_gone:
            return []
        at = self._clock.read(now)
        commands: list[Command] = []
        if not self._concluded:
            verdict = self._unreadable(unknown) if unknown else self._judge.verdict(at, self._clock.heard)
            commands += self._conclude(verdict) if verdict is not None else []
        commands += self._dispatcher.announce()
        if self._coordinating:
            commands += self._sealer.step(at, self._judge.idle(at) < CLIENT_WAITS_SECS)
            commands += self._dispatcher.fill(at)
        return commands + self._renew(now)

    @property
    def _why_unknown(self) -> str:
        """Why the job cannot be coordinated from here; its proper lease goes out when it is submitted."""
        return (
            self._legibility.why_unknown(submitted=not is_provisional(self.lease)) if self.caught_up else ""
        )

    def _leave_to_others(self, now: float) -> list[Command]:
        """Somebody may know what the job is; here all that the log says of it, its end included, has no meaning."""
        return [] if self._renewing or now < self._renew_from else self._publish_renewal(now)

    def _unreadable(self, why: str) -> ev.Abandoned:
        """Said in the plainest of all endings: whoever reads it may be of another build, too."""
        return ev.Abandoned(
            why if self._legibility.lost else f"its worker {self._worker} ({build()}) cannot read it: {why}"
        )

    def _conclude_unless_over(self, event: Any) -> list[Command]:
        over = event is None or self._concluded or self.state.terminal is not None
        return [] if over else self._conclude(event)

    def _conclude(self, event: Any) -> list[Command]:
        self._concluded = True
        if isinstance(event, ev.Failed):
            event = replace(event, revision=self.state.revision)
        return [self._journal.write(event)]

    def _wind_up(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if not self._expiring and self._keeps_too_long(now):
            self._expiring = True
            commands.append(self._journal.write(ev.Expired(self.state.revision)))
        commands += self._ending.step(now, self.state, self._log_may_go(now))
        stays = self._ending.log_is_gone or (self._parked and not self._leaving)
        return commands if stays else commands + self._renew(now)

    def _keeps_too_long(self, now: float) -> bool:
        state = self.state
        if not state.kept or state.spec is None:
            return False
        unwanted = self._crowded_out or state.cancel_reason is not None
        return unwanted or self._judge.ended(self._clock.read(now)) >= state.spec.keep_secs

    def _log_may_go(self, now: float) -> bool:
        state, spec = self.state, self.state.spec
        idle = self._judge.idle(self._clock.read(now))
        if spec is None:  # time for its client to read why
            patience = min(PARKED_LOG_SECS, self._held_at_most) if self._parked else UNKNOWN_LOG_SECS
            return state.delivered or idle > patience
        if state.kept:
            return False
        if state.delivered:
            return state.expired or self._crowded_out or idle >= spec.retain_secs
        if state.expired and state.cancel_reason is not None:
            return True
        return idle > (spec.expiry_secs if spec.detached else spec.client_timeout_secs)

    # ------------------------------------------------------------ the lease

    @property
    def _held_at_most(self) -> float:
        """Longer while nobody could go on from what was read here."""
        return min(RENEW_SECS, self._hold_secs) if self.caught_up else min(UNREAD_SECS, 2 * self._hold_secs)

    def _renew(self, now: float) -> list[Command]:
        """Hand the lease on (perhaps to ourselves), so that nothing is held for long and takeover is routine."""
        if self._renewing or now < self._renew_from:
            return []
        if self._outranked:
            return self._publish_renewal(now)
        if not self.caught_up and is_provisional(self.lease) and not self._leaving:
            return []  # nobody would ever do more than wait
        survived = self.lease.takeovers > 0 and self._harmless(now)
        if not (survived or self._leaving or now - self._taken_at > self._held_at_most):
            return []
        return self._publish_renewal(now)

    def _harmless(self, now: float) -> bool:
        """It is not the log that kills coordinators."""
        grown = self.caught_up and self.state.progress > self._progress_before
        idle = not (self.state.running or self.state.unstarted or any(s.pending for s in self.state.stages))
        proof = IDLE_PROOF_SECS if idle else PROOF_SECS
        return grown or now - self._caught_up_at > min(proof, self._held_at_most / 2)

    def _publish_renewal(self, now: float) -> list[Command]:
        """The next coordinator goes on from the time that has passed with us."""
        self._renewing = True
        stuck = 0 if self._outranked or self._harmless(now) else self.lease.takeovers
        # whoever reads on begins anew: that must not go on for ever
        read = self.caught_up or self._outranked
        known = self._outranked or (self.caught_up and not self._why_unknown)
        unread = 0 if known else self.lease.unread + (not self._leaving)
        last = replace(self.lease, rank=self._highest, unread=unread)
        lease = renewed(last, stuck, self._rng, proper=read)
        commands: list[Command] = []
        if self.caught_up and not self._outranked and not self._ending.log_is_gone:
            commands.append(self._journal.mention(self._clock.passed(now)))
        return [*commands, base.Publish(ev.JOBS, wire.encode(lease), f"{self.prefix}renewed:")]

    def _finish(self, commands: list[Command]) -> list[Command]:
        self.finished = True
        if self._receipt is not None:
            commands.append(base.Ack(self._receipt))
            self._receipt = None
        return commands

    # ------------------------------------------------------------ pieces

    def _open_log(self, now: float) -> list[Command]:
        commands: list[Command] = [self._journal.write(ev.Took(self.lease.rank, self._worker))]
        if not self._reading:
            self._reading = True
            commands.append(base.Consume(self._log_tag, self._journal.log, LOG_PREFETCH, "first"))
        return commands


_HANDLERS: dict[type, Callable[[Coordinator, Any, float], list[Command]]] = {
    base.Delivered: Coordinator._on_log_entry,
    base.Confirmed: Coordinator._on_confirmed,
    base.Unroutable: Coordinator._on_unroutable,
    base.Gone: Coordinator._on_gone,
    base.Deleted: Coordinator._on_deleted,
    base.Depth: Coordinator._on_depth,
    base.Blocked: Coordinator._on_blocked,
    base.Unblocked: Coordinator._on_blocked,
    Tick: Coordinator._on_tick,
}
