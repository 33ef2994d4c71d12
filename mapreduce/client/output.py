"""The job's output as it comes: blocks of `out`, kept in files, until a seal says which of them count."""

from __future__ import annotations

import os
from typing import Any

from mapreduce import events as ev
from mapreduce import shared
from mapreduce.collector import Collector, Spool
from mapreduce.effects import Command
from mapreduce.frozen import frozen
from mapreduce.refs import Block, Counters, Skipped
from mapreduce.state import JobState


@frozen
class Collected:
    """The output, and what belongs to it, as they were when the last of it had come: later news changes neither."""

    generation: int
    #: of each task of the last stage that wrote anything, in order: its index, which is the part's number, and blocks
    parts: list[tuple[int, list[Block]]]
    tasks: int  #: how many parts there are, those without a record included
    counters: Counters
    skipped: list[tuple[int, Skipped]]  #: records that were left out, with the stage in which they were
    stats: dict[str, Any]

    @classmethod
    def of(cls, collector: Collector, state: JobState) -> Collected:
        """Of a collector that misses nothing; ``state``: the fold that knows its seal."""
        assert state.spec is not None
        stages, folder = state.stages[:-1], shared_folder(state)
        return cls(
            collector.generation,
            [(entry.task, collector.of(entry, folder)) for entry in collector.entries()],
            state.spec.partitions if state.spec.stages > 1 else state.stages[0].done,
            dict(state.counters),
            [(stage, record) for stage, _, record in state.skipped()],
            {
                "job": state.job,
                "tasks": [stage.done for stage in stages],
                "records_in": [stage.records_in for stage in stages],
                "records_out": [stage.records_out for stage in stages],
                "attempts": state.attempts,
                "failures": state.failures,
                "losses": state.losses,
                "workers": len(state.workers),
            },
        )


def shared_folder(state: JobState) -> str:
    """Where the output lies as far as it does not travel; "": all of it does."""
    shared_dir = state.spec.shared_dir if state.spec is not None else ""
    return shared.folder_of(shared_dir, state.job) if shared_dir else ""


class OutputReader:
    """Which generation a block is for shows only in the seal: the collectors of all generations share their blocks."""

    def __init__(self, directory: str) -> None:
        self._spool = Spool(os.path.join(directory, "out"), "client/spool:")
        self._collectors: dict[int, Collector] = {0: Collector(0)}

    def take(self, msg: Any, body: memoryview, by_reference: bool) -> list[Command]:
        """The next message of `out`; what is here already is dropped. ``by_reference``: as for `Collector.take`."""
        if isinstance(msg, ev.Seal):
            self.of(msg.generation).seal(msg)
        elif isinstance(msg, ev.BlockHead):
            return [*self._collectors[0].take(msg, body, self._spool, by_reference)]
        return []

    def take_carried(self, done: ev.Done) -> list[Command]:
        """What came with it, as if it had come by `out`."""
        commands: list[Command] = []
        for seq, records, run, kind, data in done.output:
            key = (done.attempt, seq)
            commands += self._collectors[0].keep(key, data, records, run, kind, self._spool)
        return commands

    def of(self, generation: int) -> Collector:
        """What is here of the output of a generation."""
        if generation not in self._collectors:
            self._collectors[generation] = self._collectors[0].for_generation(generation)
        return self._collectors[generation]
