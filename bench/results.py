"""Results as files: one JSON file for each workload, written as soon as that is done."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from bench.model import Sample, Verdict, Workload
from bench.runner import Race

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Standing:
    """A contender, as the tables show it."""

    name: str
    title: str
    kind: str
    samples: Sequence[Sample]
    failure: Optional[str] = None

    def values(self, figure: str) -> list[float]:
        return [sample[figure] for sample in self.samples if figure in sample]


@dataclass(frozen=True)
class Result:
    """A workload that was run."""

    name: str
    title: str
    about: str
    rounds: int
    machine: Mapping[str, Union[str, int, float]]
    versions: Mapping[str, str]
    standings: Sequence[Standing]
    verdicts: Sequence[Verdict]

    @property
    def complete(self) -> bool:
        return not any(standing.failure for standing in self.standings)


def of(
    workload: Workload,
    race: Race,
    machine: Mapping[str, Union[str, int, float]],
    versions: Mapping[str, str],
) -> Result:
    """What is stored of a race."""
    standings = [
        Standing(
            contender.name,
            contender.title,
            contender.kind,
            [one[contender.name] for one in race.rounds if contender.name in one],
            race.failures.get(contender.name),
        )
        for contender in workload.contenders
    ]
    return Result(
        workload.name,
        workload.title,
        workload.about,
        len(race.rounds),
        machine,
        versions,
        standings,
        race.verdicts,
    )


def store(result: Result, folder: Path = RESULTS) -> Path:
    """Write it, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(
        json.dumps(_rounded(dataclasses.asdict(result)), indent=1, ensure_ascii=False) + "\n"
    )
    os.replace(unfinished, path)
    return path


def load(name: str, folder: Path = RESULTS) -> Optional[Result]:
    """The last one of that workload; None if there is none."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text())
    data["standings"] = [Standing(**standing) for standing in data["standings"]]
    data["verdicts"] = [Verdict(**verdict) for verdict in data["verdicts"]]
    return Result(**data)


def _rounded(value: Any) -> Any:
    """Floats with as many digits as were measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value
