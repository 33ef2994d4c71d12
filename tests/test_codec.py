"""Every value comes back as it was, types included; what cannot is refused with its place."""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import subprocess
import sys
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import codec
from tests.strategies import same, values


@given(values)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(codec.unpack(codec.pack(value)), value)
    assert same(codec.unpack(memoryview(codec.pack(value))), value)


@given(st.lists(st.tuples(values, values)))
def test_every_chunk_comes_back_as_it_was(pairs: list[Any]) -> None:
    keys, items = [k for k, _ in pairs], [v for _, v in pairs]
    assert same(list(codec.decode_chunk(codec.encode_chunk(keys, items))), [keys, items])


@pytest.mark.parametrize(
    "column",
    [
        [(1, "a"), (2, "b")],
        [((1, 2), "a"), ((1, 2), "b")],
        [((1,), "a"), ((1, 2), "b")],
        [(), ()],
        [(1,), 1],
        [(((((((1,),),),),),),)],
        [],
    ],
)
def test_columns_of_tuples(column: list[Any]) -> None:
    assert same(codec.decode_chunk(codec.encode_chunk(column, column))[0], column)


@pytest.mark.parametrize(
    "column",
    [
        ["a", "", "b"],
        [""],
        ["", ""],
        ["a\nb", "c"],
        ["\n"],
        ["\ud83d", "\ude00", "é", "\U0001f600"],
        ["a" * codec._MAX_JOINED_CHARS, "b"],
        [("a", "b"), ("c\n", "")],
    ],
)
def test_columns_of_strings(column: list[Any]) -> None:
    assert same(list(codec.decode_chunk(codec.encode_chunk(column, column))), [column, column])


lines_of_text = st.lists(st.text(st.sampled_from("aé\ud800")), max_size=6)
slices_of_lines = st.builds(slice, st.integers(0, 7), st.one_of(st.none(), st.integers(0, 7)))


@given(lines_of_text, slices_of_lines)
def test_lines_are_a_column_like_their_items(items: list[str], some: slice) -> None:
    lines = codec.Lines("\n".join(items), len(items))
    part, counts = lines[some], codec.Repeated(1, b"\2" * len(items))[some]
    assert len(part) == len(items[some])
    assert codec.encode_chunk(part, counts) == codec.encode_chunk(items[some], counts)
    assert codec.spelled_out(part, counts) == codec.spelled_out(items[some], counts)


@pytest.mark.parametrize("length", [codec._MAX_JOINED_CHARS, codec._MAX_JOINED_CHARS + 1])
def test_long_lines_are_a_column_like_their_items(length: int) -> None:
    items = ["", "a" * (length - 1), "b"]
    lines, counts = codec.Lines("\n".join(items), len(items)), codec.Repeated(1, b"123")
    assert codec.encode_chunk(lines, counts) == codec.encode_chunk(items, counts)


@pytest.mark.parametrize(
    "column", [[3], [3, b""], [3, None], [3, "a", "b"], [4, "a"], [2, 1, b"\1"], [], "3a"]
)
def test_columns_that_nobody_writes_are_refused(column: Any) -> None:
    with pytest.raises(ValueError, match="not an encoded chunk"):
        codec.decode_chunk(codec.pack([column, [0, ["a"]]]))
    with pytest.raises(ValueError, match="not an encoded chunk"):
        codec.decode_chunk(codec.pack([column, column]))


@pytest.mark.parametrize("counts", [b"", b"\1\0", [1, 2], "a"])
def test_counts_are_at_least_one(counts: Any) -> None:
    with pytest.raises(ValueError, match="not an encoded chunk"):
        codec.decode_chunk(codec.pack([[0, ["a"] * len(counts)], [2, 1, counts]]))


@given(st.one_of(st.lists(st.text()), st.lists(st.binary())))
def test_strings_weigh_what_they_weigh(items: list[Any]) -> None:
    assert codec.weigh_strings(iter(items), len(items)) == codec.weigh(items)


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {1: x}, lambda x: frozenset([x])])
def test_nesting_has_a_limit(wrap: Any) -> None:
    value: Any = 1
    for _ in range(codec.MAX_DEPTH):
        value = wrap(value)
    assert codec.unpack(codec.pack(value)) == value
    with pytest.raises(codec.UnsupportedValue, match="nested more than"):
        codec.pack(wrap(value))


def test_a_value_inside_itself_is_refused() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    with pytest.raises(codec.UnsupportedValue, match="inside itself"):
        codec.pack(cycle)
    with pytest.raises(codec.UnsupportedValue, match="inside itself"):
        codec.encode_chunk(["a"], [cycle])


class Colour(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


class NoZone(datetime.tzinfo):
    def utcoffset(self, _: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "object cannot be encoded"),
        (bytearray(b"x"), "bytearray cannot be encoded"),
        (memoryview(b"x"), "memoryview cannot be encoded"),
        (Colour.RED, "plain int"),
        (Point(1, 2), "plain tuple"),
        (collections.Counter("a"), "plain dict"),
        (iter([1]), "make a list of it"),
        (1j, "complex"),
        (datetime.datetime(2020, 1, 1, tzinfo=NoZone()), "time zone of type"),  # type: ignore[abstract]
    ],
)
def test_what_would_not_come_back_is_refused(value: Any, text: str) -> None:
    for attempt in (
        lambda: codec.pack(value),
        lambda: codec.pack([{"a": (value,)}]),
        lambda: codec.encode_chunk(["a", "b"], [1, value]),
        lambda: codec.encode_chunk(["a"], [(1, value)]),
    ):
        with pytest.raises(codec.UnsupportedValue, match=text) as caught:
            attempt()
        assert caught.value.value is value or "zone" in text


def test_the_error_says_where() -> None:
    with pytest.raises(codec.UnsupportedValue, match=r"at \[0\]\['mean'\]\[1\]\)"):
        codec.pack([{"mean": (1, object())}])
    with pytest.raises(codec.UnsupportedValue, match="a key of the dict"):
        codec.pack({object(): 1})


@given(st.binary(max_size=40))
def test_damage_is_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        codec.unpack(data)


def test_equal_values_are_equal_bytes_in_every_process() -> None:
    program = (
        "from mapreduce import codec; import sys;"
        "v = {frozenset('abcdefgh'), 2**70, (1, 'x')};"
        "sys.stdout.write(codec.pack([v, {'b': 1, 'a': {3, 'q', None}}]).hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(runs) == 1


def test_weight_grows_with_the_data() -> None:
    grown: list[tuple[list[Any], list[Any]]] = [
        (["a"], ["a" * 1000]),
        ([1], [2**8000]),
        ([b"a", None], [b"a" * 1000, None]),
        ([[1]], [[1] * 1000]),
        ([{"a": "b"}], [{"a": "b" * 1000}]),
        ([("a", "b")], [("a", "b" * 1000)]),
    ]
    for small, large in grown:
        assert codec.weigh(large) - codec.weigh(small) >= 900


def test_what_could_not_be_packed_leaves_nothing_in_the_packer_that_is_used_again() -> None:
    whole = codec.pack_known(["a", 1])
    for value in (["a", (1,)], ["a", 1 << 80], ["a", "\ud800"], ["a", uuid.UUID(int=1)]):
        assert codec.unpack(codec.pack_known(value)) == value
        assert codec.pack_known(["a", 1]) == whole
    with pytest.raises(codec.UnsupportedValue):
        codec.pack_known(_deep(2000))
    assert codec.pack_known(["a", 1]) == whole


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value
