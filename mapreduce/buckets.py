"""Groups of bucketed runs (see `runs`): found by a dict for each bucket; pairs are not sorted, their keys are.

Where a key has the same value many times it is counted: most keys need no list of their own then.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from mapreduce.codec import Repeated, spelled_out
from mapreduce.loops import add, sorted_columns
from mapreduce.pairs import SLICE_PAIRS
from mapreduce.runs import CountedBatch, Group

_ALIKE_IF_EQUAL = {str, bytes, int}

_Lists = defaultdict[Any, list[Any]]


def group(buckets: Iterable[Iterator[CountedBatch]], totals: bool) -> Generator[Iterable[Group], None, None]:
    """(key, values) for each key, keys in order. ``totals``: int values may be added up, and come as one.

    Keys are of a kind that Python hashes, and orders, as `order` does.
    """
    keys: list[Any] = []
    values: list[Sequence[Any]] = []
    for batches in buckets:
        for found in _added(batches) if totals else _grouped(batches, defaultdict(list)):
            keys += found
            values += found.values()
    keys, values = sorted_columns(keys, values)
    # so many at a time as stay in the processor's cache: in their order keys lie all over the memory
    for start in range(0, len(keys), SLICE_PAIRS):
        some = slice(start, start + SLICE_PAIRS)
        yield zip(keys[some], map(iter, values[some]))


def _grouped(batches: Iterable[CountedBatch], lists: _Lists) -> Iterator[Mapping[Any, Sequence[Any]]]:
    """The values of each key, those in ``lists`` first; each key is in one of the mappings only.

    Of keys that are equal the first stands for all. So those that are counted are of one type, and of one whose equal
    ones are alike: 1 and True are equal, and so are tuples of them.
    """
    counted: Any = None  #: the type of the keys that are counted, that of their value, and this
    one: Any = None
    counts: dict[Any, int] = {}  #: how many more of that value come after what is in a key's list
    for keys, values in batches:
        if isinstance(values, Repeated) and type(keys[0]) in _ALIKE_IF_EQUAL:
            its = (type(keys[0]), type(values.value), values.value)
            if its != counted:
                _spell_out(list(counts), one, counts, lists)
                counted, one = its, values.value
            add(counts, keys, values.counts)
        else:
            if counts:
                _spell_out(keys if {*map(type, keys)} == {counted[0]} else list(counts), one, counts, lists)
            each_key, each_value = spelled_out(keys, values)
            # a loop in C: `append` to the list of each key
            deque(map(list.append, map(lists.__getitem__, each_key), each_value), maxlen=0)
    _spell_out(list(lists), one, counts, lists)
    yield lists
    # keys with as many of them share these
    alike = {n: (one,) * n for n in set(counts.values())}
    yield {key: alike[n] for key, n in counts.items()}


def _spell_out(keys: Iterable[Any], one: Any, counts: dict[Any, int], lists: _Lists) -> None:
    """Of these keys what was counted goes to their lists."""
    for key in keys:
        n = counts.pop(key, 0)
        if n:
            lists[key] += (one,) * n


def _added(batches: Iterator[CountedBatch]) -> Iterator[Mapping[Any, Sequence[Any]]]:
    """The sum of each key's values, as the only one; if not all of them are ints, what `_grouped` makes of them."""
    added: dict[Any, int] = {}
    for keys, values in batches:
        if isinstance(values, Repeated) or set(map(type, values)) != {int}:
            lists = defaultdict(list, {key: [value] for key, value in added.items()})
            yield from _grouped(chain([(keys, values)], batches), lists)
            return
        add(added, keys, values)
    yield {key: [value] for key, value in added.items()}
