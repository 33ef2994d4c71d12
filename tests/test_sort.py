"""Pairs written, merged and grouped are what Python's own sorted and groupby make of them."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from itertools import chain, groupby
from typing import Any, Callable, Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import merge as merging
from mapreduce import order, runs, sort
from mapreduce.codec import UnsupportedValue
from mapreduce.job import Fold
from mapreduce.refs import Block
from tests.strategies import numbers, same, texts, values

PARTITIONS = 3


def partition_all(keys: Any) -> list[int]:
    return order.partition_all(keys, PARTITIONS)


def keys_of(block: Block) -> Iterator[Any]:
    """Those of pairs that travel as a number, once."""
    if block.kind.startswith(runs.BUCKETED):
        return (keys for batches in runs.read_buckets([block]) for keys, _ in batches)
    return (keys for keys, _ in sort.read_blocks([block]))


class Written:
    """What a writer emitted, by partition; and that it was on disk by then."""

    def __init__(self) -> None:
        self.blocks: list[list[Block]] = [[] for _ in range(PARTITIONS)]

    def __call__(self, partition: int, block: Block) -> None:
        assert os.stat(block.path).st_size == block.offset + block.length
        assert sum(map(len, keys_of(block))) == block.records > 0
        self.blocks[partition].append(block)


def spread_all(keys: Any) -> list[int]:
    return order.partition_all(keys, PARTITIONS * sort.bucket_count(PARTITIONS))


def write(
    directory: str,
    pairs: Any,
    combine: Any = None,
    memory_bytes: int = sort.MEMORY_BYTES,
    buckets: bool = True,
) -> Written:
    """``buckets``: what was combined goes unsorted where it can."""
    written = Written()
    spread = spread_all if buckets else None
    writer = sort.PartitionedWriter(
        directory, PARTITIONS, partition_all, combine, written, memory_bytes, spread
    )
    writer.write(iter(pairs))
    writer.close()
    return written


def flat(batches: Any) -> list[Any]:
    return [pair for keys, values in batches for pair in zip(keys, values)]


def expected_groups(tasks: list[list[Any]], partition: int) -> list[Any]:
    pairs = [pair for pair in chain(*tasks) if order.partition(pair[0], PARTITIONS) == partition]
    pairs.sort(key=lambda pair: order.sort_key(pair[0]))
    result = []
    for _, group in groupby(pairs, key=lambda pair: order.sort_key(pair[0])):
        members = list(group)
        result.append((members[0][0], [value for _, value in members]))
    return result


@contextlib.contextmanager
def sizes(tiny: bool) -> Iterator[None]:
    """Chunks and blocks of the usual size, or of a few bytes."""
    with contextlib.ExitStack() as stack:
        if tiny:
            patch = mock.patch.multiple
            stack.enter_context(patch(runs, CHUNK_BYTES=24, BLOCK_BYTES=80, _FIRST_PAIRS=2))
            stack.enter_context(patch(merging, CHUNK_BYTES=24, PAIR_BYTES=4, MAX_FAN_IN=3, STEP_BYTES=100))
            stack.enter_context(patch(sort, SLICE_PAIRS=3, FIRST_SLICE_PAIRS=2))
        yield


#: mostly tiny: pairs as few as these fill no chunk of the usual size, so that little is tried with it
sizes_of_both = st.sampled_from([False, True, True])

any_key = st.one_of(texts, numbers, values)
columns_of_keys = st.sampled_from([texts, numbers, st.integers(0, 3), st.tuples(texts, numbers), any_key])
tasks_of_pairs = columns_of_keys.flatmap(
    lambda keys: st.lists(st.lists(st.tuples(keys, values), max_size=12), max_size=6)
)
budgets = st.sampled_from([1, 300, 1000, sort.MEMORY_BYTES])


@settings(max_examples=60)
@given(tiny=sizes_of_both, tasks=tasks_of_pairs, write_bytes=budgets, merge_bytes=budgets)
def test_groups_are_those_of_a_serial_run(
    tiny: bool, tasks: list[list[Any]], write_bytes: int, merge_bytes: int
) -> None:
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        outputs = [write(directory, pairs, memory_bytes=write_bytes) for pairs in tasks]
        for partition in range(PARTITIONS):
            blocks = [block for written in outputs for block in written.blocks[partition]]
            files = os.listdir(directory)
            merged = sort.merge(blocks, directory, merge_bytes)
            actual = [(key, list(group)) for key, group in chain.from_iterable(sort.groups(merged))]
            assert same(actual, expected_groups(tasks, partition))
            at_once = sort.merge_groups(blocks, directory, merge_bytes)
            assert same([(key, list(group)) for key, group in chain.from_iterable(at_once)], actual)
            assert os.listdir(directory) == files


@settings(max_examples=60)
@given(tiny=sizes_of_both, tasks=tasks_of_pairs, write_bytes=budgets, takes=st.lists(st.integers(0, 3)))
def test_values_that_nobody_wants_are_skipped(
    tiny: bool, tasks: list[list[Any]], write_bytes: int, takes: list[int]
) -> None:
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        outputs = [write(directory, pairs, memory_bytes=write_bytes) for pairs in tasks]
        blocks = [block for written in outputs for block in written.blocks[0]]
        wanted = iter(takes)
        for (key, group), (expected_key, expected) in zip(
            chain.from_iterable(sort.groups(sort.merge(blocks, directory, 1))), expected_groups(tasks, 0)
        ):
            taken = [value for value, _ in zip(group, range(next(wanted, 0)))]
            assert same([key, taken], [expected_key, expected[: len(taken)]])


def collect(key: Any, lists: Iterator[list[Any]]) -> Iterator[tuple[Any, list[Any]]]:
    yield key, list(chain.from_iterable(lists))


def collect_in_two(key: Any, lists: Iterator[list[Any]]) -> list[tuple[Any, list[Any]]]:
    items = list(chain.from_iterable(lists))
    return [(key, items[:1]), (key, items[1:])]


@pytest.mark.parametrize(
    "combine", [collect, collect_in_two, Fold(lambda lists: list(chain.from_iterable(lists)))]
)
@settings(max_examples=30)
@given(tiny=sizes_of_both, tasks=tasks_of_pairs, write_bytes=budgets)
def test_a_combiner_sees_values_in_order_and_changes_nothing_else(
    tiny: bool, combine: Callable[..., Any], tasks: list[list[Any]], write_bytes: int
) -> None:
    single = [[(key, [value]) for key, value in pairs] for pairs in tasks]
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        outputs = [write(directory, pairs, combine, write_bytes) for pairs in single]
        for partition in range(PARTITIONS):
            blocks = [block for written in outputs for block in written.blocks[partition]]
            groups = chain.from_iterable(sort.groups(sort.merge(blocks, directory)))
            actual = [(key, list(chain.from_iterable(group))) for key, group in groups]
            assert same(actual, expected_groups(tasks, partition))


def grouped(directory: str, outputs: list[Written], partition: int, memory: int, **how: Any) -> list[Any]:
    blocks = [block for written in outputs for block in written.blocks[partition]]
    found = chain.from_iterable(sort.merge_groups(blocks, directory, memory, **how))
    return [(key, list(group)) for key, group in found]


@settings(max_examples=60)
@given(
    tiny=sizes_of_both,
    tasks=tasks_of_pairs,
    buckets=st.lists(st.booleans(), min_size=6, max_size=6),
    merge_bytes=budgets,
)
def test_runs_in_buckets_give_the_groups_of_sorted_ones(
    tiny: bool, tasks: list[list[Any]], buckets: list[bool], merge_bytes: int
) -> None:
    """Also where only some of the runs lie in buckets, and where they are more than can be held."""
    single = [[(key, [value]) for key, value in pairs] for pairs in tasks]
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        outputs = [write(directory, pairs, collect, buckets=each) for pairs, each in zip(single, buckets)]
        files = os.listdir(directory)
        for partition in range(PARTITIONS):
            found = grouped(directory, outputs, partition, merge_bytes)
            flattened = [(key, list(chain.from_iterable(lists))) for key, lists in found]
            assert same(flattened, expected_groups(tasks, partition))
        assert os.listdir(directory) == files


@pytest.mark.parametrize("odd_one", [None, 2.5, True, 1 << 80])
@settings(max_examples=30)
@given(tasks=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 5)), max_size=40), max_size=5))
def test_sums_are_the_same_whether_the_engine_adds_up_or_the_fold(odd_one: Any, tasks: Any) -> None:
    if odd_one is not None and tasks:
        tasks = [*tasks, [(3, odd_one), (4, 1)]]
    with tempfile.TemporaryDirectory() as directory:
        outputs = [write(directory, pairs, Fold(sum)) for pairs in tasks]
        for partition in range(PARTITIONS):
            totals = grouped(directory, outputs, partition, sort.MEMORY_BYTES, totals=True)
            plain = [(key, sum(group)) for key, group in expected_groups(tasks, partition)]
            assert same([(key, sum(group)) for key, group in totals], plain)


@settings(max_examples=60)
@given(
    keys=st.lists(st.one_of(st.sampled_from([1, True, 1.0, float("nan"), [1], (1, [2]), "a"]), any_key)),
    odd_at=st.integers(0, 40),
)
def test_counting_keys_gives_what_collecting_their_values_gives(keys: list[Any], odd_at: int) -> None:
    """Whatever the keys are, and wherever another value comes up."""
    pairs = [(key, 1 if n != odd_at else 1.5) for n, key in enumerate(keys)]
    with tempfile.TemporaryDirectory() as directory:
        written = write(directory, pairs, lambda key, values: [(key, list(values))])
        for partition in range(PARTITIONS):
            found = grouped(directory, [written], partition, sort.MEMORY_BYTES)
            lists = [
                (key, [each for values in group for each in (values if type(values) is list else [values])])
                for key, group in found
            ]
            assert same(lists, expected_groups([pairs], partition))


class Name(str):
    """Equal to a str, and would come back as one."""


@pytest.mark.parametrize("pairs", [[("a", 1), (Name("a"), 1)], [(("a",), 1), ((Name("a"),), 1)]])
def test_keys_that_cannot_travel_are_refused_wherever_they_stand(tmp_path: Any, pairs: list[Any]) -> None:
    for some in (pairs, pairs[::-1], [*pairs, ("b", 2)]):
        with pytest.raises(UnsupportedValue):
            write(str(tmp_path), some, Fold(sum))


def test_many_partitions_have_fewer_buckets() -> None:
    assert [runs.bucket_count(n) for n in (1, 32, 64, 1024, 10_000)] == [32, 32, 16, 1, 1]


def test_of_many_equal_values_a_combiner_is_told_and_few_are_counted(tmp_path: Any) -> None:
    seen = []

    def combine(key: Any, values: Iterator[Any]) -> Any:
        seen.append((key, list(values)))
        return [(key, "combined")]

    few, many = sort.FEW, sort.FEW + 1
    written = write(str(tmp_path), [("few", 1)] * few + [("many", 1)] * many + [("one", 1)], combine)
    assert seen == [("many", [1] * many)]
    for partition in range(PARTITIONS):
        for memory_bytes in (sort.MEMORY_BYTES, 0):  # in memory, and by way of the disk
            for key, found in grouped(str(tmp_path), [written], partition, memory_bytes):
                assert found == {"few": [1] * few, "many": ["combined"], "one": [1]}[key]


def test_a_key_with_one_value_is_not_combined(tmp_path: Any) -> None:
    seen = []

    def combine(key: Any, values: Iterator[Any]) -> Any:
        seen.append((key, list(values)))
        return [(key, 0)]

    write(str(tmp_path), [("a", 1), ("b", 2), ("a", 3)], combine)
    assert seen == [("a", [1, 3])]


def test_a_combiner_may_change_keys(tmp_path: Any) -> None:
    pairs = [(i % 10, 1) for i in range(1000)]
    for memory_bytes in (1, 2000, sort.MEMORY_BYTES):
        written = write(str(tmp_path), pairs, lambda k, vs: [(k % 2 + 100, sum(vs))], memory_bytes)
        totals: dict[Any, int] = {}
        for key, value in flat(sort.read_blocks(chain(*written.blocks))):
            totals[key % 2] = totals.get(key % 2, 0) + value
        assert totals == {0: 500, 1: 500}


@settings(max_examples=60)
@given(tiny=sizes_of_both, pairs=st.lists(st.tuples(values, values), max_size=30))
def test_plain_output_keeps_its_order(tiny: bool, pairs: list[Any]) -> None:
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        written = Written()
        writer = sort.PlainWriter(directory, written)
        writer.write(iter(pairs))
        writer.close()
        assert same(flat(sort.read_blocks(written.blocks[0])), pairs)
        assert {(block.run, block.kind) for block in written.blocks[0]} <= {(0, "")}


@settings(max_examples=60)
@given(
    tiny=sizes_of_both,
    pairs=st.lists(st.tuples(values, values), max_size=30),
    carries=st.sampled_from([1, 50, 500, 1 << 20]),
    plain=st.booleans(),
)
def test_the_first_blocks_go_without_a_file_and_are_the_same(
    tiny: bool, pairs: list[Any], carries: int, plain: bool
) -> None:
    """Neither the folder nor a file is made before there is more than may be carried."""
    with sizes(tiny), tempfile.TemporaryDirectory() as directory:
        blocks: list[list[tuple[int, Block]]] = []
        folder = os.path.join(directory, "not", "there")
        for carried in (0, carries):
            blocks.append([])
            place = folder if carried else directory
            writer: Any = (
                sort.PlainWriter(place, lambda *block: blocks[-1].append(block), carries=carried)
                if plain
                else sort.PartitionedWriter(
                    place, 2, lambda keys: order.partition_all(keys, 2), None,
                    lambda *block: blocks[-1].append(block), carries=carried,
                )
            )  # fmt: skip
            writer.write(iter(pairs))
            writer.close()
        assert [_bytes_of(block) for block in blocks[0]] == [_bytes_of(block) for block in blocks[1]]
        in_hand = [block.length for _, block in blocks[1] if block.data is not None]
        assert sum(in_hand) <= carries
        assert os.path.exists(folder) == (len(in_hand) < len(blocks[1]))


def _bytes_of(told: tuple[int, Block]) -> tuple[int, int, int, str, bytes]:
    """Of a block, with its place among the others."""
    partition, block = told
    data = block.data
    if data is None:
        with open(block.path, "rb") as file:
            file.seek(block.offset)
            data = file.read(block.length)
    assert len(data) == block.length
    return partition, block.records, block.run, block.kind, data


@pytest.mark.parametrize("bad", [["a", 1], "ab", ("a",), ("a", 1, 2), None, 5, [], {"a": 1, "b": 2}])
@pytest.mark.parametrize("combine", [None, collect])
def test_what_is_no_pair_is_refused(tmp_path: Any, bad: Any, combine: Any) -> None:
    with pytest.raises(sort.NotAPair) as caught:
        write(str(tmp_path), [("a", 1), bad], combine)
    assert caught.value.value is bad
    with pytest.raises(sort.NotAPair):
        sort.PlainWriter(str(tmp_path), Written()).write(iter([bad]))
    with pytest.raises(sort.NotAPair):
        write(str(tmp_path), [("a", 1), ("a", 2)], lambda key, values: [bad])


@pytest.mark.parametrize("pair", [("a", object()), (object(), 1), ([object()], 1), ((1, object()), 1)])
@pytest.mark.parametrize("combine", [None, lambda key, values: [(key, list(values))]])
def test_what_cannot_be_encoded_is_refused(tmp_path: Any, pair: Any, combine: Any) -> None:
    with pytest.raises(UnsupportedValue):
        write(str(tmp_path), [("a", 1), pair, pair], combine)


def test_a_full_disk_is_an_os_error(tmp_path: Any) -> None:
    full = os.open("/dev/full", os.O_WRONLY)  # the writer closes it
    with mock.patch.object(runs, "_new_file", lambda _: (full, "full")), pytest.raises(OSError) as caught:
        write(str(tmp_path), [("a", 1)])
    assert caught.value.errno == errno.ENOSPC


def test_damaged_files_are_an_os_error(tmp_path: Any) -> None:
    (block,) = write(str(tmp_path), [("a", 1)] * 10).blocks[order.partition("a", PARTITIONS)]
    data = pathlib.Path(block.path).read_bytes()
    header = runs.HEADER_BYTES
    fewer = data[:8] + (9).to_bytes(4, "little") + data[12:]
    for damaged in (data[:-1], data[:5], data[:header] + b"\xc1" + data[header + 1 :], fewer):
        pathlib.Path(block.path).write_bytes(damaged)
        with pytest.raises(OSError) as caught:
            list(sort.merge([block], str(tmp_path)))
        assert caught.value.errno == errno.EIO


def test_temporary_files_go_when_a_merge_is_given_up(tmp_path: Any) -> None:
    outputs = [write(str(tmp_path), [(i, i) for i in range(1000)]) for _ in range(9)]
    blocks = [block for written in outputs for block in written.blocks[0]]
    before = set(os.listdir(tmp_path))
    merged = sort.merge(blocks, str(tmp_path), 1)
    next(merged)
    assert set(os.listdir(tmp_path)) > before
    merged.close()  # type: ignore[attr-defined]
    assert set(os.listdir(tmp_path)) == before


#: Prints the highest memory, in KiB, of a process of its own: the mark is never lowered again. Every value is an
#: object of its own, as it would be in a job.
MEASURE = """
import resource, sys, tempfile
from mapreduce import sort
from mapreduce.job import Fold

combine = Fold(max) if sys.argv[1] == "fold" else None
writers, pairs_each, value_bytes = map(int, sys.argv[2:])
blocks = []
with tempfile.TemporaryDirectory() as directory:
    for number in range(writers):
        writer = sort.PartitionedWriter(
            directory, 1, lambda keys: [0] * len(keys), combine, lambda _, block: blocks.append(block), 8 << 20
        )
        key = "k" if writers == 1 else None
        writer.write(
            (key or f"{i * 7919 % pairs_each:05d}.{number}", (i, f"{i:08d}" * (value_bytes // 8)))
            for i in range(pairs_each)
        )
        writer.close()
    merged = sort.groups(sort.merge(blocks, directory, 8 << 20))
    found = sum(1 for groups in merged for _, values in groups for _ in values)
assert found == (1 if combine else writers * pairs_each), found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(
    ("combine", "small", "large"),
    [
        ("none", (1, 30_000, 1000), (1, 130_000, 1000)),  # one key: 30 and 130 MB
        ("fold", (1, 30_000, 1000), (1, 130_000, 1000)),
        ("none", (200, 300, 8), (1000, 300, 8)),  # many runs
    ],
)
def test_memory_does_not_grow_with_the_data(combine: str, small: Any, large: Any) -> None:
    peaks = []
    for size in (small, large):
        command = [sys.executable, "-c", MEASURE, combine, *map(str, size)]
        result = subprocess.run(command, capture_output=True, check=True)
        peaks.append(int(result.stdout) / 1024)
    assert peaks[1] - peaks[0] < 40, peaks


def test_thousands_of_runs_need_neither_as_many_files_nor_as_much_memory(tmp_path: Any) -> None:
    """More runs than a process may have files open, in as many files."""
    count = 3000
    blocks: list[Block] = []
    for number in range(count):
        writer = runs.BlockWriter(str(tmp_path), lambda _, block: blocks.append(block))
        writer.write(0, 0, order.kind([0]), [0, number % 7, 10**6 + number], [number, number, number])
        writer.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + merging.MAX_FAN_IN + 20, hard)
    )
    try:
        merged = flat(sort.merge(blocks, str(tmp_path), memory_bytes=500_000))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    everything = [(key, n) for n in range(count) for key in (0, n % 7, 10**6 + n)]
    assert merged == sorted(everything, key=lambda pair: pair[0])
