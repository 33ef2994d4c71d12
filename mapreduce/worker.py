"""The worker's book-keeping: from a dispatch to its ack.

    dispatch ─▶ job known? ─▶ input here? ─▶ free slot? ─▶ log `Started` ─▶ run ─▶ blocks published ─▶ log `Done` ─▶ ack
       │         (log's first   (pieces, or                  (confirmed)         (each confirmed)       (confirmed)
       │          event)         blocks until the seal)
       └─ redelivered: log `Lost`, ack; the coordinator dispatches it again

The order is rule 1: each step is confirmed by the broker before the next is taken. An attempt dies with the
connection it began on; whatever it wrote is then ignored, because no seal will ever name it.

An ack lets the broker send the next dispatch, so one that is over keeps its own until that is wanted (`_ask_for_more`).
None is held unacked for long (`_hold_secs`): an attempt that goes on logs `Long` and acks, one that is not about to run
is handed back (`_too_long`), what is over is acked.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.aside import read_all_or_set_aside
from mapreduce.attempt import Attempt, Delivery, Phase
from mapreduce.brokers import base
from mapreduce.collector import together
from mapreduce.demand import Demand
from mapreduce.effects import (
    AppendFailed,
    BlocksChecked,
    CheckBlocks,
    Command,
    Connected,
    Execute,
    ExecutorBlock,
    ExecutorDone,
    ExecutorFailed,
    ExecutorPrinted,
    ExecutorProfiled,
    ForgetJob,
    KillExecutor,
    RemoveShared,
    RemoveTree,
    Report,
    Shutdown,
    Tick,
)
from mapreduce.foresight import Foresight
from mapreduce.haste import CALMING_SECS, MESSAGES_AHEAD, Haste
from mapreduce.haste import LONG_SECS as LONG_TASK_SECS
from mapreduce.intake import Intake
from mapreduce.legible import ADVICE, Legibility, build
from mapreduce.refs import Failure
from mapreduce.slots import Slots
from mapreduce.spec import ACK_TIMEOUT_SHARE, LONG_SECS, JobSpec

ALIVE_EVERY_SECS = 60.0
#: how long a worker whose disk is full leaves the tasks to others; twice as long each time, until a task succeeds
DISK_PAUSE_SECS = 10.0
MAX_DISK_PAUSE_SECS = 300.0
#: the same where it does not see the folder that a job shares, or that is full: other jobs have no need of it
FOLDER_PAUSE_SECS = 1.0
MAX_FOLDER_PAUSE_SECS = 4.0
CONTROL_TAG = "worker/control"
#: token of `Back`, before the job's name
BACK = "worker/back:"
#: jobs without an attempt here whose code is kept, for the next dispatch
REMEMBERED_JOBS = 16


class KnownJob:
    """A job whose code this worker has, or is fetching; with the attempts that wait for it.

    A job that was retried with other code is known once for each.
    """

    def __init__(self, job: str, code: Optional[ev.CodeRef]) -> None:
        self.job = job
        self.code = code
        self.spec: Optional[JobSpec] = None
        self.waiting: list[Attempt] = []
        self._submitted: Optional[JobSpec] = None
        self._unreadable: Optional[wire.BadMessage] = None  #: the `Retried` that has brought the code
        self._legibility = Legibility()

    def fetch(self, tag: str) -> base.Consume:
        """The next that is to be read: the job, then its code if that is not the job's first."""
        first: Any = "first" if self._submitted is None or self.code is None else self.code.offset
        return base.Consume(tag, ev.log_stream(self.job), 1, first)

    @property
    def trouble(self) -> str:
        """Why the job cannot be run here; "": it can, or is not known yet."""
        why = self._legibility.why_unknown()
        if self._unreadable is not None:
            by = "another build of mapreduce retried it, or the broker has damaged that"
            why = f"{by} ({self._unreadable}); {ADVICE}"
        return f"this worker ({build()}) cannot read the job: {why}" if why else ""

    def take(self, entry: Any) -> bool:
        """The next entry of the log; whether this reading has brought what it was for."""
        self._legibility.note(entry)
        if self._submitted is None:
            if not isinstance(entry, ev.Submitted):
                return False  # what is unreadable the coordinator reports; the next entry may be the one
            self._submitted = entry.spec
            self.spec = entry.spec if self.code is None else None
            return True
        if isinstance(entry, wire.BadMessage) and entry.tag == ev.Retried.__name__:
            self._unreadable = entry  # what is read now begins with the one that has brought the code
        if isinstance(entry, ev.Retried) and self.code is not None and entry.number == self.code.number:
            bundle = self._submitted.bundle if entry.bundle is None else entry.bundle
            self.spec = replace(self._submitted, bundle=bundle)
        return self.spec is not None


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
        # many, so what is asked for is counted (`_ask_for_more`).
        self._intake = Intake(self.prefix, queues, slots + 1)
        self._directory = directory
        self._by_reference = by_reference
        self._rng = rng
        self._slots = Slots(slots)
        self._jobs: dict[str, KnownJob] = {}
        self._attempts: dict[int, Attempt] = {}
        self._ready: dict[int, Attempt] = {}
        #: attempts that may run, in this order, as slots get free; more than there are slots only in `Haste`
        self._started: dict[int, Attempt] = {}
        self._alone: dict[int, Attempt] = {}  #: those that have to be alone with this host
        self._at_work = 0  #: attempts from `Phase.STARTING` to `Phase.RUNNING`
        self._haste = Haste()
        self._foresight = Foresight()
        self._demand = Demand(self._slots, self._haste, self._foresight)
        #: what was held in haste, or was still on its way then, is handed back until then
        self._calming_until = float("-inf")
        self._now = 0.0  #: of the event that is handled
        self._losses: dict[str, Delivery] = {}
        #: jobs that had attempts here when the connection was lost, until their logs say that we are back
        self._interrupted: set[str] = set()
        self._hold_secs = LONG_SECS  #: how long a dispatch is held unacked
        self._blocked = False  #: the broker takes no messages
        self._disk_pause_secs, self._folder_pause_secs = DISK_PAUSE_SECS, FOLDER_PAUSE_SECS
        self._leave_at: Optional[float] = None  #: told to stop: when what still runs is handed back
        self._handlers: dict[type, Callable[[Any, float], list[Command]]] = {
            Connected: self._on_connected,
            base.Declared: self._on_declared,
            base.Disconnected: self._on_disconnected,
            base.Delivered: self._on_delivered,
            base.Confirmed: self._on_confirmed,
            base.Unroutable: self._on_unroutable,
            base.Gone: self._on_gone,
            base.Blocked: self._on_blocked,
            base.Unblocked: self._on_unblocked,
            AppendFailed: self._on_append_failed,
            BlocksChecked: self._on_checked,
            ExecutorBlock: self._on_block,
            ExecutorPrinted: self._on_printed,
            ExecutorProfiled: self._on_profiled,
            ExecutorDone: self._on_done,
            ExecutorFailed: self._on_failed,
            Shutdown: self._on_shutdown,
            Tick: self._on_tick,
        }

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
        handler = self._handlers.get(type(event))
        self._now = now
        return handler(event, now) if handler is not None else []

    # ------------------------------------------------------------ sessions

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        commands = [*self._intake.connected(), base.Listen(CONTROL_TAG)]
        for job in sorted(self._interrupted):
            commands.append(self._log(job, ev.Back(self.name), f"{BACK}{job}"))
        return commands

    def _on_declared(self, event: base.Declared, now: float) -> list[Command]:
        return self._intake.declared(event.name)

    def _on_disconnected(self, event: base.Disconnected, now: float) -> list[Command]:
        commands: list[Command] = []
        self._blocked = False
        self._interrupted.update(attempt.job for attempt in self._attempts.values())
        for attempt in list(self._attempts.values()):
            commands += self._forget(attempt)
        self._losses.clear()
        self._demand.disconnected()
        self._jobs = {job: known for job, known in self._jobs.items() if known.spec is not None}
        return commands + self._hold_for_less(event.ack_timeout_secs) + self._finish_if_idle()

    def _hold_for_less(self, ack_timeout_secs: float) -> list[Command]:
        """An ack was overdue: the broker has less patience than was thought."""
        hold_secs = ack_timeout_secs * ACK_TIMEOUT_SHARE
        if not 0 < hold_secs < self._hold_secs:
            return []
        self._hold_secs = hold_secs
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
        commands = self._intake.close() + self._hand_back_all(self._begun(now))
        return commands + self._ask_for_more() + self._finish_if_idle()

    def _begun(self, now: float) -> Phase:
        """What has come this far is finished, however much of a hurry there is."""
        return Phase.CLOSING if self._leave_at is not None and now >= self._leave_at else Phase.STARTING

    def _hand_back_all(self, before: Phase, but: Optional[Attempt] = None) -> list[Command]:
        """All attempts that have not come so far; those that wait for a slot before those that would free one."""
        early = [each for each in self._attempts.values() if each.phase < before and each is not but]
        early.sort(key=lambda attempt: attempt.phase)
        return [command for attempt in early for command in self._hand_back(attempt)]

    def _finish_if_idle(self) -> list[Command]:
        self.finished = self._leave_at is not None and not self._attempts and not self._losses
        return []

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
        return [base.Ack(event.receipt), *self._on_input(attempt, event, now)]

    def _on_dispatch(self, event: base.Delivered, now: float) -> list[Command]:
        dispatches, commands = read_all_or_set_aside(event, ev.Dispatch, "the work queue", "worker/aside")
        delivery = Delivery(event.receipt, len(dispatches), event.priority)
        if dispatches:
            self._demand.came(dispatches[0].job, event.priority)
        if delivery.is_range:
            self._haste.hear()
        for dispatch in dispatches:
            if event.redelivered or not self._intake.open:
                commands += self._report_loss(dispatch, event.redelivered, delivery)
            else:
                commands += self._begin(dispatch, delivery, now)
        return commands

    def _begin(self, dispatch: ev.Dispatch, delivery: Delivery, now: float) -> list[Command]:
        number = self._rng.getrandbits(63)
        attempt = Attempt(number, dispatch, delivery, self._folder(dispatch.job, number), now)
        self._attempts[number] = attempt
        if dispatch.alone:
            self._alone[number] = attempt
        known = self._jobs.pop(attempt.code, None)
        if known is not None:
            self._jobs[attempt.code] = known  # the newest stands last
            if known.spec is not None:
                return self._fetch_input(attempt, known.spec, now)
        attempt.phase = Phase.JOB
        if known is not None and known.trouble:
            return self._fail(attempt, Failure("code", known.trouble))
        if known is not None:
            known.waiting.append(attempt)
            return []
        self._jobs[attempt.code] = known = KnownJob(dispatch.job, dispatch.code)
        known.waiting.append(attempt)
        return [known.fetch(f"worker/job:{attempt.code}")]

    def _report_loss(self, dispatch: ev.Dispatch, redelivered: bool, delivery: Delivery) -> list[Command]:
        """Not run: reported. Whoever had it may live on, as a zombie whose results do not count twice."""
        token = f"worker/lost:{self._rng.getrandbits(63)}"
        self._losses[token] = delivery
        make = ev.Lost if redelivered else ev.Returned
        return [self._log(dispatch.job, make(dispatch.dispatch, dispatch.stage, dispatch.index), token)]

    def _on_control(self, event: base.Delivered) -> list[Command]:
        try:
            advice, _ = wire.decode(event.body)
        except wire.BadMessage as error:
            return [Report("warning", f"advice on {ev.CONTROL} is unreadable: {error}", "unreadable")]
        if isinstance(advice, ev.StopJob) and ev.is_name(advice.job):  # it names a folder, too
            return self._stop_job(advice.job, advice.revision) + self._remove_shared(advice)
        if isinstance(advice, ev.StopAttempt):
            attempt = self._attempts.get(advice.attempt)
            return self._hand_back(attempt) if attempt is not None else []
        return []

    def _on_job(self, event: base.Delivered, code: str, now: float) -> list[Command]:
        commands: list[Command] = [base.Ack(event.receipt)]
        known = self._jobs.get(code)
        if known is None or known.spec is not None:
            return commands
        if not any(known.take(entry) for entry, _ in wire.decode_all(event.body)):
            return [*commands, *self._cannot_run(known, event.tag)] if known.trouble else commands
        commands.append(base.Cancel(event.tag))
        if known.spec is None:
            return [*commands, known.fetch(event.tag)]
        waiting, known.waiting = known.waiting, []
        for attempt in waiting:
            commands += self._fetch_input(attempt, known.spec, now)
        return commands

    def _cannot_run(self, known: KnownJob, tag: str) -> list[Command]:
        """Others may be able to."""
        commands: list[Command] = [base.Cancel(tag)]
        for attempt in list(known.waiting):
            commands += self._fail(attempt, Failure("code", known.trouble))
        return commands

    # ------------------------------------------------------------ input

    def _fetch_input(self, attempt: Attempt, spec: JobSpec, now: float) -> list[Command]:
        attempt.spec, attempt.heard_at = spec, now
        place = attempt.expect_input()
        if place is None:
            return self._input_is_here(attempt)
        name, offset = place
        return [base.Consume(attempt.input_tag, name, attempt.PREFETCH, offset)]

    def _on_input(self, attempt: Attempt, event: base.Delivered, now: float) -> list[Command]:
        attempt.heard_at = now
        commands: list[Command] = []
        for msg, body in wire.decode_all(event.body):
            if isinstance(msg, wire.BadMessage):
                text = f"job {attempt.job}: a message of its input is unreadable: {msg}"
                d = attempt.dispatch
                commands.append(Report("warning", text, "unreadable", d.job, d.stage, d.index))
            elif not attempt.input_complete:
                commands += attempt.take_input(msg, body, self._by_reference)
        commands = together(commands)
        if not attempt.input_complete:
            return commands
        commands.append(base.Cancel(attempt.input_tag))
        if attempt.stale:  # voided meanwhile; then the fold takes this for nobody's failure
            text = "its partition holds a seal of a later generation than it was dispatched for"
            return commands + self._fail(attempt, Failure("lost", text))
        missing = attempt.missing()
        if missing is not None:
            return commands + (self._look_again(attempt, now) or self._report_missing(attempt, missing))
        return commands + self._input_is_here(attempt)

    def _look_again(self, attempt: Attempt, now: float) -> list[Command]:
        place = attempt.look_again()
        if place is None:
            return []
        attempt.heard_at = now
        return [base.Consume(attempt.input_tag, place[0], attempt.PREFETCH, place[1])]

    def _nothing_comes(self, attempt: Attempt, now: float) -> list[Command]:
        """The last messages of its input are lost, so that no later one gives it away."""
        again = self._look_again(attempt, now)
        if again:
            return [base.Cancel(attempt.input_tag), *again]
        if attempt.dispatch.stage == 0:
            return self._report_missing(attempt, ())
        text = f"the seal of its partition did not come in {attempt.patience_secs:.0f} seconds"
        return self._fail(attempt, Failure("lost", text))

    def _report_missing(self, attempt: Attempt, missing: tuple[int, ...]) -> list[Command]:
        d = attempt.dispatch
        if d.stage == 0:
            text = "the broker lost a part of the input that it had confirmed"
            return self._fail(attempt, Failure("lost", text))
        attempt.phase = Phase.CLOSING
        event = ev.Missing(d.dispatch, d.stage, d.index, d.generation, missing)
        return [self._log(attempt.job, event, attempt.token("close"))]

    def _input_is_here(self, attempt: Attempt) -> list[Command]:
        """All that travels. What does not is looked for: of a shared folder at least that it is one."""
        if not attempt.shared_folder:
            return self._now_ready(attempt)
        attempt.phase = Phase.CHECKING
        return [CheckBlocks(attempt.token("check"), attempt.shared_folder, attempt.shared_blocks())]

    def _on_checked(self, event: BlocksChecked, now: float) -> list[Command]:
        _, attempt = self._addressed(event.key)
        if attempt is None or attempt.phase != Phase.CHECKING:
            return []
        if event.trouble:
            host = self.name.partition(":")[0]
            text = f"{attempt.shared_folder}, which the job shares (--shared-dir), {event.trouble} on {host}"
            return self._fail_here(attempt, Failure("folder", text), now)
        if event.attempts:
            return self._report_missing(attempt, event.attempts)
        return self._now_ready(attempt)

    def _now_ready(self, attempt: Attempt) -> list[Command]:
        self._foresight.has_read(attempt, self._now - attempt.delivered_at)
        attempt.phase = Phase.READY
        self._ready[attempt.number] = attempt
        commands = self._fill_slots()
        if attempt.promised and attempt.phase == Phase.READY:
            # another took the slot; its dispatch, acked, would wait for us
            commands += self._hand_back(attempt)
        return commands

    # ------------------------------------------------------------ executing

    def _fill_slots(self) -> list[Command]:
        """Run what is started, start what is ready: as many as there are slots, in haste some more."""
        commands: list[Command] = []
        while self._started:
            attempt = next(iter(self._started.values()))
            slot = self._slots.place_for(attempt, self._haste.behind, self._now)
            if slot is None:
                break
            del self._started[attempt.number]
            commands += self._execute(attempt, slot)
        while self._ready:
            attempt = next(iter(self._ready.values()))
            if not self._may_start(attempt):
                break
            del self._ready[attempt.number]
            attempt.phase, attempt.begun, attempt.started_at = Phase.STARTING, True, self._now
            self._at_work += 1
            commands.append(self._log(attempt.job, attempt.started(self.name), attempt.token("start")))
        return commands + self._ask_for_more()

    def _ask_for_more(self) -> list[Command]:
        if self._haste.short or not self._intake.open:
            return self._demand.all_over()
        waiting = sum(each.phase < Phase.STARTING for each in self._attempts.values())
        free = len(self._slots) - self._at_work
        return self._demand.ask(free, waiting, self._hold_secs, self._now)

    def _may_start(self, attempt: Attempt) -> bool:
        """Whether there is a slot for it, or in haste a place in the line for one.

        This host's death is charged to all that the log has as started and not as ended. So what may bring it is
        never in that line, nor takes the slot of one whose end is still on its way to the log; and no line forms
        behind it.
        """
        slots = len(self._slots)
        if attempt.dispatch.alone:
            return sum(each.phase >= Phase.STARTING for each in self._attempts.values()) < slots
        if self._at_work < slots:
            return True
        in_line = self._haste.short and self._at_work < slots * (1 + self._haste.ahead)
        return in_line and not any(each.phase >= Phase.STARTING for each in self._alone.values())

    def _execute(self, attempt: Attempt, slot: int) -> list[Command]:
        assert attempt.spec is not None
        self._slots.enter(attempt, slot, self._now)
        return [Execute(attempt.slot, attempt.code, attempt.spec, attempt.task_spec(self._by_reference))]

    def _running(self, number: int) -> Optional[Attempt]:
        attempt = self._attempts.get(number)
        return attempt if attempt is not None and attempt.phase == Phase.RUNNING else None

    def _on_block(self, event: ExecutorBlock, now: float) -> list[Command]:
        attempt = self._running(event.attempt)
        if attempt is None:
            return []
        if attempt.wrote_at is None:
            attempt.wrote_at = now
        return [*attempt.publish_block(event.partition, event.seq, event.block, self._by_reference)]

    def _on_printed(self, event: ExecutorPrinted, now: float) -> list[Command]:
        attempt = self._running(event.attempt)
        if attempt is None or self._blocked:  # it must not pile up; nobody waits for it
            return []
        printed = attempt.printed(self.name, event.text, event.dropped)
        return [self._log(attempt.job, printed, "worker/printed")]

    def _on_profiled(self, event: ExecutorProfiled, now: float) -> list[Command]:
        attempt = self._running(event.attempt)
        if attempt is None:
            return []
        d = attempt.dispatch
        profiled = ev.Profiled(
            d.stage, d.index, attempt.number, self.name, event.samples, event.lines, event.part
        )
        return [self._log(attempt.job, profiled, "worker/profiled")]

    def _on_done(self, event: ExecutorDone, now: float) -> list[Command]:
        attempt = self._running(event.attempt)
        if attempt is None:
            return []
        self._disk_pause_secs = DISK_PAUSE_SECS
        if attempt.shared_folder:  # that it is there, and can be read, does not say that it can be written
            self._folder_pause_secs = FOLDER_PAUSE_SECS
        attempt.phase = Phase.PUBLISHING
        attempt.counters, attempt.stats, attempt.skipped = event.counters, event.stats, event.skipped
        self._leave_slot(attempt)
        took = now - attempt.began
        self._haste.took(took)
        self._foresight.has_run(attempt, now)
        self._demand.left(attempt, now)
        # as its executor has it: we may hear of the ends of several at once, and so of all their beginnings but one
        attempt.secs = event.stats.get("seconds", took)
        return self._report_done(attempt) + self._fill_slots()

    def _report_done(self, attempt: Attempt) -> list[Command]:
        """`Done` goes out only after the broker has every block."""
        if attempt.phase != Phase.PUBLISHING or attempt.unconfirmed:
            return []
        attempt.phase = Phase.CLOSING
        attempt.may_win = True
        return [self._log(attempt.job, attempt.done(self.name), attempt.token("close"))]

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
        """A try has failed on this machine. With its disk full, or without a folder that the job shares, others had
        better do the work for a while: for a moment only where it is the folder, of which other jobs have no need.

        If there are none, the job's tries last the longer (with a folder for `tries.backoff`), and somebody may make
        room meanwhile. A worker that shares its process with the client has nobody to leave anything to: then it is a
        try like any other.
        """
        commands: list[Command] = []
        if failure.kind == "disk" and self._by_reference:
            failure = replace(failure, kind="room")
        if failure.kind in ("disk", "folder") and not self._by_reference:
            if self._intake.open:
                secs, what = self._next_pause(failure.kind)
                text, d = f"{failure.message}; taking no task for {secs:.0f} s", attempt.dispatch
                commands.append(Report("warning", text, what, d.job, d.stage, d.index))
                commands += self._intake.pause(now + secs)
            if failure.kind == "disk":  # before the slot of this one is free, lest another one starts in it
                commands += self._hand_back_all(Phase.RUNNING, but=attempt)
        return commands + self._fail(attempt, failure)

    def _next_pause(self, kind: str) -> tuple[float, str]:
        """Seconds, and what a report of it is about."""
        if kind == "folder":
            secs = self._folder_pause_secs
            self._folder_pause_secs = min(2 * secs, MAX_FOLDER_PAUSE_SECS)
            return secs, "folder_trouble"
        secs = self._disk_pause_secs
        self._disk_pause_secs = min(2 * secs, MAX_DISK_PAUSE_SECS)
        return secs, "disk_full"

    def _fail(self, attempt: Attempt, failure: Failure) -> list[Command]:
        d = attempt.dispatch
        attempt.failure_logged = True
        if attempt.phase == Phase.RUNNING:
            attempt.secs = self._now - attempt.began
        event = ev.AttemptFailed(
            d.dispatch, d.stage, d.index, d.generation, attempt.number, self.name, failure, not d.careful,
            round(attempt.secs, 6), attempt.slot, d.revision,
        )  # fmt: skip
        return self._end(attempt, event)

    def _hand_back(self, attempt: Attempt) -> list[Command]:
        d = attempt.dispatch
        return self._end(attempt, ev.Returned(d.dispatch, d.stage, d.index))

    def _end(self, attempt: Attempt, outcome: Any) -> list[Command]:
        """Stop the attempt where it is and log its outcome; what is left to do waits for the confirm (`_close`)."""
        commands = self._halt(attempt)
        attempt.phase = Phase.CLOSING
        commands.append(self._log(attempt.job, outcome, attempt.token("close")))
        return commands + self._fill_slots()

    def _halt(self, attempt: Attempt) -> list[Command]:
        """Whatever goes on for the attempt here goes on no longer."""
        commands: list[Command] = []
        if attempt.phase in (Phase.GIVEN, Phase.RUNNING):
            commands.append(KillExecutor(attempt.slot, attempt.number))  # nothing, if it is over there
        if attempt.phase == Phase.INPUT:
            commands.append(base.Cancel(attempt.input_tag))
        known = self._jobs.get(attempt.code)
        if known is not None and attempt in known.waiting:
            known.waiting.remove(attempt)
        self._leave_slot(attempt)
        return commands

    # ------------------------------------------------------------ confirms

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        if event.token in self._losses:
            return [*self._losses.pop(event.token).let_go(), *self._finish_if_idle()]
        if event.token.startswith(BACK):
            return self._said(event.token)
        kind, attempt = self._addressed(event.token)
        if attempt is None:
            return []
        if kind == "start" and attempt.phase == Phase.STARTING:
            self._foresight.has_heard(now - attempt.started_at)
            attempt.phase = Phase.STARTED
            self._started[attempt.number] = attempt
            return self._fill_slots()
        if kind == "block":
            attempt.unconfirmed.discard(event.token)
            return self._report_done(attempt)
        if kind == "long":
            return attempt.acknowledge()
        if kind == "close":
            return self._close(attempt)
        return []

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        """A stream of the job is gone. If the log is, so is the job: nobody waits for this any more.

        Or the message was not to the broker's liking; then the log should say so.
        """
        if event.token in self._losses:
            return [*self._losses.pop(event.token).let_go(), *self._finish_if_idle()]
        if event.token.startswith(BACK):  # the job has ended
            return self._said(event.token)
        kind, attempt = self._addressed(event.token)
        if attempt is None:
            return []
        if kind == "block":
            if attempt.phase == Phase.CLOSING:  # its failure is on its way to the log; the ack waits for that
                return []
            if event.unreadable:
                return self._fail_here(attempt, Failure("disk", event.reason), now)
            if event.reason:
                return self._fail(attempt, Failure("value", f"its output cannot be sent: {event.reason}"))
            return self._fail(attempt, Failure("lost", "the broker has no stream for its output any more"))
        if kind == "close" and event.reason and not attempt.failure_logged:
            return self._fail(attempt, Failure("value", f"its result cannot be sent: {event.reason}"))
        return self._abort(attempt)

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        kind, _, rest = event.tag[len(self.prefix) :].partition(":")
        if kind == "job":
            known = self._jobs.pop(rest, None)
            waiting = known.waiting if known is not None else []
            return [command for attempt in waiting for command in self._abort(attempt)]
        if kind == "input":
            attempt = self._attempts.get(int(rest))
            if attempt is None or attempt.phase != Phase.INPUT:
                return []
            return self._fail(attempt, Failure("lost", "the stream with its input is gone from the broker"))
        return self._intake.gone(event.tag) if self._intake.owns(event.tag) else []

    def _said(self, token: str) -> list[Command]:
        """`Back` is where it should be; until then each session says it again."""
        self._interrupted.discard(token[len(BACK) :])
        return []

    def _addressed(self, token: str) -> tuple[str, Optional[Attempt]]:
        kind, _, rest = token[len(self.prefix) :].partition(":")
        number = rest.split(":")[0]
        return kind, self._attempts.get(int(number)) if number.isdigit() else None

    # ------------------------------------------------------------ endings

    def _close(self, attempt: Attempt) -> list[Command]:
        """The log has the outcome: the dispatch may be acked, once another is wanted."""
        keep = self._by_reference and attempt.wrote
        self._demand.is_over(attempt)
        self._drop(attempt)
        commands = self._fill_slots()
        if not keep:
            commands += self._remove_files(attempt)
        return commands + self._finish_if_idle()

    def _abort(self, attempt: Attempt) -> list[Command]:
        """Nobody wants its result any more."""
        commands = attempt.acknowledge()
        return commands + self._forget(attempt) + self._fill_slots() + self._finish_if_idle()

    def _forget(self, attempt: Attempt) -> list[Command]:
        """Let go of everything but the ack."""
        commands = self._halt(attempt)
        self._drop(attempt)
        return [*commands, *self._remove_files(attempt)]

    def _remove_files(self, attempt: Attempt) -> list[Command]:
        """What it has written for others stays while the log may have its `Done`, though nobody has said so yet."""
        removed: list[Command] = [RemoveTree(attempt.folder)]
        if attempt.output_folder and attempt.slot >= 0 and not attempt.may_win:
            removed.append(RemoveTree(attempt.output_folder, shared=True))
        return removed

    def _remove_shared(self, advice: ev.StopJob) -> list[Command]:
        return [RemoveShared(shared.folder_of(advice.shared_dir, advice.job))] if advice.shared_dir else []

    def _drop(self, attempt: Attempt) -> None:
        self._leave_slot(attempt)
        self._attempts.pop(attempt.number, None)
        self._alone.pop(attempt.number, None)

    def _leave_slot(self, attempt: Attempt) -> None:
        self._ready.pop(attempt.number, None)
        self._started.pop(attempt.number, None)
        if attempt.begun:
            attempt.begun = False
            self._at_work -= 1
        self._slots.leave(attempt, self._now)

    def _stop_job(self, job: str, revision: int) -> list[Command]:
        """It has ended; attempts of a later revision belong to a retry of which the sender did not know."""
        commands: list[Command] = []
        its = [attempt for attempt in self._attempts.values() if attempt.job == job]
        for attempt in sorted(its, key=lambda each: each.phase):  # first what would begin when others leave
            if attempt.dispatch.revision <= revision:
                commands += self._abort(attempt)
        if any(attempt.dispatch.revision > revision for attempt in its):
            return commands
        for code in [code for code, known in self._jobs.items() if known.job == job]:
            commands += self._forget_code(code)
        if not self._by_reference:  # else all goes with this process, which may still look into it
            commands.append(RemoveTree(self._job_folder(job)))
        return commands

    def _forget_code(self, code: str) -> list[Command]:
        known = self._jobs.pop(code)
        self._foresight.forget(code)
        fetching = [base.Cancel(f"worker/job:{code}")] if known.spec is None else []
        return [*fetching, ForgetJob(code)]

    def _forget_old_jobs(self) -> list[Command]:
        """Advice that a job has ended can be lost: of jobs with nothing to do here only the latest are kept."""
        if len(self._jobs) <= REMEMBERED_JOBS:
            return []
        busy = {attempt.job for attempt in self._attempts.values()}
        commands: list[Command] = []
        for code in [code for code, known in self._jobs.items() if known.job not in busy][:-REMEMBERED_JOBS]:
            job = self._jobs[code].job
            commands += self._forget_code(code)
            if not self._by_reference:  # else others may still read what lies there
                commands.append(RemoveTree(self._job_folder(job)))
        return commands

    # ------------------------------------------------------------ time

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        commands = self._forget_old_jobs() + self._intake.resume(now) + self._keep_pace(now)
        commands += self._ask_for_more()
        if self._leave_at is not None:
            commands += self._hand_back_all(self._begun(now))
        for attempt in list(self._attempts.values()):
            if self._blocked or attempt.phase != Phase.INPUT:
                attempt.heard_at = now  # nobody can write to it, or it is not waited for
            elif now - attempt.heard_at > attempt.patience_secs:
                commands += self._nothing_comes(attempt, now)
                continue
            if attempt.held and now - attempt.since > self._hold_secs:
                commands += self._too_long(attempt, now)
            elif not attempt.held and now - attempt.since > ALIVE_EVERY_SECS:
                attempt.since = now
                commands.append(self._log(attempt.job, attempt.alive(self.name), attempt.token("alive")))
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
            commands += self._hand_back(attempt)
        for attempt in [*self._started.values(), *self._ready.values()][room:]:
            if attempt.delivery.is_range or now <= self._calming_until:
                commands += self._hand_back(attempt)
        return commands

    def _too_long(self, attempt: Attempt, now: float) -> list[Command]:
        """Let go of a dispatch. An attempt that reads for long, or looks at what it will read, is as good as started,
        if a slot is free for it."""
        commands: list[Command] = []
        if attempt.phase < Phase.STARTING:
            promised = [a for a in self._attempts.values() if a.promised and a.phase < Phase.STARTING]
            reads = attempt.phase in (Phase.INPUT, Phase.CHECKING)
            if not reads or len(promised) >= len(self._slots) - self._at_work:
                return self._hand_back(attempt)
            attempt.promised = True
            commands.append(self._log(attempt.job, attempt.started(self.name), attempt.token("reads")))
        attempt.since = now
        return [*commands, self._log(attempt.job, attempt.long(self.name), attempt.token("long"))]

    # ------------------------------------------------------------ pieces

    def _log(self, job: str, event: Any, token: str) -> Command:
        return base.Publish(ev.log_stream(job), wire.encode(event), token, joins=True)

    def _job_folder(self, job: str) -> str:
        return os.path.join(self._directory, job)

    def _folder(self, job: str, attempt: int) -> str:
        return f"{self._directory}{os.sep}{job}{os.sep}{attempt:016x}"
