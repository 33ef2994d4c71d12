"""One attempt, as its worker knows it: what it waits for, what it has read and written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from typing import Any, ClassVar, Optional

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.brokers import base
from mapreduce.collector import Collector, Spool
from mapreduce.effects import Command
from mapreduce.refs import Block, Counters, Skipped, Split, Stats, TaskSpec
from mapreduce.spec import MIB, JobSpec

#: a block with more bytes travels in parts of so many: more than any block of several records has, few enough for
#: `Attempt.PREFETCH` of them, and for a broker that takes less as one message than RabbitMQ does by default
PART_BYTES = 2 * MIB
#: blocks of so many bytes in all come with the executor's answer: for less, a folder and a file cost more than the task
CARRIED_BYTES = 4096
#: of a job's output so many bytes in all come with `Done`. All who follow the log read them
OUTPUT_BYTES = 1024
#: see `Attempt.patience_secs`; more than two of `Sealer`'s pauses, and less than a dispatch is held
PIECES_SECS = 60.0
SEAL_SECS = 270.0


class Phase(IntEnum):
    """In this order, except that an attempt may go to CLOSING from any other phase."""

    JOB = 0  #: the job's code is on its way
    INPUT = 1  #: the input is on its way
    CHECKING = 2  #: whether what others have left in a shared folder is there
    READY = 3  #: waits for its turn
    STARTING = 4  #: `Started` is on its way to the log
    STARTED = 5  #: it is there; waits for a free slot
    GIVEN = 6  #: to an executor that is still at another one
    RUNNING = 7
    PUBLISHING = 8  #: the executor is done; the broker does not have all blocks yet
    CLOSING = 9  #: the outcome is on its way to the log; with its confirm the attempt is over


class Delivery:
    """A message of a work queue, with one dispatch or a range of them: acked when none of them needs it any more."""

    def __init__(self, receipt: base.Receipt, dispatches: int, priority: int = 0) -> None:
        self._receipt = receipt
        self.priority = priority
        self._needed_by = dispatches
        self.is_range = dispatches > 1

    def let_go(self) -> list[Command]:
        """One of its dispatches can do without; each says so once."""
        self._needed_by -= 1
        return [] if self._needed_by else [base.Ack(self._receipt)]


class Attempt:
    """Book-keeping of one attempt; the `Worker` decides, this remembers."""

    #: messages that may be on their way to us, of about 1 MiB, `PART_BYTES` at most
    PREFETCH: ClassVar[int] = 8

    def __init__(
        self, number: int, dispatch: ev.Dispatch, delivery: Delivery, folder: str, now: float
    ) -> None:
        self.number = number
        self.dispatch = dispatch
        self.job = dispatch.job
        code = dispatch.code
        #: names the code that it runs: two attempts with the same name may share an executor
        self.code = self.job if code is None else f"{self.job}@{code.number:x}"
        self.delivery = delivery
        self.held = True  #: its dispatch: until it is acked, or would be if it were not in a range
        self.folder = folder
        self.heard_at = now  #: when the input last brought something; it was begun to be read
        self.delivered_at = now  #: when its dispatch came
        self.since = now  #: when its dispatch came; later, when the last `Long` or `Alive` was sent
        self.phase = Phase.INPUT
        self.spec: Optional[JobSpec] = None
        self.slot = -1  #: none yet
        self.begun = False  #: from `Phase.STARTING` to `Phase.RUNNING`
        self.started_at = 0.0  #: when its `Started` was sent
        self.began = 0.0  #: when an executor began with it
        self.secs = 0.0  #: for how long that was at it
        self.promised = False  #: counts as started, its dispatch let go of, while its input is on its way
        self.unconfirmed: set[str] = set()
        self.wrote = False
        self.wrote_at: Optional[float] = None  #: when its first block came
        self.may_win = False  #: its `Done` was sent: what it wrote stays
        self.failure_logged = False
        self._printed = 0  #: times that it was told of
        self.counters: Counters = {}
        self.stats: Stats = {}
        self.skipped: tuple[Skipped, ...] = ()
        self._blocks_out: dict[int, int] = {}
        self._output: list[ev.Carried] = []
        self._output_bytes = 0
        self._spooled: Optional[Spool] = None
        self._next_piece = 0
        self._gap = False
        self._from_start = False  #: the pieces were looked for in all of the stream
        self._collector: Optional[Collector] = None
        self.input_complete = False

    # ------------------------------------------------------------ input

    @property
    def _spool(self) -> Spool:
        """Most have none: their input comes with the dispatch, or is read where it lies."""
        if self._spooled is None:
            self._spooled = Spool(f"{self.folder}{os.sep}input", f"worker/spool:{self.number}")
        return self._spooled

    @property
    def input_tag(self) -> str:
        return f"worker/input:{self.number}"

    def expect_input(self) -> Optional[tuple[str, Any]]:
        """Where to consume the input from: (stream, offset); None if there is nothing to fetch."""
        assert self.spec is not None
        self.phase = Phase.INPUT
        source = self.dispatch.input
        if self.dispatch.stage > 0:
            self._collector = Collector(self.dispatch.generation)
            name = ev.partition_stream(self.job, self.dispatch.stage, self.dispatch.index)
            return name, "first"
        assert source is not None
        if not source.pieces:
            return None
        self._next_piece = source.first_piece
        return ev.input_stream(self.job), source.first_piece

    def look_again(self) -> Optional[tuple[str, Any]]:
        """Where to look once more for pieces that were not at their numbers: those that follow a lost one lie lower.

        None: the stream was read from its start already.
        """
        source = self.dispatch.input
        if self._collector is not None or source is None or self._from_start or not source.first_piece:
            return None
        self._from_start, self._gap, self.input_complete = True, False, False
        return ev.input_stream(self.job), "first"

    def take_input(self, msg: Any, body: memoryview, by_reference: bool = False) -> list[Command]:
        """Take the next message of the input; sets `input_complete` with the last one. ``by_reference``: as for
        `Collector.take`.
        """
        if isinstance(msg, ev.Piece):
            return self._take_piece(msg, body)
        if isinstance(msg, ev.EndOfInput) and self._collector is None:
            self._gap = self.input_complete = True  # ours are not all there, and no more will come
        elif isinstance(msg, ev.BlockHead) and self._collector is not None:
            return [*self._collector.take(msg, body, self._spool, by_reference)]
        elif isinstance(msg, ev.Seal) and self._collector is not None:
            self._collector.seal(msg)
            self.input_complete = self._collector.complete or self._collector.stale
        return []

    def _take_piece(self, piece: ev.Piece, body: memoryview) -> list[Command]:
        source = self.dispatch.input
        if source is None or piece.number < self._next_piece:
            return []  # before our range, or a repeat
        if piece.number > self._next_piece:
            self._gap = self.input_complete = True  # pieces lie in order: the one we wait for is lost
            return []
        self._next_piece += 1
        self.input_complete = self._next_piece == source.first_piece + source.pieces
        return [self._spool.append(body)[1]]

    @property
    def patience_secs(self) -> float:
        """How long the input may bring nothing before what it still lacks is taken for lost.

        Pieces are there before they are dispatched; a seal may be on its way a second time, or a third.
        """
        return PIECES_SECS if self._collector is None else SEAL_SECS

    @property
    def stale(self) -> bool:
        return self._collector is not None and self._collector.stale

    def missing(self) -> Optional[tuple[int, ...]]:
        """None: all is there. For a split whose pieces are gone: an empty tuple."""
        if self._collector is None:
            return () if self._gap else None
        return self._collector.missing(self.shared_folder) or None

    @property
    def shared_folder(self) -> str:
        """Where blocks of its job lie that do not travel; "": all do, or none."""
        shared_dir = self.spec.shared_dir if self.spec is not None else ""
        return shared.folder_of(shared_dir, self.job) if shared_dir else ""

    @property
    def output_folder(self) -> str:
        """Its own therein; "" likewise."""
        folder = self.shared_folder
        return shared.attempt_folder(folder, self.number) if folder else ""

    def shared_blocks(self) -> tuple[Block, ...]:
        """What it is to read from there."""
        blocks = self._collector.blocks(self.shared_folder) if self._collector is not None else ()
        return tuple(block for block in blocks if block.crc is not None)

    def task_spec(self, by_reference: bool) -> TaskSpec:
        """What the executor needs; its paths are of this machine. ``by_reference``: as for `publish_block`."""
        d = self.dispatch
        split: Optional[Split] = None
        data: Optional[bytes] = None
        blocks: tuple[Block, ...] = ()
        if self._collector is not None:
            blocks = self._collector.blocks(self.shared_folder)
        elif d.input is not None:
            split, data = d.input.split, d.input.data
            if d.input.pieces:
                segments = tuple(segment._replace(path=self._spool.path) for segment in split.segments)
                split = split._replace(segments=segments)
        folder = f"{self.folder}{os.sep}out"
        return TaskSpec(
            self.job, d.stage, d.index, self.number, folder, split, blocks, d.careful, d.skip, d.skip_limit,
            data=data, carries=0 if by_reference or d.careful else CARRIED_BYTES, shared=self.output_folder,
        )  # fmt: skip

    # ------------------------------------------------------------ output

    def publish_block(self, partition: int, seq: int, block: Block, by_reference: bool) -> list[base.Publish]:
        """The commands that publish one block, a large one in parts, to whoever reads this stage's output; none for
        one that comes with `Done`."""
        assert self.spec is not None
        self.wrote = True
        self._blocks_out[partition] = self._blocks_out.get(partition, 0) + 1
        if block.data is not None and self._has_room_for(block.data):
            self._output.append(ev.Carried(seq, block.records, block.run, block.kind, block.data))
            self._output_bytes += len(block.data)
            return []
        target = ev.reads_from(self.job, self.dispatch.stage + 1, partition, self.spec.stages)
        head = ev.BlockHead(self.dispatch.index, self.number, seq, block.records, block.run, block.kind)
        token = f"worker/block:{self.number}:{partition}:{seq}"
        if block.data is not None:
            parts = [base.Publish(target, wire.encode(head, block.data), token, joins=True)]
        elif by_reference or block.crc is not None:
            ref = block if by_reference else shared.as_sent(block)
            parts = [base.Publish(target, wire.encode(replace(head, ref=ref)), token, joins=True)]
        else:
            parts = [
                base.Publish(
                    target, wire.encode(replace(head, part=n, parts=count)), f"{token}:{n}", body, joins=True
                )
                for n, body, count in _cut(block)
            ]
        self.unconfirmed.update(part.token for part in parts)
        return parts

    def _has_room_for(self, data: bytes) -> bool:
        """Whether it is output that `Done` can carry."""
        assert self.spec is not None
        is_output = self.dispatch.stage == self.spec.stages - 1
        return is_output and self._output_bytes + len(data) <= OUTPUT_BYTES

    # ------------------------------------------------------------ events

    def token(self, kind: str) -> str:
        return f"worker/{kind}:{self.number}"

    def started(self, worker: str) -> ev.Started:
        d = self.dispatch
        return ev.Started(d.dispatch, d.stage, d.index, d.generation, self.number, worker, d.revision)

    def printed(self, worker: str, text: str, dropped: int) -> ev.Printed:
        d = self.dispatch
        self._printed += 1
        return ev.Printed(d.stage, d.index, self.number, worker, text, dropped, self._printed)

    def done(self, worker: str) -> ev.Done:
        d = self.dispatch
        return ev.Done(
            d.dispatch, d.stage, d.index, d.generation, self.number, worker,
            self._blocks_out, self.counters, self.stats, self.skipped, round(self.secs, 6), self.slot, d.revision,
            tuple(self._output),
        )  # fmt: skip

    def long(self, worker: str) -> ev.Long:
        d = self.dispatch
        return ev.Long(d.dispatch, d.stage, d.index, self.number, worker, d.revision)

    def alive(self, worker: str) -> ev.Alive:
        d = self.dispatch
        return ev.Alive(d.dispatch, d.stage, d.index, self.number, worker, d.revision)

    def acknowledge(self) -> list[Command]:
        """The ack, unless it has been given already, or others of its range still need theirs."""
        held, self.held = self.held, False
        return self.delivery.let_go() if held else []


def _cut(block: Block) -> Iterator[tuple[int, base.FileSlice, int]]:
    """The parts of a block: number, bytes, how many there are."""
    starts = range(0, max(block.length, 1), PART_BYTES)
    for number, start in enumerate(starts):
        length = min(PART_BYTES, block.length - start)
        yield number, base.FileSlice(block.path, block.offset + start, length), len(starts)
