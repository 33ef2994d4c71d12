"""How far does it go? Tables and pictures for `docs/performance.md`, from measured costs.

    python -m bench.growth              two minutes; reads bench/results, prints, and fills the tables of "Growing"

The costs come from `python -m bench.broker_limits`, `python -m bench.cluster` and `python -m bench.growth.job_costs`,
each of them minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench import broker_limits, cluster, report
from bench.broker_limits import MIB
from bench.growth import answers, check, fit, job_costs, pictures

HOSTS = (1, 2, 4, 8, 16, 32, 64, 128)
ALL_FEATURES = ("job", "task", "block", "stream", "input MiB", "output MiB", "moved MiB")
PICTURE = "growth-executors.svg"

Rows = list[dict[str, Any]]


def main() -> None:
    for path, module in (
        (broker_limits.RESULTS, "bench.broker_limits"),
        (job_costs.RESULTS, "bench.growth.job_costs"),
    ):
        if not path.exists():
            sys.exit(f"{path} is not there; python -m {module} makes it")
    limits, measured, costs = known()
    works = [*costs.works.values(), answers.HEAVY]
    word_count, sort = costs.works["word count"], costs.works["sort"]
    confirm = limits["latency"]["confirm_stream_ms"] / 1000
    tables: dict[str, Rows] = {
        **unsimulated(limits, costs),
        "check": check.compared(measured, costs, limits["machine"]["cores"], confirm),
        "limits": answers.broker_limits(works, costs),
        "cuts": answers.tasks_and_partitions(word_count, costs, (2.0, 8.0, 32.0), (8, 64, 512)),
        "references": answers.by_reference(works, costs, (1, 4, 16, 64)),
        "nodes": answers.several_nodes(sort, costs),
    }
    for name, rows in tables.items():
        print(f"\n{name}\n{broker_limits.table(rows)}")
    (report.PICTURES / PICTURE).write_text(scaling(works, costs))
    report.DOCUMENT.write_text(report.replaced(report.DOCUMENT.read_text(), parts_of(tables)))


def known() -> tuple[dict[str, Any], list[dict[str, Any]], fit.Costs]:
    """What `bench.broker_limits` and `bench.growth.job_costs` have stored, and the costs that follow."""
    limits: dict[str, Any] = json.loads(broker_limits.RESULTS.read_text())
    measured = fit.load()
    return limits, measured, fit.fitted(measured, fit.known_from(limits))


def unsimulated(limits: dict[str, Any], costs: fit.Costs) -> dict[str, Rows]:
    """The tables that are there at once."""
    works = [*costs.works.values(), answers.HEAVY]
    return {
        "costs": cost_rows(costs),
        "works": [work_row(work) for work in works],
        "job": answers.one_job(limits, costs),
        **measured_tables(limits),
    }


def parts_of(tables: Mapping[str, Rows]) -> dict[str, str]:
    """What stands between the marks of the document."""
    return {f"growth-{name}": markdown(rows) for name, rows in tables.items() if rows}


def work_row(work: fit.Work) -> dict[str, Any]:
    return {
        "job": work.name,
        "map, s/MiB": work.map_secs,
        "reduce, s/MiB": work.reduce_secs,
        "shuffled": work.shuffle,
        "put out": work.output,
    }


def cost_rows(costs: fit.Costs) -> Rows:
    """Milliseconds."""
    rows = []
    for process in ("client", "node", "worker"):
        found = getattr(costs, process)
        rows.append({"ms of": process, **{name: 1000 * found.get(name, 0.0) for name in ALL_FEATURES}})
    executor = {"task": costs.executor_task, "block": costs.executor_block}
    rows.append({"ms of": "executor", **{name: 1000 * executor.get(name, 0.0) for name in ALL_FEATURES}})
    return rows


def measured_tables(limits: dict[str, Any]) -> dict[str, Rows]:
    """What was measured of brokers, in the shape of the document."""
    sizes = [
        {
            "message": _size(row["bytes"]),
            "in, MiB/s": row["in_mib_per_s"],
            "node's processor, ms/MiB": row["in_node_us"] / 1000 * MIB / row["bytes"],
            "out, MiB/s": row["out_mib_per_s"],
            "node's processor, ms/MiB ": row["out_node_us"] / 1000 * MIB / row["bytes"],
        }
        for row in limits["sizes"]
    ]
    small = [
        {
            "to and from a": row["kind"],
            "in, per s": row["in_per_s"],
            "node's processor, µs": row["in_node_us"],
            "out, per s": row["out_per_s"],
            "node's processor, µs ": row["out_node_us"],
            "one at a time, ms to its confirmation": limits["latency"][f"confirm_{row['kind']}_ms"],
        }
        for row in limits["small"]
    ]
    streams = [
        {
            "streams": row["streams"],
            "declaring one more, ms": row["declare_ms"],
            "node's processor, ms": row["declare_node_ms"],
            "memory each, KiB": row["kib_each"],
            "open files each": row["handles_each"],
        }
        for row in limits["streams"]
    ]
    tables: dict[str, Rows] = {"sizes": sizes, "small": small, "streams": streams}
    if cluster.RESULTS.exists():
        found: dict[str, Any] = json.loads(cluster.RESULTS.read_text())
        tables["cluster"] = [
            {"": text, **{label: each["rates"].get(name, "") for label, each in found.items()}}
            for name, text in CLUSTER_ROWS.items()
        ]
        tables["cluster-jobs"] = [
            {"cluster": label, "word count of 20 MB": job["job"], "seconds": job["seconds"],
             "same bytes": "yes" if job["same bytes"] else "NO"}
            for label, each in found.items() for job in each.get("jobs", ())
        ]  # fmt: skip
    return tables


CLUSTER_ROWS = {
    "confirm_stream_ms": "a small message to a stream, confirmed, ms",
    "confirm_queue_ms": "the same to a queue, ms",
    "small_stream_in_per_s": "small messages to a stream, per s",
    "small_stream_in_node_us": "all nodes' processors for one, µs",
    "mib_in_per_s": "into a stream, MiB/s",
    "mib_in_node_ms": "all nodes' processors for one, ms",
    "mib_out_per_s": "out of it, MiB/s",
    "mib_out_node_ms": "all nodes' processors for one, ms ",
    "mib_out_of_another_node_per_s": "out of it through another node, MiB/s",
    "declare_ms": "declaring a stream, ms",
    "delete_ms": "deleting it, ms",
}


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= MIB else f"{count >> 10} KiB"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; figures to the right."""
    names = list(rows[-1])
    right = [isinstance(rows[-1][name], (int, float)) for name in names]
    lines = [
        " | ".join(name.strip() for name in names),
        " | ".join("---:" if each else "---" for each in right),
    ]
    lines += [" | ".join(broker_limits.short(row.get(name, "")) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def scaling(works: Sequence[fit.Work], costs: fit.Costs) -> str:
    """Input read per second, over the number of executors."""
    series: dict[str, pictures.Points] = {}
    dashed: dict[str, str] = {}
    for work in works:
        for by_reference in (False, True):
            name = f"{work.name}, by reference" if by_reference else work.name
            found = answers.scaling(work, costs, HOSTS, by_reference)
            series[name] = [(count, answers.INPUT / outcome.seconds) for count, outcome in found]
            if by_reference:
                dashed[name] = work.name
    title = "8 GiB on ever more executors, broker and hosts at 1 Gbit/s"
    return pictures.lines(title, "executors", "MiB of input per second", series, dashed)


if __name__ == "__main__":
    main()
