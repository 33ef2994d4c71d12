"""The client's role, from submission to outcome.

    publish a provisional lease (so that even a client that dies now leaves an owner) ─▶ confirmed: declare the streams
        ─▶ log `Submitted` ─▶ publish the lease proper, which somebody acts on at once
           (stopped before that: log `Cancelled` ─▶ publish the lease proper, for somebody to clean up ─▶ finished)
        ─▶ feed pieces and log `Splits` … `InputComplete` ─▶ follow the log, collect `out` ─▶ seal read, nothing
        missing: `collected` ─▶ the host writes the output and calls `deliver` ─▶ log `Delivered` ─▶ finished

Everything published is kept until it is confirmed and sent again, in order, after a lost connection; the log's
events and the input's pieces are indifferent to repeats. What nobody else could say (that the input is all in, that
blocks are missing, that the job is to end) is said again with every sign of life, for a broker may lose what it
has confirmed. For the same reason the log is read again from its start after a lost connection, and when nothing
has been heard for long: what the client has folded, and what the others can read, may have come to differ.

A client that did not submit the job itself (`mr results`) is *attached*: it takes the outcome, but whatever happens
to it is no reason to end the job, so it just leaves, and somebody can come for the results again.
"""

from __future__ import annotations

import random
import time
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.brokers import base
from mapreduce.client.alarm import Alarm
from mapreduce.client.claim import Claim
from mapreduce.client.collecting import Collecting
from mapreduce.client.feeding import Feeding
from mapreduce.client.lease import OwnLease
from mapreduce.client.outcome import error_of
from mapreduce.client.output import Collected
from mapreduce.client.phase import BUSY, COLLECTING, Phase
from mapreduce.client.reading import LogReading
from mapreduce.client.sent import Sent
from mapreduce.client.silence import Silence
from mapreduce.client.submitting import SHARE, Submitting
from mapreduce.collector import together
from mapreduce.effects import (
    AppendFailed,
    BlocksChecked,
    Command,
    Connected,
    InputEnd,
    InputFailed,
    InputPiece,
    InputSplit,
    InputSplits,
    RemoveShared,
    Report,
    Tick,
)
from mapreduce.errors import Cancelled, JobLost, MapReduceError, OutputError
from mapreduce.legible import Legibility, build
from mapreduce.spec import PRESENT_EVERY_SECS, JobSpec
from mapreduce.state import JobState
from mapreduce.views import JobView

#: how long a client that cancels its job waits for a coordinator to confirm that
CANCEL_SECS = 5.0
#: the data of a job that ended goes before its log: how long the log has to say so
NEWS_SECS = 30.0
OUT_PREFETCH = 8

OUT_TAG = "client/out"


class Client:
    """A role: one job from its submission to its outcome."""

    def __init__(
        self,
        job: str,
        spec: Optional[JobSpec],
        directory: str,
        version: str,
        rng: random.Random,
        at: Optional[float] = None,
    ) -> None:
        """``spec``: of the job to submit; None: the job is there already, only its outcome is wanted.

        ``directory``: for the output's blocks; ``at``: seconds since the epoch, now unless given.
        """
        self.prefix = "client/"
        self.finished = False
        self.job = job
        self.state = JobState()
        self.phase = Phase.SUBMITTING if spec is not None else Phase.WAITING
        self.error: Optional[MapReduceError] = None
        self.detached = False  #: set once a detached job can do without us
        #: set where all roles are in this process: they name their files to each other
        self.by_reference = False
        self._spec = spec
        self._directory = directory
        self._rng = rng
        self._submitted_at = time.time() if at is None else at
        self._sent = Sent(job, self.prefix, rng)
        self._lease = OwnLease(job, self._sent, rng)
        self._submitting = Submitting(job, version, self._submitted_at, self._sent, self._lease)
        self._feeding = Feeding(job, self._sent)
        self._input_confirmed = False
        self._collecting = Collecting(directory, self._sent)
        self.collected: Optional[Collected] = None  #: from `COLLECTED` on
        self._log = LogReading(job, self.prefix)
        self._legibility = Legibility()
        self._silence = Silence()
        self._claim = Claim(spec is not None)
        self._present_at = 0.0
        self._cancel_reason: Optional[str] = None
        self._leave_at: Optional[float] = None
        #: logged, to see whether the failure that was read is the last word
        self._end_mark: Optional[int] = None
        #: a stream of data is gone, and which: the job has ended, or is lost
        self._gone_at: Optional[float] = None
        self._gone = ""
        self._alarm = Alarm()
        self._view: Optional[JobView] = None

    def follow(self, view: JobView) -> None:
        """Before it is connected: feed the view with all that is read of the log."""
        self._view = view
        if view.folds:  # once is enough: of large jobs the fold is a good part of what the client costs
            self.state = view.state

    def handle(self, event: Any, now: float) -> list[Command]:
        handler = _HANDLERS.get(type(event))
        return handler(self, event, now) if handler is not None and not self.finished else []

    # ------------------------------------------------------------ what the host asks

    def deliver(self) -> list[Command]:
        """The output is where the user wanted it: the job can be forgotten."""
        assert self.collected is not None
        self.phase = Phase.CLOSING
        commands: list[Command] = [self._publish_event(ev.Delivered(self.collected.generation), "delivered")]
        if self.state.terminal is None and self.state.out.generation != self.collected.generation:
            # somebody has missed a part of it since: nobody needs to write that again
            commands.insert(0, self._publish_event(ev.CancelRequested("its output was delivered")))
        return commands

    @property
    def heard_at(self) -> float:
        """When a coordinator was last heard of."""
        return self._silence.heard_at

    @property
    def attached(self) -> bool:
        """The job is somebody else's."""
        return self._spec is None

    def cancel(self, reason: str, now: float) -> list[Command]:
        """Ask the coordinator to end the job; the log will tell. Without a coordinator, leave after a while.

        An attached client just leaves.
        """
        if self.attached:
            if self.error is None:
                self.error = Cancelled(
                    f"stopped waiting ({reason}); job {self.job} goes on, and its results can be fetched again"
                )
            self._end()
            return []
        if self._leave_at is None:
            self._leave_at = now + CANCEL_SECS
        if self.error is None:
            self.error = Cancelled(f"the job was cancelled: {reason}")
        if self.phase is not Phase.SUBMITTING:
            return self._ask_to_end(reason)
        if not self._submitting.has_begun:  # the first lease is all that there can be, or nobody hears us
            self._end()
            return []
        return self._submitting.take_back(reason)

    def _ask_to_end(self, reason: str) -> list[Command]:
        self._cancel_reason = reason
        return [self._publish_event(ev.CancelRequested(reason))]

    # ------------------------------------------------------------ sessions

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        self._present_at = self._silence.heard_at = now
        self._gone_at = None
        self._log.new_session(now)
        if self.phase is Phase.SUBMITTING and self._spec is not None:
            return self._submitting.begin(self._spec)
        again: list[Command] = [*self._sent.again()]
        if self._sent.outstanding("lease"):
            again.insert(0, self._lease.place())
        if self.phase not in BUSY:
            return again
        if self._log.begun:
            again += self._signs_of_life()
        return [*again, *self._read_log(), *self._read_output()]

    def _on_disconnected(self, event: base.Disconnected, now: float) -> list[Command]:
        self._alarm.forget()
        if self.phase is Phase.SUBMITTING:
            self._submitting.begin_anew()
            if self._submitting.taken_back:
                self._end()
        return []

    def _on_declared(self, event: base.Declared, now: float) -> list[Command]:
        return self._submitting.declared(event, self._spec) if self._spec is not None else []

    # ------------------------------------------------------------ reading

    def _read_log(self) -> list[Command]:
        """From its start, into a new fold."""
        if self._view is not None:
            self._view.restart()
        self.state = self._view.state if self._view is not None and self._view.folds else JobState()
        self._legibility = Legibility()
        self._claim.restart(self.attached)
        self._end_mark = None
        return self._log.begin()

    @property
    def _takes_output(self) -> bool:
        """Whether it is for us, or may be."""
        return self._spec is None or not self._spec.detached

    def _read_output(self) -> list[Command]:
        """From its start, each time: what is here already is dropped when it comes."""
        if self.phase is Phase.RESUMING or not self._takes_output:
            return []  # not known whether we shall want it; somebody else comes for it
        return [base.Consume(OUT_TAG, ev.output_stream(self.job), OUT_PREFETCH, "first")]

    def _look_again(self) -> list[Command]:
        """Nothing has happened for long: is there what we have not seen, or have we seen what is no more?"""
        ready = self.state.ready
        return [*self._read_log(), *(self._read_output() if ready else [])]

    # ------------------------------------------------------------ confirms

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        known = self._sent.take(event.token)
        if known is None:
            return []
        kind, _ = known
        if self.phase is Phase.SUBMITTING and self._spec is not None and self._submitting.taken_back:
            if kind == "taken_back":
                return [self._lease.publish(self._spec, renewals=1)]
            return [] if self._sent.outstanding("taken_back") else self._end_if_confirmed()
        if kind == "lease" and self.phase is Phase.SUBMITTING and self._spec is not None:
            return self._submitting.make_places(self._spec)
        if kind == "submitted" and self._spec is not None:
            self.phase = Phase.FEEDING
            return [
                self._lease.publish(self._spec, renewals=1),
                *self._read_log(),
                *self._read_output(),
                *self._feeding.start(),
            ]
        if kind == "input":
            self._input_confirmed = True
            if self.phase is Phase.FEEDING:  # else the log was faster than the confirm
                self.phase = Phase.WAITING
        elif self.phase is Phase.CLOSING:
            return self._end_if_confirmed()
        self._leave_if_detached()
        return (
            [*self._feeding.log_splits(), *self._feeding.read_ahead()] if self.phase is Phase.FEEDING else []
        )

    def _end_if_confirmed(self) -> list[Command]:
        """Not before the lease is: who holds it holds what a broker that restarts may lose, with all that it names."""
        if self._sent.outstanding("delivered") or self._lease.on_its_way:
            return []
        self._end()
        return self._remove_shared()

    def _remove_shared(self) -> list[Command]:
        """What the job has shared goes with it, for perhaps no worker that lives sees it. What is kept stays."""
        spec = self._spec or self.state.spec
        if spec is None or not spec.shared_dir or self.state.kept:
            return []
        return [RemoveShared(shared.folder_of(spec.shared_dir, self.job))]

    def _leave_if_detached(self) -> None:
        all_stored = not self._sent and not self._lease.on_its_way
        if self._input_confirmed and all_stored and self._spec is not None and self._spec.detached:
            self.detached = self.finished = True

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        known = self._sent.take(event.token)
        if known is None:
            return []
        kind, publication = known
        if kind == "lease" and not event.reason:
            self._lease.returned(publication)
        elif self.phase is Phase.CLOSING:
            if kind != "delivered":
                return self._end_if_confirmed()
            self._end()
            return self._remove_shared()
        elif self.state.terminal is None and self.phase is not Phase.COLLECTED:
            if event.reason:
                text = f"the broker refuses what job {self.job} sends to {publication.to}: {event.reason}"
                if kind == "splits":
                    text += (
                        "; it names the files of a split, with the header of each: make --split-size smaller"
                    )
                self.error = self.error or JobLost(text)
                return self.cancel(text, now)
            if publication.to == ev.log_stream(self.job):
                self._lose(publication.to)
            else:
                self._miss(publication.to, now)
        return []

    # ------------------------------------------------------------ following

    def _on_delivered(self, event: base.Delivered, now: float) -> list[Command]:
        assert event.offset is not None
        ack: list[Command] = [base.Ack(event.receipt)]
        of_log = event.tag == self._log.tag
        if not (of_log or event.tag == OUT_TAG):
            return ack
        if of_log and not self._log.moves_on(event.offset):
            return ack
        commands = ack
        for msg, body in wire.decode_all(event.body):
            if self.finished:
                break
            if isinstance(msg, wire.BadMessage):
                text = f"an unreadable message of job {self.job} is left out: {msg}"
                commands.append(Report("warning", text))
            elif of_log:
                if isinstance(msg, ev.Done) and msg.output and self.phase in BUSY and self._takes_output:
                    commands += self._collecting.take_carried(msg)
                commands += self._on_log(msg, event.at, now)
            else:
                commands += self._on_out(msg, body)
            if of_log:
                commands += self._check_legible(msg, now)
        return together(commands)

    def _check_legible(self, entry: Any, now: float) -> list[Command]:
        """Those who work on the job may be of another build, and so may its client: then we would wait for ever."""
        if self._legibility.clear and type(entry) is not wire.BadMessage:
            return []
        self._legibility.note(entry)
        why = self._legibility.why_unknown() if self.attached else ""
        why = why or self._legibility.why_astray(entry, self.state)
        if not why or not self._waits() or self.error is not None:
            return []
        self.error = JobLost(f"job {self.job} cannot be followed by this client ({build()}): {why}")
        return self.cancel(f"its client ({build()}) cannot follow it: {why}", now)

    def _on_log(self, entry: Any, at: float, now: float) -> list[Command]:
        """``at``: when it was sent, for the view."""
        if self._view is not None:
            self._view.note(entry, at)
        if self._view is None or not self._view.folds:
            self.state.apply(entry)
        if self._log.is_new(entry, now):
            self._silence.note(entry, now)
        if isinstance(entry, ev.Resumed) and self.phase in BUSY:
            return self._on_resumed(entry, now)
        marked = isinstance(entry, ev.Marked) and entry.number == self._end_mark
        if marked:
            self._end_mark = None
        if self.state.terminal is not None and self._hears_the_end:
            return self._take_outcome() if marked or not self.state.kept else self._look_further()
        return self._check_collected() if self.state.ready else []

    def _look_further(self) -> list[Command]:
        """It has failed, and is kept: perhaps somebody has retried it, as the log will tell."""
        if self._end_mark is not None:
            return []
        self._end_mark = self._rng.getrandbits(63)
        return [self._publish_event(ev.Marked(self._end_mark))]

    @property
    def _hears_the_end(self) -> bool:
        """Whether it matters to us how the job ends: not once its output is here, unless we want it to end."""
        cancels = self.phase is Phase.COLLECTED and self._cancel_reason is not None
        return self.phase in BUSY or cancels

    def _on_resumed(self, entry: ev.Resumed, now: float) -> list[Command]:
        if self._claim.is_lost_to(entry) and not self.attached:
            self.error = JobLost(
                f"another client goes on with job {self.job} (mr run --resume); this one leaves it"
            )
            self._end()
        return []

    def _take_outcome(self) -> list[Command]:
        """The job has ended without output: say that we know, so that its log can go."""
        assert self.state.terminal is not None
        if self.error is None:
            self.error = error_of(self.state.terminal, self.state)
        self.phase = Phase.CLOSING
        return [self._publish_event(ev.Delivered(-1), "delivered")]

    def _on_out(self, msg: Any, body: memoryview) -> list[Command]:
        if self.phase not in BUSY:
            return []
        commands = self._collecting.take(msg, body, self.by_reference)
        return [*commands, *self._check_collected()] if self.state.ready else commands

    @property
    def _collects(self) -> bool:
        """The output is ready, and ours to take."""
        return self.state.ready and self.phase in COLLECTING

    def _check_collected(self) -> list[Command]:
        return self._collect(self._collecting.check(self.state, self._log.number)) if self._collects else []

    def _on_checked(self, event: BlocksChecked, now: float) -> list[Command]:
        if not self._collects:
            return []
        commands = self._collecting.checked(event, self.state, self._log.number, now)
        if self._collecting.unseen:
            self.error = self.error or OutputError(self._collecting.unseen)
            self._end()
        return self._collect(commands)

    def _collect(self, commands: list[Command]) -> list[Command]:
        """The same; and the output, if that is all here."""
        if self._collecting.collected is not None:
            self.phase, self.collected = Phase.COLLECTED, self._collecting.collected
        return commands

    # ------------------------------------------------------------ trouble

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        """Only the log's end is proof: the data of a job that ended goes first, and the log may be read later."""
        if event.tag == self._log.tag and self.state.terminal is not None and self._hears_the_end:
            return self._take_outcome()  # nobody can have retried it any more
        if self.state.terminal is not None or self.phase in (Phase.COLLECTED, Phase.CLOSING):
            return []
        if event.tag == self._log.tag:
            self._lose(ev.log_stream(self.job))
        elif event.tag == OUT_TAG:
            self._miss(ev.output_stream(self.job), now)
        return []

    def _miss(self, place: str, now: float) -> None:
        if self._gone_at is None:
            self._gone_at, self._gone = now, place

    def _lose(self, place: str) -> None:
        if self.error is None and self.attached and self.state.spec is None:
            self.error = JobLost(f"there is no job {self.job} on this broker (any more)")
        elif self.error is None:
            text = f"{place} is gone from the broker; somebody deleted it, or the broker lost its data"
            self.error = JobLost(f"job {self.job} is lost: {text}")
        self._end()

    def _end(self) -> None:
        self.phase = Phase.DONE
        self.finished = True

    def _on_append_failed(self, event: AppendFailed, now: float) -> list[Command]:
        if event.key == SHARE:
            self.error = self.error or OutputError(event.reason)
            return self.cancel("its client cannot make the folder that it shares", now)
        if self.error is None:
            self.error = OutputError(f"cannot store the job's output in {self._directory}: {event.reason}")
        return self.cancel("its client cannot store the output", now)

    def _on_input_failed(self, event: InputFailed, now: float) -> list[Command]:
        self._feeding.stop()
        error = event.error
        self.error = error if isinstance(error, MapReduceError) else MapReduceError(str(error))
        return self.cancel(f"its input cannot be read: {error}", now)

    # ------------------------------------------------------------ time

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        if self._leave_at is not None and now > self._leave_at:
            self._end()  # no coordinator has taken notice; whoever takes the lease will
            return []
        if self._gone_at is not None and self._waits() and now - self._gone_at > NEWS_SECS:
            self._lose(self._gone)
            return []
        commands = self._lease.repeat()
        if self._collecting.is_to_look(now):
            commands += self._check_collected()
        if self.phase is not Phase.SUBMITTING and now - self._present_at >= self._present_every():
            self._present_at = now
            # as long as we know what we know: a new reading begins with nothing
            commands += self._signs_of_life()
        if self._waits():
            if self._log.stands_still(now):
                commands += self._look_again()
            commands += self._silence.ask(now)
        return commands

    def _waits(self) -> bool:
        return self.phase in BUSY and self.state.terminal is None

    def _present_every(self) -> float:
        spec = self._spec or self.state.spec
        return spec.present_every_secs if spec is not None else PRESENT_EVERY_SECS

    def _signs_of_life(self) -> list[Command]:
        """That we are here, and what we alone could say again if the broker lost it.

        Who only waits keeps no job alive whose input nobody feeds any more.
        """
        fed = bool(self.state.stages) and self.state.stages[0].total is not None
        said: list[Any] = [ev.Present()] if fed or not self.attached else []
        again: list[Command] = []
        if self._end_mark is not None:
            said.append(ev.Marked(self._end_mark))
        if self._waits():
            if self._input_confirmed:
                again = self._feeding.end_again()
            if self._cancel_reason is not None:
                said.append(ev.CancelRequested(self._cancel_reason))
            if self._collecting.missing is not None:  # of another generation: void, and read as such
                said.append(self._collecting.missing)
        return [*(self._publish_event(each) for each in said), *again]

    def _on_depth(self, event: base.Depth, now: float) -> list[Command]:
        spec = self._spec or self.state.spec
        renewals = self._silence.next_renewal(event, now) if spec is not None and self._waits() else None
        if spec is None or renewals is None:
            return []
        return [
            self._lease.publish(spec, renewals, takeovers=1),
            Report("warning", f"nobody has coordinated job {self.job} for long; its lease is sent again"),
        ]

    def _publish_event(self, event: Any, kind: str = "event") -> base.Publish:
        return self._sent.log(event, kind)


#: called by name, as clients of other kinds have methods of their own
_HANDLERS: dict[type, Callable[[Client, Any, float], list[Command]]] = {
    Connected: lambda it, event, now: it._on_connected(event, now),
    base.Disconnected: lambda it, event, now: it._on_disconnected(event, now),
    base.Declared: lambda it, event, now: it._on_declared(event, now),
    base.Confirmed: lambda it, event, now: it._on_confirmed(event, now),
    base.Unroutable: lambda it, event, now: it._on_unroutable(event, now),
    base.Delivered: lambda it, event, now: it._on_delivered(event, now),
    base.Gone: lambda it, event, now: it._on_gone(event, now),
    base.Depth: lambda it, event, now: it._on_depth(event, now),
    base.Blocked: lambda it, event, now: it._alarm.blocked(event),
    base.Unblocked: lambda it, event, now: it._alarm.unblocked(),
    AppendFailed: lambda it, event, now: it._on_append_failed(event, now),
    BlocksChecked: lambda it, event, now: it._on_checked(event, now),
    InputPiece: lambda it, event, now: it._feeding.piece(event.data),
    InputSplit: lambda it, event, now: it._feeding.split(event),
    InputSplits: lambda it, event, now: it._feeding.splits(event),
    InputEnd: lambda it, event, now: it._feeding.end(),
    InputFailed: lambda it, event, now: it._on_input_failed(event, now),
    Tick: lambda it, event, now: it._on_tick(event, now),
}
