"""Results as tables: for the terminal, and for docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.results import Result, Standing

#: the figures that a table may have a column for, in this order, if a contender has them
COLUMNS = {
    "warm": "warm, s",
    "cpu_seconds": "CPU, s",
    "client_mb": "client, MB",
    "worker_mb": "worker, MB",
    "children_mb": "largest other, MB",
    "total_mb": "all, MB",
}


def plain(result: Result) -> str:
    """For people at a terminal."""
    head, *rows = _rows(result)
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in (head, *rows)
    ]
    goals = [f"{mark:14} {text}: {value}" for text, value, mark in goal_rows(result)]
    return "\n".join([f"{result.title} ({result.rounds} rounds)", "", *lines, "", *goals]).rstrip()


def markdown(result: Result) -> str:
    """The same as two tables of Markdown: what was measured, and what the goals say to it."""
    parts = [_markdown_table(_rows(result), right=True)]
    goals = goal_rows(result)
    if goals:
        parts.append(_markdown_table([["goal", "measured", ""], *map(list, goals)]))
    return "\n\n".join(parts)


def medians(result: Result) -> str:
    """A short table of Markdown: who needs how long."""
    ranked = sorted(
        (statistics.median(standing.values("seconds")), standing.title)
        for standing in result.standings
        if standing.samples
    )
    return _markdown_table([["", "seconds"], *([title, number(secs)] for secs, title in ranked)], right=True)


def goal_rows(result: Result) -> list[tuple[str, str, str]]:
    """Text, what was measured, and what becomes of it: met, missed and by how much, or nothing to meet."""
    rows = []
    for verdict in result.verdicts:
        if verdict.value is None:
            rows.append((verdict.text, "–", "not measured"))
            continue
        value = _with_unit(verdict.value, verdict.unit)
        if len(verdict.values) > 1:
            value += f" ({number(min(verdict.values))} … {number(max(verdict.values))})"
        short = verdict.short_of_goal
        if short is None:
            mark = "stated"
        elif verdict.met:
            mark = "met"
        else:
            mark = f"missed by {short - 1:.0%}"
        rows.append((verdict.text, value, mark))
    return rows


def number(value: float) -> str:
    """Three digits; thousands are set apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rows(result: Result) -> list[list[str]]:
    extra = [name for name in COLUMNS if any(standing.values(name) for standing in result.standings)]
    rows = [["", "median, s", "min … max", *(COLUMNS[name] for name in extra)]]
    for standing in result.standings:
        if standing.failure:
            rows.append([standing.title, "failed", "", *("" for _ in extra)])
            continue
        seconds = standing.values("seconds")
        span = f"{number(min(seconds))} … {number(max(seconds))}" if len(seconds) > 1 else "once"
        cells = [median_of(standing, name) for name in extra]
        rows.append([standing.title, median_of(standing, "seconds"), span, *cells])
    return rows


def median_of(standing: Standing, figure: str) -> str:
    values = standing.values(figure)
    return number(statistics.median(values)) if values else ""


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}"


def _markdown_table(rows: Sequence[Sequence[str]], right: bool = False) -> str:
    head, *others = rows
    rule = ["---", *("---:" if right else "---" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *others))
