"""From what jobs cost to what a task, a block and a MiB cost: least squares in which nothing costs less than nothing.

What the broker's node needs for a stream and a MiB, and the client for a MiB, is known from `bench.broker_limits`; the
rest is fitted. Each kind of process gets a line of its own: seconds = Σ cost × count. Relative errors are minimised, so
that small jobs count as much as large ones. What map and reduce cost per MiB is what the executors of that work have
left when their tasks and blocks are paid for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.growth.job_costs import RESULTS

#: what the processor time of a process is proportional to; "job" is 1 for each job
FEATURES = {
    "client": ("job", "task", "input MiB", "output MiB"),
    "node": ("job", "task", "block", "stream", "moved MiB"),
    "worker": ("task", "block", "moved MiB"),
}
ROUNDS = 10_000
#: steps smaller than this part of what is found are none
ENOUGH = 1e-9


@dataclass(frozen=True)
class Work:
    """What the functions of a job cost their executor, and what they make of their input."""

    name: str
    map_secs: float  #: per MiB of input
    reduce_secs: float  #: per MiB that the reduce reads
    shuffle: float  #: MiB that the maps write for each MiB of input
    output: float  #: MiB that the reduces write for each MiB of input


@dataclass(frozen=True)
class Costs:
    """Seconds of processor time."""

    client: Mapping[str, float]
    node: Mapping[str, float]
    worker: Mapping[str, float]
    executor_task: float  #: of an executor, for a task that does nothing
    executor_block: float  #: the same, for each block that it writes or reads beyond what its bytes cost
    works: Mapping[str, Work]


def features(row: Mapping[str, Any]) -> dict[str, float]:
    """The counts that costs are proportional to."""
    tasks = row["maps"] + row["reduces"]
    return {
        "job": 1.0,
        "task": float(tasks),
        "block": float(row["blocks"] + row["out_blocks"]),
        "input MiB": row["input"],
        "output MiB": row["output"],
        "stream": row["partitions"] + 3.0,
        "moved MiB": row["input"] + row["shuffle"] + row["output"],
    }


def least_squares(rows: Sequence[Sequence[float]], wanted: Sequence[float]) -> list[float]:
    """Non-negative x that minimises |rows·x - wanted|², one coordinate after the other until they stay.

    (Coordinate descent: each step has a closed form, and the problem is convex.)
    """
    x = [0.0] * len(rows[0])
    left = list(wanted)
    for _ in range(ROUNDS):
        largest = 0.0
        for column in range(len(x)):
            squares = sum(row[column] ** 2 for row in rows)
            if squares == 0.0:
                continue
            step = sum(row[column] * rest for row, rest in zip(rows, left)) / squares
            better = max(0.0, x[column] + step)
            largest = max(largest, abs(better - x[column]) / max(better, 1e-12))
            for number, row in enumerate(rows):
                left[number] -= row[column] * (better - x[column])
            x[column] = better
        if largest < ENOUGH:
            break
    return x


def known_from(limits: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Seconds of a node's processor for a MiB in and out again, in messages of a MiB, and for a stream; of the client's
    for a MiB that it sends."""
    large = next(row for row in limits["sizes"] if row["bytes"] == 1 << 20)
    return {
        "node": {
            "moved MiB": (large["in_node_us"] + large["out_node_us"]) / 1e6,
            "stream": limits["streams"][0]["declare_node_ms"] / 1000,
        },
        "client": {"input MiB": large["in_client_us"] / 1e6},
    }


def fitted(measured: Sequence[Mapping[str, Any]], known: Mapping[str, Mapping[str, float]]) -> Costs:
    """The costs, from the jobs that are there for that; ``known``: see `known_from`."""
    rows = [row for row in measured if row["fits"]]
    found = {process: _fitted(process, rows, known.get(process, {})) for process in FEATURES}
    executor_task, executor_block = _executor_costs([row for row in rows if row["work"] == "spread"])
    works = {}
    for name in sorted({row["work"] for row in rows} - {"spread"}):
        works[name] = _work(name, [row for row in rows if row["work"] == name], executor_task, executor_block)
    return Costs(found["client"], found["node"], found["worker"], executor_task, executor_block, works)


def _fitted(process: str, rows: Sequence[Mapping[str, Any]], known: Mapping[str, float]) -> dict[str, float]:
    """What is not known yet, from what is left; errors count in relation to what was measured."""
    names = [name for name in FEATURES[process] if name not in known]
    scaled = [[features(row)[name] / row[process] for name in names] for row in rows]
    left = [
        1 - sum(cost * features(row)[name] for name, cost in known.items()) / row[process] for row in rows
    ]
    return {**dict(zip(names, least_squares(scaled, left))), **known}


def _executor_costs(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Per task, and per block (written once and read once)."""
    counts = [
        [(row["maps"] + row["reduces"]) / row["executor"], row["blocks"] / row["executor"]] for row in rows
    ]
    task, block = least_squares(counts, [1.0] * len(rows))
    return task, block / 2


def _work(name: str, rows: Sequence[Mapping[str, Any]], task: float, block: float) -> Work:
    """What is left of the executors' time when tasks and blocks are paid for, by stage, per MiB."""
    volume = {what: sum(row[what] for row in rows) for what in ("input", "shuffle", "output")}
    map_secs = reduce_secs = 0.0
    for row in rows:
        map_secs += max(0.0, row["executor"] * row["map_share"] - task * row["maps"] - block * row["blocks"])
        reduce_secs += max(
            0.0, row["executor"] * (1 - row["map_share"]) - task * row["reduces"] - block * row["blocks"]
        )
    # how much a combiner leaves depends on the size of the splits: that of the first, which has the default
    first = rows[0]
    return Work(
        name,
        map_secs / volume["input"],
        reduce_secs / volume["shuffle"],
        first["shuffle"] / first["input"],
        first["output"] / first["input"],
    )


def load(path: Path = RESULTS) -> list[dict[str, Any]]:
    """What `job_costs` has stored."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows
