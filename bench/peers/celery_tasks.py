"""Celery over RabbitMQ: one worker with a pool of processes, which this program starts and stops.

The word count runs the functions of bench/pool_wordcount.py. What they find is large and stays in files, of
which the tasks pass on the names: Celery's advice for a broker that shall stay fast.

RabbitMQ keeps nothing: tasks are transient, results go to a queue that vanishes with this program (`rpc://`),
and the queue of the tasks is deleted at the end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from celery import Celery, group
from celery.exceptions import TimeoutError as NotYet
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from bench import pool_wordcount
from bench.peers.common import arguments

MODULE = "bench.peers.celery_tasks"  # what the worker knows this file as
QUEUE = "bench.celery"
START_SECS = 60.0
STOP_SECS = 30.0
#: Tasks held ready per process: one where tasks are long and even shares matter, many where the way is the cost.
PREFETCH = {"wordcount": 1, "tasks": 64}

app = Celery(MODULE, backend="rpc://")  # the broker comes from CELERY_BROKER_URL
app.conf.update(
    # Celery's usual kind of queue. One that vanished with the worker would be declared anew for every task.
    task_queues=[Queue(QUEUE, Exchange(QUEUE), QUEUE)],
    task_default_queue=QUEUE,
    task_default_delivery_mode="transient",
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)


@app.task
def count_range(path: str, folder: str, borders: tuple[int, int]) -> str:
    return pool_wordcount.count_range(Path(path), folder, borders)


@app.task
def merge_partition(stems: list[str], output: str, number: int) -> None:
    pool_wordcount.merge_partition(stems, Path(output), number)


@app.task
def length(line: str) -> int:
    return len(line)


def wordcount(source: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-celery-") as folder:
        borders = pool_wordcount.ranges(source)
        stems = group(count_range.s(str(source), folder, each) for each in borders)().get()
        parts = range(pool_wordcount.PARTITIONS)
        group(merge_partition.s(stems, str(output), number) for number in parts)().get()


def tasks(source: Path, output: Path) -> None:
    with open(source, encoding="utf-8", newline="\n") as lines:
        results = group(length.s(line.rstrip("\n")) for line in lines)().get()
    (output / "part-00000").write_text("".join(f"{result}\n" for result in results))


@contextlib.contextmanager
def worker(processes: int, prefetch: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with so many processes, for as long as the context lasts."""
    command = [
        *(sys.executable, "-m", "celery", "--quiet", "--app", MODULE, "worker", "--loglevel", "ERROR"),
        *("--pool", "prefork", "--concurrency", str(processes), "--prefetch-multiplier", str(prefetch)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(STOP_SECS)
            except subprocess.TimeoutExpired:
                started.kill()
            forget_queue()


def forget_queue() -> None:
    """Take the queue of the tasks, and its exchange, off the broker."""
    queue = app.amqp.queues[QUEUE]
    with app.connection_for_write() as connection:
        queue.exchange(connection.default_channel).delete()
        queue(connection.default_channel).delete()


def wait_until_it_works(started: subprocess.Popen[bytes]) -> None:
    """Ends this program if the worker does not answer."""
    first = length.delay("")
    deadline = time.monotonic() + START_SECS
    while True:
        try:
            first.get(timeout=1.0)
            return
        except NotYet:
            if started.poll() is not None or time.monotonic() > deadline:
                sys.exit("error: the Celery worker does not work; what it said stands above")


def main() -> None:
    given = arguments("wordcount", "tasks", broker=True)
    os.environ["CELERY_BROKER_URL"] = given.broker
    given.output.mkdir(parents=True)
    with worker(given.processes, PREFETCH[given.workload]) as started:
        # What a worker that runs already would take; starting one is part of the whole time all the same.
        wait_until_it_works(started)
        start = time.perf_counter()
        {"wordcount": wordcount, "tasks": tasks}[given.workload](given.input, given.output)
        print(f"warm {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    try:
        main()
    except OperationalError as error:
        sys.exit(f"error: the broker does not answer: {error}; is --broker right, and does it run?")
