"""From runs to groups: a stable merge in bounded memory.

Of each run a stretch is held: a chunk, or some. All keys up to the *frontier*, the least of the stretches' last
keys, are complete and can go on:

    run 0   a b d │ f …          frontier: c, of run 1. From runs up to that one go the keys <= c,
    run 1   a c c │ c …          from those after it only keys < c, for run 1 may have more of c,
    run 2   b c e │ …            which come first.
                                 Out: a b, a c c, b. The stretch of run 1 is used up: the next one is read.

What goes on is laid end to end and sorted, which finds the runs and merges them at C speed. A step goes through about
`STEP_BYTES`, which stay in the processor's caches, and uses up a stretch, so a key of any number of values streams
through. More runs than can be open at a time are sorted in memory where they fit; else consecutive runs are merged into
longer ones on disk first, as often as it takes.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, compress, count, islice
from operator import itemgetter, ne
from typing import Any, Callable, Optional, TypeVar

from mapreduce import buckets, order
from mapreduce.loops import sorted_columns
from mapreduce.refs import Block
from mapreduce.runs import (
    BUCKETED,
    CHUNK_BYTES,
    Batch,
    BlockWriter,
    CountedBatch,
    Group,
    RunReader,
    read_blocks,
    read_buckets,
    split_runs,
)

#: of decoded data, as `_weight` counts
MEMORY_BYTES = 128 * 1024 * 1024
#: what a pair takes on top of its encoded bytes, about
PAIR_BYTES = 128
#: a key of a bucketed run counts as one pair; if it is `codec.Repeated`, it takes so many times as much spelled out
SPELLED_OUT = 4
#: what one step of a merge goes through, as `_weight` counts, or a chunk of each run: more takes longer
STEP_BYTES = 2 * 1024 * 1024
#: runs merged, and so files open, at a time
MAX_FAN_IN = 200

Run = Sequence[Block]
_AnyBatch = TypeVar("_AnyBatch", Batch, CountedBatch)
#: keys, values and, where it is not the keys, what they are ordered by
Taken = tuple[list[Any], ...]

# ---------------------------------------------------------------- runs -> batches


def merge(blocks: Iterable[Block], directory: str, memory_bytes: int = MEMORY_BYTES) -> Iterator[Batch]:
    """All pairs of ``blocks``, sorted by key, as batches (keys, values).

    Values of equal keys come in the order of blocks and of their position therein. ``blocks`` are in order of
    (task, attempt's own sequence); those of one run follow each other. ``directory`` is where temporary files
    go, which are gone at the end. Raises OSError.
    """
    runs: list[Run] = list(split_runs(blocks))
    if not runs:
        return
    spilled: set[str] = set()
    try:
        if any(map(_is_bucketed, runs)):
            if _fits(runs, memory_bytes // SPELLED_OUT):
                yield from _merge_in_memory(runs)
                return
            runs = _sort_pass(runs, directory, memory_bytes // SPELLED_OUT, spilled)
        while not _fits(runs, memory_bytes) and len(runs) > _fan_in(runs, memory_bytes):
            runs = _merge_pass(runs, directory, memory_bytes, spilled)
            _remove(spilled - {run[0].path for run in runs}, spilled)
        yield from _merge_runs(runs, memory_bytes)
    finally:
        _remove(set(spilled), spilled)


def _is_bucketed(run: Run) -> bool:
    return run[0].kind.startswith(BUCKETED)


def _remove(paths: set[str], spilled: set[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # with the whole directory, by its owner
            os.unlink(path)
        spilled.discard(path)


def _weight(blocks: Iterable[Block]) -> int:
    return sum(block.length + PAIR_BYTES * block.records for block in blocks)


def _fits(runs: Sequence[Run], memory_bytes: int) -> bool:
    return sum(map(_weight, runs)) <= memory_bytes


def _fan_in(runs: Sequence[Run], memory_bytes: int) -> int:
    """How many runs can be merged at a time: one chunk of each, and as much again for what goes out."""
    chunk = max(_chunk_weight(block) for block in chain.from_iterable(runs))
    return max(2, min(MAX_FAN_IN, memory_bytes // (2 * chunk)))


def _chunk_weight(block: Block) -> int:
    pair_bytes = max(1, block.length // block.records)
    pairs = max(1, CHUNK_BYTES // pair_bytes)
    return pairs * (pair_bytes + PAIR_BYTES)


def _sort_pass(runs: Sequence[Run], directory: str, memory_bytes: int, spilled: set[str]) -> list[Run]:
    """Sort consecutive runs, as many as can be held, into one run in a new file, and so on."""
    blocks: list[Block] = []
    writer = BlockWriter(directory, lambda _, block: blocks.append(block))
    spilled.add(writer.path)
    held: list[Run] = []
    with writer.closed_on_error():
        for number, run in enumerate(runs, 1):
            held.append(run)
            if number == len(runs) or not _fits([*held, runs[number]], memory_bytes):
                kind = _common_kind(held)
                for keys, values in _merge_in_memory(held):
                    writer.write(0, number, kind, keys, values)
                held = []
    writer.close()
    return list(split_runs(blocks))


def _merge_pass(runs: Sequence[Run], directory: str, memory_bytes: int, spilled: set[str]) -> list[Run]:
    """Merge consecutive runs into fewer, longer ones, in a new file."""
    blocks: list[Block] = []
    writer = BlockWriter(directory, lambda _, block: blocks.append(block))
    spilled.add(writer.path)
    with writer.closed_on_error():
        for number, group in enumerate(_bundles(runs, memory_bytes)):
            kind = _common_kind(group)
            for keys, values in _merge_runs(group, memory_bytes):
                writer.write(0, number, kind, keys, values)
    writer.close()
    return list(split_runs(blocks))


def _bundles(runs: Sequence[Run], memory_bytes: int) -> Iterator[Sequence[Run]]:
    """Consecutive runs, as many as fit in memory as a whole or can be merged chunk by chunk."""
    fan_in = _fan_in(runs, memory_bytes)
    start = weight = 0
    for end, run in enumerate(runs):
        weight += _weight(run)
        if end - start >= fan_in and weight > memory_bytes:
            yield runs[start:end]
            start, weight = end, _weight(run)
    yield runs[start:]


def _common_kind(runs: Sequence[Run]) -> str:
    kinds = {run[0].kind.lstrip(BUCKETED) for run in runs}
    return kinds.pop() if len(kinds) == 1 else ""


def _merge_runs(runs: Sequence[Run], memory_bytes: int) -> Iterator[Batch]:
    if len(runs) <= 1:
        yield from read_blocks(chain.from_iterable(runs))
    elif len(runs) <= _fan_in(runs, memory_bytes):
        yield from _merge_stretches(runs)
    else:
        yield from _merge_in_memory(runs)


def _merge_in_memory(runs: Sequence[Run]) -> Iterator[Batch]:
    keys: list[Any] = []
    values: list[Any] = []
    for more_keys, more_values in read_blocks(chain.from_iterable(runs)):
        keys += more_keys
        values += more_values
    if keys:
        kind = _common_kind(runs)
        yield sort_pairs(keys, values, None if kind else list(map(order.sort_key, keys)))


def sort_pairs(keys: list[Any], values: list[Any], ranks: Optional[list[Any]] = None) -> Batch:
    """Both columns in the order of ``ranks``, or of the keys themselves, stably."""
    if ranks is None:
        return sorted_columns(keys, values)
    positions = sorted(range(len(ranks)), key=ranks.__getitem__)
    return list(map(keys.__getitem__, positions)), list(map(values.__getitem__, positions))


class _Cursor:
    """Where the merge stands in one run: a stretch of it, some chunks long."""

    def __init__(self, run: Run, wrapped: bool, weight: int) -> None:
        self._chunks = RunReader(run).chunks()
        self._wrapped = wrapped
        self._weight = weight
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._ranks: list[Any] = [] if wrapped else self._keys
        self._columns = (self._keys, self._values, *([self._ranks] if wrapped else []))
        self._held = 0.0  #: weight of the stretch
        self._start = 0  #: what lies before it is used up
        #: there is nothing behind the stretch
        self.ended = False

    def fill(self) -> bool:
        """Read on until the stretch weighs enough; False if the run is used up."""
        if self._start:
            self._held *= 1 - self._start / len(self._keys)
            for column in self._columns:
                del column[: self._start]
            self._start = 0
        while not self.ended and (not self._keys or self._held < self._weight):
            self._read()
        return bool(self._keys)

    def _read(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
            return
        keys, values, length = chunk
        self._keys += keys
        self._values += values
        self._held += length + PAIR_BYTES * len(keys)
        if self._wrapped:
            self._ranks += map(order.sort_key, keys)

    @property
    def last(self) -> Any:
        return self._ranks[-1]

    def take(self, frontier: Any, inclusive: bool) -> Taken:
        """What is ordered up to the frontier."""
        search = bisect_right if inclusive else bisect_left
        return self._take(search(self._ranks, frontier))

    def take_all(self) -> Taken:
        """The same of all that is here."""
        return self._take(len(self._keys))

    def _take(self, end: int) -> Taken:
        self._start = end
        return tuple(column[:end] for column in self._columns)

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined]


def _merge_stretches(runs: Sequence[Run]) -> Iterator[Batch]:
    """The frontier merge, see above."""
    wrapped = not _common_kind(runs)
    cursors = [_Cursor(run, wrapped, STEP_BYTES // len(runs)) for run in runs]
    everyone = cursors
    try:
        while True:
            cursors = [cursor for cursor in cursors if cursor.fill()]
            if not cursors:
                return
            bounds = [(i, cursor.last) for i, cursor in enumerate(cursors) if not cursor.ended]
            if bounds:
                first, frontier = min(bounds, key=itemgetter(1))
                yield _join([cursor.take(frontier, i <= first) for i, cursor in enumerate(cursors)])
            else:
                yield _join([cursor.take_all() for cursor in cursors])
    finally:
        for cursor in everyone:
            cursor.close()


def _join(parts: list[Taken]) -> Batch:
    if len(parts) == 1:
        keys, values, *_ = parts[0]
        return keys, values
    keys, values, *ranks = (list(chain.from_iterable(column)) for column in zip(*parts))
    return sort_pairs(keys, values, *ranks)


# ---------------------------------------------------------------- runs -> groups


def merge_groups(
    blocks: Sequence[Block],
    directory: str,
    memory_bytes: int = MEMORY_BYTES,
    taken: Callable[[int], None] = lambda pairs: None,
    totals: bool = False,
) -> Generator[Iterable[Group], None, None]:
    """What `groups` makes of `merge`; ``taken`` is told how many pairs have been read, now and then.

    ``totals``: int values may be added up, and come as one.
    """
    runs = list(split_runs(blocks))
    if runs and all(map(_is_bucketed, runs)) and _fits(runs, memory_bytes) and _common_kind(runs):
        return buckets.group((_counted(batches, taken) for batches in read_buckets(blocks)), totals)
    return groups(_counted(merge(blocks, directory, memory_bytes), taken))


def _counted(batches: Iterator[_AnyBatch], taken: Callable[[int], None]) -> Iterator[_AnyBatch]:
    for batch in batches:
        taken(len(batch[0]))
        yield batch


# ---------------------------------------------------------------- batches -> groups


def groups(batches: Iterable[Batch]) -> Generator[Iterable[Group], None, None]:
    """(key, values) for each group of keys with equal sort keys, of sorted ``batches``: many at a time.

    The key is the group's first. A group may be longer than memory: values are read as they are drawn. As with
    itertools.groupby, a group's values are gone once the next group is asked for.
    """
    batches = iter(batches)
    batch = next(batches, None)
    while batch is not None:
        keys, values = batch
        borders = _borders(keys)
        starts = [0, *borders]
        start = starts.pop()
        lists = map(values.__getitem__, map(slice, starts, borders))
        yield zip(map(keys.__getitem__, starts), map(iter, lists))
        rest: list[Batch] = []
        tail = chain(values[start:], chain.from_iterable(_continued(keys[start], batches, rest)))
        yield ((keys[start], tail),)
        deque(tail, maxlen=0)  # what the user did not want
        batch = rest[0] if rest else None


def _borders(keys: list[Any]) -> list[int]:
    """Positions of keys that begin a group, without the first."""
    ranks = keys if order.kind(keys) else list(map(order.sort_key, keys))
    return list(compress(count(1), map(ne, ranks, islice(ranks, 1, None))))


def _continued(key: Any, batches: Iterator[Batch], rest: list[Batch]) -> Iterator[list[Any]]:
    """Values of ``key`` in the batches to come; what follows them goes to ``rest``: nothing at the very end."""
    rank = order.sort_key(key)
    for keys, values in batches:
        end = _count_leading(keys, rank)
        if end == len(keys):
            yield values
            continue
        rest.append((keys[end:], values[end:]))
        yield values[:end]
        return


def _count_leading(keys: list[Any], rank: Any) -> int:
    """How many of the sorted keys are of the group, which none of them precedes."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if order.sort_key(keys[middle]) == rank:
            low = middle + 1
        else:
            high = middle
    return low
