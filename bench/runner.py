"""Performs a workload: all contenders in turn within each round, and the same answer from all of them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from bench import model
from bench.model import Contender, Round, Sample, Verdict, Workload
from bench.processes import CommandFailed, Outcome, run
from bench.services import Services, running

#: of one run of one contender; mrjob needs four minutes for what others do in 15 seconds
LIMIT_SECS = 900.0
#: a line of a program's output that is a figure of its own
FIGURE = re.compile(r"^([a-z_]+) (\d+(?:\.\d+)?)$", re.MULTILINE)


@dataclass
class Race:
    """How a workload went."""

    rounds: list[dict[str, Sample]] = field(default_factory=list)
    #: by contender; it takes part in no later round
    failures: dict[str, str] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.failures


class Runner:
    """``peers``: the interpreter of the other engines, or why there is none."""

    def __init__(
        self, workload: Workload, rounds: int, small: bool, peers: tuple[Optional[str], str]
    ) -> None:
        self._workload = workload
        self._rounds = rounds
        self._small = small
        self._peers, self._no_peers = peers
        self._inputs: dict[str, Path] = {}
        #: by group: the first answer, and whose it is
        self._answers: dict[str, tuple[str, str]] = {}
        self._race = Race()

    def run(self) -> Race:
        """All rounds; goals judged."""
        self._inputs = {name: make(self._small) for name, make in self._workload.inputs.items()}
        for path in self._inputs.values():
            _read_once(path)
        with (
            tempfile.TemporaryDirectory(prefix=f"bench-{self._workload.name}-") as folder,
            running(Path(folder, "broker"), self._workload.workers) as services,
        ):
            services.places.update({name: shlex.quote(str(path)) for name, path in self._inputs.items()})
            if self._peers:
                services.places["peers"] = shlex.quote(self._peers)
            for number in range(1, self._rounds + 1):
                self._race.rounds.append(self._round(number, services, Path(folder, "scratch")))
        titles = {contender.name: contender.title for contender in self._workload.contenders}
        rounds: list[Round] = list(self._race.rounds)
        self._race.verdicts = [model.judge(goal, rounds, titles) for goal in self._workload.goals]
        return self._race

    def _round(self, number: int, services: Services, scratch: Path) -> dict[str, Sample]:
        samples: dict[str, Sample] = {}
        for contender in self._workload.contenders:
            skip = contender.rounds is not None and number > contender.rounds
            if skip or contender.name in self._race.failures:
                continue
            scratch.mkdir()
            try:
                memory = self._workload.memory and number == 1
                samples[contender.name] = self._sample(contender, services, scratch, memory)
                text = describe(samples[contender.name])
            except CommandFailed as failure:
                self._race.failures[contender.name] = str(failure)
                text = f"FAILED: {failure}"
            finally:
                shutil.rmtree(scratch)
            print(f"{self._workload.name}, round {number}: {contender.title}: {text}", file=sys.stderr)
        return samples

    def _sample(self, contender: Contender, services: Services, scratch: Path, memory: bool) -> Sample:
        if contender.uses("peers") and not self._peers:
            raise CommandFailed(self._no_peers)
        output = scratch / "output"
        if contender.needs_folder or contender.prints_answer:
            output.mkdir()
        places = {
            **services.places,
            "output": shlex.quote(str(output)),
            "scratch": shlex.quote(str(scratch)),
        }
        command = shlex.split(contender.command.format_map(places))
        charged = [*services.brokers, *services.workers] if contender.uses("broker") else []
        outcome = run(
            command,
            services=charged,
            memory=memory,
            output=output / "part-00000" if contender.prints_answer else None,
            variables=contender.variables,
            limit_secs=LIMIT_SECS,
        )
        self._compare(contender, output)
        sample = figures(outcome, brokers=len(services.brokers) if charged else 0)
        read = [path for name, path in self._inputs.items() if contender.uses(name)]
        return {**sample, "input_bytes": float(sum(path.stat().st_size for path in read))}

    def _compare(self, contender: Contender, output: Path) -> None:
        if contender.group is None:
            return
        answer = self._workload.answer(output)
        first, whose = self._answers.setdefault(contender.group, (answer, contender.title))
        if answer != first:
            raise CommandFailed(f"its answer is not that of {whose}")


def figures(outcome: Outcome, brokers: int) -> Sample:
    """Of an outcome: what was measured, memory in MB by role, and what the program says of itself.

    ``brokers``: how many of the services, the first ones, are brokers; their memory is no engine's.
    """
    found = {"seconds": outcome.seconds, "cpu_seconds": outcome.cpu_seconds}
    workers = outcome.service_peaks[brokers:]
    if outcome.own_peaks:
        found["client_mb"] = outcome.own_peaks[0]
        children = [*outcome.own_peaks[1:], *(peak for peaks in workers for peak in peaks[1:])]
        if children:
            found["children_mb"] = max(children)
        if workers:
            found["worker_mb"] = max(peaks[0] for peaks in workers)
        everything = [*outcome.own_peaks, *(peak for peaks in workers for peak in peaks)]
        found["peak_mb"] = max(everything)
        found["total_mb"] = sum(everything)
    found.update((name, float(number)) for name, number in FIGURE.findall(outcome.said))
    return found


def describe(sample: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.items() if name != "input_bytes")


def _read_once(path: Path) -> None:
    """So that the first one does not read from the disk what others find in memory."""
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass
