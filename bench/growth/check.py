"""How well does the simulation know what was measured? Simulated beside measured, for every job of `job_costs`.

The machine that was measured has all processes on its few cores, so that is what is simulated here: one worker, no
network, cores that all share, with whatever else ran there at the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.growth.fit import Costs, Work
from bench.growth.model import Cluster, Task, simulate

Row = dict[str, Any]


#: more than that many others at a time are no measurement any more
MOST_OTHERS = 16


def simulated(row: Mapping[str, Any], costs: Costs, cores: int, round_trip: float) -> tuple[float, int]:
    """Seconds that the simulation gives a measured job, among so many processes of others.

    Nobody counted these, but how much of the processors they had is measured: so many that it comes nearest to that.
    """
    work = work_of(row, costs)
    # the splits are as many as they were, all of one size
    task = Task(row["input"], row["input"] / row["maps"], row["partitions"])
    found = []
    for others in range(MOST_OTHERS + 1):
        cluster = Cluster(
            1, row["executors"], 0.0, round_trip=round_trip, shared_cores=cores, others=others, jitter=0.0
        )
        outcome = simulate(cluster, task, work, costs)
        too_much = outcome.others / outcome.seconds / cores - row["others"]
        found.append((abs(too_much), others, outcome.seconds))
        if too_much > 0:
            break
    _, others, seconds = min(found)
    return seconds, others


def work_of(row: Mapping[str, Any], costs: Costs) -> Work:
    """The costs of its kind; its own volumes: what a combiner leaves depends on the size of the splits."""
    volumes = {"shuffle": row["shuffle"] / row["input"], "output": row["output"] / row["input"]}
    known = costs.works.get(row["work"], Work(row["work"], 0.0, 0.0, 0.0, 0.0))
    return replace(known, **volumes)


def compared(measured: Sequence[Mapping[str, Any]], costs: Costs, cores: int, round_trip: float) -> list[Row]:
    """One row for each job; errors in percent of what was measured."""
    rows = []
    for row in measured:
        seconds, others = simulated(row, costs, cores, round_trip)
        rows.append(
            {
                "job": row["name"],
                "tasks": row["maps"] + row["reduces"],
                "blocks": row["blocks"],
                "measured s": row["wall"],
                "simulated s": seconds,
                "error %": 100 * (seconds - row["wall"]) / row["wall"],
                "others": others,
                "costs from it": "yes" if row["fits"] else "no",
            }
        )
    return rows
