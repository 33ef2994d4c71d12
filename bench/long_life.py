"""Many jobs through the same two workers: does anything grow that should not?

    python -m bench.long_life                   200 jobs; about five minutes
    python -m bench.long_life --jobs 20 --every 5

A private RabbitMQ, two `mr worker -c 2`, and one client process, this one, which runs word counts and two-step jobs
one after the other. Every few jobs it counts what each of them holds. Memory is compared with what it was once
the caches were full; all else must be what it was before the first job. Exits with 1 if anything has grown.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import MR, background
from jobs import top_words, wordcount
from mapreduce.node import PrivateNode

WORKERS = 2
EXECUTORS = 2
#: lines of text, some 150 KB in all; split so that there are more tasks than executors
LINES = 3000
SPLIT_BYTES = 16 * 1024
#: what a job leaves goes within so long; a job's streams are deleted after its client has left
SETTLE_SECS = 20.0
SETTLE_POLL_SECS = 1.0
#: a worker remembers the code of 16 jobs: until then memory may grow
FULL_CACHES = 20
#: and afterwards by so much; what an allocator does not give back goes up and down by that
GROWTH_MB = 3.0
#: while tasks are short each worker has a second consumer for each of its two queues, and a channel for each of these
HASTE = {"channels": 4}

_COUNTS = "{length(rabbit_amqqueue:list()), length(rabbit_networking:connections()), length(rabbit_channel:list())}."


@dataclass(frozen=True)
class Sample:
    """What is held after so many jobs."""

    jobs: int
    memory: dict[str, float]  #: MB, resident
    counts: dict[str, int]


class Watched:
    """Two workers, this client, and the broker between them."""

    def __init__(self, node: PrivateNode, workers: list[int], temporary: Path) -> None:
        self._node = node
        self._workers = workers
        self._temporary = temporary
        self._before: dict[str, int] = {}

    def sample(self, jobs: int) -> Sample:
        """As soon as all counts are what they were the first time, or else after some patience.

        The first time: as soon as they stay what they are.
        """
        deadline = time.monotonic() + SETTLE_SECS
        wanted, counts = self._before or {}, self._counts()
        while counts != wanted and time.monotonic() < deadline:
            wanted = self._before or counts
            time.sleep(SETTLE_POLL_SECS)
            counts = self._counts()
        self._before = self._before or counts
        return Sample(jobs, self._memory(), counts)

    def _memory(self) -> dict[str, float]:
        memory = {"client": resident(os.getpid())}
        for number, pid in enumerate(self._workers, 1):
            memory[f"worker {number}"] = resident(pid)
            memory[f"executors {number}"] = sum(map(resident, children(pid)))
        return memory

    def _counts(self) -> dict[str, int]:
        """Of the processes, of the temporary files, of the broker."""
        gc.collect()  # descriptors of this process's old sessions go with their objects
        counts: dict[str, int] = {}
        for name, pid in [
            ("client", os.getpid()),
            *((f"worker {n}", p) for n, p in enumerate(self._workers, 1)),
        ]:
            counts[f"{name} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
            counts[f"{name} threads"] = len(os.listdir(f"/proc/{pid}/task"))
            counts[f"{name} children"] = len(children(pid))
        counts["temporary files"] = sum(1 for _ in self._temporary.rglob("*"))
        answer = self._node.control("eval", _COUNTS).strip().strip("{}").split(",")
        return {**counts, **dict(zip(("queues", "connections", "channels"), map(int, answer)))}


def main() -> None:
    options = arguments()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-long-life-")))
        temporary = folder / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        node = stack.enter_context(PrivateNode(folder / "broker"))
        command = [*MR, "worker", "--broker", node.url, "-c", str(EXECUTORS)]
        workers = [stack.enter_context(background(command, "ready"))[0].pid for _ in range(WORKERS)]
        text = folder / "text"
        text.write_text(
            "".join(f"line {number} of {LINES} says {number % 97}\n" * 2 for number in range(LINES))
        )
        began = time.monotonic()
        samples = run(Watched(node, workers, temporary), text, node.url, options.jobs, options.every)
        print(f"{options.jobs} jobs in {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}\n")
    report(samples)
    grown = growth(samples)
    print("\n".join(grown) if grown else "\nall is back where it was")
    sys.exit(bool(grown))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many jobs in a row, and what they leave.")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="jobs between two samples")
    return parser.parse_args()


def run(watched: Watched, text: Path, url: str, jobs: int, every: int) -> list[Sample]:
    """One job after the other; a sample before the first, after the first, and every so many."""
    answers: dict[object, list[object]] = {}
    samples = []
    for number in range(1, jobs + 1):
        # the first job loads what this process needs as a client, so it comes before the first sample
        job = (wordcount.job, top_words.job)[number % 2]
        with job.run(
            str(text), broker=url, split_bytes=SPLIT_BYTES, report=lambda level, said: None
        ) as result:
            if list(result) != answers.setdefault(number % 2, list(result)):
                sys.exit(f"job {number} has another answer than the first of its kind")
        if number == 1 or number % every == 0:
            samples.append(watched.sample(number))
            print(f"{number} jobs", file=sys.stderr)
    return samples


def report(samples: list[Sample]) -> None:
    """The curve: a line for each thing, a column for each sample."""
    print(f"{'after so many jobs':24}" + "".join(f"{sample.jobs:7}" for sample in samples))
    for name in samples[0].memory:
        print(f"{name + ' MB':24}" + "".join(f"{sample.memory[name]:7.1f}" for sample in samples))
    for name in samples[0].counts:
        print(f"{name:24}" + "".join(f"{sample.counts[name]:7}" for sample in samples))


def growth(samples: list[Sample]) -> list[str]:
    """What has grown, one line each."""
    first, last = samples[0], samples[-1]
    grown = [
        f"GROWN: {name}: {first.counts[name]} after {first.jobs} jobs, {last.counts[name]} after {last.jobs}"
        for name in first.counts
        if last.counts[name] > first.counts[name] + HASTE.get(name, 0)
    ]
    full = next((sample for sample in samples if sample.jobs >= FULL_CACHES), first)
    for name in full.memory:
        more = last.memory[name] - full.memory[name]
        if more > GROWTH_MB:
            grown.append(f"GROWN: {name}: {more:.1f} MB more after {last.jobs} jobs than after {full.jobs}")
    return grown


def resident(pid: int) -> float:
    """Resident memory in MB; 0 if the process has just ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def children(pid: int) -> list[int]:
    """Child processes of all its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


if __name__ == "__main__":
    main()
