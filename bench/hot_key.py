"""99 % of the data has one and the same key: can an executor that may use 300 MB reduce 5 GB of it?

    python -m bench.hot_key --gb 5 --max-memory 300M      a few minutes; needs twice as much room for temporary files

One process, no broker. Each line of a small input becomes many values of about 1,000 bytes, so what the map writes
without a combiner, and the reduce reads, is as large as asked for. The result is compared with what arithmetic says,
the order of the values included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mapreduce import Job

VALUE_BYTES = 1000
VALUES_PER_LINE = 1000
#: of lines in one split; a line is 8 bytes
LINES_PER_SPLIT = 512
LINE_BYTES = 8


def expand(line: str) -> Iterator[tuple[str, str]]:
    """A thousand values, of which all but one in a hundred have the same key."""
    first = int(line) * VALUES_PER_LINE
    for n in range(first, first + VALUES_PER_LINE):
        yield ("hot" if n % 100 else f"cold {n // 100 % 1000}"), str(n).ljust(VALUE_BYTES)


def check(key: str, values: Iterator[str]) -> Iterator[tuple[str, tuple[int, int, bool]]]:
    """How many values, the sum of their numbers, whether they came in order."""
    count = total = 0
    last, ordered = -1, True
    for value in values:
        number = int(value)
        ordered = ordered and number > last
        count, total, last = count + 1, total + number, number
    yield key, (count, total, ordered)


job = Job(expand, reduce=check)


def expected(lines: int) -> list[str]:
    """The lines of the result, sorted."""
    found: dict[str, list[int]] = {}
    whole = lines * VALUES_PER_LINE
    cold = range(0, whole, 100)
    for n in cold:
        entry = found.setdefault(f"cold {n // 100 % 1000}", [0, 0])
        entry[0] += 1
        entry[1] += n
    found["hot"] = [whole - len(cold), whole * (whole - 1) // 2 - sum(cold)]
    return sorted(f"{key}\t[{count}, {total}, true]" for key, (count, total) in found.items())


def run(gigabytes: float, max_memory: str) -> tuple[float, list[float]]:
    """Run the job and compare; seconds, and the peaks in MB of all processes, the engine's own first."""
    from bench.processes import MR, measured  # late: the executors that import this file have no such thing

    lines = max(1, round(gigabytes * 1e9 / VALUE_BYTES / VALUES_PER_LINE))
    with tempfile.TemporaryDirectory(prefix="bench-hot-key-") as folder:
        source, target = Path(folder, "lines"), Path(folder, "out")
        source.write_text("".join(f"{n:0{LINE_BYTES - 1}}\n" for n in range(lines)))
        split = str(LINES_PER_SPLIT * LINE_BYTES)
        command = [*MR, "run", __file__, str(source), "-o", str(target)]
        seconds, peaks = measured([*command, "--split-size", split, "--max-memory", max_memory])
        found = sorted(line for part in target.glob("part-*") for line in part.read_text().splitlines())
    if found != expected(lines):
        sys.exit("the result is wrong")
    return seconds, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description="Reduces a key that has 99 % of the data.")
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--max-memory", default="300M")
    options: Any = parser.parse_args()
    seconds, peaks = run(options.gb, options.max_memory)
    print(
        f"{options.gb:g} GB, 99 % of one key, --max-memory {options.max_memory}: {seconds:.1f} s, as it must be"
    )
    print(
        f"peak memory: {peaks[0]:.0f} MB, executors at most {max(peaks[1:]):.0f} MB ({len(peaks) - 1} of them)"
    )


if __name__ == "__main__":
    main()
