"""A total order that agrees with Python's equality, and partitions that agree with the order."""

from __future__ import annotations

import datetime
import decimal
import functools
import itertools
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import order
from mapreduce.codec import UnsupportedValue
from tests.strategies import atoms, decimals, numbers, texts, values

UTC = datetime.timezone.utc
CET = datetime.timezone(datetime.timedelta(hours=1))
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAN = float("nan")


def equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except decimal.InvalidOperation:  # signalling NaN
        return False


@given(values, values)
def test_keys_that_python_calls_equal_are_equal(a: Any, b: Any) -> None:
    if equal(a, b):
        assert order.sort_key(a) == order.sort_key(b)
    assert order.sort_key(a) == order.sort_key(a)


@given(st.lists(values, max_size=4))
def test_the_order_is_total(keys: list[Any]) -> None:
    wrapped = [order.sort_key(key) for key in keys]
    for a, b in itertools.product(wrapped, wrapped):
        assert (a < b) + (a == b) + (b < a) == 1
        assert a != b or hash(a) == hash(b)
    for a, b, c in itertools.product(wrapped, repeat=3):
        assert not (a < b and b < c) or a < c


columns = st.one_of(
    *(
        st.lists(items, min_size=1, max_size=6)
        for items in (
            texts,
            numbers,
            st.binary(max_size=2),
            st.uuids(),
            st.dates(),
            st.timedeltas(),
            st.datetimes(),
            st.datetimes(timezones=st.sampled_from([UTC, CET])),
            st.tuples(texts, numbers),
            st.tuples(st.tuples(st.integers(0, 2), texts), st.integers(0, 2)),
            st.tuples(numbers | st.none(), texts),
            decimals,
            atoms,
        )
    )
)


@given(columns, columns)
def test_python_sorts_keys_of_one_kind_as_sort_key_does(a: list[Any], b: list[Any]) -> None:
    if order.kind(a) and order.kind(a) == order.kind(b):
        keys = a + b
        assert order.kind(keys) == order.kind(a)
        positions = range(len(keys))
        assert sorted(positions, key=keys.__getitem__) == sorted(
            positions, key=lambda i: order.sort_key(keys[i])
        )
        for x, y in itertools.product(keys, keys):
            assert (x == y) == (order.sort_key(x) == order.sort_key(y))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a", "b"], "s"),
        ([1, 2.0, True], "n"),
        ([1.0, NAN], ""),
        ([10**400, 1.5], "n"),
        ([b"a"], "b"),
        (["a", 1], ""),
        ([("a", 1), ("b", 2.5)], "(sn)"),
        ([("a", NAN)], ""),
        ([("a",), ("a", "b")], ""),
        ([(("a", 1), b"")], "((sn)b)"),
        ([None], ""),
        ([datetime.datetime(2020, 1, 1)], "d"),
        ([datetime.datetime(2020, 1, 1, tzinfo=UTC)], "z"),
        ([datetime.datetime(2020, 1, 1, tzinfo=BERLIN)], ""),
        ([datetime.datetime(2020, 1, 1), datetime.date(2020, 1, 1)], ""),
        ([uuid.UUID(int=0)], "u"),
        ([], ""),
    ],
)
def test_kinds(keys: list[Any], expected: str) -> None:
    assert order.kind(keys) == expected


EQUAL = [
    [1, 1.0, True, decimal.Decimal(1), decimal.Decimal("1.00")],
    [0, 0.0, -0.0, False, decimal.Decimal("-0")],
    [NAN, -NAN, decimal.Decimal("NaN"), decimal.Decimal("sNaN")],
    [(1, 2), (1.0, 2.0), (True, decimal.Decimal(2))],
    [{1, 2}, frozenset([2.0, True])],
    [{"a": 1, "b": [2]}, {"b": [2.0], "a": True}],
    [
        datetime.datetime(2020, 1, 1, 12, tzinfo=UTC),
        datetime.datetime(2020, 1, 1, 13, tzinfo=CET),
        datetime.datetime(2020, 1, 1, 13, tzinfo=BERLIN),
    ],
    [datetime.datetime(2020, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)],
    [datetime.time(12, tzinfo=UTC), datetime.time(13, tzinfo=CET)],
    [2**61 - 1 + 5, float(2**62), decimal.Decimal(2**62)][1:],
    [float("inf"), decimal.Decimal("Infinity")],
]


@pytest.mark.parametrize("keys", EQUAL)
def test_equal_keys(keys: list[Any]) -> None:
    assert len({order.sort_key(key) for key in keys}) == 1
    assert len({order.partition(key, 1009) for key in keys}) == 1
    assert len({order.hashable(key) for key in keys}) == 1


def test_unequal_keys_of_many_types() -> None:
    keys: list[Any] = [None, 1, NAN, "1", b"1", (1,), [1], {1}, {1: 1}, datetime.date(2020, 1, 1)]
    keys += [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=UTC), datetime.time(1)]
    keys += [datetime.time(1, tzinfo=UTC), datetime.timedelta(1), uuid.UUID(int=1)]
    shuffled = keys[5:] + keys[:5]
    assert sorted(shuffled, key=order.sort_key) == keys
    assert len({order.hashable(key) for key in keys}) == len(keys)


@given(st.lists(values, max_size=6), st.integers(1, 1000))
def test_a_partition_is_the_same_alone_and_among_others(keys: list[Any], n: int) -> None:
    assert order.partition_all(keys, n) == [order.partition(key, n) for key in keys]
    assert all(0 <= order.partition(key, n) < n for key in keys)


@given(columns, st.integers(1, 1000))
def test_a_partition_is_the_same_in_columns(keys: list[Any], n: int) -> None:
    assert order.partition_all(keys, n) == [order.partition(key, n) for key in keys]


@given(values, values)
def test_equal_keys_share_partition_and_dict_entry(a: Any, b: Any) -> None:
    same = order.sort_key(a) == order.sort_key(b)
    assert (order.hashable(a) == order.hashable(b)) == same
    if same:
        assert order.partition(a, 1009) == order.partition(b, 1009)
        assert hash(order.hashable(a)) == hash(order.hashable(b))


def test_partitions_are_the_same_everywhere() -> None:
    # what these numbers are does not matter; that they stay does: data of two versions may meet
    keys = ["", "a", "é", "\ud800", b"a", 1, -1, 2**70, 1.5, None, (1, "a"), [1], {"a": 1}, {1}, NAN]
    keys += [datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, 1, tzinfo=UTC), uuid.UUID(int=7)]
    program = f"""
import datetime, uuid
from uuid import UUID
from mapreduce import order
nan = float("nan")
print(order.partition_all({keys!r}, 1000))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    assert result.stdout.decode().strip() == str(order.partition_all(keys, 1000))
    assert order.partition_all(keys, 1000) == EXPECTED


EXPECTED = [0, 907, 326, 600, 907, 865, 564, 179, 150, 967, 331, 883, 239, 886, 439, 978, 415, 89]


@pytest.mark.parametrize("step", [1, 2, 8, 100, 2**32, 0.5])
def test_numbers_spread_over_partitions(step: float) -> None:
    counts = [0] * 8
    for p in order.partition_all([i * step for i in range(8000)], 8):
        counts[p] += 1
    assert min(counts) > 800


def test_what_cannot_be_a_key_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for key in (object(), [object()], (1, {2: object()}), cycle):
        for function in (order.sort_key, order.hashable, functools.partial(order.partition, n=3)):
            with pytest.raises(UnsupportedValue):
                function(key)


@given(st.one_of(columns, st.lists(values)), st.one_of(columns, st.lists(values)))
def test_ranges(boundaries: list[Any], keys: list[Any]) -> None:
    boundaries = sorted(boundaries, key=order.sort_key)
    parts = order.RangePartition(boundaries).partition_all(keys)
    for key, part in zip(keys, parts):
        assert 0 <= part <= len(boundaries)
        assert all(order.sort_key(b) <= order.sort_key(key) for b in boundaries[:part])
        assert all(order.sort_key(key) < order.sort_key(b) for b in boundaries[part:])
