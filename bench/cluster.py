"""A cluster of RabbitMQ nodes on this machine alone: does the engine work on it, and what does it cost?

    python -m bench.cluster         one node, then three nodes twice; about five minutes

All nodes are on loopback and gone with this process. Each is a `PrivateNode` with a folder of its own. What makes them
one cluster is that they share Erlang's cookie and the first one's name service, and that the others find the first one
by RabbitMQ's own peer discovery when they start. On one machine three nodes take the processor from each other, so the
figures to look at are processor time and latency; stored in bench/results/cluster.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from bench import data
from bench.broker_limits import (
    MIB,
    SMALL_BYTES,
    Meter,
    Row,
    Session,
    Surprise,
    in_and_out,
    latencies,
    pid_of,
    table,
)
from bench.processes import MR, ROOT, background
from mapreduce.brokers.base import Kind
from mapreduce.node import PrivateNode

RESULTS = ROOT / "bench" / "results" / "cluster.json"
SMALL_MESSAGES = 3000
LARGE_MESSAGES = 64
STREAMS = 40
#: RabbitMQ 3.10 now and then ends a connection (INTERNAL_ERROR) that reads a new stream through another node
TRIES = 3
JOB_SECS = 120.0
#: where RabbitMQ puts the leaders of streams: by default on the node that the client is connected to
SETTINGS = {
    "3 nodes, leaders near the client": "",
    "3 nodes, leaders balanced": "queue_leader_locator = balanced\n",
}
#: what happens to the job -> the node that is killed: the second one has the client, the leaders and the queues
JOBS = {"undisturbed": None, "third node killed": 2, "second node killed": 1}


class Member(PrivateNode):
    """One node of a cluster; the first has no ``first``. Kill and restart any but the first: it keeps the names."""

    def __init__(self, directory: Path, number: int, first: Optional[Member], settings: str) -> None:
        super().__init__(directory)
        self.name = f"mapreduce{number}@localhost"
        self._first = first or self
        self._settings = settings

    def control(self, *arguments: str) -> str:
        """`PrivateNode.control`, for this node; of two ``--node`` RabbitMQ's tools take the last."""
        return super().control(*arguments, "--node", self.name)

    def _write_settings(self) -> None:
        super()._write_settings()
        with open(self.directory / "etc" / "rabbitmq.conf", "a") as file:
            file.write(
                "cluster_formation.peer_discovery_backend = classic_config\n"
                f"cluster_formation.classic_config.nodes.1 = {self._first.name}\n"
                f"{self._settings}"
            )

    def _control_environment(self) -> dict[str, str]:
        first = self._first.directory
        return {
            **super()._control_environment(),
            "HOME": str(first),  # one cookie
            "RABBITMQ_NODENAME": self.name,
            "ERL_EPMD_PORT": (first / "etc" / "epmd_port").read_text().strip(),
        }


class Cluster:
    """So many nodes; ``settings`` are further lines for each one's rabbitmq.conf."""

    def __init__(self, directory: Path, size: int, settings: str = "") -> None:
        self.members: list[Member] = []
        for number in range(1, size + 1):
            first = self.members[0] if self.members else None
            self.members.append(Member(directory / str(number), number, first, settings))

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as started:
            for member in self.members:
                if member is not self.members[0]:
                    self._share_password(member)
                started.enter_context(member)
            self._stop = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()

    def _share_password(self, member: Member) -> None:
        member.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(self.members[0].directory / "password", member.directory / "password")


# ---------------------------------------------------------------- measured


def rates(urls: Sequence[str], meter: Meter) -> Row:
    """What `broker_limits` asks one node, in short; and the reading of a stream through another node."""
    row: Row = {name: value for name, value in latencies(urls[0], 100).items() if "p95" not in name}
    for kind in Kind:
        found = in_and_out(urls[0], meter, kind, SMALL_BYTES, SMALL_MESSAGES)
        for way in ("in", "out"):
            row[f"small_{kind.value}_{way}_per_s"] = found[f"{way}_per_s"]
            row[f"small_{kind.value}_{way}_node_us"] = found[f"{way}_node_us"]
    large = in_and_out(urls[0], meter, Kind.STREAM, MIB, LARGE_MESSAGES)
    for way in ("in", "out"):
        row[f"mib_{way}_per_s"] = large[f"{way}_per_s"]
        row[f"mib_{way}_node_ms"] = large[f"{way}_node_us"] / 1000
    began = time.monotonic_ns()  # new names: an earlier try may have left its streams
    names = [f"bench.declared.{began}.{number}" for number in range(STREAMS)]
    with Session(urls[-1]) as far, Session(urls[0]) as near:
        with meter.running() as declared:
            near.declare(names, Kind.STREAM)
        row["declare_ms"] = 1000 * declared.wall / STREAMS
        near.publish(names[0], b"x" * MIB, LARGE_MESSAGES)
        with meter.running() as read:
            far.consume(names[0], LARGE_MESSAGES, "first")
        row["mib_out_of_another_node_per_s"] = LARGE_MESSAGES / read.wall
        with meter.running() as deleted:
            near.delete(names)
        row["delete_ms"] = 1000 * deleted.wall / STREAMS
    return row


def patient_rates(urls: Sequence[str], meter: Meter) -> Row:
    """`rates`, once more if the broker has ended the connection."""
    for left in reversed(range(TRIES)):
        try:
            return rates(urls, meter)
        except Surprise as surprise:
            if not left:
                raise
            print(f"once more: {surprise}", file=sys.stderr)
    raise AssertionError("unreachable")


def a_job(cluster: Cluster, folder: Path, kill: Optional[int] = None) -> tuple[float, bool]:
    """Word count with a worker on each node and the client on the second: seconds, and whether the bytes are those
    of a run without a broker. ``kill``: that node is killed while the job runs, and started again."""
    source, expected, found = data.text(20), folder / "expected", folder / "found"
    command = [*MR, "run", "jobs/wordcount.py", str(source), "--split-size", "1M"]
    if not expected.exists():
        subprocess.run([*command, "-o", str(expected)], cwd=ROOT, check=True)
    with contextlib.ExitStack() as stack:
        # the second node's worker comes first: the work queues live where they were declared first
        for url in (cluster.urls[1], cluster.urls[0], *cluster.urls[2:]):
            stack.enter_context(background([*MR, "worker", "--broker", url, "-c", "1"], "ready"))
        began = time.perf_counter()
        run = subprocess.Popen(
            [*command, "-o", str(found), "--broker", cluster.urls[1]], cwd=ROOT, stderr=subprocess.PIPE
        )
        assert run.stderr is not None
        if kill is not None:
            run.stderr.readline()  # it is submitted
            time.sleep(1.0)  # and its first tasks are at work
            cluster.members[kill].kill9()
            cluster.members[kill].start()
        _, said = run.communicate(timeout=JOB_SECS)
        seconds = time.perf_counter() - began
    if run.returncode:
        sys.exit(f"exit {run.returncode} of the job on the cluster: {said.decode()}")
    same = _bytes_of(found) == _bytes_of(expected)
    shutil.rmtree(found)
    return seconds, same


def _bytes_of(folder: Path) -> list[bytes]:
    return [part.read_bytes() for part in sorted(folder.glob("part-*"))]


def one_node(folder: Path) -> dict[str, Any]:
    with PrivateNode(folder / "single") as node:
        return {"rates": rates([node.url], Meter([pid_of(node)]))}


def three_nodes(folder: Path, settings: str) -> dict[str, Any]:
    with Cluster(folder / "cluster", 3, settings) as cluster:
        found = patient_rates(cluster.urls, Meter([pid_of(member) for member in cluster.members]))
        jobs = []
        for what, kill in JOBS.items():
            seconds, same = a_job(cluster, folder, kill)
            jobs.append({"job": what, "seconds": seconds, "same bytes": same})
        return {"rates": found, "jobs": jobs}


def main() -> None:
    parser = argparse.ArgumentParser(description="Tries the engine on a cluster of three nodes on loopback.")
    parser.add_argument("--only", choices=["1 node", *SETTINGS], help="default: all, one after the other")
    only = parser.parse_args().only
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for label in [only] if only else ["1 node", *SETTINGS]:
        with tempfile.TemporaryDirectory(prefix="bench-cluster-") as folder:
            alone = label not in SETTINGS
            found[label] = one_node(Path(folder)) if alone else three_nodes(Path(folder), SETTINGS[label])
    rows = found["1 node"]["rates"] if "1 node" in found else next(iter(found.values()))["rates"]
    print(
        table(
            [
                {"": row, **{label: each["rates"].get(row, "") for label, each in found.items()}}
                for row in rows
            ]
        )
    )
    jobs = [{"cluster": label, **job} for label, each in found.items() for job in each.get("jobs", ())]
    if jobs:
        print(table(jobs))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
