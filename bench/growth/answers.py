"""The questions that `docs/performance.md` answers, each a table from the simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.growth.fit import Costs, Work
from bench.growth.model import Cluster, Outcome, Task, simulate

Row = dict[str, Any]

GIB = 1024.0
#: of the jobs that are simulated, MiB: enough for the beginning and the end not to matter
INPUT = 8 * GIB
#: MiB/s of an Ethernet of so many Gbit/s, its headers paid for
GIGABIT = 112.0
NETWORKS = {"1 Gbit/s": GIGABIT, "10 Gbit/s": 10 * GIGABIT}
#: hosts of four executors, a broker of four cores, and a network between them
USUAL = Cluster(hosts=16, executors=4, network=GIGABIT, node_network=GIGABIT, round_trip=0.001)
#: a job that computes for two seconds on each MiB and keeps little of it: a model is applied, an image is looked at
HEAVY = Work("heavy computing", 2.0, 0.1, 0.05, 0.02)
#: what a block that is a reference has in the stream, about
REFERENCE_MIB = 0.0003


@dataclass(frozen=True)
class Demand:
    """What a MiB of input asks for."""

    executor: float  #: seconds of an executor
    wire: float  #: MiB into the broker; as much goes out
    node: float  #: seconds of the broker's processors
    client: float  #: seconds of the client


def demand(task: Task, work: Work, costs: Costs) -> Demand:
    """Of one MiB, on the average of the job."""
    maps = max(1, math.ceil(task.input / task.split))
    blocks = maps * task.partitions * max(1, math.ceil(task.input * work.shuffle / maps / task.partitions))
    moved = (0.0 if task.input_by_reference else 1.0) + work.output
    moved += blocks * REFERENCE_MIB / task.input if task.blocks_by_reference else work.shuffle
    fixed = (maps + task.partitions) * costs.node["task"] + blocks * costs.node["block"]
    return Demand(
        work.map_secs + work.shuffle * work.reduce_secs + 2 * blocks * costs.executor_block / task.input,
        moved,
        moved * costs.node["moved MiB"] + fixed / task.input,
        (0.0 if task.input_by_reference else costs.client["input MiB"])
        + work.output * costs.client["output MiB"]
        + maps / task.input * costs.client["task"],
    )


def executors_at_limit(cluster: Cluster, task: Task, work: Work, costs: Costs) -> tuple[float, str]:
    """So many executors ask for all that one node of the broker, or the job's one client, has; and of what."""
    each = demand(task, work, costs)
    rates = {
        "network": cluster.node_network / each.wire if each.wire else math.inf,
        "processor": cluster.node_cores / each.node,
        "client": 1 / each.client,
    }
    what = min(rates, key=lambda name: rates[name])
    return each.executor * rates[what], what


def broker_limits(works: Sequence[Work], costs: Costs) -> list[Row]:
    """From how many executors on something else sets the pace, and how well that many still work (by simulation)."""
    rows = []
    for work in works:
        for label, speed in NETWORKS.items():
            row: Row = {"job": work.name, "broker's network": label}
            for way, by_reference in (("inline", False), ("by reference", True)):
                cluster = replace(USUAL, network=speed, node_network=speed)
                task = Task(INPUT, partitions=64, input_by_reference=by_reference)
                count, what = executors_at_limit(cluster, task, work, costs)
                row[f"executors, input {way}"] = round(count)
                row[f"full then{' ' * by_reference}"] = what
                if not by_reference:
                    hosts = max(1, round(count / cluster.executors))
                    # work for all of them, several times over
                    large = replace(task, input=max(INPUT, 6 * count * task.split))
                    share = _share_of_ideal(replace(cluster, hosts=hosts), large, work, costs)
                    row["of ideal speed with so many, %"] = 100 * share
            rows.append(row)
    return rows


def _share_of_ideal(cluster: Cluster, task: Task, work: Work, costs: Costs) -> float:
    """1.0: executors are never idle."""
    ideal = demand(task, work, costs).executor * task.input / (cluster.hosts * cluster.executors)
    return ideal / simulate(cluster, task, work, costs).seconds


def scaling(work: Work, costs: Costs, hosts: Sequence[int], by_reference: bool) -> list[tuple[int, Outcome]]:
    """`INPUT` on ever more hosts: (executors, outcome)."""
    task = Task(INPUT, partitions=64, input_by_reference=by_reference)
    return [
        (count * USUAL.executors, simulate(replace(USUAL, hosts=count), task, work, costs)) for count in hosts
    ]


def tasks_and_partitions(
    work: Work, costs: Costs, splits: Sequence[float], partitions: Sequence[int]
) -> list[Row]:
    """One input cut in different ways, on 64 executors and a fast network."""
    rows = []
    cluster = replace(USUAL, network=10 * GIGABIT, node_network=10 * GIGABIT)
    for split in splits:
        for count in partitions:
            task = Task(2 * INPUT, split, count)
            outcome = simulate(cluster, task, work, costs)
            maps = math.ceil(task.input / split)
            rows.append(
                {
                    "split MiB": split,
                    "partitions": count,
                    "map tasks": maps,
                    "blocks": outcome.blocks,
                    "KiB in a block": 1024 * task.input * work.shuffle / outcome.blocks,
                    "minutes": outcome.seconds / 60,
                    "broker's processor %": 100 * outcome.busy["broker's processor"],
                    "workers' I/O %": 100 * outcome.busy["workers' I/O"],
                    "coordinator %": 100 * outcome.busy["coordinator"],
                    "busiest": outcome.limit,
                }
            )
    return rows


def by_reference(works: Sequence[Work], costs: Costs, hosts: Sequence[int]) -> list[Row]:
    """Seconds per GiB with all inline, with the input by reference, and if blocks went by reference, too."""
    rows = []
    ways = {"inline": (False, False), "input by reference": (True, False), "blocks, too": (True, True)}
    for work in works:
        for count in hosts:
            cluster = replace(USUAL, hosts=count, store=10 * GIGABIT)
            row: Row = {"job": work.name, "executors": count * cluster.executors}
            for way, (of_input, of_blocks) in ways.items():
                task = Task(INPUT, 8.0, 64, of_input, of_blocks)
                outcome = simulate(cluster, task, work, costs)
                row[f"{way}: s/GiB"] = outcome.seconds / INPUT * GIB
                row[f"busiest{' ' * len([name for name in row if name.startswith('busiest')])}"] = (
                    outcome.limit
                )
            rows.append(row)
    return rows


def several_nodes(work: Work, costs: Costs) -> list[Row]:
    """What a cluster of RabbitMQ nodes changes for a job that keeps one node busy."""
    rows = []
    task = Task(INPUT, partitions=64)
    for label, nodes, replicas, balanced in (
        ("1 node", 1, 1, True),
        ("3 nodes, a replica on each, leaders near the client", 3, 3, False),
        ("3 nodes, a replica on each, leaders balanced", 3, 3, True),
        ("3 nodes, one replica, leaders balanced", 3, 1, True),
    ):
        cluster = replace(USUAL, nodes=nodes, replicas=replicas, balanced=balanced)
        outcome = simulate(cluster, task, work, costs)
        rows.append(
            {"broker": label, "minutes": outcome.seconds / 60, "busiest": outcome.limit} | _of_broker(outcome)
        )
    return rows


def _of_broker(outcome: Outcome) -> Row:
    return {f"{name}, %": 100 * outcome.busy[name] for name in ("broker's network", "broker's processor")}


def one_job(limits: Mapping[str, Any], costs: Costs) -> list[Row]:
    """What one job can have of each thing, and what stops it there."""
    streams = limits["streams"][-1]
    return [
        {
            "what": "tasks per second",
            "at most": 1 / costs.worker["task"],
            "because": "a task costs its worker and the coordinator so much; here they were one process",
        },
        {
            "what": "partitions per second when a job is submitted",
            "at most": 1000 / streams["declare_ms"],
            "because": "each is a stream to be declared",
        },
        {
            "what": "partitions per GiB of the broker's memory",
            "at most": GIB * 1024 / streams["kib_each"],
            "because": f"each takes that much, and {streams['handles_each']:.0f} open files",
        },
    ]
