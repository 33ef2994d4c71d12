"""The loops in C do what those in Python do, whatever comes."""

from __future__ import annotations

import contextlib
import gc
import math
import runpy
import sys
import tracemalloc
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any, Callable, Union
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import _loops, formats, loops
from mapreduce._loops import Totals, lines_by_crc32, sorted_by_rank, text_lines
from mapreduce.loops import Counts, add, crc32_modulo, distribute, sorted_columns

#: few of each kind, so that they come again; and some that share the lower, or the upper, bits of their hashes
KEYS: dict[type, list[Any]] = {
    str: ["", "a", "b", "word", "é", "日本", "\ud800", "a\0b", "x" * 100, "x" * 99 + "y"],
    bytes: [b"", b"a", b"\0", b"\0\0", b"\xff" * 80],
    int: [
        0,
        1,
        -1,
        -2,
        2**31,
        2**61 - 1,
        2**61,
        -(2**61),
        2**200,
        *(i << 32 for i in range(1, 9)),
        *(i << 57 for i in range(1, 9)),
    ],
}
ONES = [1, 0, -1, 300, 10**30, "one", b"one", True, None]
#: of which none is a pair of a str and a 1
OTHERS: list[Any] = [None, 1, "ab", (), ("a",), ("a", 1, 1), ["a", 1]]
OTHERS += [("a", True), ("a", 1.0), ("a", 2), (b"a", 1), (1, 1), ([], 1)]


class Word(str):
    pass


def equal_but_not_the_same(item: Any) -> Any:
    """A copy, where there can be one."""
    if type(item) is str:
        return "".join(list(item))
    if type(item) is bytes:
        return bytes(bytearray(item))
    return int(str(item)) if type(item) is int else item


@st.composite
def runs_of_pairs(draw: st.DrawFn) -> tuple[type, Any, list[list[Any]]]:
    kind = draw(st.sampled_from(sorted(KEYS, key=repr)))
    one = draw(st.sampled_from(ONES))
    pairs = [(equal_but_not_the_same(key), equal_but_not_the_same(one)) for key in KEYS[kind]]
    return kind, one, draw(st.lists(st.lists(st.sampled_from(pairs), max_size=70), max_size=4))


def test_they_were_compiled() -> None:
    """`make test` sees to a compiler."""
    assert loops.NOT_IN_C == ""


@pytest.mark.parametrize("attributes", [{}, {"EDITION": _loops.EDITION - 1}, {"EDITION": None}])
def test_what_was_compiled_from_other_sources_is_not_used(
    attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources may be updated where they are installed: then it stays until it is compiled again."""
    ours = {"EDITION", "spread"}
    theirs = {name: value for name, value in vars(_loops).items() if name[0] != "_" and name not in ours}
    monkeypatch.setitem(sys.modules, "mapreduce._loops", types.SimpleNamespace(**theirs, **attributes))
    found = runpy.run_path(loops.__file__)
    assert found["NOT_IN_C"]
    for name, value in theirs.items():
        assert found[name].__module__ == "<run_path>" and found[name] is not value


@given(runs_of_pairs(), st.integers(0, 255), st.integers(-1, 20))
def test_keys_are_counted_alike(run: Any, most: int, start: int) -> None:
    kind, one, slices = run
    compiled, plain = Counts(), loops.PlainCounts()
    for some in slices:
        assert (
            compiled.count(iter(some), one, kind)
            == plain.count(iter(some), one, kind)
            == ([] if some else None)
        )
        assert len(compiled) == len(plain)
        assert compiled.keys(max(0, start)) == plain.keys(max(0, start))
    assert_same_rest(compiled.drain(most), plain.drain(most))
    assert len(compiled) == len(plain) == 0
    # and both go on
    assert compiled.count(iter([("a", 1)]), 1, str) == plain.count(iter([("a", 1)]), 1, str) == []
    assert_same_rest(compiled.drain(most), plain.drain(most))


def assert_same_rest(compiled: tuple[Any, bytes, Any], plain: tuple[Any, bytes, Any]) -> None:
    assert compiled == plain
    assert list(compiled[2]) == list(plain[2])  # in the same order


@given(
    st.lists(st.sampled_from(["a", "b"]), max_size=70),
    st.sampled_from(OTHERS),
    st.lists(st.integers(), max_size=3),
)
def test_the_first_that_is_not_alike_and_all_after_it_are_left(
    before: list[str], other: Any, after: list[int]
) -> None:
    for counts in (Counts(), loops.PlainCounts()):
        pairs = [*((key, 1) for key in before), other, *after]
        assert counts.count(iter(pairs), 1, str) == [other, *after]
        found = dict(zip(*counts.drain(255)[:2]))
        assert found == {key: before.count(key) for key in before}


def counted_in_order(keys: Any, counts: Any) -> Any:
    pairs = ((key, 1) for key in keys)
    while counts.count(islice(pairs, 1024), 1, type(keys[0])) is not None:
        pass
    return counts


def test_a_hundred_thousand_keys() -> None:
    keys = [i * 1000 for i in range(100_000)]
    counts = counted_in_order([*keys, *keys[::2]], Counts())
    few, times, many = counts.drain(1)
    assert (few, times) == (keys[1::2], b"\1" * 50_000)
    assert many == dict.fromkeys(keys[::2], 2)
    assert list(many) == keys[::2]


# Fibonacci hashing has some of these, whose products with the golden ratio are nearly whole, in long clusters
@pytest.mark.parametrize("step", [1, 60, 1000, 15456, 28657, 196418, 832040, 2**20, 2**32, 2**44])
def test_numbers_at_equal_distances_do_not_get_in_each_others_way(step: int) -> None:
    """How many slots are looked at, in a table as that of `csrc/table.h` when it is as full as it gets."""
    from mapreduce._loops import spread

    keys, slots = 1 << 14, 1 << 15
    taken, looked = bytearray(slots), 0
    for i in range(keys):
        at = spread(i * step) >> 32 - 15
        while taken[at]:
            looked += 1
            at = (at + 1) % slots
        taken[at] = 1
    # by linear probing, at random: 0.5 for each on the way to half full (Knuth, volume 3, 6.4)
    assert looked < keys


def failing(pairs: list[Any], error: Exception) -> Iterator[Any]:
    yield from pairs
    raise error


@pytest.mark.parametrize("make", [Counts, loops.PlainCounts])
@pytest.mark.parametrize("before", [0, 1, 31, 32, 33])
def test_what_the_pairs_raise_comes_out(make: Callable[[], Any], before: int) -> None:
    error = ValueError("of the mapper")
    with pytest.raises(ValueError, match="of the mapper") as caught:
        make().count(failing([("a", 1)] * before, error), 1, str)
    assert caught.value is error
    with pytest.raises(ValueError, match="of the mapper"):  # also behind one that is not alike
        make().count(failing([*[("a", 1)] * before, ("a", 2)], error), 1, str)


def test_only_what_it_can_count() -> None:
    for kind in (float, tuple, bool, Word, "str"):
        with pytest.raises(TypeError, match="only keys that are str, bytes or int"):
            Counts().count(iter([]), 1, kind)  # type: ignore[arg-type]
    assert Counts().count(iter([(Word("a"), 1)]), 1, str) == [(Word("a"), 1)]
    with pytest.raises(TypeError, match="iterator"):
        Counts().count([], 1, str)  # type: ignore[arg-type]
    for most in (-1, 256):
        with pytest.raises(OverflowError):
            Counts().drain(most)
    assert {type(loops.counts_of(kind)) for kind in (str, bytes, int)} == {Counts}
    assert {type(loops.counts_of(kind)) for kind in (bool, tuple, type(None), Word)} == {loops.PlainCounts}


columns = st.integers(0, 50).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(["a", "b", 1, 1.0, True, None, (1, "a")]), min_size=n, max_size=n),
        st.one_of(st.binary(min_size=n, max_size=n), st.lists(st.integers(), min_size=n, max_size=n)),
    )
)


@given(columns, columns)
def test_totals_are_alike(first: Any, second: Any) -> None:
    compiled: dict[Any, int] = {}
    plain: dict[Any, int] = {}
    for keys, numbers in (first, second):
        add(compiled, keys, numbers)
        loops.plain_add(plain, keys, numbers)
    assert [(key, type(key), n) for key, n in compiled.items()] == [
        (key, type(key), n) for key, n in plain.items()
    ]


#: also such as are long, or have no UTF-8 of their own
texts = st.one_of(st.text(), st.sampled_from(["x" * 48, "x" * 49, "é" * 1000, "\ud800", "a\udfff" * 30]))


@given(st.lists(texts), st.integers(1, 2**32))
def test_partitions_of_strings_are_alike(keys: list[str], n: int) -> None:
    expected = [crc32(key.encode("utf-8", "surrogatepass")) % n for key in keys]
    assert crc32_modulo(keys, n) == loops.plain_crc32_modulo(keys, n) == expected


@given(columns, st.data())
def test_keys_and_values_go_to_the_same_parts(given_columns: Any, data: st.DataObject) -> None:
    keys, values = given_columns
    numbers = data.draw(st.lists(st.integers(0, 3), min_size=len(keys), max_size=len(keys)))
    column = bytearray if type(values) is bytes else list
    compiled: loops.Parts = [([], column()) for _ in range(4)]
    plain: loops.Parts = [([], column()) for _ in range(4)]
    for _ in range(2):
        distribute(compiled, numbers, keys, values)
        loops.plain_distribute(plain, numbers, keys, values)
    assert compiled == plain


few_texts = st.sampled_from(
    ["", "a", "b", "a\0", "é", "\ud800", "eight by", "eight byt", "x" * 100, "a\nb", *"cdefg"]
)
#: what is done with totals: keys with their numbers are added, or keys are taken
steps_of_totals = st.lists(
    st.tuples(st.sampled_from(["keys", "lines", "take"]), st.lists(few_texts, max_size=100)), max_size=8
)


@given(steps_of_totals, st.data())
def test_totals_of_texts_are_alike(steps: Any, data: st.DataObject) -> None:
    compiled, plain = Totals(), loops.PlainTotals()
    for step, keys in steps:
        if step == "take":
            assert compiled.take(keys) == plain.take(keys)
            continue
        text = "\n".join(keys) if step == "lines" else keys
        length = text.count("\n") + 1 if isinstance(text, str) else len(keys)
        numbers = bytes(data.draw(st.lists(st.integers(1, 255), min_size=length, max_size=length)))
        compiled.add(text, numbers)
        plain.add(text, numbers)
    for _ in range(2):  # nothing is left after the first time
        assert dict(zip(*compiled.drain())) == dict(zip(*plain.drain()))
    compiled.add("again", b"\1")
    assert compiled.drain() == (["again"], [1])


def test_totals_of_a_hundred_thousand_texts() -> None:
    keys = [f"{i * i}" for i in range(100_000)]
    totals = Totals()
    totals.add("\n".join(keys), b"\xff" * len(keys))
    totals.add(keys[::2], b"\1" * 50_000)
    assert totals.take([*keys[:3], "x", None, 1]) == [256, 255, 256, 0, 0, 0]
    assert totals.drain() == (keys[3:], [255, 256] * 49_998 + [255])


def test_totals_are_of_strings() -> None:
    assert type(loops.totals_of(str)) is Totals
    assert {type(loops.totals_of(kind)) for kind in (int, bytes, Word)} == {loops.PlainTotals}


@given(st.lists(st.one_of(texts, st.sampled_from(["", "a\n", None, Word("a")])), max_size=30), st.data())
def test_lines_are_alike(keys: list[Any], data: st.DataObject) -> None:
    counts = data.draw(st.binary(min_size=len(keys), max_size=len(keys)))
    n = data.draw(st.integers(1, 5))
    lines = lines_by_crc32(keys, counts, n)
    assert lines == loops.plain_lines_by_crc32(keys, counts, n)
    if lines is None:
        assert any(type(key) is not str or "\n" in key for key in keys)
        return
    numbers = crc32_modulo(keys, n)
    for number, (text, its_counts) in enumerate(lines):
        places = [i for i in range(len(keys)) if numbers[i] == number]
        assert its_counts == bytes(counts[i] for i in places)
        assert text.split("\n") == ([keys[i] for i in places] or [""])


def test_lines_of_all_lengths_and_of_no_more_than_can_be_copied() -> None:
    keys = ["x" * length for length in range(2000)] + ["é" * 100_000]
    counts = bytes(i & 255 for i in range(len(keys)))
    assert lines_by_crc32(keys, counts, 3) == loops.plain_lines_by_crc32(keys, counts, 3)
    half = "x" * (1 << 23)
    assert lines_by_crc32([half, half], b"11", 1) == [(f"{half}\n{half}", b"11")]
    for key in ("x", half, "x" * (1 << 24)):
        keys = [half, half, key]
        assert lines_by_crc32(keys, b"111", 1) is loops.plain_lines_by_crc32(keys, b"111", 1) is None


#: alike for a while, and then not; with zeros where nothing is, too. A rank has room for 11 bytes of UTF-8
beginnings = st.sampled_from(
    ["", "x", "x" * 9, "x" * 10, "x" * 11, "x" * 12, "é" * 6, "日本語" * 9, "\U0001f600" * 33]
)
endings = st.text(
    st.sampled_from("\0\1ayz\x7f\x80\u07ff\u0800\ud800\udfff\uffff\U00010000\U0010ffff"), max_size=13
)
long_texts = st.builds(str.__add__, beginnings, endings)
numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 5e-324, -5e-324]))


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def keys_of_one_kind(draw: st.DrawFn) -> list[Any]:
    kind = draw(st.sampled_from([long_texts, long_texts.map(as_bytes), st.binary(), numbers, floats]))
    few = draw(st.lists(kind, min_size=1, max_size=12))
    keys: list[Any] = draw(st.lists(st.one_of(st.sampled_from(few), kind), min_size=1, max_size=60))
    return sorted(keys) if draw(st.booleans()) else keys


@given(keys_of_one_kind())
def test_keys_are_sorted_alike(keys: list[Any]) -> None:
    values = list(range(len(keys)))
    columns = sorted_by_rank(keys, values)
    assert columns == loops.plain_sorted_columns(keys, values) == sorted_columns(keys, values)
    assert columns is not None
    assert all(key is keys[i] for key, i in zip(*columns))


@pytest.mark.parametrize("length", [10, 11, 12, 200])
@pytest.mark.parametrize("count", [2, 16, 17, 400])
@pytest.mark.parametrize("convert", [str, as_bytes])
def test_what_is_alike_for_long_is_sorted_as_well(length: int, count: int, convert: Any) -> None:
    ends = [f"{i * 7919 % count:04}" for i in range(count)]
    for beginning in ("x" * length, "é" * length, "\U0001f600" * length):
        keys = [convert(beginning + end) for end in [*ends, "", *ends, "0"]]
        values = list(range(len(keys)))
        assert sorted_by_rank(keys, values) == loops.plain_sorted_columns(keys, values)


def test_100_000_keys_are_sorted() -> None:
    """Runs of them, of many lengths, some in order already."""
    keys = [f"{i * i % 99991:x}" for i in range(100_000)]
    keys += sorted(keys[:5000]) + sorted(keys[:300]) + keys[:5000:-1]
    values = list(range(len(keys)))
    assert sorted_by_rank(keys, values) == loops.plain_sorted_columns(keys, values)


@pytest.mark.parametrize(
    "keys", [[], ["b", Word("a")], [Word("b")], [1, True], [2, 1.0], [2**63, 1], [-(2**63) - 1, 1]]
)
def test_what_has_no_rank_is_sorted_all_the_same(keys: list[Any]) -> None:
    values = list(range(len(keys)))
    assert sorted_by_rank(keys, values) is None
    assert sorted_columns(keys, values) == loops.plain_sorted_columns(keys, values)


@pytest.mark.parametrize(
    "keys", [[None], [1.0, math.nan], [math.nan], ["b", b"a"], [(1,)], [object()], ["a", 1], [1, "a"]]
)
def test_what_has_no_rank_is_left(keys: list[Any]) -> None:
    assert sorted_by_rank(keys, list(range(len(keys)))) is None


written = st.one_of(
    texts,
    st.text(st.sampled_from("a\t\n\r\\\\\0é")),
    numbers,
    st.sampled_from([-(2**63), 2**63 - 1, 9, 10, -10]),
)
no_text_or_number = st.sampled_from(["\ud800", 2**63, -(2**63) - 1, True, None, 1.0, b"a", Word("a"), ("a",)])


@given(st.lists(st.tuples(written, written), max_size=30))
def test_text_is_what_formats_makes_of_it(pairs: list[Any]) -> None:
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    lines = text_lines(keys, values)
    assert (lines is None) == any("\ud800" <= c <= "\udfff" for item in (*keys, *values) for c in str(item))
    assert lines in (None, formats.writer("text")(keys, values))


@given(st.lists(written, max_size=3), no_text_or_number, st.booleans())
def test_what_else_is_there_is_left_to_formats(before: list[Any], other: Any, is_key: bool) -> None:
    some, others = [*before, "a"], [*before, other]
    assert text_lines(*((others, some) if is_key else (some, others))) is None


WRONG: list[Callable[[], Any]] = [
    lambda: add({}, ["a"], b""),
    lambda: add({}, ["a"], (1,)),  # type: ignore[arg-type]
    lambda: add({}, ["a", "a"], [None, 1]),  # type: ignore[list-item]
    lambda: add({}, [[]], [1]),
    lambda: crc32_modulo(["a"], 0),
    lambda: crc32_modulo([b"a"], 3),  # type: ignore[list-item]
    lambda: distribute([([], [])], [1], ["a"], [1]),
    lambda: distribute([([], [])], [-1], ["a"], [1]),
    lambda: distribute([([], [])], [0], ["a"], [1, 2]),
    lambda: distribute([([], [])], [0], ["a"], b"1"),
    lambda: distribute([([], bytearray())], [0], ["a"], [1]),
    lambda: distribute([([], ())], [0], ["a"], [1]),
    lambda: distribute([((), [])], [0], ["a"], [1]),  # type: ignore[list-item]
    lambda: distribute([([],)], [0], ["a"], [1]),  # type: ignore[list-item]
    lambda: distribute([([], [])], ["0"], ["a"], [1]),  # type: ignore[list-item]
    lambda: Totals().add("a\nb", b"1"),
    lambda: Totals().add("a", b"12"),
    lambda: Totals().add("a", b""),
    lambda: Totals().add("", b""),
    lambda: Totals().add(["a"], b""),
    lambda: Totals().add([b"a"], b"1"),
    lambda: Totals().add(("a",), b"1"),  # type: ignore[arg-type]
    lambda: Totals().add("a", [1]),  # type: ignore[arg-type]
    lambda: Totals().take("a"),  # type: ignore[arg-type]
    lambda: lines_by_crc32(["a"], b"", 1),
    lambda: lines_by_crc32(["a"], [1], 1),  # type: ignore[arg-type]
    lambda: lines_by_crc32(("a",), b"1", 1),  # type: ignore[arg-type]
    lambda: lines_by_crc32(["a"], b"1", 0),
    lambda: text_lines(["a"], []),
    lambda: text_lines(["a"], (1,)),  # type: ignore[arg-type]
    lambda: sorted_by_rank(["a"], []),
    lambda: sorted_by_rank(["a"], (1,)),  # type: ignore[arg-type]
    lambda: sorted_by_rank(("a",), [1]),  # type: ignore[arg-type]
    lambda: sorted_columns([None, None], [1, 2]),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_calls_end_in_an_exception(wrong: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError, LookupError, ArithmeticError)):
        wrong()


def everything_once() -> None:
    """What the loops do, and how they fail."""
    counts = counted_in_order([str(i % 300) for i in range(1000)], Counts())
    assert counts.count(iter([("left", 1), ("left", 2)]), 1, str) == [("left", 2)]
    keys, times, many = counts.drain(3)
    parts: loops.Parts = [([], bytearray()) for _ in range(7)]
    distribute(parts, crc32_modulo(keys, 7), keys, times)
    add(many, keys, times)
    counted_in_order([str(i) for i in range(100)], counts)  # which ends with the object
    with contextlib.suppress(ValueError):
        Counts().count(failing([(str(i), 1) for i in range(40)], ValueError("x")), 1, str)
    crc32_modulo(["a", "\ud800", "long" * 100], 7)
    with contextlib.suppress(TypeError):
        crc32_modulo(["a", None], 7)  # type: ignore[list-item]
    with contextlib.suppress(TypeError):
        add({"a": None}, ["a"], [1])  # type: ignore[dict-item]
    with contextlib.suppress(TypeError):
        distribute([([], ())], [0], ["a"], [1])
    totals = Totals()
    totals.add("\n".join(f"{i % 200} \ud800" for i in range(500)), b"1" * 500)
    with contextlib.suppress(TypeError):
        totals.add(["a", None], b"12")
    totals.take(["1 \ud800", "x", None])
    totals.drain()
    totals.add("a\nb", b"12")  # which end with the object
    lines_by_crc32(["a", "\ud800", "long" * 100] * 20, b"1" * 60, 7)
    lines_by_crc32(["a", "long" * 100, "\n"], b"123", 1)
    lines_by_crc32(["a", None], b"12", 1)
    text_lines(["a", "b\t" * 50, "é"], [1, "c", -(2**63)])
    text_lines(["a", "\ud800"], [1, 1])
    text_lines(["a", "b"], [1, None])
    for alike in ("", "alike, and longer than a rank: "):
        words = [f"{alike}{i * 7 % 100}" for i in range(200)]
        sorted_by_rank(words, words)
    sorted_by_rank([*words, None], [*words, None])
    with contextlib.suppress(ValueError):
        sorted_by_rank(words, [])


def test_no_reference_is_lost_or_kept() -> None:
    key, one = "a key that nobody else has", 10**20
    before = sys.getrefcount(key), sys.getrefcount(one)
    both = sorted_by_rank([key, "a", key], [one, 1, one])
    assert (sys.getrefcount(key), sys.getrefcount(one)) == (before[0] + 2, before[1] + 2)
    del both
    assert (sys.getrefcount(key), sys.getrefcount(one)) == before

    before = sys.getrefcount(key), sys.getrefcount(one)
    counts = Counts()
    assert counts.count(iter([(key, one)] * 50), one, str) == []
    assert sys.getrefcount(key) == before[0] + 1
    drained: Union[Any, None] = counts.drain(255)
    assert sys.getrefcount(key) == before[0] + 1
    del drained
    assert (sys.getrefcount(key), sys.getrefcount(one)) == before

    for _ in range(3):
        everything_once()
    tracemalloc.start()
    try:
        taken = []
        for _ in range(4):
            for _ in range(20):
                everything_once()
            gc.collect()
            taken.append(tracemalloc.get_traced_memory()[0])
        # less than the smallest object each time; of other threads' objects some may come meanwhile, but not always
        assert min(later - earlier for earlier, later in zip(taken, taken[1:])) < 20 * 16
    finally:
        tracemalloc.stop()
