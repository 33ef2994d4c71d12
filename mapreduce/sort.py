"""What tasks write and read between stages: pairs in, sorted runs on disk, groups out.

    PartitionedWriter   pairs ─▶ [combine] ─▶ partition ─▶ sort ─▶ blocks     what a stage writes for the next
    PlainWriter         pairs ─▶ blocks                                       what the last stage writes
    merge, groups       blocks ─▶ sorted batches ─▶ (key, values)             what the next stage reads
    read_blocks         blocks ─▶ batches, as they lie                        what the client reads

Memory is bounded by budgets that count what the data is (numbers of pairs, `codec.weigh`), not what a process
happens to use: a combiner's results depend on where it cuts, and must be the same on every machine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat, starmap
from typing import Any, Callable, Optional

from mapreduce import codec, formats, order
from mapreduce.drain import drained
from mapreduce.errors import OutputError
from mapreduce.job import Fold
from mapreduce.merge import groups, merge, merge_groups, sort_pairs
from mapreduce.runs import BlockWriter, Emit, read_blocks

__all__ = [
    "NotAPair",
    "PartitionedWriter",
    "PlainWriter",
    "groups",
    "merge",
    "merge_groups",
    "read_blocks",
    "slices",
]

#: of pairs held, as `codec.weigh` counts
MEMORY_BYTES = 128 * 1024 * 1024
#: pairs taken from the iterator at a time: at most, and at first
SLICE_PAIRS = 1024
FIRST_SLICE_PAIRS = 16
#: a slice of pairs should not weigh more
SLICE_BYTES = 1024 * 1024
#: what an entry of a dict and its list take
GROUP_BYTES = 160

#: `_Groups` has seen no value yet; has seen two that differ
_UNKNOWN, _VARIOUS = object(), object()
#: two equal values of one of these types are the same in every way (unlike 0.0 and -0.0)
_ALIKE = {int, str, bytes, bool, type(None)}

#: whatever value of these types can be encoded
_ENCODABLE = _ALIKE | {float}

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


def slices(pairs: Iterator[Any]) -> Iterator[tuple[list[Any], list[Any], int]]:
    """Keys, values and the weight of the values, as drawn from the iterator: few at a time where they are large.

    Raises `NotAPair` for what is no tuple of two.
    """
    size = FIRST_SLICE_PAIRS
    while True:
        taken = list(islice(pairs, size))
        if not taken:
            return
        if set(map(type, taken)) != {tuple}:
            raise NotAPair(next(item for item in taken if type(item) is not tuple))
        try:
            keys = [key for key, _ in taken]
        except ValueError:
            raise NotAPair(next(item for item in taken if len(item) != 2)) from None
        values = [value for _, value in taken]
        weight = codec.weigh(values)
        yield keys, values, weight
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
        for more_keys, more_values, values_weight in slices(pairs):
            keys += more_keys
            values += more_values
            weight += values_weight + codec.weigh(more_keys)
            if weight > self._memory_bytes:
                self._spill(keys, values)
                keys, values, weight = [], [], 0
        self._spill(keys, values)

    # ------------------------------------------------------------ with one

    def _write_combined(self, pairs: Iterator[Any], combine: Combine) -> None:
        grouped = _Groups()
        for more in slices(pairs):
            grouped.add(*more)
            if grouped.weight > self._memory_bytes:
                keys, values = grouped.combined(combine)
                grouped = _Groups()
                grouped.add(keys, values, codec.weigh(values))
                # unless combining made much room, what there is goes to disk
                if grouped.weight > self._memory_bytes // 2:
                    self._spill(keys, values)
                    grouped = _Groups()
        self._spill(*grouped.combined(combine))

    # ------------------------------------------------------------ on disk

    def _spill(self, keys: list[Any], values: list[Any]) -> None:
        """Write a run for each partition."""
        if not keys:
            return
        part_keys: list[list[Any]] = [[] for _ in range(self._partitions)]
        part_values: list[list[Any]] = [[] for _ in range(self._partitions)]
        for start in range(0, len(keys), SLICE_PAIRS):  # while they are in the processor's cache
            some = keys[start : start + SLICE_PAIRS]
            for partition, key, value in zip(
                self._partition_all(some), some, values[start : start + SLICE_PAIRS]
            ):
                part_keys[partition].append(key)
                part_values[partition].append(value)
        for partition, unsorted in enumerate(part_keys):
            if unsorted:
                kind = order.kind(unsorted)
                ranks = unsorted if kind else list(map(order.sort_key, unsorted))
                in_order = sort_pairs(unsorted, part_values[partition], ranks)
                self._writer.write(partition, self._run, kind, *in_order)
        self._writer.flush()
        self._run += 1


class _Groups:
    """Keys, and the values of each in order. Keys that `order` calls equal are one; the first stands for all.

    As long as all values are one and the same, a 1 above all, it only counts the keys, which is done in C.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._counts: Counter[Any] = Counter()
        self._value: Any = _UNKNOWN  #: the one value; `_VARIOUS` from the first other one on
        # All by what stands for the key in a dict. Most keys have but one value, and a list for each of those
        # would double the time, not least the garbage collector's.
        self._firsts: dict[Any, Any] = {}
        self._others: defaultdict[Any, list[Any]] = defaultdict(list)
        #: the key, where it differs from what stands for it
        self._keys: dict[Any, Any] = {}

    def add(self, keys: list[Any], values: list[Any], values_weight: int) -> None:
        """Take pairs. Raises `codec.UnsupportedValue`."""
        stand_ins = order.hashable_all(keys)
        if self._value is not _VARIOUS:
            if self._is_same(values):
                self._remember(stand_ins, keys)
                before = len(self._counts)
                self._counts.update(stand_ins)
                self._weigh_new(self._counts, before)
                return
            self._spell_out()
        firsts, others = self._firsts, self._others
        before = len(firsts)
        for key, value in zip(stand_ins, values):
            if key in firsts:
                others[key].append(value)
            else:
                firsts[key] = value
        self._remember(stand_ins, keys)
        self.weight += values_weight
        self._weigh_new(firsts, before)

    def _is_same(self, values: list[Any]) -> bool:
        """Whether all values so far are the same one, of a type whose equal values cannot be told apart."""
        if self._value is _UNKNOWN:
            self._value = values[0]
        known = self._value
        kind = type(known)
        return kind in _ALIKE and set(map(type, values)) == {kind} and values.count(known) == len(values)

    def _spell_out(self) -> None:
        """From counts to lists of values."""
        if self._value is not _UNKNOWN:
            value = self._value
            self._firsts = dict.fromkeys(self._counts, value)
            self._others.update((key, [value] * (n - 1)) for key, n in self._counts.items() if n > 1)
            self.weight += codec.weigh([value]) * sum(self._counts.values())
            self._counts.clear()
        self._value = _VARIOUS

    def _remember(self, stand_ins: Sequence[Any], keys: list[Any]) -> None:
        if stand_ins is not keys:
            for stand_in, key in zip(stand_ins, keys):
                if stand_in is not key:
                    self._keys.setdefault(stand_in, key)

    def _weigh_new(self, grouped: dict[Any, Any], before: int) -> None:
        new = list(islice(reversed(grouped), len(grouped) - before))
        self.weight += GROUP_BYTES * len(new) + codec.weigh(self._named(new))

    def combined(self, combine: Combine) -> tuple[list[Any], list[Any]]:
        """Keys and values: those of keys that have several combined, the others as they are.

        Nothing can be done with the object afterwards. Raises `NotAPair` and what ``combine`` raises.
        """
        single, done_values, several, lists = self._split()
        done_keys = self._named(single)
        groups = zip(self._named(several), lists)
        if isinstance(combine, Fold):
            pairs = _folded(combine.function, groups)
        else:
            source = (group for group in groups)
            pairs = drained(chain.from_iterable(starmap(combine, source)), source)
        for more_keys, more_values, _ in slices(pairs):
            done_keys += more_keys
            done_values += more_values
        return done_keys, done_values

    def _split(self) -> tuple[list[Any], list[Any], list[Any], Iterator[Iterator[Any]]]:
        """Keys with one value, and these; keys with several, and these."""
        value = self._value
        if value is not _VARIOUS:
            counts = self._counts
            single = [key for key, n in counts.items() if n == 1]
            several = [key for key, n in counts.items() if n > 1]
            numbers = [n for n in counts.values() if n > 1]
            return single, [value] * len(single), several, (repeat(value, n) for n in numbers)
        firsts, others = self._firsts, self._others
        several = [key for key in firsts if key in others]  # of equal keys the first: not so in `others`
        heads = list(map(firsts.pop, several))
        lists = (iter([head, *others[key]]) for head, key in zip(heads, several))
        return list(firsts), list(firsts.values()), several, lists

    def _named(self, stand_ins: list[Any]) -> list[Any]:
        return [self._keys.get(each, each) for each in stand_ins] if self._keys else stand_ins


def _folded(fold: Callable[[Iterator[Any]], Any], groups: Iterable[Any]) -> Iterator[Any]:
    # `blame` knows this frame by its name, and the group by the name `key`
    for key, values in groups:
        yield key, fold(values)


class PlainWriter:
    """Writes pairs as they come, all to partition 0.

    ``output``: "" or one of `formats.SEAMLESS`. With a format, what is written is what stands in the output file.
    Pairs that the format has no place for are written as pairs all the same: whoever reads them will say so.
    """

    def __init__(self, directory: str, emit: Emit, output: str = "") -> None:
        self._writer = BlockWriter(directory, emit)
        self._output = output

    def write(self, pairs: Iterable[Any]) -> None:
        """Take all pairs. Raises `NotAPair`, `codec.UnsupportedValue`, OSError and what ``pairs`` raises."""
        with self._writer.closed_on_error():
            if self._output:
                self._write_formatted(iter(pairs))
            else:
                for keys, values, _ in slices(iter(pairs)):
                    self._writer.write(0, 0, "", keys, values)

    def _write_formatted(self, pairs: Iterator[Any]) -> None:
        encode = formats.writer(self._output)
        for keys, values, _ in slices(pairs):
            if not set(map(type, chain(keys, values))) <= _ENCODABLE:
                codec.encode_chunk(keys, values)  # raises what it would if they travelled
            try:
                data = encode(keys, values)
            except OutputError:
                self._writer.write(0, 0, "", keys, values)
            else:
                self._writer.write_formatted(self._output, data, len(keys))

    def close(self) -> None:
        """Emit what is left. Not to be called after an error."""
        self._writer.close()
