"""What jobs cost each process: seconds of processor time of client, broker, workers and executors, job by job.

    python -m bench.growth.job_costs            a private node, one worker; three to five minutes

Each job runs once over RabbitMQ with `--retain`, so that its log can be read when it is over: how many tasks and blocks
there were, and how much each stage read and wrote. Some of the jobs are there to take the costs from, the others to see
how well a simulation that knows only the former foretells them (`bench.growth.fit`, `bench.growth.check`).
Stored in bench/results/job_costs.json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import data
from bench.broker_limits import pid_of, processor_seconds, table
from bench.processes import MR, ROOT, background, cpu_seconds
from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers.amqp import AmqpBroker
from mapreduce.brokers.base import Ack, Consume, Delivered
from mapreduce.node import PrivateNode

RESULTS = ROOT / "bench" / "results" / "job_costs.json"
MIB = 1 << 20
#: so long a log without news has been read
QUIET_SECS = 3.0
RETAIN_SECS = 30
#: of each job; the one that others disturbed least counts
ROUNDS = 1


@dataclass(frozen=True)
class Order:
    """One job to run. ``work`` names what its functions do: jobs of the same work have the same costs per MiB."""

    name: str
    work: str
    lines: int = 0  #: of a made-up input, each a split of its own; 0: what `data` has for the work
    megabytes: int = 0  #: of that, its beginning
    split: str = "8M"
    partitions: int = 8
    executors: int = 2
    fits: bool = True  #: costs are taken from it; else it is foretold


ORDERS = (
    Order("one partition", "spread", lines=500, partitions=1),
    Order("many partitions", "spread", lines=150, partitions=64),
    Order("word count, 24 MB", "word count", megabytes=24),
    Order("word count, 12 MB in small splits", "word count", megabytes=12, split="1M", partitions=32),
    Order("sort, 32 MB", "sort", megabytes=32, fits=False),
    Order("word count, 48 MB", "word count", megabytes=48, fits=False),
    Order("word count, 16 MB, one executor", "word count", megabytes=16, executors=1, fits=False),
    Order(
        "sort, 64 MB, 2 MiB splits, 32 partitions",
        "sort",
        megabytes=64,
        split="2M",
        partitions=32,
    ),
    Order("1,000 tasks, 4 partitions", "spread", lines=1000, partitions=4, fits=False),
)


@dataclass(frozen=True)
class Costs:
    """What one job was and what it took. Volumes in MiB, times in seconds (of a processor, but for ``wall``)."""

    name: str
    work: str
    fits: bool
    executors: int
    partitions: int
    split: float
    maps: int = 0
    reduces: int = 0
    blocks: int = 0  #: that the maps wrote
    out_blocks: int = 0
    input: float = 0.0
    shuffle: float = 0.0
    output: float = 0.0
    wall: float = 0.0
    client: float = 0.0
    node: float = 0.0
    worker: float = 0.0  #: its I/O process, which coordinates, too
    executor: float = 0.0  #: all executors
    map_share: float = 0.0  #: of the executors' seconds
    others: float = 0.0  #: share of the machine's processor time meanwhile that was not the job's
    seconds: dict[str, float] = field(default_factory=dict)  #: by the executors' own clocks, per stage


def run(order: Order, folder: Path, node: PrivateNode) -> Costs:
    """Start a worker, warm it up with a job of the same work, run the job, read its log."""
    command = [*MR, "worker", "--broker", node.url, "-c", str(order.executors)]
    with background(command, "ready") as (worker, _):
        source = _input(order, folder)
        # whatever the job needs of code is loaded
        warm_up = replace(order, lines=min(order.lines, 20), megabytes=min(order.megabytes, 1))
        _mr_run(warm_up, _input(warm_up, folder), folder, node.url)
        before = _clocks(node, worker.pid)
        wall, client, job = _mr_run(order, source, folder, node.url)
        spent = [now - then for now, then in zip(_clocks(node, worker.pid), before)]
        busy, ours = spent.pop(), sum(spent) + client
        costs = Costs(
            order.name, order.work, order.fits, order.executors, order.partitions, _mib(order.split),
            wall=wall, client=client, node=spent[0], worker=spent[1], executor=spent[2],
            others=max(0.0, busy - ours) / wall / (os.cpu_count() or 1),
        )  # fmt: skip
        return _with_log(costs, read_log(node.url, job))


def _mib(size: str) -> float:
    return float(size[:-1]) if size.endswith("M") else float(size) / MIB


def _input(order: Order, folder: Path) -> Path:
    path = folder / f"{order.work}-{order.lines}-{order.megabytes}"
    if order.lines:
        path.write_text("x\n" * order.lines)
    elif not path.exists():
        with open(data.lines() if order.work == "sort" else data.text(), "rb") as file:
            path.write_bytes(file.read(order.megabytes * data.MB) + file.readline())
    return path


def _mr_run(order: Order, source: Path, folder: Path, url: str) -> tuple[float, float, str]:
    """Seconds, processor seconds of the client, the job's id."""
    output = folder / f"out-{time.monotonic_ns()}"
    script = {
        "spread": "bench/growth/spread_job.py",
        "word count": "jobs/wordcount.py",
        "sort": "jobs/sort.py",
    }
    command = [*MR, "run", script[order.work], str(source), "-o", str(output), "--broker", url]
    command += ["--partitions", str(order.partitions), "--retain", str(RETAIN_SECS)]
    command += ["--split-size", "2" if order.work == "spread" else order.split]
    if order.work == "spread":
        command += ["-p", f"ways={order.partitions}"]
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, os.times()
    found = re.search(r"job (\S+) is submitted", done.stderr)
    if done.returncode or not found:
        sys.exit(f"exit {done.returncode} of {' '.join(command)}\n{done.stderr}")
    client = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, client, found[1]


def _clocks(node: PrivateNode, worker: int) -> list[float]:
    """Processor seconds so far: of the node, the worker's I/O process, its executors, and of the whole machine."""
    own = processor_seconds(worker)
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])
    busy = (sum(map(int, fields[:8])) - idle) / os.sysconf("SC_CLK_TCK")
    return [processor_seconds(pid_of(node)), own, cpu_seconds(worker) - own, busy]


def read_log(url: str, job: str) -> list[Any]:
    """All events of a job that is over."""
    broker = AmqpBroker(url)
    broker.connect()
    broker.perform(Consume("log", ev.log_stream(job), 500, "first"))
    events: list[Any] = []
    quiet_at = time.monotonic() + QUIET_SECS
    while (left := quiet_at - time.monotonic()) > 0:
        for event in broker.poll():
            if isinstance(event, Delivered):
                events += [message for message, _ in wire.decode_all(event.body)]
                broker.perform(Ack(event.receipt))
                quiet_at = time.monotonic() + QUIET_SECS
        broker.wait(left)
    broker.close(1.0)
    return events


def _with_log(costs: Costs, events: list[Any]) -> Costs:
    """Counts and volumes, from the first `Done` of each task."""
    done = {(event.stage, event.index): event for event in reversed(events) if isinstance(event, ev.Done)}
    if not done:
        sys.exit(f"{costs.name}: its log has gone before it could be read")
    maps = [event for (stage, _), event in done.items() if stage == 0]
    reduces = [event for (stage, _), event in done.items() if stage == 1]

    def total(events: list[Any], what: str) -> float:
        return float(sum(event.stats[what] for event in events))

    seconds = {"map": total(maps, "seconds"), "reduce": total(reduces, "seconds")}
    return replace(
        costs,
        maps=len(maps),
        reduces=len(reduces),
        blocks=sum(sum(event.blocks.values()) for event in maps),
        out_blocks=sum(sum(event.blocks.values()) for event in reduces),
        input=total(maps, "bytes_in") / MIB,
        shuffle=total(reduces, "bytes_in") / MIB,
        output=total(reduces, "bytes_out") / MIB,
        map_share=seconds["map"] / (seconds["map"] + seconds["reduce"]),
        seconds=seconds,
    )


def main() -> None:
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-growth-") as folder,
        PrivateNode(Path(folder, "node")) as node,
    ):
        for order in ORDERS:
            rounds = [run(order, Path(folder), node) for _ in range(ROUNDS)]
            # the one that others disturbed least
            found.append(asdict(min(rounds, key=lambda costs: costs.others)))
            print(f"{order.name}: {found[-1]['wall']:.1f} s", file=sys.stderr)
    print(table([{name: value for name, value in row.items() if name != "seconds"} for row in found]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
