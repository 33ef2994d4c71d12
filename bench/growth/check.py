"""How well does the simulation know what was measured? Simulated beside measured, for every job of `job_costs`.

The machine that was measured has all processes on its few cores, so that is what is simulated here: one worker, no
network, cores that all share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.growth.fit import Costs, Work
from bench.growth.model import Cluster, Task, simulate

Row = dict[str, Any]


def simulated(row: Mapping[str, Any], costs: Costs, cores: int, round_trip: float) -> float:
    """Seconds that the simulation gives a measured job."""
    cluster = Cluster(
        1, row["executors"], 0.0, round_trip=round_trip, shared_cores=cores, others=row["others"], jitter=0.0
    )
    work = work_of(row, costs)
    # a split that is not inline would have other sizes; here the number of tasks is what counts
    task = Task(row["input"], row["input"] / row["maps"], row["partitions"])
    return simulate(cluster, task, work, costs).seconds


def work_of(row: Mapping[str, Any], costs: Costs) -> Work:
    """The costs of its kind; its own volumes: what a combiner leaves depends on the size of the splits."""
    volumes = {"shuffle": row["shuffle"] / row["input"], "output": row["output"] / row["input"]}
    known = costs.works.get(row["work"], Work(row["work"], 0.0, 0.0, 0.0, 0.0))
    return replace(known, **volumes)


def compared(measured: Sequence[Mapping[str, Any]], costs: Costs, cores: int, round_trip: float) -> list[Row]:
    """One row for each job; errors in percent of what was measured."""
    rows = []
    for row in measured:
        seconds = simulated(row, costs, cores, round_trip)
        rows.append(
            {
                "job": row["name"],
                "tasks": row["maps"] + row["reduces"],
                "blocks": row["blocks"],
                "measured s": row["wall"],
                "simulated s": seconds,
                "error %": 100 * (seconds - row["wall"]) / row["wall"],
                "costs from it": "yes" if row["fits"] else "no",
            }
        )
    return rows
