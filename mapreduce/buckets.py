"""Groups of bucketed runs (see `runs`): found by a dict for each bucket, or where all values are one
number by a table of counts; pairs are not sorted, their keys are.

Where a key has the same value many times it is counted: most keys need no list of their own then.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from mapreduce.codec import Lines, Repeated, spelled_out
from mapreduce.loops import add, sorted_columns, totals_of
from mapreduce.pairs import SLICE_PAIRS
from mapreduce.runs import CountedBatch, Group

_ALIKE_IF_EQUAL = {str, bytes, int}

_Lists = defaultdict[Any, list[Any]]
#: keys, and the values of each
_Columns = tuple[list[Any], list[Sequence[Any]]]


def group(buckets: Iterable[Iterator[CountedBatch]], totals: bool) -> Generator[Iterable[Group], None, None]:
    """(key, values) for each key, keys in order. ``totals``: int values may be added up, and come as one.

    Keys are of a kind that Python hashes, and orders, as `order` does.
    """
    keys: list[Any] = []
    values: list[Sequence[Any]] = []
    for batches in buckets:
        for its_keys, its_values in _added(batches) if totals else _grouped(batches, defaultdict(list)):
            keys += its_keys
            values += its_values
    keys, values = sorted_columns(keys, values)
    # so many at a time as stay in the processor's cache: in their order keys lie all over the memory
    for start in range(0, len(keys), SLICE_PAIRS):
        some = slice(start, start + SLICE_PAIRS)
        yield zip(keys[some], map(iter, values[some]))


def _grouped(batches: Iterable[CountedBatch], lists: _Lists) -> Iterator[_Columns]:
    """Keys and their values, those in ``lists`` first; each key comes once.

    Of keys that are equal the first stands for all. So those that are counted are of one type, and of one whose equal
    ones are alike: 1 and True are equal, and so are tuples of them.
    """
    counted: Any = None  #: the type of the keys that are counted, that of their value, and this
    one: Any = None
    counts = totals_of(str)  #: how many more of that value come after what is in a key's list
    for keys, values in batches:
        kind = str if isinstance(keys, Lines) else type(keys[0]) if keys else None
        if isinstance(values, Repeated) and kind in _ALIKE_IF_EQUAL:
            its = (kind, type(values.value), values.value)
            if its != counted:
                _spell_out(*counts.drain(), one, lists)
                counts, counted, one = totals_of(kind), its, values.value
            counts.add(keys.text if isinstance(keys, Lines) else keys, values.counts)
        else:
            each_key, each_value = spelled_out(keys, values)
            if counted is not None:
                if {*map(type, each_key)} == {counted[0]}:
                    _spell_out(each_key, counts.take(each_key), one, lists)
                else:
                    _spell_out(*counts.drain(), one, lists)
            # a loop in C: `append` to the list of each key
            deque(map(list.append, map(lists.__getitem__, each_key), each_value), maxlen=0)
    before = list(lists)
    _spell_out(before, counts.take(before), one, lists)
    yield before, list(lists.values())
    rest, totals = counts.drain()
    # keys with as many of them share these
    alike = {n: (one,) * n for n in set(totals)}
    yield rest, list(map(alike.__getitem__, totals))


def _spell_out(keys: Iterable[Any], counts: Iterable[int], one: Any, lists: _Lists) -> None:
    """What was counted goes to the lists of these keys."""
    for key, n in zip(keys, counts):
        if n:
            lists[key] += (one,) * n


def _added(batches: Iterator[CountedBatch]) -> Iterator[_Columns]:
    """The sum of each key's values, as the only one; if not all of them are ints, what `_grouped` makes of them."""
    added: dict[Any, int] = {}
    for keys, values in batches:
        if isinstance(values, Repeated) or set(map(type, values)) != {int}:
            lists = defaultdict(list, {key: [value] for key, value in added.items()})
            yield from _grouped(chain([(keys, values)], batches), lists)
            return
        add(added, *spelled_out(keys, values))
    yield list(added), [[value] for value in added.values()]
