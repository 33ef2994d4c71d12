"""A job that costs nothing but its messages: each line becomes one pair for each of the first ``ways`` partitions."""

from collections.abc import Iterator

from mapreduce import Job


def spread(line: str, ways: int = 1) -> Iterator[tuple[int, int]]:
    for partition in range(ways):
        yield partition, 1


def total(partition: int, ones: Iterator[int]) -> Iterator[tuple[int, int]]:
    yield partition, sum(ones)


job = Job(spread, reduce=total, partition=lambda key, partitions: key % partitions)
