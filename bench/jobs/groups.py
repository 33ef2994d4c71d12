"""Groups lines by the first five digits of their key, and looks at every value; nothing shrinks before it travels."""

from collections.abc import Iterator

from mapreduce import Job


def by_prefix(line: str) -> Iterator[tuple[str, str]]:
    yield line[:5], line[5:]


def summary(prefix: str, rests: Iterator[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """How many lines, and the sum of what stands behind their keys."""
    number = total = 0
    for rest in rests:
        number += 1
        total += int(rest[6:16])
    yield prefix, (number, total)


job = Job(by_prefix, reduce=summary)
