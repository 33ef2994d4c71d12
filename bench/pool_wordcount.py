"""The word count as a good engineer writes it by hand, for one machine: what `mr run` is measured against.

    python bench/pool_wordcount.py INPUT OUTPUT_DIR [PROCESSES]

Workers read their own ranges of the file, cut at line ends; each adds up what it finds in a dict, spreads
that over partitions by a stable hash and leaves it in a file per partition, so that nothing large goes
through the parent; then each partition is merged, sorted and written by one worker.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Callable

CHUNK_BYTES = 8 * 1024 * 1024
PARTITIONS = 8

CountRange = Callable[[Path, str, tuple[int, int]], str]


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def ranges(path: Path) -> Iterator[tuple[int, int]]:
    """(start, end) of chunks, each whole lines."""
    size = path.stat().st_size
    with open(path, "rb") as source:
        start = 0
        while start < size:
            source.seek(min(start + CHUNK_BYTES, size))
            source.readline()
            end = source.tell()
            yield start, end
            start = end


def count_range(path: Path, folder: str, borders: tuple[int, int]) -> str:
    """Count the words between two borders; returns the stem of the names of the files with the result."""
    return keep(count(path, *borders), folder, borders[0])


def count(path: Path, start: int, end: int) -> dict[str, int]:
    """How often each word comes between two borders."""
    with open(path, "rb") as source:
        source.seek(start)
        lines = source.read(end - start).decode("utf-8").split("\n")
    counts: dict[str, int] = {}
    for line in lines:
        for word, n in words(line):
            if word in counts:
                counts[word] += n
            else:
                counts[word] = n
    return counts


def spread(counts: dict[str, int]) -> list[dict[str, int]]:
    """The counts of each partition."""
    parts: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
    for word, n in counts.items():
        parts[zlib.crc32(word.encode("utf-8")) % PARTITIONS][word] = n
    return parts


def keep(counts: dict[str, int], folder: str, start: int) -> str:
    """Leave counts in a file for each partition; returns the stem of their names."""
    stem = os.path.join(folder, str(start))
    for number, part in enumerate(spread(counts)):
        with open(f"{stem}.{number}", "wb") as out:
            pickle.dump(part, out, pickle.HIGHEST_PROTOCOL)
    return stem


def merge_partition(stems: list[str], output: Path, number: int) -> None:
    """Add up one partition of all chunks and write it, sorted."""
    totals: dict[str, int] = {}
    for stem in stems:
        with open(f"{stem}.{number}", "rb") as source:
            for word, n in pickle.load(source).items():
                totals[word] = totals.get(word, 0) + n
    with open(output / f"part-{number:05d}", "w", encoding="utf-8") as out:
        out.writelines(f"{word}\t{totals[word]}\n" for word in sorted(totals))


def main(source: str, output: str, processes: int = 2, *, count_range: CountRange = count_range) -> None:
    """Run it; ``count_range`` is what is done to a range."""
    path, target = Path(source), Path(output)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(processes) as pool:
        stems = pool.map(partial(count_range, path, folder), ranges(path), chunksize=1)
        pool.map(partial(merge_partition, stems, target), range(PARTITIONS), chunksize=1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
