"""Seals: when every task of a stage has won, each partition's stream is told exactly what to take from it."""

from __future__ import annotations

from typing import Any

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordination.journal import Journal
from mapreduce.effects import Command
from mapreduce.refs import Failure
from mapreduce.state import JobState

#: entries in one message
SEAL_ENTRIES = 50_000
#: a seal that somebody may still wait for is written again as often: a confirmed one that is lost would stop the job
AGAIN_SECS = 120.0


class Sealer:
    """Writes the seals of one job. All times are the log's."""

    def __init__(self, job: str, state: JobState, journal: Journal, prefix: str) -> None:
        self._job = job
        self._state = state
        self._journal = journal
        self._prefix = f"{prefix}seal:"
        self._open: dict[int, tuple[int, set[str]]] = {}  #: stage -> generation, seals not yet confirmed
        self._again_at: dict[int, float] = {}  #: stage -> when its seals are repeated

    def note(self, entry: Any, at: float) -> None:
        """An entry of the log. Counted from here, repeats come at the same times whoever coordinates then."""
        if isinstance(entry, ev.StageSealed):
            self._again_at[entry.stage] = at + AGAIN_SECS

    def skip(self, at: float) -> None:
        """Take over at this time: what should have been repeated before it was somebody else's to repeat."""
        for stage in self._again_at:
            self._is_time(stage, at)

    def step(self, at: float, client_waits: bool) -> list[Command]:
        """Seal every stage whose input has become complete; repeat the seals that somebody may wait for."""
        commands: list[Command] = []
        for number in range(1, len(self._state.stages)):
            stage, before = self._state.stages[number], self._state.stages[number - 1]
            if stage.sealed:
                waited_for = client_waits if stage is self._state.out else not stage.complete
                if self._is_time(number, at) and waited_for:
                    commands += self._write(number, stage.generation)
            elif before.complete and before.sealed and self._generation(number) != stage.generation:
                commands += self._write(number, stage.generation)
        return commands

    def _generation(self, stage: int) -> int:
        """Of the seals that are written; -1: none yet."""
        return self._open.get(stage, (-1, set()))[0]

    def _is_time(self, stage: int, at: float) -> bool:
        due = self._again_at.get(stage, at)
        late = at - due
        if late < 0:
            return False
        self._again_at[stage] = due + AGAIN_SECS * (late // AGAIN_SECS + 1)
        return True

    def _write(self, stage: int, generation: int) -> list[Command]:
        entries = self._state.seal_entries(stage)
        stages = len(self._state.stages) - 1
        if stage == stages:
            entries.setdefault(0, [])  # the client waits for the seal of `out` even if it holds nothing
        commands: list[Command] = []
        tokens = set()
        for partition in sorted(entries):
            target = ev.reads_from(self._job, stage, partition, stages)
            whole = entries[partition]
            cuts = range(0, max(len(whole), 1), SEAL_ENTRIES)
            for part, cut in enumerate(cuts):
                seal = ev.Seal(generation, part, len(cuts), tuple(whole[cut : cut + SEAL_ENTRIES]))
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

    def returned(self, token: str) -> ev.Failed:
        """Streams are deleted after the end alone, or by somebody else: nothing brings the data back."""
        stage, _, partition, _ = _address(token)
        name = ev.reads_from(self._job, stage, partition, len(self._state.stages) - 1)
        return ev.Failed(Failure("lost", f"the broker has no stream {name} any more"), stage, partition, 0)


def _address(token: str) -> tuple[int, int, int, int]:
    """Stage, generation, partition and part of a seal, from its token."""
    stage, generation, partition, part = map(int, token.split(":")[-4:])
    return stage, generation, partition, part
