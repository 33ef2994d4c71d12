"""Puts the stored results into docs/performance.md and README.md, and draws them into docs/performance/.

    python -m bench.report

What stands between a pair of marks in a document is written by this program; all else there is left as it is.

    <!-- bench:wordcount -->
    …
    <!-- /bench:wordcount -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import draw, results, tables
from bench.processes import ROOT
from bench.results import Result
from bench.workloads import ALL

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "performance"
README = ROOT / "README.md"
#: the workload whose medians the front page shows
FRONT = "wordcount"


class NoMarks(Exception):
    """A document has no place for a part of the report."""


def main() -> None:
    write()


def write(
    document: Path = DOCUMENT,
    pictures: Path = PICTURES,
    readme: Path = README,
    stored: Path = results.RESULTS,
) -> None:
    """Rewrite what comes from results. Raises `NoMarks`."""
    found = [result for result in (results.load(workload.name, stored) for workload in ALL) if result]
    pictures.mkdir(exist_ok=True)
    for result in found:
        if any(standing.samples for standing in result.standings):
            (pictures / f"{result.name}.svg").write_text(draw.bars(result))
    if found:
        (pictures / "goals.svg").write_text(draw.overview(found))
    shown = "".join(front(result) for result in found if result.name == FRONT)
    readme.write_text(replaced(readme.read_text(), {"front": shown}))
    parts = {result.name: section(result, pictures.name) for result in found}
    parts["summary"] = summary(found, pictures.name)
    document.write_text(replaced(document.read_text(), parts))


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part between its marks. Raises `NoMarks` if there is no such pair."""
    for name, part in parts.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        between = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(between.findall(text)) != 1:
            raise NoMarks(f"there must be one pair of marks {begin} … {end}")
        whole = f"{begin}\n{part}\n{end}"
        text = between.sub(lambda _: whole, text)  # noqa: B023  # called at once
    return text


def front(result: Result) -> str:
    """What the front page says of a workload: what it is, where it ran, who needs how long."""
    sentence = f"{result.title}, by two processes on a machine with {result.machine['cores']} cores:"
    return f"{sentence}\n\n{tables.medians(result)}"


def section(result: Result, folder: str) -> str:
    """What is said of one workload: its picture, what it is, its tables, when and where."""
    failed = [f"{one.title} failed:\n\n```\n{one.failure}\n```" for one in result.standings if one.failure]
    parts = [
        f"![{result.title}]({folder}/{result.name}.svg)",
        result.about,
        tables.markdown(result),
        *failed,
        _provenance(result),
    ]
    return "\n\n".join(parts)


def summary(found: Sequence[Result], folder: str) -> str:
    """The machine, the versions, and all goals at a glance."""
    if not found:
        return "Nothing has been measured yet."
    latest = max(found, key=lambda result: str(result.machine["date"]))
    machine = latest.machine
    versions: dict[str, str] = {}
    for result in found:
        versions.update(result.versions)
    judged = [verdict for result in found for verdict in result.verdicts if verdict.bound is not None]
    met = sum(verdict.met for verdict in judged)
    lines = [
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']:g} GB of memory, {machine['system']}, "
        f"{machine['python']}; "
        + ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
        + ".",
        f"Of {len(judged)} goals {met} are met.",
        f"![All goals]({folder}/goals.svg)",
    ]
    return "\n\n".join(lines)


def _provenance(result: Result) -> str:
    rounds = f"{result.rounds} rounds" if result.rounds > 1 else "One round"
    return f"*{rounds}, {result.machine['date']}, commit {result.machine['commit']}.*"


if __name__ == "__main__":
    main()
