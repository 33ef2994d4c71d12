"""Seals: when every task of a stage has won, each partition's stream is told exactly what to take from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination.journal import Journal
from mapreduce.effects import Command
from mapreduce.refs import Failure
from mapreduce.state import JobState

#: entries in one message, of 30 bytes at most: less than a MiB
SEAL_ENTRIES = 32_768
#: a seal that somebody may still wait for is written again after so long: a confirmed one that is lost would stop the
#: job. Then twice as long after that, and so on
FIRST_PAUSE_SECS = 15.0
#: the most between two of them
LAST_PAUSE_SECS = 120.0


class Sealer:
    """Writes the seals of one job. All times are the log's."""

    def __init__(self, job: str, state: JobState, journal: Journal, prefix: str) -> None:
        self._job = job
        self._state = state
        self._journal = journal
        self._prefix = f"{prefix}seal:"
        self._open: dict[int, tuple[int, set[str]]] = {}  #: stage -> generation, seals not yet confirmed
        self._sealed_at: dict[int, float] = {}  #: stage -> when that was logged
        self._repeated: dict[int, int] = {}  #: stage -> how many of its repeats were due so far

    def note(self, entry: Any, at: float) -> None:
        """An entry of the log. Counted from here, repeats come at the same times whoever coordinates then."""
        if isinstance(entry, ev.StageSealed):
            self._sealed_at[entry.stage], self._repeated[entry.stage] = at, 0

    def restart(self) -> None:
        """The job had failed: what was logged of seals since then did not count."""
        self._open.clear()

    def skip(self, at: float) -> None:
        """Take over at this time: what should have been repeated before it was somebody else's to repeat."""
        for stage in self._sealed_at:
            self._repeated[stage] = self._due(stage, at)

    def step(self, at: float, client_waits: bool) -> list[Command]:
        """Seal every stage whose input has become complete; repeat the seals that somebody may wait for."""
        commands: list[Command] = []
        for number in range(1, len(self._state.stages)):
            stage, before = self._state.stages[number], self._state.stages[number - 1]
            if stage.sealed:
                waited_for = client_waits if stage is self._state.out else not stage.complete
                due = self._due(number, at)
                if due > self._repeated.get(number, 0) and waited_for:
                    commands += self._write(number, stage.generation)
                self._repeated[number] = due
            elif before.complete and before.sealed and self._generation(number) != stage.generation:
                commands += self._write(number, stage.generation)
        return commands

    def _generation(self, stage: int) -> int:
        """Of the seals that are written; -1: none yet."""
        return self._open.get(stage, (-1, set()))[0]

    def _due(self, stage: int, at: float) -> int:
        """How many repeats of the stage's seals there should have been by now."""
        waited, count = at - self._sealed_at.get(stage, at), 0
        pause = FIRST_PAUSE_SECS
        while pause < LAST_PAUSE_SECS and waited >= pause:
            waited, count, pause = waited - pause, count + 1, 2 * pause
        return count + (int(waited // LAST_PAUSE_SECS) if pause >= LAST_PAUSE_SECS else 0)

    def _write(self, stage: int, generation: int) -> list[Command]:
        entries = self._state.seal_entries(stage)
        stages = len(self._state.stages) - 1
        if stage == stages:
            entries.setdefault(0, [])  # the client waits for the seal of `out` even if it holds nothing
        commands: list[Command] = []
        tokens = set()
        for partition in sorted(entries):
            target = ev.reads_from(self._job, stage, partition, stages)
            parts = list(_cut(entries[partition]))
            for part, some in enumerate(parts):
                seal = ev.Seal(generation, part, len(parts), some)
                token = f"{self._prefix}{stage}:{generation}:{partition}:{part}"
                tokens.add(token)
                commands.append(base.Publish(target, wire.encode(seal), token))
        self._open[stage] = (generation, tokens)
        if not tokens:  # nothing was written for this stage, so there is nothing to read
            commands.append(self._journal.write(ev.StageSealed(stage, generation)))
        return commands

    def confirmed(self, token: str) -> list[Command]:
        """One more seal is in its stream; with the last one the stage is sealed."""
        stage, generation = _address(token)[:2]
        current, missing = self._open.get(stage, (-1, set()))
        if current != generation or token not in missing:
            return []
        missing.discard(token)
        if missing or self._state.stages[stage].sealed:
            return []
        return [self._journal.write(ev.StageSealed(stage, generation))]

    def returned(self, token: str, reason: str) -> ev.Failed:
        """Streams are deleted after the end alone, or by somebody else: nothing brings the data back.

        Or there is a ``reason`` why the broker does not take the seal, now or ever.
        """
        stage, _, partition, _ = _address(token)
        name = ev.reads_from(self._job, stage, partition, len(self._state.stages) - 1)
        failure = Failure("lost", f"the broker has no stream {name} any more")
        if reason:
            failure = Failure("value", f"the seal of {name} cannot be sent: {reason}")
        return ev.Failed(failure, stage, partition, 0)


def _cut(entries: list[ev.SealEntry]) -> Iterator[tuple[ev.SealEntry, ...]]:
    """The entries in parts, one at least, each of as many as a message may have."""
    for begin in range(0, max(1, len(entries)), SEAL_ENTRIES):
        yield tuple(entries[begin : begin + SEAL_ENTRIES])


def _address(token: str) -> tuple[int, int, int, int]:
    """Stage, generation, partition and part of a seal, from its token."""
    stage, generation, partition, part = map(int, token.split(":")[-4:])
    return stage, generation, partition, part
