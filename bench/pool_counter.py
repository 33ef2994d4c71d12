"""The word count by hand, as fast as plain Python on two processes gets it: one `Counter.update` for a whole chunk.

    python -m bench.pool_counter INPUT OUTPUT_DIR [PROCESSES]

It is `bench.pool_wordcount` in all but that: the mapper is no function of the user that could be any other.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.pool_wordcount import keep, main


def count_range(path: Path, folder: str, borders: tuple[int, int]) -> str:
    """Count the words between two borders; returns the stem of the names of the files with the result."""
    start, end = borders
    with open(path, "rb") as source:
        source.seek(start)
        counts = Counter(source.read(end - start).decode("utf-8").split())
    return keep(counts, folder, start)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]), count_range=count_range)
