"""Looking at jobs without any part in them: the observer, and mr status and mr logs on a broker."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from mapreduce.effects import Connected, Tick
from mapreduce.host import Host
from mapreduce.observer import MARK_AGAIN_SECS, QUIET_SECS, Observer, observe
from mapreduce.spec import JobSpec
from mapreduce.views import JobView

from .support import Process, mr, mr_ok, workers

LOG = ev.log_stream("job-1")
SUBMITTED = ev.Submitted("job-1", JobSpec("job", {}, {}, 2), "0", 5.0)


class Bench:
    """An observer, and a log by hand."""

    def __init__(self) -> None:
        self.view = JobView()
        self.observer = Observer("job-1", self.view, random.Random(1))
        self._offset = 0

    def connect(self) -> int:
        """The number of its mark."""
        *_, consume, publish = self.observer.handle(Connected(), 0.0)
        assert isinstance(consume, base.Consume) and isinstance(publish, base.Publish)
        assert (consume.name, publish.to) == (LOG, LOG)
        self._tag, self._offset = consume.tag, 0
        mark, _ = wire.decode(publish.head)
        assert isinstance(mark, ev.Marked)
        return mark.number

    def deliver(self, *entries: Any, at: float = 7.0, now: float = 0.0) -> None:
        for entry in entries:
            delivered = base.Delivered(
                self._tag, base.Receipt("log", 0), wire.encode(entry), self._offset, False, at
            )
            assert self.observer.handle(delivered, now) == [base.Ack(delivered.receipt)]
            self._offset += 1


def test_who_has_read_its_own_mark_has_caught_up() -> None:
    bench = Bench()
    mark = bench.connect()
    bench.deliver(ev.Marked(mark + 1), SUBMITTED)
    assert not bench.observer.caught_up
    bench.deliver(ev.Marked(mark))
    assert bench.observer.caught_up and bench.view.job == "job-1" and bench.view.latest_at == 7.0


def test_each_session_reads_from_the_start_into_a_view_that_is_empty() -> None:
    bench = Bench()
    first = bench.connect()
    printed = ev.Printed(0, 0, 1, "w", "hello\n")
    bench.deliver(SUBMITTED, printed)
    late = bench._tag
    bench.deliver(ev.Marked(first))
    assert bench.connect() != first
    assert bench.view.spec is None and not bench.observer.caught_up
    bench.observer.handle(base.Delivered(late, base.Receipt("log", 0), wire.encode(SUBMITTED), 9, False), 0.0)
    assert bench.view.spec is None  # of the reading before
    bench.deliver(SUBMITTED, printed)
    assert bench.view.spec is not None and bench.view.printed_seen == 1


def test_a_broker_that_takes_no_messages_takes_no_mark() -> None:
    bench = Bench()
    bench.connect()
    bench.observer.handle(base.Blocked("memory"), 1.0)
    bench.deliver(SUBMITTED, now=1.0)
    bench.observer.handle(Tick(), 1.0 + QUIET_SECS / 2)
    assert not bench.observer.caught_up
    bench.observer.handle(Tick(), 1.1 + QUIET_SECS)
    assert bench.observer.caught_up


def test_a_mark_that_the_broker_has_lost_is_written_again() -> None:
    bench = Bench()
    mark = bench.connect()
    bench.deliver(SUBMITTED)
    assert bench.observer.handle(Tick(), MARK_AGAIN_SECS) == []
    [again] = bench.observer.handle(Tick(), MARK_AGAIN_SECS + 1)
    assert isinstance(again, base.Publish) and wire.decode(again.head)[0] == ev.Marked(mark)
    assert bench.observer.handle(Tick(), MARK_AGAIN_SECS + 2) == []
    bench.deliver(ev.Marked(mark))
    assert bench.observer.caught_up and bench.observer.handle(Tick(), 1000.0) == []


def test_a_log_that_is_gone() -> None:
    for event in (base.Gone("observer/log:1"), base.Unroutable("observer/mark")):
        bench = Bench()
        bench.connect()
        bench.observer.handle(event, 0.0)
        assert bench.observer.gone and not bench.observer.caught_up


def test_it_reads_on_until_it_is_closed() -> None:
    bench = Bench()
    mark = bench.connect()
    bench.deliver(SUBMITTED, ev.Marked(mark), ev.CancelRequested("enough"))
    assert bench.view.state.cancel_reason == "enough" and not bench.observer.finished
    assert bench.observer.close() == [base.Cancel(bench._tag)] and bench.observer.finished


def test_with_a_host_around_it() -> None:
    server = MemoryServer()
    writer, broker = MemoryBroker(server), MemoryBroker(server)
    writer.connect()
    writer.perform(base.Declare(LOG, base.Kind.STREAM))
    writer.perform(base.Publish(LOG, wire.encode(SUBMITTED), "test/1"))
    bench = Bench()
    host = Host(broker, [bench.observer], lambda report: None)
    try:
        host.connect()
        host.run(lambda: bench.observer.caught_up)
    finally:
        host.close()
        broker.close(1.0)
        writer.close(1.0)
    assert bench.view.job == "job-1" and bench.view.latest_at > 1e9


# ---------------------------------------------------------------- on RabbitMQ

POOL = "observed"
JOB = """
import os, sys, time
from mapreduce import Job, count

def words(line):
    print("reads", line)
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    count("lines")
    print("has read", line, file=sys.stderr)
    yield line, int(line)

job = Job(words, fold=sum)
"""


@pytest.fixture(scope="module")
def url(rabbit_url: str) -> Iterator[str]:
    with workers(rabbit_url, 1, 1, POOL):
        yield rabbit_url


def submit(folder: Path, url: str, text: str) -> str:
    """The id of a job that waits for the file `gate`, and for somebody to take its results."""
    (folder / "job.py").write_text(JOB.format(gate=str(folder / "gate")))
    (folder / "text").write_text(text)
    options = ("--pool", POOL, "--detach", "--keep", 0, "--retain", 0, "--tries", 1, "--broker", url)
    return mr_ok("run", folder / "job.py", folder / "text", *options).decode().strip()


def test_a_job_is_looked_at_while_it_runs_and_when_it_is_done(tmp_path: Path, url: str) -> None:
    job = submit(tmp_path, url, "1\n2\n")
    follow = Process("logs", job, "--follow", "--broker", url)
    try:
        with observe(url, job, JobView()) as observing:
            observing.run(lambda: observing.view.printed_seen > 0)
            worker = observing.view.running[0].worker
        status = mr_ok("status", job[:-2], "--broker", url).decode()
        assert f"{job}: running for" in status
        assert re.search(r"^map +0 +1 +1 +0 +0 ", status, re.MULTILINE)
        assert re.search(rf"^map 0 +{worker} +\d", status, re.MULTILINE)
        (tmp_path / "gate").touch()
        told = [line[9:] for line in follow.output().decode().splitlines()]
    finally:
        follow.stop()
    # any worker of the broker may take a job on, those of other tests too, and more than one
    coordinated = [line for line in told if line.startswith("mr: coordinated by ")]
    begin, *rest = (line for line in told if line not in coordinated)
    assert begin == f"mr: job {job} is submitted" and coordinated
    assert rest.pop(0) == "mr: the input is complete: 1 task"
    printed = [f"[map 0] {text}" for text in ("reads 1", "has read 1", "reads 2", "has read 2")]
    assert rest[:4] == printed and rest[4].startswith("mr: reduce begins: ")
    assert rest[5:] == ["mr: its output is ready"]
    plain = json.loads(mr_ok("status", job, "--json", "--broker", url))
    assert (plain["job"], plain["phase"], plain["summary"]["counters"]) == (job, "ready", {"lines": 2})
    assert "".join(each["text"] for each in plain["printed"]) == "reads 1\nhas read 1\nreads 2\nhas read 2\n"
    assert {each["outcome"] for each in plain["attempts"]} == {"won"}
    assert all(each["secs"] > 0 and each["slot"] == 0 for each in plain["attempts"])
    assert sorted(mr_ok("results", job, "--broker", url).splitlines()) == [b"1\t1", b"2\t2"]
    gone = mr("status", job, "--broker", url)
    assert gone.returncode == 9 and gone.stderr.startswith(b"mr: there is no job " + job.encode())


def test_why_a_job_has_failed(tmp_path: Path, url: str) -> None:
    (tmp_path / "gate").touch()
    job = submit(tmp_path, url, "1\nx\n")
    lines = mr_ok("logs", job, "--follow", "--json", "--broker", url).splitlines()
    told = [json.loads(line) for line in lines]
    while told[-1]["text"].startswith("coordinated by"):  # another worker has taken over what has ended
        told.pop()
    assert told[-1]["kind"] == "error" and "invalid literal" in told[-1]["text"]
    printed = "".join(each["text"] for each in told if each["kind"] == "printed")
    assert printed == "reads 1\nhas read 1\nreads x\nhas read x\n"
    status = mr_ok("status", job, "--broker", url).decode()
    assert f"{job}: failed, after" in status
    for text in ("in map words", "byte 2", "record: 'x'", "yield line, int(line)", "map 0 failed on"):
        assert text in status
    of_task = mr_ok("logs", job, "--task", "0/0", "--broker", url).decode()
    assert "[map 0] begins on" in of_task and "[map 0] has read x" in of_task and "submitted" not in of_task
    assert mr_ok("logs", job, "--task", "1/0", "--broker", url) == b"", "nobody knows yet"
    for task in ("0/9", "2/0"):
        none = mr("logs", job, "--task", task, "--broker", url)
        assert none.returncode == 2 and none.stdout == b""
        assert f"mr: job {job} has no task {task}; it has 0/0 to 0/0\n" == none.stderr.decode()
    assert mr("results", job, "--broker", url).returncode == 1


def test_what_makes_no_sense(url: str) -> None:
    for command in ("status", "logs"):
        result = mr(command, "no-such-job", "--broker", url)
        assert result.returncode == 9 and result.stderr.count(b"\n") == 1
    result = mr("logs", "@", "--task", "first", "--broker", url)
    assert result.returncode == 2 and b"neither N nor STAGE/N" in result.stderr
