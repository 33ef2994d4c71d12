"""Ray: remote functions on a cluster of one machine, which this program starts and stops.

The word count has the form of the MapReduce of Ray's own examples: a task per range of the file returns a dict
per partition; those wait in the object store until the task that merges that partition takes them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import pool_wordcount
from bench.peers.common import arguments
from bench.pool_wordcount import PARTITIONS, ranges, spread

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Not to serve the network is what Ray does by itself on other systems; on Linux this name says it, to `import ray`.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray


@ray.remote(num_returns=PARTITIONS)
def count(path: Path, start: int, end: int) -> list[dict[str, int]]:
    return spread(pool_wordcount.count(path, start, end))


@ray.remote
def merge(part: Path, *counts: dict[str, int]) -> None:
    totals: dict[str, int] = {}
    for one in counts:
        for word, n in one.items():
            totals[word] = totals.get(word, 0) + n
    with open(part, "w", encoding="utf-8") as out:
        out.writelines(f"{word}\t{n}\n" for word, n in totals.items())


@ray.remote
def length(line: str) -> int:
    return len(line)


def wordcount(source: Path, output: Path) -> None:
    counted = [count.remote(source, start, end) for start, end in ranges(source)]
    ray.get([merge.remote(output / f"part-{n:05d}", *parts) for n, parts in enumerate(zip(*counted))])


def tasks(source: Path, output: Path) -> None:
    with open(source, encoding="utf-8", newline="\n") as lines:
        waiting = [length.remote(line.rstrip("\n")) for line in lines]
    (output / "part-00000").write_text("".join(f"{result}\n" for result in ray.get(waiting)))


@contextlib.contextmanager
def cluster(processes: int) -> Iterator[None]:
    """Ray with so many workers, on loopback, its files in a folder of our own."""
    # in /tmp, as is Ray's own default: the path of a socket has no room for a longer name
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as scratch:
        ray.init(
            num_cpus=processes,
            include_dashboard=False,
            logging_level="error",
            _temp_dir=scratch,
        )
        try:
            yield
        finally:
            ray.shutdown()


def main() -> None:
    given = arguments("wordcount", "tasks")
    given.output.mkdir(parents=True)
    with cluster(given.processes):
        # What a cluster that runs already would take; starting one is part of the whole time all the same.
        ray.get([length.remote("") for _ in range(given.processes)])
        start = time.perf_counter()
        {"wordcount": wordcount, "tasks": tasks}[given.workload](given.input, given.output)
        print(f"warm {time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main()
