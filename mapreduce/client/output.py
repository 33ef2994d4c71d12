"""The job's output as it comes: blocks of `out`, kept in files, until a seal says which of them count."""

from __future__ import annotations

import os
from typing import Any

from mapreduce import events as ev
from mapreduce.collector import Collector, Spool
from mapreduce.effects import Command


class OutputReader:
    """Which generation a block is for shows only in the seal: the collectors of all generations share their blocks."""

    def __init__(self, directory: str) -> None:
        self._spool = Spool(os.path.join(directory, "out"), "client/spool:")
        self._collectors: dict[int, Collector] = {0: Collector(0)}

    def take(self, msg: Any, body: memoryview) -> list[Command]:
        """The next message of `out`."""
        if isinstance(msg, ev.Seal):
            self.of(msg.generation).seal(msg)
        elif isinstance(msg, ev.BlockHead):
            return [*self._collectors[0].take(msg, body, self._spool)]
        return []

    def of(self, generation: int) -> Collector:
        """What is here of the output of a generation."""
        if generation not in self._collectors:
            self._collectors[generation] = self._collectors[0].for_generation(generation)
        return self._collectors[generation]
