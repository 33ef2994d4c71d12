"""Metrics for Prometheus: of all jobs and workers, as the dashboard knows them; of one worker, as it sees itself.

A worker listens on nothing unless it is started with ``--metrics PORT``; then on loopback alone. What it counts is read
off the events that reach the worker's role: `Meter` stands around that, and without one nothing is counted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Callable, Optional
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mapreduce.brokers import base
from mapreduce.effects import Command, Connected, ExecutorDone, ExecutorFailed, Tick
from mapreduce.errors import UsageError
from mapreduce.worker import Worker

LOOPBACK = "127.0.0.1"
#: between two looks at memory
LOOK_SECS = 5.0
OVER = ("done", "failed", "cancelled", "abandoned")
PHASES = ("reading", "submitting", "feeding", "running", "ready", *OVER)


# ---------------------------------------------------------------- the dashboard's


def of_overview(overview: bytes) -> tuple[bytes, str]:
    """The metrics of the dashboard's last overview (JSON; ``{}``: there is none yet), and their content type."""
    registry = CollectorRegistry()
    registry.register(_Overview(json.loads(overview)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Overview(Collector):
    """What the census has told, as metrics."""

    def __init__(self, overview: dict[str, Any]) -> None:
        self._overview = overview

    def collect(self) -> Iterator[Metric]:
        broker = self._overview.get("broker", {})
        yield _gauge(
            "broker_connected", "Whether the dashboard has a session.", int(broker.get("connected", False))
        )
        yield _gauge(
            "broker_blocked", "Whether the broker takes no messages.", int(bool(broker.get("blocked")))
        )
        if broker.get("connected"):  # else it is known how it was, not how it is
            yield from self._jobs(self._overview["jobs"])
            yield from self._workers(self._overview["workers"])
            yield _gauge(
                "leases_waiting", "Jobs that wait for a coordinator.", self._overview["waiting_leases"]
            )

    def _jobs(self, jobs: Iterable[dict[str, Any]]) -> Iterator[Metric]:
        by_phase = dict.fromkeys(PHASES, 0)
        tasks = GaugeMetricFamily(
            "mapreduce_tasks", "Tasks by state.", labels=["job", "name", "stage", "state"]
        )
        for job in jobs:
            by_phase[job["phase"]] = by_phase.get(job["phase"], 0) + 1
            for number, stage in enumerate(job["stages"]):
                total = stage["total"] if stage["total"] is not None else stage["done"] + stage["running"]
                waiting = 0 if job["phase"] in OVER else max(0, total - stage["done"] - stage["running"])
                for state, value in (
                    ("done", stage["done"]),
                    ("running", stage["running"]),
                    ("waiting", waiting),
                ):
                    tasks.add_metric([job["id"], job["name"], str(number), state], value)
        phases = GaugeMetricFamily("mapreduce_jobs", "Jobs whose logs are there.", labels=["phase"])
        for phase, count in by_phase.items():
            phases.add_metric([phase], count)
        yield phases
        yield tasks
        for unit in ("records", "bytes"):
            rates = GaugeMetricFamily(
                f"mapreduce_{unit}_per_second", f"{unit.capitalize()} that tasks read; of jobs that are looked at.",
                labels=["job", "name"],
            )  # fmt: skip
            names = {job["id"]: job["name"] for job in jobs}
            for job_id, pace in self._overview["rates"].items():
                rates.add_metric([job_id, names.get(job_id, "")], pace[unit])
            yield rates

    def _workers(self, workers: Collection[dict[str, Any]]) -> Iterator[Metric]:
        yield _gauge("workers", "Workers that answer.", len(workers))
        yield _gauge("workers_silent", "Workers that do not.", self._overview["silent"])
        executors = GaugeMetricFamily(
            "mapreduce_executors", "Executors by state.", labels=["worker", "host", "state"]
        )
        memory = GaugeMetricFamily(
            "mapreduce_worker_memory_bytes", "Memory in use.", labels=["worker", "host"]
        )
        for worker in workers:
            labels, busy = [worker["worker"], worker["host"]], len(worker["running"])
            executors.add_metric([*labels, "busy"], busy)
            executors.add_metric([*labels, "idle"], max(0, worker["slots"] - busy))
            memory.add_metric(labels, worker["memory_bytes"])
        yield executors
        yield memory


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mapreduce_{name}", text, value=value)


# ---------------------------------------------------------------- a worker's


class Meter:
    """A role around the worker's, which does nothing but count: it hears what executors answer only in this way, as the
    host tells that to the role alone that has asked for it."""

    def __init__(self, worker: Worker, memory: Callable[[], int]) -> None:
        """``memory``: bytes that all processes of the worker use, at present."""
        self.prefix = worker.prefix
        self.finished = False
        self.registry = CollectorRegistry()
        self._worker = worker
        self._memory = memory
        self._next_look = 0.0
        self._server: Optional[MetricsServer] = None
        self._tasks = Counter(
            "mapreduce_worker_tasks", "Tries by outcome.", ["outcome"], registry=self.registry
        )
        self._secs = self._counter("task_seconds", "Time that tries took that have ended.")
        self._read = self._counter("records_read", "By tries that succeeded.")
        self._written = self._counter("records_written", "By tries that succeeded.")
        self._bytes_read = self._counter("bytes_read", "By tries that succeeded.")
        self._bytes_written = self._counter("bytes_written", "By tries that succeeded.")
        self._sessions = self._counter("broker_sessions", "Sessions with the broker that have begun.")
        self._at_work = self._gauge("tasks_running", "Tries that run.")
        self._connected = self._gauge("broker_connected", "Whether there is a session with the broker.")
        self._blocked = self._gauge("broker_blocked", "Whether the broker takes no messages.")
        self._gauge("executors", "How many tasks may run at a time.").set(worker.slots)
        self._used = self._gauge("memory_bytes", "Of the worker and its executors.")
        self._tasks.labels("done")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"mapreduce_worker_{name}", text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"mapreduce_worker_{name}", text, registry=self.registry)

    def serve(self, port: int) -> int:
        """On loopback, until `close`; 0: on any port that is free. Returns the port. Raises `UsageError`."""
        self._server = MetricsServer(self.registry, port)
        return self._server.port

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def handle(self, event: Any, now: float) -> list[Command]:
        self._count(event, now)  # before the worker forgets the attempt that ends
        commands = self._worker.handle(event, now)
        self.finished = self._worker.finished
        return commands

    def _count(self, event: Any, now: float) -> None:
        if isinstance(event, ExecutorDone):
            self._ended("done", event.attempt, now)
            stats = event.stats
            self._read.inc(stats.get("records_in", 0))
            self._written.inc(stats.get("records_out", 0))
            self._bytes_read.inc(stats.get("bytes_in", 0))
            self._bytes_written.inc(stats.get("bytes_out", 0))
        elif isinstance(event, ExecutorFailed):
            self._ended(event.failure.kind, event.attempt, now)
        elif isinstance(event, Tick):
            self._at_work.set(len(self._worker.running(now)))
            if now >= self._next_look:
                self._next_look = now + LOOK_SECS
                self._used.set(self._memory())
        elif isinstance(event, Connected):
            self._sessions.inc()
            self._connected.set(1)
            self._blocked.set(0)
        elif isinstance(event, base.Disconnected):
            self._connected.set(0)
        elif isinstance(event, (base.Blocked, base.Unblocked)):
            self._blocked.set(isinstance(event, base.Blocked))

    def _ended(self, outcome: str, attempt: int, now: float) -> None:
        """``outcome``: "done", or the kind of the failure."""
        self._tasks.labels(outcome).inc()
        self._secs.inc(
            next((task.secs for task in self._worker.running(now) if task.attempt == attempt), 0.0)
        )


class MetricsServer:
    """Serves a registry on loopback, from a thread of its own."""

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        """Raises `UsageError` if the port cannot be had; 0: any that is free."""
        app = make_wsgi_app(registry)

        def only_here(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            # else a web page could read it through a name of its own that it lets point to loopback
            if environ.get("HTTP_HOST", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
                start("421 Misdirected Request", [("Content-Type", "text/plain")])
                return [b"this address is not served here\n"]
            answer: Iterable[bytes] = app(environ, start)
            return answer

        try:
            self._server = make_server(LOOPBACK, port, only_here, WSGIServer, _Quiet)
        except OSError as error:
            raise UsageError(f"cannot serve metrics on port {port}: {error.strerror or error}") from error
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="mr-metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    """Logs nothing; a client that says nothing is not waited for."""

    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        pass
