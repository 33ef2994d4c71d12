"""`mr run --profile`: where the CPU time of a job has gone, over all its attempts on all workers, stage by stage."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, NamedTuple

from mapreduce import events as ev
from mapreduce.profiling import EVERY_SECS


class HotLine(NamedTuple):
    """One line of code, of the job or of the engine."""

    file: str  #: as the job's own folder has it, "mapreduce/…" for the engine, else a path on the worker
    line: int
    function: str
    samples: int
    secs: float  #: of CPU time, about
    share: float  #: of the stage's samples, 0 to 1
    text: str  #: the line, where the job's code has it, else ""


class StageProfile(NamedTuple):
    """A stage's, over all attempts of which there are samples, those that failed or were beaten included."""

    stage: int
    attempts: int
    samples: int
    secs: float  #: of CPU time, about
    lines: list[HotLine]  #: the hottest first; what is missing of the samples was in other lines


class ProfileView:
    """The fold of a log's `Profiled`."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()  #: attempt and part: events may come twice
        self._attempts: dict[int, set[int]] = {}  #: by stage
        self._samples: Counter[int] = Counter()
        self._lines: dict[int, Counter[str]] = {}

    def note(self, entry: ev.Profiled) -> None:
        """Take the next one."""
        if (entry.attempt, entry.part) in self._seen:
            return
        self._seen.add((entry.attempt, entry.part))
        self._attempts.setdefault(entry.stage, set()).add(entry.attempt)
        self._samples[entry.stage] += entry.samples
        self._lines.setdefault(entry.stage, Counter()).update(entry.lines)

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return any(self._samples.values())

    def stages(self, bundle: dict[str, Any], most: int) -> list[StageProfile]:
        """Those that used any CPU time, in order, each with up to ``most`` lines. ``bundle``: the job's, see `code`."""
        return [
            self._stage(number, bundle, most) for number in sorted(self._samples) if self._samples[number]
        ]

    def _stage(self, number: int, bundle: dict[str, Any], most: int) -> StageProfile:
        total = self._samples[number]
        # by name among equals, so that it looks the same each time
        hottest = sorted(self._lines[number].items(), key=lambda item: (-item[1], item[0]))[:most]
        lines = []
        for place, samples in hottest:
            path, line, function = _parse(place)
            file, text = _source(bundle, path, line)
            share = samples / total
            lines.append(HotLine(file, line, function, samples, samples * EVERY_SECS, share, text))
        return StageProfile(number, len(self._attempts[number]), total, total * EVERY_SECS, lines)


def to_plain(stages: list[StageProfile]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{**each._asdict(), "lines": [line._asdict() for line in each.lines]} for each in stages]


def _parse(place: str) -> tuple[str, int, str]:
    """Of "file:line:function"; what is none stays what it is."""
    path, line, function = (["", "", *place.rsplit(":", 2)])[-3:]
    return path, int(line) if line.isascii() and line.isdigit() else 0, function


def _source(bundle: dict[str, Any], path: str, line: int) -> tuple[str, str]:
    """The file as the job has it, and the line's text, if the code that travels with the job holds it."""
    folder = bundle.get("directory", "")
    if folder and path.startswith(os.path.join(folder, "")):
        inside = os.path.relpath(path, folder).replace(os.sep, "/")
        text = bundle.get("files", {}).get(inside)
        if text is not None:
            lines = text.splitlines()
            return inside, lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return path, ""
