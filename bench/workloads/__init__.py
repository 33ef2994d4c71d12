"""All workloads, in the order of the tables."""

from __future__ import annotations

from bench.model import Workload
from bench.workloads import death, groups, neighbours, pypy, scaling, small, sort, tasks, wordcount

ALL: tuple[Workload, ...] = (
    wordcount.GENERATOR,
    wordcount.COUNTER,
    sort.SORT_100,
    sort.SORT_1000,
    groups.GROUPS,
    small.SMALL,
    tasks.RATE,
    tasks.GROWTH,
    pypy.PYPY,
    neighbours.NEIGHBOURS,
    death.DEATH,
    scaling.SCALING,
)
