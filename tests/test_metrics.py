"""Metrics of a worker, as the host's events give them, and who may read them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Optional

import pytest
from prometheus_client import CollectorRegistry

from mapreduce import metrics
from mapreduce.brokers import base
from mapreduce.effects import Command, Connected, Execute, ExecutorDone, ExecutorFailed, Tick
from mapreduce.errors import UsageError
from mapreduce.events import RunningTask
from mapreduce.refs import Failure, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.tasklog import TaskLog
from tests.test_host import Bench, Pool


class Worker:
    """As much of one as is measured."""

    prefix = "worker/"
    finished = False
    slots = 3

    def __init__(self) -> None:
        self.asks: list[Command] = []  #: once, of the host
        self.heard: list[Any] = []
        self.at_work = [RunningTask("job", 0, 1, 11, 0, 2.5), RunningTask("job", 0, 2, 12, 1, 0.5)]

    def running(self, now: float) -> tuple[RunningTask, ...]:
        return tuple(self.at_work)

    def handle(self, event: Any, now: float) -> list[Command]:
        self.heard.append(event)
        self.at_work = [task for task in self.at_work if task.attempt != getattr(event, "attempt", None)]
        asks, self.asks = self.asks, []
        return asks


SPEC = JobSpec("job", {}, {}, 1)
TASK = TaskSpec("job", 0, 1, 11, "/nowhere", None, (), carries=1)


def value(registry: CollectorRegistry, name: str, **labels: str) -> Optional[float]:
    return registry.get_sample_value(f"mapreduce_worker_{name}", labels)


def test_a_worker_counts_what_it_is_told() -> None:
    worker = Worker()
    meter = metrics.Meter(worker, lambda: 4711)  # type: ignore[arg-type]
    stats = {"records_in": 5, "records_out": 7, "bytes_in": 50, "bytes_out": 70}
    happened = [
        Connected(),
        Tick(),
        ExecutorDone(0, 11, {}, stats),
        ExecutorFailed(1, 12, Failure("raised", "no")),
        base.Blocked("memory"),
    ]
    for event in happened:
        assert meter.handle(event, 100.0) == []
    assert worker.heard == happened
    seen = meter.registry
    assert value(seen, "tasks_total", outcome="done") == 1
    assert value(seen, "tasks_total", outcome="raised") == 1
    assert value(seen, "task_seconds_total") == 3.0
    assert value(seen, "records_read_total") == 5
    assert value(seen, "bytes_written_total") == 70
    assert value(seen, "tasks_running") == 2
    assert value(seen, "executors") == 3
    assert value(seen, "memory_bytes") == 4711
    assert value(seen, "broker_connected") == 1
    assert value(seen, "broker_blocked") == 1
    meter.handle(base.Unblocked(), 101.0)
    meter.handle(base.Disconnected("gone"), 101.0)
    assert value(seen, "broker_blocked") == 0
    assert value(seen, "broker_connected") == 0
    worker.asks, worker.finished = [Execute(0, "job", SPEC, TASK)], True
    assert meter.handle(Tick(), 102.0) == [Execute(0, "job", SPEC, TASK)] and meter.finished


def test_it_hears_what_executors_answer_the_worker_through_the_host() -> None:
    worker, pool = Worker(), Pool()
    meter = metrics.Meter(worker, lambda: 0)  # type: ignore[arg-type]
    worker.asks = [Execute(0, "job", SPEC, TASK)]
    bench = Bench([TaskLog(meter, everything=False)], pool=pool)
    bench.run(0.1)
    assert len(pool.submitted) == 1
    pool.events += [
        ExecutorDone(0, 11, {}, {"records_in": 5}),
        ExecutorFailed(1, 12, Failure("raised", "no")),
    ]
    bench.run(0.1)
    assert value(meter.registry, "tasks_total", outcome="done") == 1
    assert value(meter.registry, "tasks_total", outcome="raised") == 1
    assert value(meter.registry, "records_read_total") == 5
    assert value(meter.registry, "task_seconds_total") == 3.0
    bench.close()


def test_it_is_served_on_loopback_by_its_own_name_only() -> None:
    meter = metrics.Meter(Worker(), lambda: 0)  # type: ignore[arg-type]
    port = meter.serve(0)
    try:
        address = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"mapreduce_worker_executors 3.0" in answer.read()
        rebound = urllib.request.Request(address, headers={"Host": f"evil.example:{port}"})
        with pytest.raises(urllib.error.HTTPError, match="421") as refused:
            urllib.request.urlopen(rebound, timeout=10)
        refused.value.close()
        with pytest.raises(UsageError, match=f"port {port}"):
            metrics.Meter(Worker(), lambda: 0).serve(port)  # type: ignore[arg-type]
    finally:
        meter.close()


def test_the_dashboards_metrics_are_its_overview() -> None:
    text, kind = metrics.of_overview(b"{}")
    assert b"mapreduce_broker_connected 0.0" in text
    assert kind.startswith("text/plain")
    stages = [{"total": 9, "done": 4, "running": 2}, {"total": None, "done": 0, "running": 0}]
    job = {"id": "j", "name": 'odd "name"\n', "phase": "running", "stages": stages}
    over = {"id": "o", "name": "over", "phase": "cancelled", "stages": stages[:1]}
    worker = {"worker": "w", "host": "h", "slots": 4, "running": [1, 2], "memory_bytes": 10}
    overview = {
        "broker": {"connected": True, "blocked": "disk"},
        "jobs": [job, over],
        "workers": [worker],
        "silent": 1,
        "waiting_leases": 0,
        "rates": {"j": {"records": 12.5, "bytes": 3}},
    }
    lines = metrics.of_overview(json.dumps(overview).encode())[0].decode().splitlines()
    name = r'name="odd \"name\"\n"'
    assert f'mapreduce_tasks{{job="j",{name},stage="0",state="waiting"}} 3.0' in lines
    assert f'mapreduce_records_per_second{{job="j",{name}}} 12.5' in lines
    assert 'mapreduce_executors{host="h",state="idle",worker="w"} 2.0' in lines
    assert "mapreduce_broker_blocked 1.0" in lines
    assert "mapreduce_workers_silent 1.0" in lines
    assert 'mapreduce_jobs{phase="running"} 1.0' in lines
    assert 'mapreduce_tasks{job="o",name="over",stage="0",state="done"} 4.0' in lines
    assert 'mapreduce_tasks{job="o",name="over",stage="0",state="waiting"} 0.0' in lines


def test_while_there_is_no_session_metrics_do_not_tell_of_the_past() -> None:
    overview = {
        "broker": {"connected": False, "blocked": ""},
        "jobs": [{"id": "j", "name": "n", "phase": "running", "stages": []}],
        "workers": [{"worker": "w", "host": "h", "slots": 4, "running": [], "memory_bytes": 10}],
        "silent": 0,
        "waiting_leases": 0,
        "rates": {},
    }
    lines = metrics.of_overview(json.dumps(overview).encode())[0].decode().splitlines()
    told = [line for line in lines if not line.startswith("#")]
    assert told == ["mapreduce_broker_connected 0.0", "mapreduce_broker_blocked 0.0"]
