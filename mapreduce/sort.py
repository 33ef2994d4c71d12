"""What tasks write and read between stages: pairs in, sorted runs on disk, groups out.

    PartitionedWriter   pairs ─▶ [combine] ─▶ partition ─▶ sort ─▶ blocks     what a stage writes for the next
    PlainWriter         pairs ─▶ blocks                                       what the last stage writes
    merge, groups       blocks ─▶ sorted batches ─▶ (key, values)             what the next stage reads
    read_blocks         blocks ─▶ batches, as they lie                        what the client reads

Memory is bounded by budgets that count what the data is (numbers of pairs, `codec.weigh`), not what a process
happens to use: a combiner's results depend on where it cuts, and must be the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Callable, Optional

from mapreduce import codec, order
from mapreduce.job import Fold
from mapreduce.merge import groups, merge, sort_pairs
from mapreduce.runs import BlockWriter, Emit, read_blocks

__all__ = ["NotAPair", "PartitionedWriter", "PlainWriter", "groups", "merge", "read_blocks"]

#: of pairs held, as `codec.weigh` counts
MEMORY_BYTES = 64 * 1024 * 1024
#: pairs taken from the iterator at a time: at most, and at first
SLICE_PAIRS = 1024
FIRST_SLICE_PAIRS = 16
#: a slice of pairs should not weigh more
SLICE_BYTES = 1024 * 1024
#: what an entry of a dict and its list take
GROUP_BYTES = 160

Combine = Callable[[Any, Iterator[Any]], Iterable[Any]]
PartitionAll = Callable[[Sequence[Any]], Sequence[int]]


class NotAPair(Exception):
    """User code yielded something other than a tuple of two; ``value`` is it."""

    def __init__(self, value: Any) -> None:
        text = repr(value) if type(value) in (int, float, bool, type(None)) else _shorten(value)
        super().__init__(f"{text}, which is not a (key, value) tuple")
        self.value = value


def _shorten(value: Any) -> str:
    if type(value) in (str, bytes):
        return repr(value[:40]) + ("…" if len(value) > 40 else "")
    if type(value) is tuple:
        return f"a tuple of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _slices(pairs: Iterator[Any]) -> Iterator[tuple[list[Any], int]]:
    """Lists of tuples off the iterator, with the weight of their values: short ones where pairs are large.

    Raises `NotAPair` for what is no tuple of two.
    """
    size = FIRST_SLICE_PAIRS
    while True:
        taken = list(islice(pairs, size))
        if not taken:
            return
        if set(map(type, taken)) != {tuple} or set(map(len, taken)) != {2}:
            raise NotAPair(next(pair for pair in taken if type(pair) is not tuple or len(pair) != 2))
        weight = codec.weigh([value for _, value in taken])
        yield taken, weight
        size = max(1, min(SLICE_PAIRS, 4 * size, len(taken) * SLICE_BYTES // weight))


class PartitionedWriter:
    """Sorts pairs by partition and key, combined, into runs.

    ``partition_all`` maps keys to their partitions. ``combine(key, values)`` yields pairs that stand for
    those of ``key``; it is called any number of times, not at all for a key with one value. A `job.Fold` does
    the same; its function is called without the detour over pairs. ``emit`` is told of each block once it is
    on disk, in ``directory``.
    """

    def __init__(
        self,
        directory: str,
        partitions: int,
        partition_all: PartitionAll,
        combine: Optional[Combine],
        emit: Emit,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._writer = BlockWriter(directory, emit)
        self._partitions = partitions
        self._partition_all = partition_all
        self._combine = combine
        self._memory_bytes = memory_bytes
        self._run = 0

    def write(self, pairs: Iterable[Any]) -> None:
        """Take all pairs. Raises `NotAPair`, `codec.UnsupportedValue`, OSError and what ``pairs`` raises."""
        with self._writer.closed_on_error():
            if self._combine is None:
                self._write_sorted(iter(pairs))
            else:
                self._write_combined(iter(pairs), self._combine)

    def close(self) -> None:
        """Emit what is left. Not to be called after an error."""
        self._writer.close()

    # ------------------------------------------------------------ without a combiner

    def _write_sorted(self, pairs: Iterator[Any]) -> None:
        keys: list[Any] = []
        values: list[Any] = []
        weight = 0
        for taken, values_weight in _slices(pairs):
            new = [key for key, _ in taken]
            keys += new
            values += [value for _, value in taken]
            weight += values_weight + codec.weigh(new)
            if weight > self._memory_bytes:
                self._spill(keys, values)
                keys, values, weight = [], [], 0
        self._spill(keys, values)

    # ------------------------------------------------------------ with one

    def _write_combined(self, pairs: Iterator[Any], combine: Combine) -> None:
        grouped = _Groups()
        for taken, values_weight in _slices(pairs):
            grouped.add(taken, values_weight)
            if grouped.weight > self._memory_bytes:
                keys, values = _combined(grouped, combine)
                grouped = _Groups()
                grouped.add(list(zip(keys, values)), codec.weigh(values))
                # where combining helps little, keep no more than what leaves room for it to help
                if grouped.weight > self._memory_bytes // 2:
                    self._spill(keys, values)
                    grouped = _Groups()
        self._spill(*_combined(grouped, combine))

    # ------------------------------------------------------------ on disk

    def _spill(self, keys: list[Any], values: list[Any]) -> None:
        """Write a run for each partition."""
        if not keys:
            return
        buckets: list[tuple[list[Any], list[Any]]] = [([], []) for _ in range(self._partitions)]
        for partition, key, value in zip(self._partition_all(keys), keys, values):
            bucket = buckets[partition]
            bucket[0].append(key)
            bucket[1].append(value)
        for partition, (part_keys, part_values) in enumerate(buckets):
            if part_keys:
                kind = order.kind(part_keys)
                ranks = part_keys if kind else list(map(order.sort_key, part_keys))
                in_order = sort_pairs(part_keys, part_values, ranks)
                self._writer.write(partition, self._run, kind, *in_order)
        self._writer.flush()
        self._run += 1


class _Groups(dict[Any, list[Any]]):
    """Key -> its values in order. Keys that `order` calls equal are one; the first stands for all.

    The main dict is keyed by `order.hashable`, and looked up by the keys themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = 0
        #: what stands for a key in the dict -> the key, where they differ
        self._firsts: dict[Any, Any] = {}

    def __missing__(self, key: Any) -> list[Any]:
        stand_in = order.hashable(key)
        if stand_in is not key:
            found = self.get(stand_in)
            if found is not None:
                return found
            self._firsts[stand_in] = key
        result: list[Any] = []
        self[stand_in] = result
        return result

    def add(self, pairs: Sequence[Any], values_weight: int) -> None:
        """Take pairs, which are tuples of two."""
        before = len(self)
        rest = iter(pairs)
        while True:
            try:
                for key, value in rest:
                    self[key].append(value)
                break
            except TypeError:  # not hashable
                self.__missing__(key).append(value)
        self.weight += values_weight
        if len(self) > before:
            new = [self._firsts.get(key, key) for key in islice(reversed(self), len(self) - before)]
            self.weight += codec.weigh(new) + GROUP_BYTES * len(new)

    def columns(self) -> tuple[list[Any], list[list[Any]]]:
        """Keys, and the values of each."""
        keys = list(self)
        if self._firsts:
            keys = [self._firsts.get(key, key) for key in keys]
        return keys, list(self.values())


def _combined(grouped: _Groups, combine: Combine) -> tuple[list[Any], list[Any]]:
    """Keys and values, combined where there are several."""
    keys, lists = grouped.columns()
    many = [(key, iter(values)) for key, values in zip(keys, lists) if len(values) > 1]
    done = [(key, values[0]) for key, values in zip(keys, lists) if len(values) == 1]
    if isinstance(combine, Fold):
        done += _folded(combine.function, many)
    else:
        for taken, _ in _slices(chain.from_iterable(combine(key, values) for key, values in many)):
            done += taken
    return [key for key, _ in done], [value for _, value in done]


def _folded(fold: Callable[[Iterator[Any]], Any], many: list[tuple[Any, Iterator[Any]]]) -> Iterator[Any]:
    # `blame` knows this frame by its name, and the group by the name `key`
    for key, values in many:
        yield key, fold(values)


class PlainWriter:
    """Writes pairs as they come, all to partition 0."""

    def __init__(self, directory: str, emit: Emit) -> None:
        self._writer = BlockWriter(directory, emit)

    def write(self, pairs: Iterable[Any]) -> None:
        """Take all pairs. Raises `NotAPair`, `codec.UnsupportedValue`, OSError and what ``pairs`` raises."""
        with self._writer.closed_on_error():
            for taken, _ in _slices(iter(pairs)):
                self._writer.write(0, 0, "", [key for key, _ in taken], [value for _, value in taken])

    def close(self) -> None:
        """Emit what is left. Not to be called after an error."""
        self._writer.close()
