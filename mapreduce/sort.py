"""What tasks write and read between stages: pairs in, runs on disk, groups out.

    PartitionedWriter   pairs ─▶ partition ─▶ sort ─▶ blocks                  what a stage writes for the next
                        pairs ─▶ combine ─▶ partition, buckets ─▶ blocks      the same, with a combiner
    PlainWriter         pairs ─▶ blocks                                       what the last stage writes
    merge_groups        blocks ─▶ (key, values)                               what the next stage reads
    read_blocks         blocks ─▶ batches, as they lie                        what the client reads

Memory is bounded by budgets that count what the data is (numbers of pairs, `codec.weigh`), not what a process
happens to use: a combiner's results depend on where it cuts, and must be the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Callable, Optional, Union

from mapreduce import codec, formats, order
from mapreduce.errors import OutputError
from mapreduce.grouping import Combine, Groups
from mapreduce.loops import Parts, distribute, lines_by_crc32, text_lines
from mapreduce.merge import groups, merge, merge_groups, sort_pairs
from mapreduce.pairs import FIRST_SLICE_PAIRS, SLICE_PAIRS, NotAPair, slices, unweighed
from mapreduce.runs import BUCKETED, BlockWriter, Emit, bucket_count, read_blocks

__all__ = [
    "NotAPair",
    "PartitionedWriter",
    "PlainWriter",
    "bucket_count",
    "groups",
    "merge",
    "merge_groups",
    "read_blocks",
    "slices",
]

#: of pairs held, as `codec.weigh` counts
MEMORY_BYTES = 128 * 1024 * 1024

#: so many equal values of a key are counted: calling a combiner for them costs more than it saves
FEW = 8

#: whatever value of these types can be encoded
_ENCODABLE = {int, str, bytes, bool, type(None), float}

#: keys, and values for them
_Columns = tuple[list[Any], Union[list[Any], bytes]]

PartitionAll = Callable[[Sequence[Any]], list[int]]


class PartitionedWriter:
    """Sorts pairs by partition and key, combined, into runs.

    ``partition_all`` maps keys to their partitions. ``combine(key, values)`` yields pairs that stand for
    those of ``key``; it is called any number of times, not at all for a key with one value. A `job.Fold` does
    the same; its function is called without the detour over pairs. ``emit`` is told of each block once it is
    on disk, in ``directory``. ``spread`` is `order.partition_all` for `bucket_count` times as many partitions, where
    ``partition_all`` is that, too: what was combined and fits into one run need not be sorted then. And of a key
    with ``few`` values, or less, that are all alike, it is told how many there are: ``combine`` is not called. For
    ``carries`` and ``is_shared`` see `BlockWriter`.
    """

    def __init__(
        self,
        directory: str,
        partitions: int,
        partition_all: PartitionAll,
        combine: Optional[Combine],
        emit: Emit,
        memory_bytes: int = MEMORY_BYTES,
        spread: Optional[PartitionAll] = None,
        carries: int = 0,
        is_shared: bool = False,
        few: int = FEW,
    ) -> None:
        self._writer = BlockWriter(directory, emit, carries, is_shared)
        self._spread = spread
        self._few = few
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
                self._spill(_cut(keys, values))
                keys, values, weight = [], [], 0
        self._spill(_cut(keys, values))

    # ------------------------------------------------------------ with one

    def _write_combined(self, pairs: Iterator[Any], combine: Combine) -> None:
        grouped, size = Groups(), FIRST_SLICE_PAIRS
        while size := grouped.take(pairs, size):
            if grouped.weight > self._memory_bytes:
                combined = list(grouped.combined(combine))
                grouped = Groups()
                for keys, values in combined:
                    grouped.add_columns(keys, values, codec.weigh(values))
                # unless combining made much room, what there is goes to disk
                if grouped.weight > self._memory_bytes // 2:
                    self._spill(combined)
                    grouped = Groups()
        if self._run or self._spread is None:
            self._spill(grouped.combined(combine))
        else:
            self._write_buckets(self._spread, grouped, combine)

    # ------------------------------------------------------------ on disk

    def _spill(self, batches: Iterable[_Columns]) -> None:
        """Write a sorted run for each partition."""
        for partition, (keys, values) in enumerate(
            _distributed(self._partition_all, self._partitions, batches)
        ):
            self._write_run(partition, keys, values)
        self._writer.flush()
        self._run += 1

    def _write_run(self, partition: int, keys: list[Any], values: list[Any]) -> None:
        if keys:
            kind = order.kind(keys)
            ranks = None if kind else list(map(order.sort_key, keys))
            self._writer.write(partition, self._run, kind, *sort_pairs(keys, values, ranks))

    def _write_buckets(self, spread: PartitionAll, grouped: Groups, combine: Combine) -> None:
        """Write a bucketed run for each partition; a sorted one if Python does not hash these keys as `order` does."""
        kinds: set[str] = set()
        buckets = self._partitions * bucket_count(self._partitions)
        some, of_some = grouped.take_out(self._few)
        few = _distributed_counts(spread, buckets, some, of_some.counts, kinds)
        del some
        parts = _distributed(spread, buckets, _of_kinds(grouped.combined(combine), kinds))
        kind = kinds.pop() if len(kinds) == 1 else ""
        for partition in range(self._partitions):
            its, its_few = parts[partition :: self._partitions], few[partition :: self._partitions]
            if not kind:
                its += [codec.spelled_out(keys, of_some.as_often(counts)) for keys, counts in its_few]
                self._write_run(partition, *(list(chain.from_iterable(column)) for column in zip(*its)))
                continue
            for bucket, ((keys, values), (few_keys, counts)) in enumerate(zip(its, its_few)):
                if keys:
                    self._writer.write(partition, self._run, BUCKETED + kind, keys, values, bucket)
                if few_keys:
                    repeated = of_some.as_often(counts)
                    self._writer.write(partition, self._run, BUCKETED + kind, few_keys, repeated, bucket)
        self._writer.flush()
        self._run += 1


def _cut(keys: list[Any], values: Union[list[Any], bytes]) -> Iterator[_Columns]:
    """As many at a time as are in the processor's cache afterwards."""
    for start in range(0, len(keys), SLICE_PAIRS):
        yield keys[start : start + SLICE_PAIRS], values[start : start + SLICE_PAIRS]


def _of_kinds(batches: Iterable[_Columns], kinds: set[str]) -> Iterator[_Columns]:
    """The same; ``kinds`` gets those of their keys."""
    for keys, values in batches:
        if keys:
            kinds.add(order.kind(keys))
        yield keys, values


def _distributed_counts(
    spread: PartitionAll, buckets: int, keys: list[Any], counts: bytes, kinds: set[str]
) -> list[tuple[Any, Any]]:
    """Keys and counts of each bucket. ``kinds`` gets those of the keys."""
    lines = lines_by_crc32(keys, counts, buckets) if keys else None
    if lines is None:
        return _distributed(spread, buckets, _of_kinds(_cut(keys, counts), kinds), bytearray)
    kinds.add(order.kind(keys[:1]))
    return [(codec.Lines(text, len(its_counts)), its_counts) for text, its_counts in lines]


def _distributed(
    partition_all: PartitionAll,
    partitions: int,
    batches: Iterable[_Columns],
    column: Callable[[], Any] = list,
) -> list[tuple[list[Any], Any]]:
    """Keys and values of each partition. ``column`` makes what takes the values."""
    parts: Parts = [([], column()) for _ in range(partitions)]
    for keys, values in batches:
        distribute(parts, partition_all(keys), keys, values)
    return parts


class PlainWriter:
    """Writes pairs as they come, all to partition 0.

    ``output``: "" or one of `formats.SEAMLESS`. With a format, what is written is what stands in the output file.
    Pairs that the format has no place for are written as pairs all the same: whoever reads them will say so.
    ``carries`` and ``is_shared``: see `BlockWriter`.
    """

    def __init__(
        self, directory: str, emit: Emit, output: str = "", carries: int = 0, is_shared: bool = False
    ) -> None:
        self._writer = BlockWriter(directory, emit, carries, is_shared)
        self._output = output

    def write(self, pairs: Iterable[Any]) -> None:
        """Take all pairs. Raises `NotAPair`, `codec.UnsupportedValue`, OSError and what ``pairs`` raises."""
        with self._writer.closed_on_error():
            if self._output:
                self._write_formatted(iter(pairs))
            else:
                for keys, values in unweighed(iter(pairs)):
                    self._writer.write(0, 0, "", keys, values)

    def _write_formatted(self, pairs: Iterator[Any]) -> None:
        encode = formats.writer(self._output)
        for keys, values, _ in slices(pairs):
            data = text_lines(keys, values) if self._output == "text" else None
            if data is None:
                data = _formatted(encode, keys, values)
            if data is None:
                self._writer.write(0, 0, "", keys, values)
            else:
                self._writer.write_formatted(self._output, data, len(keys))

    def close(self) -> None:
        """Emit what is left. Not to be called after an error."""
        self._writer.close()


def _formatted(encode: formats.Writer, keys: list[Any], values: list[Any]) -> Optional[bytes]:
    """None if the format has no place for these. Raises `codec.UnsupportedValue` if they could not even travel."""
    if not set(map(type, chain(keys, values))) <= _ENCODABLE:
        codec.encode_chunk(keys, values)
    try:
        return encode(keys, values)
    except OutputError:
        return None
