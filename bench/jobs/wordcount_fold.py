"""The word count with `fold`: the engine adds up, no function of the user is called for a word's counts."""

from collections.abc import Iterator

from mapreduce import Job


def words(line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


job = Job(words, fold=sum)
