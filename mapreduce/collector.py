"""Reads one partition: blocks as they come, until the seal says which of them to take.

A reader takes exactly what the current seal lists, no less: blocks of other attempts are ignored, repeats are
dropped by (attempt, sequence number), a gap is named. Every block that a seal lists was confirmed by the broker
before the seal was written, so whatever is not there when the seal is read will never come.

A block too large for one message comes in parts, among which those of others may lie. Each large block grows in a
file of its own, part after part; one that is not whole when the seal is read is a gap like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Union

from mapreduce import events as ev
from mapreduce import shared
from mapreduce.effects import Append, Command
from mapreduce.refs import Block

#: what is worth a copy, to be written together with what comes next
LITTLE_BYTES = 16 << 10


class Spool:
    """Files on this machine that grow by what a stream brings; ``key`` names their owner in `AppendFailed`."""

    def __init__(self, path: str, key: str) -> None:
        self.path = path
        self._key = key
        self._size = 0
        self._large = 0

    def append(self, body: memoryview) -> tuple[int, Append]:
        """Where in the file at `path` the bytes come to lie, and what puts them there."""
        offset, self._size = self._size, self._size + len(body)
        return offset, Append(self._key, self.path, body)

    def new_large(self) -> str:
        """The path of a file for one large block."""
        self._large += 1
        return f"{self.path}.{self._large}"

    def append_to(self, path: str, body: memoryview) -> Append:
        """What puts the bytes at the end of a file of `new_large`."""
        return Append(self._key, path, body)


def together(commands: Iterable[Command]) -> list[Command]:
    """The same, with little appends to one file that follow each other as one: opening it costs more than they do."""
    result: list[Command] = []
    some: list[Append] = []
    for command in commands:
        little = command if isinstance(command, Append) and len(command.body) <= LITTLE_BYTES else None
        if some and (little is None or little.path != some[0].path):
            result.append(_joined(some))
            some = []
        if little is None:
            result.append(command)
        else:
            some.append(little)
    return [*result, _joined(some)] if some else result


def _joined(appends: list[Append]) -> Append:
    first = appends[0]
    if len(appends) == 1:
        return first
    return Append(first.key, first.path, memoryview(b"".join([each.body for each in appends])))


@dataclass
class _Growing:
    """A large block, of which some parts are here."""

    path: str
    parts: int
    here: int = 0  #: parts; the next one has this number
    length: int = 0  #: bytes


class Collector:
    """Pure: it notes where blocks lie, and says what to store where."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._blocks: dict[tuple[int, int], Block] = {}
        self._growing: dict[tuple[int, int], _Growing] = {}
        self._parts: dict[int, tuple[ev.SealEntry, ...]] = {}
        self._expected: Optional[int] = None
        #: a seal of a later generation was seen: this reading is void
        self.stale = False

    def for_generation(self, generation: int) -> Collector:
        """A collector of the same blocks that waits for another seal."""
        other = Collector(generation)
        other._blocks = self._blocks
        other._growing = self._growing
        return other

    def take(
        self, head: ev.BlockHead, body: memoryview, spool: Spool, by_reference: bool = False
    ) -> list[Append]:
        """Note a block, or a part of one, and where it will lie; what stores its body. Repeats are dropped.

        ``by_reference``: all roles are in this process, and name their files to each other. Over a broker nobody may
        name a file of ours: there a reference without a checksum (see `of`) counts as unreadable.
        """
        key = (head.attempt, head.seq)
        if head.ref is None and head.parts == 1:
            return self.keep(key, body, head.records, head.run, head.kind, spool)
        if key in self._blocks:
            return []
        if head.ref is not None:
            if by_reference or head.ref.crc is not None:
                self._blocks[key] = head.ref
            return []
        return self._take_part(head, body, spool)

    def keep(
        self,
        key: tuple[int, int],
        body: Union[bytes, memoryview],
        records: int,
        run: int,
        kind: str,
        spool: Spool,
    ) -> list[Append]:
        """The same of a whole block; ``key``: its attempt and sequence."""
        if key in self._blocks:
            return []
        offset, append = spool.append(memoryview(body))
        # there are few kinds, and a string for each of many blocks would be a third of what is known of it
        self._blocks[key] = Block(spool.path, offset, len(body), records, run, sys.intern(kind))
        return [append]

    def _take_part(self, head: ev.BlockHead, body: memoryview, spool: Spool) -> list[Append]:
        """Parts come in order: an earlier one is a repeat, after a later one something is lost."""
        key = (head.attempt, head.seq)
        growing = self._growing.get(key)
        if growing is None and head.part == 0 and head.parts > 1:
            growing = self._growing[key] = _Growing(spool.new_large(), head.parts)
        if growing is None or (head.part, head.parts) != (growing.here, growing.parts):
            return []
        growing.here += 1
        growing.length += len(body)
        if growing.here == growing.parts:
            del self._growing[key]
            self._blocks[key] = Block(growing.path, 0, growing.length, head.records, head.run, head.kind)
        return [spool.append_to(growing.path, body)]

    def seal(self, seal: ev.Seal) -> None:
        """Take (a part of) a seal."""
        if seal.generation > self.generation:
            self.stale = True
        elif seal.generation == self.generation:
            self._parts[seal.part] = seal.entries
            self._expected = seal.parts

    @property
    def complete(self) -> bool:
        """The whole seal has been read."""
        return self._expected is not None and len(self._parts) == self._expected

    def entries(self) -> list[ev.SealEntry]:
        """The seal, in order of task index."""
        return [entry for part in sorted(self._parts) for entry in self._parts[part]]

    def missing(self, folder: str = "") -> tuple[int, ...]:
        """Attempts that the seal lists and of which a block is not there. ``folder``: as for `of`."""
        found = self._blocks.get
        return tuple(
            entry.attempt
            for entry in self.entries()
            if not all(
                (block := found((entry.attempt, seq))) is not None
                and (block.crc is None or folder != "")  # lies in a folder that the job has
                for seq in range(entry.blocks)
            )
        )

    def of(self, entry: ev.SealEntry, folder: str = "") -> list[Block]:
        """The blocks of one line of the seal, in order. ``folder``: the one that the job shares, if any."""
        blocks = self._of(entry)
        return [
            block if block.crc is None else shared.as_found(block, folder, entry.attempt) for block in blocks
        ]

    def _of(self, entry: ev.SealEntry) -> list[Block]:
        """As messages tell of them."""
        return [self._blocks[entry.attempt, seq] for seq in range(entry.blocks)]

    def blocks(self, folder: str = "") -> tuple[Block, ...]:
        """All blocks in order of (task index, sequence), their runs renumbered so that no two attempts share one."""
        result: list[Block] = []
        run = -1
        for entry in self.entries():
            before = None
            for block in self.of(entry, folder):
                if block.run != before:
                    before, run = block.run, run + 1
                result.append(block._replace(run=run))
        return tuple(result)
