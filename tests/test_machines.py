"""Machines that run out of disk, clocks that step, people who stop things: whole jobs, with real processes."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from mapreduce import events as ev
from mapreduce.brokers import open_broker
from mapreduce.code import interpreter_tag
from mapreduce.node import PrivateNode
from tests.contract.harness import Session
from tests.gates import Gates
from tests.support import DEADLINE_SECS, JOBS, ROOT, Process, count_words, make_text

WORDCOUNT = JOBS / "wordcount.py"

#: `mr` in a mount namespace of its own, in which $TMPDIR is a file system of a given size; it goes with the process
_SMALL_TMPDIR = (
    "import os, sys; "
    "os.execvp('unshare', ['unshare', '--mount', 'sh', '-c', "
    "'mount -t tmpfs -o size=$0 tmpfs $TMPDIR && exec \"$@\"', *sys.argv[1:2], sys.executable, *sys.argv[2:]])"
)
_IMPATIENT = (str(ROOT / "tests" / "impatient.py"), "mapreduce.pauses.DISK_PAUSE_SECS=0.2", "--")
_LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


class Clock:
    """What a process takes for the time of day, set from outside; its monotonic clock runs on as ever."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)
        # The library's clock_nanosleep fails when monotonic clocks are left alone (0.9.10): Python must not use it.
        (file.parent / "sitecustomize.py").write_text(
            "import select, time\ntime.sleep = lambda secs: select.select([], [], [], secs)\n"
        )
        self.environment = {
            "LD_PRELOAD": _LIBRARIES[0] if _LIBRARIES else "",
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": f"{file.parent}{os.pathsep}{ROOT}",
        }

    def step(self, secs: int) -> None:
        """From now on it is off by so many seconds."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{secs:+d}\n")
        written.replace(self._file)


@contextlib.contextmanager
def clocks_removed() -> Iterator[None]:
    """The library leaves files in shared memory for processes that are killed, or become another program."""

    def clocks() -> set[Path]:
        return set(Path("/dev/shm").glob("*faketime_s*_*"))

    before = clocks()
    try:
        yield
    finally:
        for path in clocks() - before:
            if not Path("/proc", path.name.rpartition("_")[2]).exists():
                path.unlink(missing_ok=True)


class Machines:
    """A node whose clock can be set, and the processes of one test."""

    def __init__(self, node: PrivateNode, clock: Optional[Clock], folder: Path) -> None:
        self.node = node
        self.node_clock = clock
        self.gates = Gates(folder / "gates")
        self.pool = folder.name
        self._folder = folder
        self._processes: list[Process] = []

    def start(self, *args: Any, **options: Any) -> Process:
        process = Process(*args, "--broker", self.node.url, "--pool", self.pool, **options)
        self._processes.append(process)
        return process

    def worker(self, executors: int = 1, **options: Any) -> Process:
        worker = self.start("worker", "-c", executors, **options)
        worker.wait_for("ready")
        return worker

    def worker_with_disk(self, size: str) -> Process:
        """A worker that has so much room for temporary files."""
        folder = self._folder / f"disk{len(self._processes)}"
        folder.mkdir()
        script = ("-c", _SMALL_TMPDIR, size, *_IMPATIENT)
        return self.worker(script=script, env={"TMPDIR": str(folder)})

    def run(self, job: Path, *inputs: Any, split: str = "32K", **options: Any) -> Process:
        return self.start("run", job, *inputs, "--split-size", split, **options)

    def wait_until_clean(self, name: str) -> None:
        """Wait until no stream of jobs of this name is left on the broker."""
        names = self.node.control("list_queues", "--silent", "name").split()
        session = Session(open_broker(self.node.url))
        session.broker.connect()
        for stream in names:
            if stream.startswith(f"mr.1.job.{name}-"):
                session.until_depth(stream, ready=-1)
        session.broker.close(1.0)

    def stop(self) -> None:
        self.gates.open("map", "reduce")
        for process in self._processes:
            process.stop()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateNode, Optional[Clock]]]:
    folder = tmp_path_factory.mktemp("node")
    clock = Clock(folder / "time") if _LIBRARIES else None
    node = PrivateNode(folder / "broker")
    with clocks_removed():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (clock.environment if clock else {}).items():
                patch.setenv(name, value)
            node.start()
        try:
            yield node, clock
        finally:
            node.stop()


@pytest.fixture
def machines(node: tuple[PrivateNode, Optional[Clock]], tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(*node, tmp_path)
    yield machines
    machines.stop()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 200_000, seed=6)


# ---------------------------------------------------------------- full disks


@pytest.fixture(scope="module")
def small_disks() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs in a mount namespace of its own cannot be mounted here")


#: input that is spooled; the map's sorted output; what a reduce reads
DISKS = {"while it spools the input": "100k", "while it writes its output": "700k"}


@pytest.mark.usefixtures("small_disks")
@pytest.mark.parametrize("when", DISKS)
def test_a_worker_whose_disk_is_full_leaves_the_work_to_another(
    machines: Machines, tmp_path: Path, when: str
) -> None:
    job, text = growing_job(tmp_path)
    full = machines.worker_with_disk(DISKS[when])
    running = machines.run(job, text, split="512K")
    full.wait_for("No space left on device.*taking no task")
    machines.worker()
    assert running.output() == oracle_of_growing_job(text)
    assert full.popen.poll() is None


@pytest.mark.usefixtures("small_disks")
def test_a_job_whose_only_worker_has_a_full_disk_fails_and_says_so(
    machines: Machines, tmp_path: Path
) -> None:
    job, text = growing_job(tmp_path)
    full = machines.worker_with_disk("100k")
    running = machines.run(job, text, "--tries", 2, split="512K")
    assert running.popen.wait(DEADLINE_SECS) == 1
    running.wait_for("^mr: .*No space left on device")
    assert not any(line.startswith("Traceback") for line in running.errors)
    assert full.popen.poll() is None
    machines.wait_until_clean("growing")


def growing_job(folder: Path) -> tuple[Path, Path]:
    """A job that writes more than it reads, and its input of 600 kB."""
    job = folder / "growing.py"
    job.write_text(
        "from mapreduce import Job\n"
        "def grow(line):\n"
        "    for word in line.split():\n        yield word, (word * 7)[::-1]\n"
        "def size(word, values):\n    yield word, sum(map(len, values))\n"
        "job = Job(grow, reduce=size)\n"
    )
    return job, make_text(folder / "text.txt", 600_000, seed=8)


def oracle_of_growing_job(text: Path) -> bytes:
    lines = (line.split("\t") for line in count_words(text).decode().splitlines())
    return "".join(f"{word}\t{7 * len(word) * int(number)}\n" for word, number in lines).encode()


# ---------------------------------------------------------------- clocks


@pytest.mark.skipif(not _LIBRARIES, reason="libfaketime is not installed (.ci/packages)")
@pytest.mark.parametrize("whose", ["worker", "client", "broker"])
def test_a_clock_that_steps_by_an_hour(machines: Machines, text: Path, tmp_path: Path, whose: str) -> None:
    clock = Clock(tmp_path / "time") if whose != "broker" else machines.node_clock
    assert clock is not None
    stepped: dict[str, Any] = {"env": clock.environment}
    worker = machines.worker(**(stepped if whose == "worker" else {}))
    args = ["--partitions", 2]
    job = machines.run(machines.gates.job, text, *args, split="128K", **stepped if whose == "client" else {})
    try:
        for gate, secs in (("map", 3600), ("reduce", -3600)):
            worker.wait_for(f"at {gate}")
            clock.step(secs)
            assert abs(time_of(machines, clock, whose) - time.time() - secs) < 100
            machines.gates.open(gate)
        assert job.output() == count_words(text, partitions=2)
    finally:
        clock.step(0)


def time_of(machines: Machines, clock: Clock, whose: str) -> float:
    """What the time is for a process with this clock, in seconds since the epoch."""
    if whose == "broker":
        return float(machines.node.control("eval", "os:system_time(second)."))
    code = [sys.executable, "-c", "import time; print(time.time())"]
    done = subprocess.run(code, env={**os.environ, **clock.environment}, capture_output=True, check=True)
    return float(done.stdout)


# ---------------------------------------------------------------- people


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_a_worker_that_is_told_to_stop_loses_nothing(
    machines: Machines, text: Path, signals: list[int]
) -> None:
    leaving = machines.worker()
    job = machines.run(machines.gates.job, text)
    leaving.wait_for("at map")
    broker = open_broker(machines.node.url)
    broker.connect()
    for number in signals:
        leaving.popen.send_signal(number)
        Session(broker).until_depth(
            ev.tasks_queue(machines.pool, interpreter_tag()), consumers=0
        )  # it has heard
    broker.close(1.0)
    if len(signals) == 1:  # it has time to finish what it has begun
        machines.gates.open("map", "reduce")
    assert leaving.popen.wait(60) == 0, leaving.errors
    machines.gates.open("map", "reduce")
    machines.worker()
    assert job.output() == count_words(text)
    assert not any(line.startswith("Traceback") for line in leaving.errors)


def test_a_job_that_is_interrupted_leaves_nothing(machines: Machines, text: Path) -> None:
    worker = machines.worker()
    job = machines.run(machines.gates.job, text)
    worker.wait_for("at map")
    job.popen.send_signal(signal.SIGINT)
    assert job.popen.wait(30) == 130
    machines.wait_until_clean(machines.gates.name)
    assert worker.popen.poll() is None
