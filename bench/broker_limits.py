"""What one RabbitMQ node can do, asked with the engine's own client and messages of the engine's own sizes.

    python -m bench.broker_limits               a private node; two to three minutes
    python -m bench.broker_limits --quick       a tenth of the load: does it run?

On one machine the node and its clients take the processor from each other, so a rate alone says little about a node
that has a machine to itself. Therefore every figure comes with the processor time that it cost the node and the
client: a node's limit is its cores divided by its cost of a message or a byte, or its network, whichever is less.

Prints tables, and stores the figures in bench/results/broker_limits.json, where `bench.growth` takes them from.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from mapreduce.brokers.amqp import AmqpBroker
from mapreduce.brokers.base import (
    Ack,
    Cancel,
    Confirmed,
    Consume,
    Declare,
    Declared,
    Delete,
    Deleted,
    Delivered,
    Kind,
    Publish,
)
from mapreduce.node import PrivateNode

RESULTS = Path(__file__).parent / "results" / "broker_limits.json"
MIB = 1 << 20
#: the size of a `Started` or a `Dispatch`, about
SMALL_BYTES = 200
SIZES = (1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20)
#: of each size, but no more messages than SMALL_MESSAGES
BYTES_OF_A_SIZE = 192 * MIB
SMALL_MESSAGES = 20_000
CLIENTS = (1, 2, 4)
READERS = (1, 2, 4, 8)
STREAMS = (100, 1000, 2000, 4000)
#: when the number of streams is counted no further
STREAMS_SECS = 60.0
#: what is in flight from a client, or on its way to one; the engine's own numbers
IN_FLIGHT, PREFETCH = 1000, 8
PATIENCE_SECS = 60.0

Row = dict[str, Any]


class Surprise(Exception):
    """The broker said something else than it was asked for, or nothing."""


class Session:
    """The engine's client, driven by hand: commands go out, answers are counted."""

    def __init__(self, url: str) -> None:
        self._broker = AmqpBroker(url)
        self._broker.connect()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.close(PATIENCE_SECS)

    def declare(self, names: Sequence[str], kind: Kind) -> None:
        for name in names:
            self._broker.perform(Declare(name, kind))
        self._await(Declared, len(names))

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._broker.perform(Delete(name))
        self._await(Deleted, len(names))

    def publish(self, to: str, body: bytes, count: int) -> None:
        """So many messages, all confirmed, at most `IN_FLIGHT` of them unconfirmed (the client bounds the bytes)."""
        sent = min(count, IN_FLIGHT)
        for number in range(sent):
            self._broker.perform(Publish(to, body, str(number)))

        def send_another(_: Any) -> None:
            nonlocal sent
            if sent < count:
                self._broker.perform(Publish(to, body, str(sent)))
                sent += 1

        self._await(Confirmed, count, send_another)

    def consume(
        self, name: str, count: int, offset: Optional[str], readers: int = 1, prefetch: int = PREFETCH
    ) -> None:
        """So many messages to each of the readers, acked one by one, as the engine does."""
        for reader in range(readers):
            self._broker.perform(Consume(f"reader{reader}", name, prefetch, offset))
        self._await(Delivered, count * readers, lambda event: self._broker.perform(Ack(event.receipt)))
        for reader in range(readers):
            self._broker.perform(Cancel(f"reader{reader}"))

    def _await(self, kind: type, count: int, then: Callable[[Any], None] = lambda _: None) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while count > 0:
            if time.monotonic() > deadline:
                raise Surprise(f"{count} answers {kind.__name__} are missing after {PATIENCE_SECS:.0f} s")
            events = self._broker.poll()
            for event in events:
                if not isinstance(event, kind):
                    raise Surprise(f"{event!r} instead of {kind.__name__}")
                count -= 1
                then(event)
            if not events:
                self._broker.wait(1.0)


@dataclass
class Cost:
    """Of what happened in a `Meter.running` block."""

    wall: float = 0.0  #: seconds
    node: float = 0.0  #: seconds of processor time of the broker
    client: float = 0.0  #: the same of this process and of its children that have ended


class Meter:
    """Reads clocks: the wall's, the node's (of all the nodes' of a cluster), and our own."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    @contextmanager
    def running(self) -> Iterator[Cost]:
        cost = Cost()
        before = self._read()
        yield cost
        cost.wall, cost.node, cost.client = (now - then for now, then in zip(self._read(), before))

    def _read(self) -> tuple[float, float, float]:
        own = os.times()
        node = sum(map(processor_seconds, self._pids))
        return time.perf_counter(), node, own.user + own.system + own.children_user + own.children_system


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pid_of(node: PrivateNode) -> int:
    return int((node.directory / "data" / "pid").read_text())


# ---------------------------------------------------------------- what is measured


def latencies(url: str, rounds: int) -> Row:
    """Milliseconds, one message at a time on an idle node: to its confirmation, and to its delivery."""
    row: Row = {}
    with Session(url) as session:
        for kind in Kind:
            name = f"bench.latency.{kind.value}"
            session.declare([name], kind)
            confirmed = [_seconds(session.publish, name, b"x" * SMALL_BYTES, 1) for _ in range(rounds)]
            row[f"confirm_{kind.value}_ms"] = 1000 * statistics.median(confirmed)
            row[f"confirm_{kind.value}_p95_ms"] = 1000 * statistics.quantiles(confirmed, n=20)[-1]
            session.delete([name])
    connecting = [_seconds(lambda: Session(url).__exit__()) for _ in range(max(3, rounds // 10))]
    row["connect_ms"] = 1000 * statistics.median(connecting)
    return row


def _seconds(action: Callable[..., None], *arguments: Any) -> float:
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def in_and_out(url: str, meter: Meter, kind: Kind, size: int, count: int) -> Row:
    """One client writes so many messages of a size, then reads them."""
    name = f"bench.{kind.value}.{size}"
    with Session(url) as session:
        session.declare([name], kind)
        with meter.running() as written:
            session.publish(name, b"x" * size, count)
        with meter.running() as read:
            session.consume(name, count, "first" if kind is Kind.STREAM else None)
        session.delete([name])
    row: Row = {"kind": kind.value, "bytes": size, "messages": count}
    for way, cost in (("in", written), ("out", read)):
        row[f"{way}_per_s"] = count / cost.wall
        row[f"{way}_mib_per_s"] = count * size / MIB / cost.wall
        row[f"{way}_node_us"] = 1e6 * cost.node / count
        row[f"{way}_client_us"] = 1e6 * cost.client / count
    return row


def several_clients(url: str, meter: Meter, clients: int, count: int) -> Row:
    """So many processes at once: each writes its share to a queue and reads it again; then the same with streams."""
    row: Row = {"clients": clients}
    context = multiprocessing.get_context("spawn")
    with Session(url) as session, context.Pool(clients, _open, (url,)) as pool:
        for kind in Kind:
            names = [f"bench.clients.{kind.value}.{number}" for number in range(clients)]
            session.declare(names, kind)
            pool.map(_ready, range(clients), 1)
            for way, act in (("in", _write), ("out", _read)):
                before = [processor_seconds(pid) for pid in meter._pids]
                began = time.perf_counter()
                pool.starmap(act, [(name, kind, count // clients) for name in names], 1)
                row[f"{kind.value}_{way}_per_s"] = count / (time.perf_counter() - began)
                spent = sum(map(processor_seconds, meter._pids)) - sum(before)
                row[f"{kind.value}_{way}_node_us"] = 1e6 * spent / count
            session.delete(names)
    return row


_session: Session


def _open(url: str) -> None:
    global _session
    _session = Session(url)


def _ready(_: int) -> None:
    time.sleep(0.05)  # long enough for each process to get one of these


def _write(name: str, kind: Kind, count: int) -> None:
    _session.publish(name, b"x" * SMALL_BYTES, count)


def _read(name: str, kind: Kind, count: int) -> None:
    _session.consume(name, count, "first" if kind is Kind.STREAM else None)


def fan_out(url: str, meter: Meter, readers: int, size: int, count: int) -> Row:
    """Several readers of one stream, as client and coordinator are of a log."""
    name = "bench.fan-out"
    with Session(url) as session:
        session.declare([name], Kind.STREAM)
        session.publish(name, b"x" * size, count)
        with meter.running() as cost:
            session.consume(name, count, "first", readers)
        session.delete([name])
    deliveries = count * readers
    return {
        "readers": readers,
        "bytes": size,
        "deliveries_per_s": deliveries / cost.wall,
        "mib_per_s": deliveries * size / MIB / cost.wall,
        "node_us": 1e6 * cost.node / deliveries,
        "client_us": 1e6 * cost.client / deliveries,
    }


def many_streams(node: PrivateNode, meter: Meter, steps: Sequence[int]) -> list[Row]:
    """Declare ever more streams, one message in each: what does the next one cost, what do all hold?"""
    rows: list[Row] = []
    names: list[str] = []
    pid = pid_of(node)
    memory, handles = _resident(pid), _handles(pid)
    until = time.monotonic() + STREAMS_SECS
    with Session(node.url) as session:
        for step in steps:
            more = [f"bench.stream.{number}" for number in range(len(names), step)]
            with meter.running() as declared:
                session.declare(more, Kind.STREAM)
            names += more
            with meter.running() as written:
                for name in more:
                    session.publish(name, b"x" * SMALL_BYTES, 1)
            rows.append(
                {
                    "streams": step,
                    "declare_ms": 1000 * declared.wall / len(more),
                    "declare_node_ms": 1000 * declared.node / len(more),
                    "first_write_ms": 1000 * written.wall / len(more),
                    "kib_each": (_resident(pid) - memory) / 1024 / step,
                    "handles_each": (_handles(pid) - handles) / step,
                    "disk_kib_each": _on_disk(node.directory / "data") / 1024 / step,
                }
            )
            if time.monotonic() > until:
                break
        with meter.running() as deleted:
            session.delete(names)
    rows[-1]["delete_ms"] = 1000 * deleted.wall / len(names)
    return rows


def _resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _handles(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _on_disk(folder: Path) -> int:
    """Bytes that the files of streams take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*.segment")) + sum(
        path.stat().st_blocks * 512 for path in folder.rglob("*.index")
    )


def measure(node: PrivateNode, share: float) -> Row:
    """All of it; ``share`` of the usual load."""
    meter = Meter([pid_of(node)])
    many = max(100, round(SMALL_MESSAGES * share))
    load = max(4 * MIB, round(BYTES_OF_A_SIZE * share))
    in_and_out(
        node.url, meter, Kind.STREAM, SMALL_BYTES, many // 4
    )  # both sides' code is loaded, caches are warm
    found: Row = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "rabbitmq": node.control("version").strip(),
            "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        },
        "latency": latencies(node.url, max(20, round(200 * share))),
    }
    found["small"] = [in_and_out(node.url, meter, kind, SMALL_BYTES, many) for kind in Kind]
    found["clients"] = [several_clients(node.url, meter, clients, many) for clients in CLIENTS]
    found["sizes"] = [
        in_and_out(node.url, meter, Kind.STREAM, size, min(many, max(4, load // size))) for size in SIZES
    ]
    found["fan_out"] = [
        fan_out(node.url, meter, readers, size, max(8, min(many, load // size) // readers))
        for size in (SMALL_BYTES, MIB)
        for readers in READERS
    ]
    found["streams"] = many_streams(node, meter, [max(10, round(step * share)) for step in STREAMS])
    return found


# ---------------------------------------------------------------- said


def table(rows: Sequence[Row]) -> str:
    """Columns as the rows name them; numbers short."""
    names = list(rows[-1])
    cells = [names] + [[short(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells)


def short(value: Any) -> str:
    """Three figures of a number; anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what one RabbitMQ node can do.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the load, nothing is stored")
    options = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-broker-") as folder,
        PrivateNode(Path(folder, "node")) as node,
    ):
        found = measure(node, 0.1 if options.quick else 1.0)
    for name, rows in found.items():
        print(f"\n{name}\n{table(rows if isinstance(rows, list) else [rows])}")
    print(f"\n{time.monotonic() - began:.0f} s")
    if not options.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
