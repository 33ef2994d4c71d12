"""Output formats: what each writes, that text can be read back, and that equal values are equal bytes."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import codec
from mapreduce.errors import OutputError, UsageError
from mapreduce.formats import FORMATS, escape, render, unescape, writer

TEXTS = st.text(st.characters(), max_size=20)  # lone surrogates included
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def write(format: str, *pairs: tuple[Any, Any]) -> bytes:
    keys, values = zip(*pairs)
    return writer(format)(keys, values)


# ---------------------------------------------------------------- text


def test_text_is_key_tab_value() -> None:
    assert write("text", ("the", 3), ("zażółć", 1)) == "the\t3\nzażółć\t1\n".encode()


def test_text_escapes_what_would_break_a_line() -> None:
    assert write("text", ("a\tb\nc\rd\\e", "ok")) == b"a\\tb\\nc\\rd\\\\e\tok\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ((1, "a"), '[1, "a"]'),
        ({"n": [None]}, '{"n": [null]}'),
        ("null", "null"),
        (b"ab", '"YWI="'),
    ],
)
def test_text_writes_all_but_str_as_json(value: object, text: str) -> None:
    assert write("text", (value, value)) == f"{text}\t{text}\n".encode()


def test_text_of_mixed_columns() -> None:
    assert write("text", ("a\t", 1), (2, "b\n"), (None, 0.5)) == b"a\\t\t1\n2\tb\\n\nnull\t0.5\n"


@given(TEXTS)
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text
    assert not set("\t\n\r") & set(escape(text))


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_text_of_str_can_be_read_back(pairs: list[tuple[str, str]]) -> None:
    lines = write("text", *pairs).decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [tuple(map(unescape, line.split("\t"))) for line in lines] == pairs


# ---------------------------------------------------------------- JSON


@given(st.lists(st.tuples(JSON_VALUES, JSON_VALUES), min_size=1))
def test_jsonl_is_what_json_reads(pairs: list[tuple[Any, Any]]) -> None:
    lines = write("jsonl", *pairs).decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [tuple(json.loads(line)) for line in lines] == pairs


@given(JSON_VALUES)
def test_json_is_as_python_writes_it(value: Any) -> None:
    assert render(value) == json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '"NaN"'),
        (math.inf, '"Infinity"'),
        (-math.inf, '"-Infinity"'),
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        ({3, 1, 2}, "[1, 2, 3]"),
        (frozenset({"b", "a"}), '["a", "b"]'),
        ({1: "a", (1, 2): "b", None: "c"}, '{"1": "a", "[1, 2]": "b", "null": "c"}'),
        (datetime.datetime(2013, 1, 1, 5), '"2013-01-01T05:00:00"'),
        (
            datetime.datetime(2013, 7, 1, 5, tzinfo=ZoneInfo("America/New_York")),
            '"2013-07-01T05:00:00-04:00"',
        ),
        (datetime.date(2013, 1, 1), '"2013-01-01"'),
        (datetime.time(5, 0, 0, 10), '"05:00:00.000010"'),
        (datetime.timedelta(days=1, microseconds=5), "86400.000005"),
        (datetime.timedelta(microseconds=-5), "-0.000005"),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ("\x00\u2028é", '"\\u0000\u2028é"'),
    ],
)
def test_json_of_what_json_does_not_know(value: object, text: str) -> None:
    assert render(value) == text
    assert write("jsonl", (value, value)) == f"[{text}, {text}]\n".encode()


def test_an_int_of_any_size_has_all_its_digits() -> None:
    assert render(10**9000) == "1" + "0" * 9000
    assert write("text", (-(10**5000) + 1, 1)) == b"-" + b"9" * 5000 + b"\t1\n"


def test_a_lone_surrogate_is_an_escape_of_json() -> None:
    line = write("jsonl", ("a\udc80", 1))
    assert line == b'["a\\udc80", 1]\n'
    assert json.loads(line) == ["a\udc80", 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "of type object"),
        ([{1: {"x": range(3)}}], "of type range"),
        ({1: "a", "1": "b"}, 'both written as "1"'),
    ],
)
def test_what_json_cannot_hold_is_an_error(value: object, message: str) -> None:
    for format in ("text", "jsonl", "csv"):
        with pytest.raises(OutputError, match=message):
            write(format, ("k", value))


def test_endless_nesting_is_an_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(OutputError, match="nested too deeply"):
        render(value)


def test_json_is_equal_in_every_process() -> None:
    program = "from mapreduce.formats import render; print(render(set('abcdefgh')))"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


# ---------------------------------------------------------------- CSV


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))


def test_csv_has_one_header_for_all_batches() -> None:
    write = writer("csv")
    assert write(["a"], [1]) == b"key,value\na,1\n"
    assert write(["b"], [None]) == b"b,\n"


def test_csv_spreads_dicts_by_name() -> None:
    data = write("csv", ("AA", {"mean": 0.5, "n": 2}), ("UA", {"n": 3, "mean": 1.0}), ("B6", {"n": 1}))
    assert data == b"key,mean,n\nAA,0.5,2\nUA,1.0,3\nB6,,1\n"


def test_csv_cells_are_plain_where_they_can_be() -> None:
    row = [None, "", "a", 'say "a, b"', 1, 0.5, True, Decimal("1.10"), datetime.date(2013, 1, 1), math.nan]
    data = write("csv", ("a", row), ((1, "b"), [[1, 2], {"x": 1}, {3}]))
    assert data.splitlines()[1:] == [
        b'a,,,a,"say ""a, b""",1,0.5,true,1.10,2013-01-01,NaN',
        b'"[1, ""b""]","[1, 2]","{""x"": 1}",[3],,,,,,,',
    ]


def test_csv_spreads_lists_by_number() -> None:
    assert write("csv", ("a", (1, "x")), ("b", [2])) == b"key,value_0,value_1\na,1,x\nb,2,\n"


def test_csv_refuses_a_column_that_the_header_lacks() -> None:
    with pytest.raises(OutputError, match=r"\"b\" has the columns x, y, but the header has x;"):
        write("csv", ("a", {"x": 1}), ("b", {"x": 1, "y": 2}))
    with pytest.raises(OutputError, match=r"\"b\" has the columns value_0, but the header has value;"):
        write("csv", ("a", 1), ("b", [1]))


def test_csv_refuses_a_second_column_called_key() -> None:
    with pytest.raises(OutputError, match="a column of its own called 'key'"):
        write("csv", ("a", {"key": 1}))


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_csv_is_what_python_reads(pairs: list[tuple[str, str]]) -> None:
    if any("\0" in text for pair in pairs for text in pair) and sys.version_info < (3, 11):
        return  # Python's own csv could not read a NUL
    assert rows(write("csv", *pairs)) == [["key", "value"], *map(list, pairs)]


# ---------------------------------------------------------------- msgpack, and all


def test_msgpack_is_packed_pairs() -> None:
    pairs: list[tuple[Any, Any]] = [("a", {1, 2}), ((1, None), Decimal("1.10"))]
    for count in (1, 7, 8, 40_000):
        expected = b"".join(codec.pack(list(pair)) for pair in pairs * count)
        assert write("msgpack", *pairs * count) == expected


def test_msgpack_refuses_what_the_codec_does() -> None:
    with pytest.raises(OutputError, match=r"msgpack: .*object"):
        write("msgpack", ("a", object()))


@pytest.mark.parametrize("format", FORMATS)
def test_every_type_of_the_codec_can_be_written(format: str) -> None:
    values: tuple[Any, ...] = (None, True, 1, 1.5, "a", b"a", [1], (1,), {1}, frozenset({1}), {"a": 1})
    values += (datetime.datetime(2013, 1, 1), datetime.date(2013, 1, 1), datetime.time(5))
    values += (datetime.timedelta(1), Decimal(1), uuid.UUID(int=1))
    assert set(map(type, values)) == codec._SUPPORTED
    for value in values:
        assert write(format, (value, value))


@pytest.mark.parametrize("format", FORMATS)
def test_no_pairs_are_no_bytes(format: str) -> None:
    assert writer(format)([], []) == b""


def test_an_unknown_format_is_an_error_that_lists_them() -> None:
    with pytest.raises(UsageError, match="'xml': choose text, jsonl, csv, msgpack"):
        writer("xml")
