"""The job of mrjob_local.py: mrjob runs this file again for every task."""

from __future__ import annotations

from collections.abc import Iterator

from mrjob.job import MRJob
from mrjob.protocol import TextProtocol


class WordCount(MRJob):
    OUTPUT_PROTOCOL = TextProtocol  # key, tab, value; the default would write JSON

    def mapper(self, _: None, line: str) -> Iterator[tuple[str, int]]:
        for word in line.split():
            yield word, 1

    def combiner(self, word: str, counts: Iterator[int]) -> Iterator[tuple[str, int]]:
        yield word, sum(counts)

    def reducer(self, word: str, counts: Iterator[int]) -> Iterator[tuple[str, str]]:
        yield word, str(sum(counts))


if __name__ == "__main__":
    WordCount.run()
