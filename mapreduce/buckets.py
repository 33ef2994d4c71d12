"""Groups of bucketed runs (see `runs`): found by a dict for each bucket; pairs are not sorted, their keys are.

The keys of a bucket are sorted while they are in the processor's cache; to sort all of them in the end is to merge a
few sorted lists then.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import Any

from mapreduce.codec import Repeated
from mapreduce.runs import CountedBatch, Group


def group(buckets: Iterable[Iterator[CountedBatch]], totals: bool) -> Generator[Iterable[Group], None, None]:
    """(key, values) for each key, keys in order. ``totals``: int values may be added up, and come as one.

    Keys are of a kind that Python hashes, and orders, as `order` does.
    """
    keys: list[Any] = []
    lists: list[Any] = []
    for batches in buckets:
        found = _added(batches) if totals else _grouped(batches, defaultdict(list))
        some = sorted(found)
        keys += some
        lists += map(found.__getitem__, some)
    # `list.sort` finds the sorted lists and merges them
    order = sorted(range(len(keys)), key=keys.__getitem__)
    yield zip(map(keys.__getitem__, order), map(iter, map(lists.__getitem__, order)))


def _grouped(batches: Iterable[CountedBatch], found: defaultdict[Any, list[Any]]) -> dict[Any, list[Any]]:
    for keys, values in batches:
        # loops in C: `append` to the list of each key, or `extend` it
        lists = map(found.__getitem__, keys)
        if isinstance(values, Repeated):
            so_many = [(values.value,) * n for n in range(max(values.counts) + 1)]
            deque(map(list.extend, lists, map(so_many.__getitem__, values.counts)), maxlen=0)
        else:
            deque(map(list.append, lists, values), maxlen=0)
    return found


def _added(batches: Iterator[CountedBatch]) -> dict[Any, list[Any]]:
    """The sum of each key's values, as the only one; as many as there are if not all of them are ints."""
    added: dict[Any, int] = {}
    known = added.get
    for keys, values in batches:
        if isinstance(values, Repeated) or set(map(type, values)) != {int}:
            lists = defaultdict(list, {key: [value] for key, value in added.items()})
            return _grouped(chain([(keys, values)], batches), lists)
        for key, value in zip(keys, values):
            added[key] = known(key, 0) + value
    return {key: [value] for key, value in added.items()}
