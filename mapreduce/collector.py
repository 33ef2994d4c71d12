"""Reads one partition: blocks as they come, until the seal says which of them to take.

A reader takes exactly what the current seal lists, no less: blocks of other attempts are ignored, repeats are
dropped by (attempt, sequence number), a gap is named. Every block that a seal lists was confirmed by the broker
before the seal was written, so whatever is not there when the seal is read will never come.
"""

from __future__ import annotations

from typing import Optional

from mapreduce import events as ev
from mapreduce.refs import Block


class Collector:
    """Pure: it notes where blocks lie. Whoever owns it stores inline bodies and says where (`add`)."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._blocks: dict[tuple[int, int], Block] = {}
        self._parts: dict[int, tuple[ev.SealEntry, ...]] = {}
        self._expected: Optional[int] = None
        #: a seal of a later generation was seen: this reading is void
        self.stale = False

    def for_generation(self, generation: int) -> Collector:
        """A collector of the same blocks that waits for another seal."""
        other = Collector(generation)
        other._blocks = self._blocks
        return other

    def wants(self, head: ev.BlockHead) -> bool:
        """False for a repeat."""
        return (head.attempt, head.seq) not in self._blocks

    def add(self, head: ev.BlockHead, block: Block) -> None:
        """Note where a block lies on this machine."""
        self._blocks[head.attempt, head.seq] = block

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

    def missing(self) -> tuple[int, ...]:
        """Attempts that the seal lists and of which a block is not there."""
        return tuple(
            entry.attempt
            for entry in self.entries()
            if any((entry.attempt, seq) not in self._blocks for seq in range(entry.blocks))
        )

    def of(self, entry: ev.SealEntry) -> list[Block]:
        """The blocks of one line of the seal, in order."""
        return [self._blocks[entry.attempt, seq] for seq in range(entry.blocks)]

    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order of (task index, sequence), their runs renumbered so that no two attempts share one."""
        result: list[Block] = []
        run = -1
        for entry in self.entries():
            before = None
            for block in self.of(entry):
                if block.run != before:
                    before, run = block.run, run + 1
                result.append(block._replace(run=run))
        return tuple(result)
