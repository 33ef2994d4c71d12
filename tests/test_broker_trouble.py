"""A broker that is full, forgetful, strict or strange, under real jobs: the same bytes, or an error that names it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any
from urllib.parse import urlsplit

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base, open_broker
from mapreduce.brokers.base import Kind
from mapreduce.code import interpreter_tag
from mapreduce.node import PrivateNode
from tests.contract.harness import Session
from tests.gates import Gates
from tests.support import JOBS, ROOT, Process, count_words, make_text

WORDCOUNT = JOBS / "wordcount.py"
#: a client shows itself four times in this time
CLIENT_TIMEOUT_SECS = 4
BLOCKS = "the broker takes no messages for now"


class Trouble:
    """A node to make trouble on, and what runs against it in one test."""

    def __init__(self, node: PrivateNode, folder: Path) -> None:
        self.node = node
        self.gates = Gates(folder / "gates")
        self.pool = folder.name
        self.processes: list[Process] = []

    def worker(self, url: str = "", pool: str = "", limits: tuple[str, ...] = ()) -> Process:
        script = (str(ROOT / "tests" / "impatient.py"), *limits, "--")
        args = ["worker", "--broker", url or self.node.url, "-c", 1, "--pool", pool or self.pool]
        worker = self._keep(Process(*args, script=script))
        worker.wait_for("ready")
        return worker

    def run(
        self, job: Path, *inputs: Any, split: str = "32K", url: str = "", stdin: int = DEVNULL
    ) -> Process:
        """A job whose client shows itself every second."""
        args = ["--pool", self.pool, "--split-size", split, "--client-timeout", CLIENT_TIMEOUT_SECS]
        return self._keep(Process("run", job, *inputs, "--broker", url or self.node.url, *args, stdin=stdin))

    def streams(self) -> list[str]:
        """Names of the streams of the gated job."""
        names = self.node.control("list_queues", "--silent", "name").split()
        return [name for name in names if f".job.{self.gates.name}-" in name]

    def stream(self, suffix: str) -> str:
        return next(name for name in self.streams() if name.endswith(f".{suffix}"))

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        broker = open_broker(self.node.url)
        broker.connect()
        yield Session(broker)
        broker.close(1.0)

    def set(self, **values: int) -> None:
        """Settings of the node, for channels that are opened from now on."""
        terms = (f"application:set_env(rabbit, {name}, {value})" for name, value in values.items())
        self.node.control("eval", ", ".join(terms) + ".")

    def stop(self) -> None:
        self.gates.open("map", "reduce")
        for process in self.processes:
            process.stop()

    def _keep(self, process: Process) -> Process:
        self.processes.append(process)
        return process


@pytest.fixture
def trouble(shared_node: PrivateNode, tmp_path: Path) -> Iterator[Trouble]:
    trouble = Trouble(shared_node, tmp_path)
    yield trouble
    trouble.stop()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 200_000, seed=4)


def fails(process: Process, pattern: str, *codes: int) -> None:
    """It ends soon, with one of these exit codes and a line that says why, and no traceback of ours."""
    process.wait_for("^mr: .*(" + pattern + ")", 60)
    assert process.popen.wait(60) in codes, process.errors
    assert not any(line.startswith("Traceback") for line in process.errors), process.errors


# ---------------------------------------------------------------- alarms


MEMORY = (["set_vm_memory_high_watermark", "absolute", "1MB"], ["set_vm_memory_high_watermark", "0.4"])
DISK = (["set_disk_free_limit", str(10**15)], ["set_disk_free_limit", "50MB"])


@contextlib.contextmanager
def alarm(node: PrivateNode, kind: tuple[list[str], list[str]]) -> Iterator[None]:
    node.control(*kind[0])
    try:
        yield
    finally:
        node.control(*kind[1])


@pytest.mark.parametrize(("gate", "kind", "why"), [("map", MEMORY, "memory"), ("reduce", DISK, "disk")])
def test_an_alarm_in_the_middle_of_a_job(
    trouble: Trouble, text: Path, gate: str, kind: Any, why: str
) -> None:
    """However long it lasts: the client cannot show itself, and its patience is not asked for."""
    if gate == "reduce":
        trouble.gates.open("map")
    worker = trouble.worker(limits=("mapreduce.coordination.clock.BUSY_SECS=0.5",))
    job = trouble.run(trouble.gates.job, text)
    worker.wait_for(f"at {gate}")
    with alarm(trouble.node, kind):
        trouble.gates.open("map", "reduce")
        job.wait_for(f"{BLOCKS}.*{why}")
        worker.wait_for(f"through {gate}")
        time.sleep(CLIENT_TIMEOUT_SECS)
    job.wait_for("takes messages again")
    assert job.output() == count_words(text)
    assert not any("lost the connection" in line for line in [*worker.errors, *job.errors])


def test_an_alarm_while_the_client_feeds(trouble: Trouble, tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt", 3 << 20)
    worker = trouble.worker()
    trouble.gates.open("reduce")
    job = trouble.run(trouble.gates.job, "-", split="1M", stdin=PIPE)
    assert job.popen.stdin is not None
    data = text.read_bytes()
    job.popen.stdin.write(data[: 2 << 20])
    job.popen.stdin.flush()
    worker.wait_for("at map")
    with alarm(trouble.node, MEMORY):
        job.popen.stdin.write(data[2 << 20 :])
        job.popen.stdin.close()
        job.wait_for(f"{BLOCKS}.*memory")
    trouble.gates.open("map")
    assert job.output() == count_words(text)


# ---------------------------------------------------------------- acks


def test_acks_that_are_overdue_end_one_session_and_no_more(trouble: Trouble, text: Path) -> None:
    trouble.set(channel_tick_interval=200, consumer_timeout=3000)
    try:
        worker = trouble.worker()
        job = trouble.run(trouble.gates.job, text)
        worker.wait_for("at map")
        worker.wait_for("lost the connection")
        worker.wait_for("connected again")
        time.sleep(6.0)  # twice what the broker allows: from now on nothing is held for so long
        assert sum("lost the connection" in line for line in worker.errors) == 1, "\n".join(worker.errors)
        trouble.gates.open("map", "reduce")
        assert job.output() == count_words(text)
    finally:
        trouble.set(channel_tick_interval=60_000, consumer_timeout=1_800_000)


# ---------------------------------------------------------------- queues and streams that are tampered with


@pytest.mark.parametrize("how", ["purged", "deleted", "stolen from"])
def test_a_work_queue_that_is(trouble: Trouble, text: Path, how: str) -> None:
    """Another pool's worker coordinates, so that dispatches wait; then they, or one of them, are gone."""
    limits = ("mapreduce.coordination.watch.UNSTARTED_SECS=2", "mapreduce.coordinator.DEPTH_SECS=1")
    trouble.worker(pool="others", limits=limits)
    trouble.gates.open("map", "reduce")
    job = trouble.run(trouble.gates.job, text)
    queue = ev.tasks_queue(trouble.pool, interpreter_tag())
    with trouble.session() as session:
        session.declare(queue, Kind.PRIORITY)
        session.until_depth(queue, ready=4)
        if how == "purged":
            trouble.node.control("purge_queue", queue)
        elif how == "deleted":
            session.do(base.Delete(queue))
            session.wait(base.Deleted)
        else:
            session.do(base.Consume("thief", queue, 1))
            session.ack(session.wait(base.Delivered))
            session.wait_for(2, base.Delivered)  # the ack is through, and this one goes back
    trouble.worker(limits=limits)
    assert job.output() == count_words(text)


def test_leases_that_are_deleted(trouble: Trouble, text: Path) -> None:
    """Whoever holds one goes on; it is sent again by the coordinator that leaves."""
    worker = trouble.worker()
    job = trouble.run(trouble.gates.job, text)
    worker.wait_for("at map")
    with trouble.session() as session:
        session.do(base.Delete(ev.JOBS))
        session.wait(base.Deleted)
    trouble.gates.open("map", "reduce")
    worker.stop()
    trouble.worker()
    assert job.output() == count_words(text)


def test_streams_that_are_deleted_end_their_jobs_by_name(trouble: Trouble, tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.txt", 50_000)
    worker = trouble.worker()
    lost = {
        ev.log_stream: ".log is gone from the broker",
        ev.input_stream: "the stream with its input is gone",
        lambda job: ev.partition_stream(job, 1, 0): "no stream for its output|no stream .*1.0",
        ev.output_stream: "no stream for its output|no stream .*out|out is gone from the broker",
    }
    jobs = [trouble.run(trouble.gates.job, text, split="8K") for _ in lost]
    names = [job.wait_for("is submitted").split()[2] for job in jobs]
    worker.wait_for("at map")
    with trouble.session() as session:
        session.do(*(base.Delete(stream(name)) for stream, name in zip(lost, names)))
        session.wait_for(len(lost), base.Deleted)
    trouble.gates.open("map", "reduce")
    for job, what in zip(jobs, lost.values()):
        fails(job, what, 1, 9)
    assert worker.popen.poll() is None
    wait_until_clean(trouble)


def wait_until_clean(trouble: Trouble) -> None:
    """The worker deletes what is left of the job."""
    with trouble.session() as session:
        for stream in trouble.streams():
            session.until_depth(stream, ready=-1)


# ---------------------------------------------------------------- rights


@pytest.fixture
def user(trouble: Trouble) -> Iterator[str]:
    """The URL of a user whose rights may be taken away."""
    trouble.node.control("add_user", "guest2", "secret")
    trouble.node.control("set_permissions", "guest2", ".*", ".*", ".*")
    yield f"amqp://guest2:secret@127.0.0.1:{urlsplit(trouble.node.url).port}/"
    trouble.node.control("delete_user", "guest2")


@pytest.mark.parametrize("loss", ["rights", "password"])
def test_whoever_is_refused_leaves_and_says_so(trouble: Trouble, text: Path, user: str, loss: str) -> None:
    worker = trouble.worker(user)
    job = trouble.run(trouble.gates.job, text, url=user)
    worker.wait_for("at map")
    if loss == "rights":
        trouble.node.control("clear_permissions", "guest2")
    else:
        trouble.node.control("change_password", "guest2", "another")
    trouble.node.control("close_all_connections", "changed")
    trouble.gates.open("map", "reduce")
    fails(job, "guest2", 7)
    fails(worker, "guest2", 7)
    trouble.worker()  # one that may gives the job up, for its client is gone
    wait_until_clean(trouble)


# ---------------------------------------------------------------- a broker that forgets


def test_a_node_that_is_restarted_in_order(trouble: Trouble, text: Path) -> None:
    worker = trouble.worker()
    job = trouble.run(trouble.gates.job, text)
    worker.wait_for("at map")
    trouble.node.stop()
    trouble.node.start()
    trouble.gates.open("map", "reduce")
    assert job.output() == count_words(text)


def test_a_node_that_is_restarted_without_its_data(trouble: Trouble, text: Path) -> None:
    worker = trouble.worker()
    job = trouble.run(trouble.gates.job, text)
    worker.wait_for("at map")
    trouble.node.kill9()
    shutil.rmtree(trouble.node.directory / "data")
    (trouble.node.directory / "etc" / "streams").unlink()
    trouble.node.start()
    fails(job, r"\.log is gone from the broker", 9)
    trouble.gates.open("map", "reduce")
    assert trouble.run(WORDCOUNT, text).output() == count_words(text)  # the worker is of use again
    assert worker.popen.poll() is None


# ---------------------------------------------------------------- strange messages


def test_messages_that_nobody_can_read(trouble: Trouble, text: Path) -> None:
    worker = trouble.worker()
    job = trouble.run(trouble.gates.job, text)
    worker.wait_for("at map")
    whole = wire.encode(ev.Dispatch("no-such-job", 1, 0, 0, 0, None))
    strange = {
        "nothing": b"",
        "noise": bytes(range(256)) * 4,
        "cut short": whole[:-5],
        "of another version": b"\x02" + whole[1:],
        "of a later protocol's kind": whole.replace(b"Dispatch", b"Disputed"),
        "out of place": wire.encode(ev.EndOfInput(3)),
    }
    queues = [ev.JOBS, ev.tasks_queue(trouble.pool, interpreter_tag())]
    streams = [name for name in trouble.streams() if not name.endswith(".in")]
    with trouble.session() as session:
        session.declare(ev.ASIDE, Kind.QUEUE)
        session.do(base.Consume("aside", ev.ASIDE, 100))
        for place in [*queues, *streams]:
            session.publish(place, *strange.values())
        session.publish(trouble.stream("in"), *list(strange.values())[:-1])
        session.do(*(base.Broadcast(body) for body in strange.values()))
        trouble.gates.open("map", "reduce")
        assert job.output() == count_words(text)
        session.wait_for(len(queues) * len(strange), base.Delivered)
        aside = [wire.decode(delivery.body) for delivery in session.all(base.Delivered)]
        session.ack(*session.all(base.Delivered))
    for queue in queues:
        kept = [
            bytes(body) for head, body in aside if head.queue in (queue, "the work queue") and head.reason
        ]
        assert set(strange.values()) <= set(kept), queue
    assert worker.popen.poll() is None
    worker.wait_for("is set aside on mr.1.aside")


# ---------------------------------------------------------------- large messages


@pytest.fixture
def small_limit(trouble: Trouble) -> Iterator[int]:
    """The largest message that the node takes, in bytes."""
    limit = 100_000
    trouble.set(max_message_size=limit)
    yield limit
    trouble.set(max_message_size=1 << 27)


def test_a_block_over_the_brokers_limit_fails_by_name(
    trouble: Trouble, small_limit: int, tmp_path: Path
) -> None:
    """Small input, large output: what the workers write cannot pass."""
    job_file = tmp_path / "large.py"
    job_file.write_text(
        "from mapreduce import Job\n"
        "def grow(line):\n    yield line, ''.join(chr(33 + i * i % 90) for i in range(300_000))\n"
        "def size(key, values):\n    yield key, sum(map(len, values))\n"
        "job = Job(grow, reduce=size)\n"
    )
    data = tmp_path / "data.txt"
    data.write_text("a\n")
    worker = trouble.worker()
    fails(trouble.run(job_file, data), "larger than|more than the broker takes", 1, 9)
    assert worker.popen.poll() is None


def test_input_over_the_brokers_limit_fails_by_name(
    trouble: Trouble, small_limit: int, tmp_path: Path
) -> None:
    data = make_text(tmp_path / "data.txt", 3 * small_limit)
    trouble.worker()
    job = trouble.run(WORDCOUNT, data, split="1M")
    fails(job, "larger than|more than the broker takes", 1, 4, 6, 9)
