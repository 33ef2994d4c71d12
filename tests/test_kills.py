"""kill -9 of real processes at chosen steps: the job ends with the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mapreduce.node import PrivateNode
from tests.doomed_steps import LAST_STEPS, LEASE_STEPS, WORKER_STEPS
from tests.support import JOBS, ROOT, Process, count_words, make_text, workers

WORDCOUNT = JOBS / "wordcount.py"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 600_000, seed=2)


def doomed_worker(url: str, pool: str, step: str, nth: int = 1) -> Process:
    args: list[Any] = [step, nth, "worker", "--broker", url, "-c", 2, "--pool", pool]
    return Process(*args, script=(str(ROOT / "tests" / "doomed.py"),))


@pytest.mark.parametrize("step", WORKER_STEPS + LEASE_STEPS)
def test_a_worker_killed_at_any_step_changes_nothing(own_node: PrivateNode, text: Path, step: str) -> None:
    # Workers of other tests would take the leases that ours is to die with.
    kill_at(own_node.url, text, step)


@pytest.mark.parametrize("step", LAST_STEPS)
def test_a_coordinator_killed_while_it_winds_up_changes_nothing(
    own_node: PrivateNode, text: Path, step: str
) -> None:
    # Leases that an earlier test's dead workers left would let it take these steps too soon.
    kill_at(own_node.url, text, step)


def kill_at(url: str, text: Path, step: str) -> None:
    pool = f"kill-{step}"
    nth = {"BlockHead": 2, "Dispatch": 2, "Delete": 2}
    doomed = doomed_worker(url, pool, step, nth.get(step, 1))
    doomed.wait_for("ready")
    job = Process("run", WORDCOUNT, text, "--broker", url, "--pool", pool, "--split-size", "64K")
    try:
        if step in LAST_STEPS:
            doomed.wait_for("taking Dispatched")  # it coordinates the job
        else:
            assert doomed.popen.wait(60) == -9
        with workers(url, 1, 2, pool):
            assert job.output() == count_words(text)
            assert doomed.popen.wait(60) == -9
    finally:
        job.stop()
        doomed.stop()


@pytest.mark.parametrize("function", ["map", "reduce"])
def test_a_worker_killed_from_within_user_code(
    rabbit_url: str, text: Path, tmp_path: Path, function: str
) -> None:
    marker = tmp_path / "killed"
    job_file = tmp_path / "suicidal.py"
    job_file.write_text(
        "import os, signal\nfrom mapreduce import Job\n\n"
        "def once():\n"
        f"    try:\n        os.close(os.open({str(marker)!r}, os.O_CREAT | os.O_EXCL))\n"
        "    except FileExistsError:\n        return\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n\n"
        "def words(line):\n"
        f"    {'once()' if function == 'map' else 'pass'}\n"
        "    for word in line.split():\n        yield word, 1\n\n"
        "def total(word, counts):\n"
        f"    {'once()' if function == 'reduce' else 'pass'}\n"
        "    yield word, sum(counts)\n\n"
        "job = Job(words, reduce=total)\n"
    )
    pool = f"suicide-{function}"
    with workers(rabbit_url, 2, 1, pool) as pair:
        job = Process("run", job_file, text, "--broker", rabbit_url, "--pool", pool, "--split-size", "64K")
        try:
            assert job.output() == count_words(text)
        finally:
            job.stop()
        assert marker.exists()
        assert sorted(worker.popen.poll() is None for worker in pair) == [False, True]


def test_the_broker_killed_and_restarted_in_the_middle(
    own_node: PrivateNode, text: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\nfrom mapreduce import Job\n\n"
        "def words(line):\n    print('user code is here')\n    time.sleep(0.001)\n"
        "    for word in line.split():\n        yield word, 1\n\n"
        "job = Job(words, fold=sum)\n"
    )
    with workers(own_node.url, 2, 1) as pair:
        job = Process("run", slow, text, "--broker", own_node.url, "--split-size", "64K")
        try:
            job.wait_for("user code is here")
            own_node.kill9()
            own_node.start()
            assert job.output() == count_words(text)
            assert all(worker.popen.poll() is None for worker in pair)
        finally:
            job.stop()


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
