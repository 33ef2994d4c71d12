"""The word count by hand, as fast as plain Python on two processes gets it: one `Counter.update` for a whole chunk.

    python -m bench.pool_counter INPUT OUTPUT_DIR [PROCESSES]

It is `bench.pool_wordcount` in all but that: the mapper is no function of the user that could be any other.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
import zlib
from collections import Counter
from functools import partial
from pathlib import Path

from bench.pool_wordcount import PARTITIONS, merge_partition, ranges


def count_range(path: Path, folder: str, borders: tuple[int, int]) -> str:
    """Count the words between two borders; returns the stem of the names of the files with the result."""
    start, end = borders
    with open(path, "rb") as source:
        source.seek(start)
        counts = Counter(source.read(end - start).decode("utf-8").split())
    parts: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
    for word, n in counts.items():
        parts[zlib.crc32(word.encode("utf-8")) % PARTITIONS][word] = n
    stem = os.path.join(folder, str(start))
    for number, part in enumerate(parts):
        with open(f"{stem}.{number}", "wb") as out:
            pickle.dump(part, out, pickle.HIGHEST_PROTOCOL)
    return stem


def main(source: str, output: str, processes: int = 2) -> None:
    path, target = Path(source), Path(output)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(processes) as pool:
        stems = pool.map(partial(count_range, path, folder), ranges(path), chunksize=1)
        pool.map(partial(merge_partition, stems, target), range(PARTITIONS), chunksize=1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
