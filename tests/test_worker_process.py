"""`mr worker` as a process: what it holds open, how it ends, what it leaves."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mapreduce import code, events
from mapreduce.brokers import open_broker
from tests.contract.harness import Session
from tests.gates import Gates
from tests.support import JOBS, Process, count_words, make_text, mr_ok, workers
from tests.test_executor import eventually, gone

LISTENING = "0A"


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    children: list[str] = []
    with contextlib.suppress(OSError):  # it has just ended
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in descendants(int(child)))]


def sockets(pid: int) -> set[str]:
    """The inodes of a process's open sockets."""
    found = set()
    with contextlib.suppress(OSError):  # it has just ended
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(fd)
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found


def tcp(state: str = "") -> set[str]:
    """The inodes of TCP sockets, of those in one state if it is given."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == state or not state:
                inodes.add(fields[9])
    return inodes


def test_a_worker_listens_on_nothing_and_its_executors_have_no_connection(
    rabbit_url: str, tmp_path: Path
) -> None:
    text = make_text(tmp_path / "text.txt", 100_000)
    worker = Process("worker", "--broker", rabbit_url, "-c", 2, "--pool", "sockets")
    try:
        worker.wait_for("ready")
        run = ["run", JOBS / "wordcount.py", text, "--broker", rabbit_url, "--pool", "sockets"]
        assert mr_ok(*run) == count_words(text)
        pids = descendants(worker.popen.pid)
        assert len(pids) >= 3
        for pid in pids:
            assert not sockets(pid) & tcp(LISTENING)
        assert len(sockets(pids[0]) & tcp()) == 2  # the two connections of its session
        assert not any(sockets(pid) & tcp() for pid in pids[1:])
    finally:
        worker.stop()


def test_executors_of_a_job_that_has_ended_make_room(rabbit_url: str, tmp_path: Path) -> None:
    job_file = tmp_path / "where.py"
    job_file.write_text(
        "import os\nfrom mapreduce import Job\n\n"
        "job = Job(lambda line: [(os.getpid(), 1)], reduce=lambda pid, ones: [(os.getpid(), 1)])\n"
    )
    text = make_text(tmp_path / "text.txt", 1000)
    worker = Process("worker", "--broker", rabbit_url, "-c", 2, "--pool", "room")
    try:
        worker.wait_for("ready")
        lines = mr_ok("run", job_file, text, "--broker", rabbit_url, "--pool", "room").decode().splitlines()
        pids = {int(line.split("\t")[0]) for line in lines}
        assert pids and eventually(lambda: all(map(gone, pids)))
        assert eventually(lambda: len(descendants(worker.popen.pid)) == 3)
    finally:
        worker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_is_told_to_stop_ends_in_order(
    rabbit_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    worker = Process("worker", "--broker", rabbit_url, "-c", 1, "--pool", "stopping")
    try:
        worker.wait_for("ready")
        assert len(list(tmp_path.glob("mr-worker-*"))) == 1
        worker.popen.send_signal(number)
        assert worker.popen.wait(20) == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        worker.stop()


def test_after_its_grace_a_worker_hands_back_what_runs(rabbit_url: str, tmp_path: Path) -> None:
    gates, text = Gates(tmp_path / "gates"), make_text(tmp_path / "text.txt", 1000)
    place = ["--broker", rabbit_url, "--pool", "grace"]
    leaving = Process("worker", *place, "-c", 1, "--grace", 0.5)
    job = Process("run", gates.job, text, *place)
    try:
        leaving.wait_for("at map")
        leaving.popen.terminate()
        assert leaving.popen.wait(20) == 0
        gates.open("map", "reduce")
        with workers(rabbit_url, pool="grace"):
            assert job.output() == count_words(text)
    finally:
        leaving.stop()
        job.stop()


def test_the_folder_of_a_killed_worker_goes_with_the_next(
    rabbit_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for _ in range(2):
        worker = Process("worker", "--broker", rabbit_url, "-c", 1, "--pool", "stopping")
        worker.wait_for("ready")
        assert len(list(tmp_path.glob("mr-worker-*"))) == 1
        worker.kill()
        worker.stop()


def test_a_worker_stops_while_its_broker_is_down(own_node: Any) -> None:
    worker = Process("worker", "--broker", own_node.url, "-c", 1)
    try:
        worker.wait_for("ready")
        pids = descendants(worker.popen.pid)
        own_node.kill9()
        worker.wait_for("lost the connection")
        worker.popen.send_signal(signal.SIGTERM)
        assert worker.popen.wait(20) == 0
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    finally:
        worker.stop()


# ---------------------------------------------------------------- long silence, large records


@pytest.mark.parametrize("wakes", ["in the middle", "after the end"])
def test_a_worker_that_sleeps_past_its_session_harms_nothing(
    rabbit_url: str, tmp_path: Path, wakes: str
) -> None:
    gates, text = Gates(tmp_path / "gates"), make_text(tmp_path / "text.txt", 1000)
    pool = f"asleep{secrets.token_hex(4)}"
    sleeper = Process("worker", "--broker", f"{rabbit_url}?heartbeat=2", "-c", 1, "--pool", pool)
    job = Process("run", gates.job, text, "--broker", rabbit_url, "--pool", pool)
    try:
        sleeper.wait_for("at map")
        executors = descendants(sleeper.popen.pid)[1:]
        sleeper.popen.send_signal(signal.SIGSTOP)
        until_nobody_consumes(rabbit_url, events.tasks_queue(pool, code.interpreter_tag()))
        with workers(rabbit_url, executors=1, pool=pool) as (other,):
            other.wait_for("at map")
            if wakes == "after the end":
                gates.open("map", "reduce")
                assert job.output() == count_words(text)
            sleeper.popen.send_signal(signal.SIGCONT)
            sleeper.wait_for("lost the connection")
            sleeper.wait_for("connected again")
            if wakes == "in the middle":
                assert eventually(lambda: all(map(gone, executors)))
                gates.open("map", "reduce")
                assert job.output() == count_words(text)
    finally:
        sleeper.popen.send_signal(signal.SIGCONT)
        sleeper.stop()
        job.stop()


def until_nobody_consumes(url: str, queue: str) -> None:
    session = Session(open_broker(url))
    session.broker.connect()
    session.until_depth(queue, consumers=0)
    session.broker.close(1.0)


def test_a_record_of_100_mib_passes_in_parts(rabbit_url: str, tmp_path: Path) -> None:
    job_file, numbers = tmp_path / "large.py", tmp_path / "numbers.txt"
    job_file.write_text(
        "from mapreduce import Job\n\n"
        "job = Job(lambda line: [(int(line), 'x' * int(line))], reduce=lambda n, texts: [(n, t) for t in texts])\n"
    )
    size = 100 << 20
    numbers.write_text(f"{size}\n3\n")
    with workers(rabbit_url, executors=1, pool="large"):
        place = ["--broker", rabbit_url, "--pool", "large", "--partitions", 1]
        output = mr_ok("run", job_file, numbers, *place)
    expected = b"3\txxx\n%d\t%s\n" % (size, b"x" * size)
    assert len(output) == len(expected)
    assert (
        sha256(output).digest() == sha256(expected).digest()
    )  # to show where they differ would take minutes
