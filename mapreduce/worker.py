"""The worker's book-keeping: from a dispatch to its ack.

    dispatch ─▶ job known? ─▶ input here? ─▶ free slot? ─▶ log `Started` ─▶ run ─▶ blocks published ─▶ log `Done` ─▶ ack
       │         (log's first   (pieces, or                  (confirmed)         (each confirmed)       (confirmed)
       │          event)         blocks until the seal)
       └─ redelivered: log `Lost`, ack; the coordinator dispatches it again

The order is rule 1: each step is confirmed by the broker before the next is taken. An attempt dies with the
connection it began on; whatever it wrote is then ignored, because no seal will ever name it.

An ack lets the broker send the next dispatch, so one that is over keeps its own until that is wanted (`demand`). None
is held unacked for long: an attempt that goes on logs `Long` and acks, one that is not about to run is handed back
(`_too_long`), what is over is acked.

What happens is heard here; `attempts` does what follows for one of them, `reading` for its input.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.aside import read_all_or_set_aside
from mapreduce.attempt import Attempt, Delivery, Phase
from mapreduce.attempts import Attempts
from mapreduce.brokers import base
from mapreduce.effects import (
    AppendFailed,
    BlocksChecked,
    Command,
    Connected,
    Defer,
    Deferred,
    ExecutorBlock,
    ExecutorDone,
    ExecutorFailed,
    ExecutorPrinted,
    ExecutorProfiled,
    RemoveShared,
    Report,
    Shutdown,
    Tick,
)
from mapreduce.folders import Folders
from mapreduce.haste import CALMING_SECS, MESSAGES_AHEAD
from mapreduce.haste import LONG_SECS as LONG_TASK_SECS
from mapreduce.intake import Intake
from mapreduce.known import KnownJob
from mapreduce.pauses import Pauses
from mapreduce.reading import Reading
from mapreduce.refs import Block, Failure
from mapreduce.slots import Slots
from mapreduce.spec import ACK_TIMEOUT_SHARE
from mapreduce.together import publish

ALIVE_EVERY_SECS = 60.0
CONTROL_TAG = "worker/control"
#: token of `Back`, before the job's name
BACK = "worker/back:"


class Worker:
    """A role: runs dispatches on ``slots`` executors."""

    def __init__(
        self,
        name: str,
        slots: int,
        queues: tuple[str, ...],
        directory: str,
        by_reference: bool,
        rng: random.Random,
    ) -> None:
        self.prefix = "worker/"
        self.finished = False
        self.name = name
        # One more than there are executors: the next input is here by the time a slot gets free. Each queue gives as
        # many, so what is asked for is counted (`Demand`).
        self._intake = Intake(self.prefix, queues, slots + 1)
        self._pauses = Pauses(self._intake)
        self._by_reference = by_reference
        self._rng = rng
        self._slots = Slots(slots)
        self._attempts = Attempts(
            name, self._slots, self._intake, Folders(directory, by_reference), by_reference
        )
        self._haste = self._attempts.haste
        self._reading = Reading(self._attempts, by_reference)
        #: what was held in haste, or was still on its way then, is handed back until then
        self._calming_until = float("-inf")
        self._losses: dict[str, Delivery] = {}
        #: jobs that had attempts here when the connection was lost, until their logs say that we are back
        self._interrupted: set[str] = set()
        self._blocked = False  #: the broker takes no messages
        self._deferred = False  #: what follows for slots waits until all that has happened is known
        self._leave_at: Optional[float] = None  #: told to stop: when what still runs is handed back

    @property
    def slots(self) -> int:
        """How many executors there are."""
        return len(self._slots)

    @property
    def held(self) -> int:
        """Dispatches that are here and not with an executor: to be begun, or to be ended."""
        return len(self._attempts) - len(self._slots.at_work)

    def running(self, now: float) -> tuple[ev.RunningTask, ...]:
        """What each busy executor is at."""
        return tuple(
            ev.RunningTask(
                a.job, a.dispatch.stage, a.dispatch.index, a.number, a.slot, max(0.0, now - a.began)
            )
            for a in self._slots.at_work
        )

    def handle(self, event: Any, now: float) -> list[Command]:
        handler = _HANDLERS.get(type(event))
        if handler is None:
            return []
        self._attempts.now = now
        commands = handler(self, event, now)
        if self._attempts.unsettled and not self._deferred:
            self._deferred = True
            commands.append(Defer())
        self.finished = self._leave_at is not None and not self._attempts and not self._losses
        return commands

    # ------------------------------------------------------------ sessions

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        commands = [*self._intake.connected(), base.Listen(CONTROL_TAG)]
        for job in sorted(self._interrupted):
            commands.append(publish(job, ev.Back(self.name), f"{BACK}{job}"))
        return commands

    def _on_declared(self, event: base.Declared, now: float) -> list[Command]:
        return self._intake.declared(event.name)

    def _on_disconnected(self, event: base.Disconnected, now: float) -> list[Command]:
        self._blocked = False
        self._interrupted.update(attempt.job for attempt in self._attempts.values())
        self._losses.clear()
        return self._attempts.disconnected() + self._hold_for_less(event.ack_timeout_secs)

    def _hold_for_less(self, ack_timeout_secs: float) -> list[Command]:
        """An ack was overdue: the broker has less patience than was thought."""
        hold_secs = ack_timeout_secs * ACK_TIMEOUT_SHARE
        if not 0 < hold_secs < self._attempts.hold_secs:
            return []
        self._attempts.hold_secs = hold_secs
        text = f"the broker waits {ack_timeout_secs:.0f} s for an ack; nothing is held for more than a third of it"
        return [Report("info", f"{text} from now on", "ack_timeout")]

    def _on_blocked(self, event: base.Blocked, now: float) -> list[Command]:
        self._blocked = True
        text = f"the broker takes no messages for now ({event.reason}); what is at work here waits"
        return [Report("warning", text, "blocked")]

    def _on_unblocked(self, event: base.Unblocked, now: float) -> list[Command]:
        self._blocked = False
        return [Report("info", "the broker takes messages again", "unblocked")]

    def _on_shutdown(self, event: Shutdown, now: float) -> list[Command]:
        """Take nothing new, hand back what has not started, finish what has; after the grace, hand back that too."""
        leave_at = now + event.grace_secs
        self._leave_at = leave_at if self._leave_at is None else min(self._leave_at, leave_at)
        commands = self._intake.close() + self._attempts.hand_back_all(self._begun(now))
        return commands + self._attempts.ask_for_more()

    def _begun(self, now: float) -> Phase:
        """What has come this far is finished, however much of a hurry there is."""
        return Phase.CLOSING if self._leave_at is not None and now >= self._leave_at else Phase.STARTING

    def _on_deferred(self, event: Deferred, now: float) -> list[Command]:
        self._deferred = False
        return self._attempts.fill_slots()

    # ------------------------------------------------------------ deliveries

    def _on_delivered(self, event: base.Delivered, now: float) -> list[Command]:
        kind, _, rest = event.tag[len(self.prefix) :].partition(":")
        if kind.startswith("tasks"):
            return self._on_dispatch(event, now)
        if kind == "control":
            return self._on_control(event)
        if kind == "job":
            return self._on_job(event, rest, now)
        attempt = self._attempts.get(int(rest))
        if kind != "input" or attempt is None or attempt.phase != Phase.INPUT:
            return [base.Ack(event.receipt)]  # it was on its way when we stopped listening
        return [base.Ack(event.receipt), *self._reading.take(attempt, event, now)]

    def _on_dispatch(self, event: base.Delivered, now: float) -> list[Command]:
        dispatches, commands = read_all_or_set_aside(event, ev.Dispatch, "the work queue", "worker/aside")
        delivery = Delivery(event.receipt, len(dispatches), event.priority)
        if dispatches:
            self._attempts.demand.came(dispatches[0].job, event.priority)
        if delivery.is_range:
            self._haste.hear()
        for dispatch in dispatches:
            if event.redelivered or not self._intake.open:
                commands += self._report_loss(dispatch, event.redelivered, delivery)
            else:
                commands += self._begin(dispatch, delivery, now)
        return commands

    def _begin(self, dispatch: ev.Dispatch, delivery: Delivery, now: float) -> list[Command]:
        attempt = self._attempts.begin(self._rng.getrandbits(63), dispatch, delivery)
        known, is_new = self._attempts.jobs.use(attempt)
        if known.spec is not None:
            return self._reading.begin(attempt, known.spec, now)
        attempt.phase = Phase.JOB
        if known.trouble:
            return self._attempts.fail(attempt, Failure("code", known.trouble))
        known.waiting.append(attempt)
        return [known.fetch(f"worker/job:{attempt.code}")] if is_new else []

    def _report_loss(self, dispatch: ev.Dispatch, redelivered: bool, delivery: Delivery) -> list[Command]:
        """Not run: reported. Whoever had it may live on, as a zombie whose results do not count twice."""
        token = f"worker/lost:{self._rng.getrandbits(63)}"
        self._losses[token] = delivery
        make = ev.Lost if redelivered else ev.Returned
        return [publish(dispatch.job, make(dispatch.dispatch, dispatch.stage, dispatch.index), token)]

    def _on_control(self, event: base.Delivered) -> list[Command]:
        try:
            advice, _ = wire.decode(event.body)
        except wire.BadMessage as error:
            return [Report("warning", f"advice on {ev.CONTROL} is unreadable: {error}", "unreadable")]
        if isinstance(advice, ev.StopJob) and ev.is_name(advice.job):  # it names a folder, too
            commands = self._attempts.stop_job(advice.job, advice.revision)
            if advice.shared_dir:
                commands.append(RemoveShared(shared.folder_of(advice.shared_dir, advice.job)))
            return commands
        if isinstance(advice, ev.StopAttempt):
            attempt = self._attempts.get(advice.attempt)
            return self._attempts.hand_back(attempt) if attempt is not None else []
        return []

    def _on_job(self, event: base.Delivered, code: str, now: float) -> list[Command]:
        commands: list[Command] = [base.Ack(event.receipt)]
        known = self._attempts.jobs.get(code)
        if known is None or known.spec is not None:
            return commands
        if not any(known.take(entry) for entry, _ in wire.decode_all(event.body)):
            return [*commands, *self._cannot_run(known, event.tag)] if known.trouble else commands
        commands.append(base.Cancel(event.tag))
        if known.spec is None:
            return [*commands, known.fetch(event.tag)]
        waiting, known.waiting = known.waiting, []
        for attempt in waiting:
            commands += self._reading.begin(attempt, known.spec, now)
        return commands

    def _cannot_run(self, known: KnownJob, tag: str) -> list[Command]:
        """Others may be able to."""
        commands: list[Command] = [base.Cancel(tag)]
        for attempt in list(known.waiting):
            commands += self._attempts.fail(attempt, Failure("code", known.trouble))
        return commands

    # ------------------------------------------------------------ what is heard of attempts here

    def _on_checked(self, event: BlocksChecked, now: float) -> list[Command]:
        """What an attempt reads in a shared folder was looked for."""
        _, found = self._addressed(event.key)
        if not found or found[0].phase != Phase.CHECKING:
            return []
        (attempt,) = found
        if event.trouble:
            host = self.name.partition(":")[0]
            text = f"{attempt.shared_folder}, which the job shares (--shared-dir), {event.trouble} on {host}"
            return self._fail_here(attempt, Failure("folder", text), now)
        if event.attempts:
            return self._attempts.report_missing(attempt, event.attempts)
        return self._attempts.ready(attempt)

    def _on_block(self, event: ExecutorBlock, now: float) -> list[Command]:
        attempt = self._attempts.running(event.attempt)
        return [] if attempt is None else self._wrote(attempt, event.partition, event.seq, event.block)

    def _wrote(self, attempt: Attempt, partition: int, seq: int, block: Block) -> list[Command]:
        if attempt.wrote_at is None:
            attempt.wrote_at = self._attempts.now
        return [*attempt.publish_block(partition, seq, block, self._by_reference)]

    def _on_printed(self, event: ExecutorPrinted, now: float) -> list[Command]:
        attempt = self._attempts.running(event.attempt)
        if attempt is None or self._blocked:  # it must not pile up; nobody waits for it
            return []
        printed = attempt.printed(self.name, event.text, event.dropped)
        return [publish(attempt.job, printed, "worker/printed")]

    def _on_profiled(self, event: ExecutorProfiled, now: float) -> list[Command]:
        attempt = self._attempts.running(event.attempt)
        if attempt is None:
            return []
        d = attempt.dispatch
        profiled = ev.Profiled(
            d.stage, d.index, attempt.number, self.name, event.samples, event.lines, event.part
        )
        return [publish(attempt.job, profiled, "worker/profiled")]

    def _on_done(self, event: ExecutorDone, now: float) -> list[Command]:
        attempt = self._attempts.running(event.attempt)
        if attempt is None:
            return []
        self._pauses.succeeded(attempt)
        attempt.counters, attempt.stats, attempt.skipped = event.counters, event.stats, event.skipped
        commands: list[Command] = []
        for carried in event.blocks:
            commands += self._wrote(attempt, *carried)
        self._attempts.ran(attempt)
        return commands

    def _on_failed(self, event: ExecutorFailed, now: float) -> list[Command]:
        attempt = self._attempts.get(event.attempt)
        if attempt is None or attempt.phase not in (Phase.GIVEN, Phase.RUNNING):
            return []  # GIVEN: its folder could not be made
        return self._fail_here(attempt, event.failure, now)

    def _on_append_failed(self, event: AppendFailed, now: float) -> list[Command]:
        attempt = self._attempts.get(int(event.key.partition(":")[2]))
        if attempt is None or attempt.phase == Phase.CLOSING:
            return []
        return self._fail_here(attempt, Failure(event.kind, event.reason), now)

    def _fail_here(self, attempt: Attempt, failure: Failure, now: float) -> list[Command]:
        """A try has failed on this machine; perhaps others had better do the work for a while (`Pauses`).

        A worker that shares its process with the client has nobody to leave anything to: then it is a try like any
        other.
        """
        if failure.kind == "disk" and self._by_reference:
            failure = replace(failure, kind="room")
        commands: list[Command] = []
        if failure.kind in ("disk", "folder") and not self._by_reference:
            commands += self._pauses.begin(attempt, failure, now)
            if failure.kind == "disk":  # before the slot of this one is free, lest another one starts in it
                commands += self._attempts.hand_back_all(Phase.RUNNING, but=attempt)
        return commands + self._attempts.fail(attempt, failure)

    # ------------------------------------------------------------ confirms

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        if event.token in self._losses:
            return self._losses.pop(event.token).let_go()
        if event.token.startswith(BACK):
            return self._said(event.token)
        kind, attempts = self._addressed(event.token)
        if kind in ("start", "starts"):
            for attempt in attempts:
                if attempt.phase == Phase.STARTING:
                    self._attempts.started(attempt)
            return []
        if kind in ("close", "closes"):
            return [command for attempt in attempts for command in self._attempts.close(attempt)]
        for attempt in attempts:
            if kind == "block":
                attempt.unconfirmed.discard(event.token)
                self._attempts.may_be_done(attempt)
            elif kind == "long":
                return attempt.acknowledge()
        return []

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        """A stream of the job is gone. If the log is, so is the job: nobody waits for this any more.

        Or the message was not to the broker's liking; then the log should say so.
        """
        if event.token in self._losses:
            return self._losses.pop(event.token).let_go()
        if event.token.startswith(BACK):  # the job has ended
            return self._said(event.token)
        kind, attempts = self._addressed(event.token)
        if kind == "closes" and event.reason:
            return self._attempts.tell_apart(attempts)
        return [command for attempt in attempts for command in self._refused(kind, attempt, event, now)]

    def _refused(self, kind: str, attempt: Attempt, event: base.Unroutable, now: float) -> list[Command]:
        if kind == "block":
            if attempt.phase == Phase.CLOSING:  # its failure is on its way to the log; the ack waits for that
                return []
            if event.unreadable:
                return self._fail_here(attempt, Failure("disk", event.reason), now)
            if event.reason:
                return self._attempts.fail(
                    attempt, Failure("value", f"its output cannot be sent: {event.reason}")
                )
            text = "the broker has no stream for its output any more"
            return self._attempts.fail(attempt, Failure("lost", text))
        if kind == "close" and event.reason and not attempt.failure_logged:
            return self._attempts.fail(
                attempt, Failure("value", f"its result cannot be sent: {event.reason}")
            )
        return self._attempts.abort(attempt)

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        kind, _, rest = event.tag[len(self.prefix) :].partition(":")
        if kind == "job":
            known = self._attempts.jobs.forget(rest)
            waiting = known.waiting if known is not None else []
            return [command for attempt in waiting for command in self._attempts.abort(attempt)]
        if kind == "input":
            attempt = self._attempts.get(int(rest))
            if attempt is None or attempt.phase != Phase.INPUT:
                return []
            text = "the stream with its input is gone from the broker"
            return self._attempts.fail(attempt, Failure("lost", text))
        return self._intake.gone(event.tag) if self._intake.owns(event.tag) else []

    def _said(self, token: str) -> list[Command]:
        """`Back` is where it should be; until then each session says it again."""
        self._interrupted.discard(token[len(BACK) :])
        return []

    def _addressed(self, token: str) -> tuple[str, list[Attempt]]:
        """What it is about, and whose: several where they have told something together, none if they are over."""
        kind, _, rest = token[len(self.prefix) :].partition(":")
        number = rest.split(":")[0]
        if kind in ("starts", "closes"):
            its = self._attempts.together.take(token)
            return kind, [each for each in its if self._attempts.get(each.number) is each]
        attempt = self._attempts.get(int(number)) if number.isdigit() else None
        return kind, [] if attempt is None else [attempt]

    # ------------------------------------------------------------ time

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        commands = self._attempts.forget_old_jobs() + self._intake.resume(now) + self._keep_pace(now)
        commands += self._attempts.ask_for_more()
        if self._leave_at is not None:
            commands += self._attempts.hand_back_all(self._begun(now))
        for attempt in list(self._attempts.values()):
            if self._blocked or attempt.phase != Phase.INPUT:
                attempt.heard_at = now  # nobody can write to it, or it is not waited for
            elif now - attempt.heard_at > attempt.patience_secs:
                commands += self._reading.nothing_comes(attempt, now)
                continue
            if attempt.held and now - attempt.since > self._attempts.hold_secs:
                commands += self._too_long(attempt, now)
            elif not attempt.held and now - attempt.since > ALIVE_EVERY_SECS:
                attempt.since = now
                commands.append(self._attempts.log(attempt, attempt.alive(self.name), "alive"))
        return commands

    def _keep_pace(self, now: float) -> list[Command]:
        """Hold more dispatches while tasks are short; hand back what waits behind one that is not."""
        running = self._slots.at_work
        if self._haste.short and any(now - attempt.began > LONG_TASK_SECS for attempt in running):
            self._haste.stop()
        if self._haste.short:
            return self._intake.hurry(MESSAGES_AHEAD)
        commands = self._intake.hurry(0)
        if commands:
            self._calming_until = now + CALMING_SECS
        # as many as a worker without haste may hold
        room = len(self._slots) + 1 - len(running)
        for attempt in self._slots.stuck(now, LONG_TASK_SECS):
            commands += self._attempts.hand_back(attempt)
        for attempt in self._attempts.line.waiting[room:]:
            if attempt.delivery.is_range or now <= self._calming_until:
                commands += self._attempts.hand_back(attempt)
        return commands

    def _too_long(self, attempt: Attempt, now: float) -> list[Command]:
        """Let go of a dispatch. An attempt that reads for long, or looks at what it will read, is as good as started,
        if a slot is free for it."""
        commands: list[Command] = []
        if attempt.phase < Phase.STARTING:
            promised = [a for a in self._attempts.values() if a.promised and a.phase < Phase.STARTING]
            reads = attempt.phase in (Phase.INPUT, Phase.CHECKING)
            if not reads or len(promised) >= self._attempts.line.free:
                return self._attempts.hand_back(attempt)
            attempt.promised = True
            commands.append(self._attempts.log(attempt, attempt.started(self.name), "reads"))
        attempt.since = now
        return [*commands, self._attempts.log(attempt, attempt.long(self.name), "long")]


_HANDLERS: dict[type, Callable[[Worker, Any, float], list[Command]]] = {
    Connected: Worker._on_connected,
    base.Declared: Worker._on_declared,
    base.Disconnected: Worker._on_disconnected,
    base.Delivered: Worker._on_delivered,
    base.Confirmed: Worker._on_confirmed,
    base.Unroutable: Worker._on_unroutable,
    base.Gone: Worker._on_gone,
    base.Blocked: Worker._on_blocked,
    base.Unblocked: Worker._on_unblocked,
    AppendFailed: Worker._on_append_failed,
    BlocksChecked: Worker._on_checked,
    ExecutorBlock: Worker._on_block,
    ExecutorPrinted: Worker._on_printed,
    ExecutorProfiled: Worker._on_profiled,
    ExecutorDone: Worker._on_done,
    ExecutorFailed: Worker._on_failed,
    Shutdown: Worker._on_shutdown,
    Deferred: Worker._on_deferred,
    Tick: Worker._on_tick,
}
