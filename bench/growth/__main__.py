"""How far does it go? Tables and pictures for `docs/performance.md`, from measured costs.

    python -m bench.growth              a minute; reads bench/results, prints, draws docs/performance/growth-*.svg

The costs come from `python -m bench.broker_limits` and `python -m bench.growth.job_costs`, each of them minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from bench import broker_limits
from bench.growth import answers, check, fit, job_costs, pictures
from bench.processes import ROOT

HOSTS = (1, 2, 4, 8, 16, 32, 64, 128)
BLOCK_KIB = "KiB in a block"


def main() -> None:
    for path in (broker_limits.RESULTS, job_costs.RESULTS):
        if not path.exists():
            sys.exit(
                f"{path} is not there; `python -m bench.broker_limits` and `python -m bench.growth.job_costs` make it"
            )
    limits: dict[str, Any] = json.loads(broker_limits.RESULTS.read_text())
    measured = fit.load()
    costs = fit.fitted(measured)
    works = [*costs.works.values(), answers.HEAVY]
    say("Seconds of processor time", cost_rows(costs))
    say("Seconds per MiB, and MiB for each MiB of input", [vars(work) for work in works])
    confirm = limits["latency"]["confirm_stream_ms"] / 1000
    say("Measured and simulated", check.compared(measured, costs, limits["machine"]["cores"], confirm))
    say("Executors that keep one broker busy", answers.broker_limits(works, costs))
    word_count, sort = costs.works["word count"], costs.works["sort"]
    say(
        "64 GiB of words, cut in different ways, 64 executors, 10 Gbit/s",
        answers.tasks_and_partitions(word_count, costs, (8.0, 32.0, 128.0), (8, 64, 512)),
    )
    say(
        "Minutes by way of the input, 1 Gbit/s",
        answers.by_reference(works, costs, (1.0, 10.0, 100.0), (1, 4, 16, 64)),
    )
    say("20 GiB sorted on 64 executors, 1 Gbit/s", answers.several_nodes(sort, costs))
    say("One job", answers.one_job(limits, costs))
    draw_scaling(works, costs)


def say(title: str, rows: Sequence[Any]) -> None:
    print(f"\n{title}\n{broker_limits.table(list(rows))}")


def cost_rows(costs: fit.Costs) -> list[dict[str, Any]]:
    rows = []
    for process in ("client", "node", "worker"):
        found = getattr(costs, process)
        rows.append({"process": process} | {name: found.get(name, 0.0) for name in ALL_FEATURES})
    return rows


ALL_FEATURES = ("job", "task", "block", "input MiB", "output MiB", "moved MiB")


def draw_scaling(works: Sequence[fit.Work], costs: fit.Costs) -> None:
    """Input read per second, over the number of executors."""
    series: dict[str, pictures.Points] = {}
    dashed: dict[str, str] = {}
    for work in works:
        for by_reference in (False, True):
            name = f"{work.name}, by reference" if by_reference else work.name
            found = answers.scaling(work, costs, HOSTS, by_reference)
            series[name] = [(count, 20 * answers.GIB / outcome.seconds) for count, outcome in found]
            if by_reference:
                dashed[name] = work.name
    picture = pictures.lines(
        "20 GiB on ever more executors, broker and hosts at 1 Gbit/s",
        "executors",
        "MiB of input per second",
        series,
        dashed,
    )
    (ROOT / "docs" / "performance" / "growth-executors.svg").write_text(picture)


if __name__ == "__main__":
    main()
