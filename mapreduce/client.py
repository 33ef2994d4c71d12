"""The client of one job: submits it, feeds its input, follows its log, collects its output.

    publish a provisional lease (so that even a client that dies now leaves an owner) ─▶ declare the streams
        ─▶ log `Submitted` ─▶ publish the lease proper, which somebody acts on at once
        ─▶ feed pieces and log `Splits` … `InputComplete` ─▶ follow the log, collect `out` ─▶ seal read, nothing
        missing: `collected` ─▶ the host writes the output and calls `deliver` ─▶ log `Delivered` ─▶ finished

Everything published is kept until it is confirmed and sent again, in order, after a lost connection; the log's
events and the input's pieces are indifferent to repeats.

A client that did not submit the job itself (`mr results`) is *attached*: it takes the outcome, but whatever happens
to it is no reason to end the job, so it just leaves, and somebody can come for the results again.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from enum import Enum
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.collector import Collector, Spool
from mapreduce.effects import (
    AppendFailed,
    Command,
    Connected,
    InputEnd,
    InputFailed,
    InputPiece,
    InputSplit,
    ReadInput,
    Report,
    Tick,
)
from mapreduce.errors import Cancelled, InputError, JobFailed, JobLost, MapReduceError, OutputError
from mapreduce.refs import Block, Failure, Segment
from mapreduce.spec import MIB, JobSpec
from mapreduce.state import JobState

#: at most; more often where the job's patience with its client is short
PRESENT_EVERY_SECS = 60.0
#: how long a client that cancels its job waits for a coordinator to confirm that
CANCEL_SECS = 5.0
#: how long `mr cancel` waits: a takeover may be under way
CONFIRM_CANCEL_SECS = 60.0
#: the data of a job that ended goes before its log: how long the log has to say so
NEWS_SECS = 30.0
#: a coordinator renews its lease every eight minutes; without one for so long the lease is lost
LEASE_LOST_SECS = 1500.0
#: items of the input that may be read ahead of their confirms; pieces are about 1 MiB
READ_AHEAD = 8
LOG_PREFETCH = 500
OUT_PREFETCH = 8
#: splits in one log event, and bytes of them, at most
SPLITS_PER_EVENT = 500
SPLIT_BYTES_PER_EVENT = MIB

LOG_TAG = "client/log"
OUT_TAG = "client/out"


class Phase(Enum):
    SUBMITTING = "submitting"  #: until `Submitted` is confirmed
    FEEDING = "feeding"  #: until the whole input is in
    WAITING = "waiting"
    COLLECTED = "collected"  #: the output is here, complete and verified
    CLOSING = "closing"  #: `Delivered` is on its way
    DONE = "done"


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
        self._spec = spec
        self.error: Optional[MapReduceError] = None
        self.detached = False  #: set once a detached job can do without us
        self._directory = directory
        self._version = version
        self._rng = rng
        self._submitted_at = time.time() if at is None else at
        self._unconfirmed: dict[str, base.Publish] = {}
        self._serial = 0
        self._log_offset = 0
        self._out_offset = 0
        self._present_at = 0.0
        self._piece = 0
        self._first_piece_of_split = 0
        self._splits: list[tuple[ev.SplitInput, int]] = []  #: not logged yet, and their bytes in the log
        self._logged_splits = 0
        self._reads = 0
        self._input_ended = False
        self._input_confirmed = False
        self._collectors: dict[int, Collector] = {0: Collector(0)}
        self._spool = Spool(os.path.join(directory, "out"), "client/spool:")
        self._missing_reported = -1
        self._leave_at: Optional[float] = None
        #: a stream of data is gone, and which: the job has ended, or is lost
        self._gone_at: Optional[float] = None
        self._gone = ""
        #: when the coordinator was last heard of: at all, and taking the lease
        self.heard_at = 0.0
        self._lease_at: Optional[float] = None
        self._handlers: dict[type, Callable[[Any, float], list[Command]]] = {
            Connected: self._on_connected,
            base.Disconnected: self._on_disconnected,
            base.Confirmed: self._on_confirmed,
            base.Unroutable: self._on_unroutable,
            base.Delivered: self._on_delivered,
            base.Gone: self._on_gone,
            base.Blocked: self._on_blocked,
            base.Unblocked: self._on_unblocked,
            AppendFailed: self._on_append_failed,
            InputPiece: self._on_piece,
            InputSplit: self._on_split,
            InputEnd: self._on_input_end,
            InputFailed: self._on_input_failed,
            Tick: self._on_tick,
        }

    def handle(self, event: Any, now: float) -> list[Command]:
        handler = self._handlers.get(type(event))
        return handler(event, now) if handler is not None and not self.finished else []

    # ------------------------------------------------------------ what the host asks

    def output(self) -> list[list[Block]]:
        """The blocks of the output, per task of the last stage in order. Valid from `COLLECTED` on."""
        collector = self._current()
        return [collector.of(entry) for entry in collector.entries()]

    def output_tasks(self) -> list[int]:
        """The task index (part number) of each list that `output` gives."""
        return [entry.task for entry in self._current().entries()]

    def output_size(self) -> int:
        """How many parts the output has, those without a record included."""
        spec = self.state.spec
        assert spec is not None
        return spec.partitions if spec.stages > 1 else self.state.stages[0].done

    def deliver(self) -> list[Command]:
        """The output is where the user wanted it: the job can be forgotten."""
        self.phase = Phase.CLOSING
        return [self._publish_event(ev.Delivered(self.state.out.generation), "delivered")]

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
        if self.phase is Phase.SUBMITTING:
            self._end()
        return [self._publish_event(ev.CancelRequested(reason))]

    # ------------------------------------------------------------ sessions

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        self._present_at = self.heard_at = now
        if self._lease_at is None:
            self._lease_at = now
        self._gone_at = None
        if self.phase is Phase.SUBMITTING and self._spec is not None:
            return self._submit(self._spec)
        return [*map(self._again, list(self._unconfirmed.values())), *self._follow()]

    def _again(self, publication: base.Publish) -> base.Publish:
        """What to send after a lost connection: the same, but no two leases may have one rank."""
        if self._kind(publication.token) != "lease":
            return publication
        lease, _ = wire.decode(publication.head)
        rank = ev.Rank(lease.rank.renewals, self._rng.getrandbits(63))
        publication = replace(publication, head=wire.encode(replace(lease, rank=rank)))
        self._unconfirmed[publication.token] = publication
        return publication

    def _on_disconnected(self, event: base.Disconnected, now: float) -> list[Command]:
        if self.phase is Phase.SUBMITTING:
            self._unconfirmed.clear()
        return []

    def _submit(self, spec: JobSpec) -> list[Command]:
        """The lease goes first: it names every stream, so whatever is declared has an owner."""
        names = [ev.log_stream(self.job), *ev.data_streams(self.job, spec.stages, spec.partitions)]
        return [
            base.Declare(ev.JOBS, base.Kind.QUEUE),
            self._publish_lease(spec, renewals=0),
            *(base.Declare(name, base.Kind.STREAM) for name in names),
            self._publish_event(ev.Submitted(self.job, spec, self._version, self._submitted_at), "submitted"),
        ]

    def _publish_lease(self, spec: JobSpec, renewals: int) -> base.Publish:
        """The lease of renewal 0 is provisional: whoever gets it waits, and finds itself outranked by the next."""
        rank = ev.Rank(renewals, self._rng.getrandbits(63))
        lease = ev.Lease(self.job, rank, 0, spec.stages, spec.partitions)
        return self._publish(ev.JOBS, wire.encode(lease), "lease")

    def _follow(self) -> list[Command]:
        log = base.Consume(LOG_TAG, ev.log_stream(self.job), LOG_PREFETCH, self._log_offset or "first")
        if self._spec is not None and self._spec.detached:  # somebody else comes for the output
            return [log]
        out = base.Consume(OUT_TAG, ev.output_stream(self.job), OUT_PREFETCH, self._out_offset or "first")
        return [log, out]

    # ------------------------------------------------------------ feeding

    def _read_ahead(self) -> list[Command]:
        commands: list[Command] = []
        while not self._input_ended and self._reads + len(self._unconfirmed) < READ_AHEAD:
            self._reads += 1
            commands.append(ReadInput())
        return commands

    def _on_piece(self, event: InputPiece, now: float) -> list[Command]:
        self._reads -= 1
        head = wire.encode(ev.Piece(self._piece), event.data)
        self._piece += 1
        return [self._publish(ev.input_stream(self.job), head, "piece"), *self._read_ahead()]

    def _on_split(self, event: InputSplit, now: float) -> list[Command]:
        self._reads -= 1
        pieces = self._piece - self._first_piece_of_split if event.inline else 0
        split = ev.SplitInput(event.split, self._first_piece_of_split, pieces)
        self._splits.append((split, len(wire.encode(split))))
        self._first_piece_of_split = self._piece
        return [*self._log_splits(), *self._read_ahead()]

    def _log_splits(self) -> list[Command]:
        """One event for all that came up while the last one was on its way."""
        outstanding = any(token.startswith("client/splits") for token in self._unconfirmed)
        commands: list[Command] = []
        while self._splits and (self._input_ended or not (outstanding or commands)):
            batch = self._next_batch()
            commands.append(self._publish_event(ev.Splits(self._logged_splits, batch), "splits"))
            self._logged_splits += len(batch)
        return commands

    def _next_batch(self) -> tuple[ev.SplitInput, ...]:
        """As many splits as one event may list: at least one."""
        count = size = 0
        for _, length in self._splits[:SPLITS_PER_EVENT]:
            if count and size + length > SPLIT_BYTES_PER_EVENT:
                break
            count, size = count + 1, size + length
        batch = tuple(split for split, _ in self._splits[:count])
        del self._splits[:count]
        return batch

    def _on_input_end(self, event: InputEnd, now: float) -> list[Command]:
        self._reads -= 1
        self._input_ended = True
        end = wire.encode(ev.EndOfInput(self._piece))
        return [
            self._publish(ev.input_stream(self.job), end, "piece"),
            *self._log_splits(),
            self._publish_event(ev.InputComplete(self._logged_splits), "input"),
        ]

    def _on_input_failed(self, event: InputFailed, now: float) -> list[Command]:
        self._reads -= 1
        self._input_ended = True
        error = event.error
        self.error = error if isinstance(error, MapReduceError) else MapReduceError(str(error))
        return self.cancel(f"its input cannot be read: {error}", now)

    # ------------------------------------------------------------ confirms

    def _on_confirmed(self, event: base.Confirmed, now: float) -> list[Command]:
        if self._unconfirmed.pop(event.token, None) is None:
            return []
        kind = self._kind(event.token)
        if kind == "submitted" and self._spec is not None:
            self.phase = Phase.FEEDING
            return [self._publish_lease(self._spec, renewals=1), *self._follow(), *self._read_ahead()]
        if kind == "input":
            self._input_confirmed = True
            if self.phase is Phase.FEEDING:  # else the log was faster than the confirm
                self.phase = Phase.WAITING
        elif kind == "delivered":
            self._end()
        if self._input_confirmed and not self._unconfirmed and self._spec is not None and self._spec.detached:
            self.detached = self.finished = True
        return [*self._log_splits(), *self._read_ahead()] if self.phase is Phase.FEEDING else []

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        publication = self._unconfirmed.pop(event.token, None)
        if publication is None:
            return []
        if self.phase is Phase.CLOSING:
            if self._kind(event.token) == "delivered":
                self._end()
        elif self.state.terminal is None and self.phase is not Phase.COLLECTED:
            if publication.to in (ev.log_stream(self.job), ev.JOBS):
                self._lose(publication.to)
            else:
                self._miss(publication.to, now)
        return []

    # ------------------------------------------------------------ following

    def _on_delivered(self, event: base.Delivered, now: float) -> list[Command]:
        assert event.offset is not None
        ack: list[Command] = [base.Ack(event.receipt)]
        seen = self._log_offset if event.tag == LOG_TAG else self._out_offset
        if event.offset < seen:
            return ack
        if event.tag == LOG_TAG:
            self._log_offset = event.offset + 1
        else:
            self._out_offset = event.offset + 1
        try:
            msg, body = wire.decode(event.body)
        except wire.BadMessage as error:
            return [*ack, Report("warning", f"an unreadable message of job {self.job} is left out: {error}")]
        return ack + (self._on_log(msg, now) if event.tag == LOG_TAG else self._on_out(msg, body))

    def _on_log(self, entry: Any, now: float) -> list[Command]:
        self.state.apply(entry)
        if isinstance(entry, ev.Took):
            self._lease_at = now
        if isinstance(entry, (ev.Took, ev.Dispatched, ev.StageSealed)):
            self.heard_at = now
        if self.state.terminal is not None and self.phase not in (Phase.CLOSING, Phase.DONE):
            return self._take_outcome()
        return self._check_collected()

    def _take_outcome(self) -> list[Command]:
        """The job has ended without output: say that we know, so that its log can go."""
        terminal = self.state.terminal
        if self.error is None:
            if isinstance(terminal, ev.Failed):
                self.error = describe_failure(terminal, self.state)
            elif isinstance(terminal, ev.Cancelled):  # by somebody else
                self.error = Cancelled(f"the job was cancelled: {terminal.reason}")
            elif isinstance(terminal, ev.Abandoned):
                self.error = JobLost(f"the job was given up: {terminal.reason}")
            else:
                self.error = JobLost("the job's output was delivered to somebody else")
        self.phase = Phase.CLOSING
        return [self._publish_event(ev.Delivered(-1), "delivered")]

    def _on_out(self, msg: Any, body: memoryview) -> list[Command]:
        if isinstance(msg, ev.Seal):
            self._collector(msg.generation).seal(msg)
            return self._check_collected()
        if not isinstance(msg, ev.BlockHead):
            return []
        # Which generation a block is for shows only in the seal: all collectors share their blocks.
        return [*self._collectors[0].take(msg, body, self._spool)]

    def _collector(self, generation: int) -> Collector:
        if generation not in self._collectors:
            self._collectors[generation] = self._collectors[0].for_generation(generation)
        return self._collectors[generation]

    def _current(self) -> Collector:
        return self._collector(self.state.out.generation)

    def _check_collected(self) -> list[Command]:
        if (
            self.phase not in (Phase.FEEDING, Phase.WAITING)
            or not self.state.ready
            or not self._current().complete
        ):
            return []
        generation = self.state.out.generation
        missing = self._current().missing()
        if not missing:
            self.phase = Phase.COLLECTED
        elif self._missing_reported < generation:
            self._missing_reported = generation
            return [self._publish_event(ev.Missing(0, self.state.last + 1, 0, generation, missing))]
        return []

    # ------------------------------------------------------------ trouble and time

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        """Only the log's end is proof: the data of a job that ended goes first, and the log may be read later."""
        if self.state.terminal is not None or self.phase in (Phase.COLLECTED, Phase.CLOSING):
            return []
        if event.tag == LOG_TAG:
            self._lose(ev.log_stream(self.job))
        else:
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
        self.error = OutputError(f"cannot store the job's output in {self._directory}: {event.reason}")
        return self.cancel("its client cannot store the output", now)

    def _on_blocked(self, event: base.Blocked, now: float) -> list[Command]:
        text = f"the broker takes no messages for now ({event.reason}); the job goes on when it does"
        return [Report("warning", text)]

    def _on_unblocked(self, event: base.Unblocked, now: float) -> list[Command]:
        return [Report("info", "the broker takes messages again")]

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        if self._leave_at is not None and now > self._leave_at:
            self._end()  # no coordinator has taken notice; whoever takes the lease will
            return []
        waiting = self.phase in (Phase.FEEDING, Phase.WAITING) and self.state.terminal is None
        if waiting and self._gone_at is not None and now - self._gone_at > NEWS_SECS:
            self._lose(self._gone)
            return []
        commands: list[Command] = []
        spec = self._spec or self.state.spec
        if waiting and spec is not None and now - (self._lease_at or 0.0) > LEASE_LOST_SECS:
            self._lease_at = now
            renewals = self.state.lease.renewals if self.state.lease is not None else 1
            commands += [
                base.Declare(ev.JOBS, base.Kind.QUEUE),
                self._publish_lease(spec, renewals + 1),
                Report("warning", f"nobody has coordinated job {self.job} for long; its lease is sent again"),
            ]
        if self.phase is not Phase.SUBMITTING and now - self._present_at >= self._present_every(spec):
            self._present_at = now
            commands.append(self._publish_event(ev.Present()))
        return commands

    def _present_every(self, spec: Optional[JobSpec]) -> float:
        return min(
            PRESENT_EVERY_SECS, spec.client_timeout_secs / 4 if spec is not None else PRESENT_EVERY_SECS
        )

    # ------------------------------------------------------------ pieces

    def _kind(self, token: str) -> str:
        """What kind of publication a token stands for."""
        return token[len(self.prefix) :].partition(":")[0]

    def _publish_event(self, event: Any, kind: str = "event") -> base.Publish:
        return self._publish(ev.log_stream(self.job), wire.encode(event), kind)

    def _publish(self, to: str, head: bytes, kind: str) -> base.Publish:
        self._serial += 1
        publication = base.Publish(to, head, f"{self.prefix}{kind}:{self._serial}")
        self._unconfirmed[publication.token] = publication
        return publication


class CancelClient(Client):
    """What `mr cancel` is: attached, asks for the end of the job and waits until the log tells of it."""

    def __init__(self, job: str, directory: str, version: str, rng: random.Random) -> None:
        super().__init__(job, None, directory, version, rng)
        self._asked = False

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        commands = super()._on_connected(event, now)
        if not self._asked:
            self._asked = True
            self._leave_at = now + CONFIRM_CANCEL_SECS
            commands.append(self._publish_event(ev.CancelRequested("mr cancel")))
        return commands

    def _follow(self) -> list[Command]:
        return [base.Consume(LOG_TAG, ev.log_stream(self.job), LOG_PREFETCH, self._log_offset or "first")]

    def _take_outcome(self) -> list[Command]:
        terminal, spec = self.state.terminal, self.state.spec
        if isinstance(terminal, ev.Cancelled):
            if spec is not None and spec.detached:  # nobody else is there to say that the log can go
                self.phase = Phase.CLOSING
                return [self._publish_event(ev.Delivered(-1), "delivered")]
        elif isinstance(terminal, ev.Failed):
            self.error = JobLost(f"job {self.job} is over already: it failed ({terminal.failure.message})")
        elif isinstance(terminal, ev.Abandoned):
            self.error = JobLost(f"job {self.job} is over already: it was given up ({terminal.reason})")
        else:
            self.error = JobLost(f"job {self.job} is over already: its output was delivered")
        self._end()
        return []

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        if self._leave_at is not None and now > self._leave_at and self.state.terminal is None:
            text = f"job {self.job} is asked to end, but no worker coordinates it now; the next one that does ends it"
            self.error = self.error or JobLost(text)
        return super()._on_tick(event, now)


def describe_failure(terminal: ev.Failed, state: JobState) -> MapReduceError:
    """The error that a user reads: what failed, on which record, and the user's own traceback."""
    failure: Failure = terminal.failure
    named = failure.function and failure.function not in failure.message
    lines = [f"{failure.message} in {failure.function}" if named else failure.message]
    if failure.source:
        at = f", byte {failure.offset}" if failure.offset >= 0 else ""
        lines.append(f"  at {failure.source}{at}")
    elif terminal.stage == 0 and terminal.index in state.splits:
        lines.append(f"  in {_describe_segments(state.splits[terminal.index].split.segments)}")
    if failure.record:
        lines.append(f"  record: {failure.record}")
    what = "split" if terminal.stage == 0 else "partition"
    stage = f"stage {terminal.stage}, " if state.last > 0 else ""
    tries = f", {terminal.tries} tries" if terminal.tries > 1 else ""
    lines.append(f"  ({stage}{what} {terminal.index}{tries})")
    text = "\n".join(lines)
    return InputError(text) if failure.kind == "input" else JobFailed(text, failure.traceback)


def _describe_segments(segments: tuple[Segment, ...]) -> str:
    """The input of a split, for messages."""
    first, last = segments[0], segments[-1]
    if len(segments) > 1:
        return f"{len(segments)} stretches of input, {first.name} to {last.name}"
    if first.compression:
        return first.name
    return f"{first.name}, bytes {first.origin} to {first.origin + first.end - first.start}"
