"""The word count with a mapper that gets a whole split: the `Counter` program's loop, in a job."""

from collections import Counter
from collections.abc import Iterable

from mapreduce import Job, whole


@whole
def words(lines: Iterable[str]) -> Iterable[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.split())
    return counts.items()


job = Job(words, fold=sum)
