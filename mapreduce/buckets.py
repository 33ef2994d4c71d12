"""Groups of bucketed runs (see `runs`): found by a dict, without ever sorting what is to be grouped."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Iterable
from typing import Any

from mapreduce.runs import Batch, Group


def group(batches: Iterable[Batch], totals: bool) -> Generator[Iterable[Group], None, None]:
    """(key, values) for each key, keys in order. ``totals``: int values may be added up, and come as one.

    Keys are of a kind that Python hashes, and orders, as `order` does.
    """
    added: dict[Any, int] = {}
    grouped: defaultdict[Any, list[Any]] = defaultdict(list)
    for keys, values in batches:
        if totals and set(map(type, values)) == {int}:
            known = added.get
            for key, value in zip(keys, values):
                added[key] = known(key, 0) + value
            continue
        if totals:
            totals = False
            grouped.update((key, [value]) for key, value in added.items())
            added.clear()
        # `append` to the list of each key; a loop in C
        deque(map(list.append, map(grouped.__getitem__, keys), values), maxlen=0)
    keys = sorted(added or grouped)
    lists: Iterable[Any] = zip(map(added.__getitem__, keys)) if added else map(grouped.__getitem__, keys)
    yield zip(keys, map(iter, lists))
