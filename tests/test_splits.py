"""Whatever the bytes, the borders and the way: each record is read once, whole, and found where it stands."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapreduce.refs import Split
from mapreduce.spec import MIB, InputFormat
from mapreduce.splits import BadRecord, Nearby, inline, plan, read

LINES, JSONL, CSV, FILES = (InputFormat(kind) for kind in ("lines", "jsonl", "csv", "files"))
BOM = b"\xef\xbb\xbf"

unhurried = settings(deadline=None)  # machines that run tests are busy

Found = tuple[str, int, Any]  # source, offset, record


def records_of(split: Split, fmt: InputFormat) -> list[Found]:
    return [(b.source, b.locate(i), record) for b in read(split, fmt) for i, record in enumerate(b.records)]


#: for all that is read here, as if it were one input
NEARBY = Nearby()


def through_the_broker(split: Split, fmt: InputFormat, directory: str) -> Split:
    """What a worker reads after the client has fed the split."""
    moved, pieces = inline(split, fmt)
    listed = list(pieces)
    again, others = inline(split, fmt, NEARBY)
    assert (again, b"".join(others)) == (moved, b"".join(listed))
    assert all(0 < len(piece) <= MIB for piece in listed)
    assert moved.length == sum(map(len, listed))
    handle, path = tempfile.mkstemp(dir=directory)
    with os.fdopen(handle, "wb") as copy:
        copy.write(b"".join(listed))
    return moved._replace(segments=tuple(segment._replace(path=path) for segment in moved.segments))


@contextmanager
def folder_with(contents: Sequence[bytes], suffix: str = "") -> Iterator[tuple[str, list[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        names = [os.path.join(folder, f"in{number:03d}{suffix}") for number in range(len(contents))]
        for name, content in zip(names, contents):
            Path(name).write_bytes(content)
        yield folder, names


# ---------------------------------------------------------------- oracles: whole files, the plainest way


def plain_lines(data: bytes) -> list[tuple[int, str]]:
    skipped = len(BOM) if data.startswith(BOM) else 0
    found = re.finditer(rb"([^\n]*)(\n|\Z)", data[skipped:])
    lines = [(skipped + m.start(), m.group(1), m.group(2)) for m in found if m.group(0)]
    return [(at, (line[:-1] if end and line.endswith(b"\r") else line).decode()) for at, line, end in lines]


def plain_json(data: bytes) -> list[tuple[int, Any]]:
    return [(at, json.loads(line)) for at, line in plain_lines(data) if line.strip()]


def plain_rows(data: bytes) -> list[tuple[Optional[int], Any]]:
    text = data.decode("utf-8-sig")
    return [(None, row) for row in csv.DictReader(io.StringIO(text, newline="\n"))]


def check(contents: Sequence[bytes], fmt: InputFormat, split_bytes: int, expected: list[list[Any]]) -> None:
    """All ways of reading give what is expected of each file: (offset or None, record)."""
    with folder_with(contents) as (folder, names):
        splits = list(plan(names, fmt, split_bytes, folder))
        by_reference = [records_of(split, fmt) for split in splits]
        inlined = [records_of(through_the_broker(split, fmt, folder), fmt) for split in splits]
        assert inlined == by_reference
        found = [record for records in by_reference for record in records]
        wanted = [(name, at, record) for name, records in zip(names, expected) for at, record in records]
        assert [(f[0], f[2]) for f in found] == [(w[0], w[2]) for w in wanted]
        assert all(want[1] in (None, have[1]) for have, want in zip(found, wanted))


# ---------------------------------------------------------------- records survive any border

text_bytes = st.lists(
    st.sampled_from(
        [b"a", b"bc", b" ", b"\n", b"\r\n", b"\r", b"\n\n", "é".encode(), "\u2028".encode(), BOM, b"x" * 40]
    ),
    max_size=40,
).map(b"".join)
split_sizes = st.one_of(st.integers(1, 20), st.sampled_from([64, 1000, 8 * MIB]))
piece_sizes = st.sampled_from([1, 2, 3, 7, 64, MIB])


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Read so many bytes at a time, so that borders of pieces fall everywhere too."""
    modules = ("opening", "binary", "compression", "scanning")
    patches = [mock.patch(f"mapreduce.splits.{module}.PIECE_BYTES", size) for module in modules]
    patches.append(mock.patch("mapreduce.splits.nearby.BLOCK_BYTES", size))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


@unhurried
@given(st.lists(text_bytes, min_size=1, max_size=5), split_sizes, piece_sizes)
@example([b"ab\ncd\n"], 3, MIB)  # border exactly at a record's first byte
@example([b"ab\r\ncd\r\n"], 3, 1)  # border between CR and LF
@example([b"", b"\n", b"a"], 1, MIB)
@example([BOM, BOM + b"\n" + BOM + b"a"], 2, 2)
def test_lines(contents: list[bytes], split_bytes: int, piece_bytes: int) -> None:
    with pieces_of(piece_bytes):
        check(contents, LINES, split_bytes, [plain_lines(content) for content in contents])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@unhurried
@given(st.data(), split_sizes, piece_sizes)
def test_json_lines(data: st.DataObject, split_bytes: int, piece_bytes: int) -> None:
    ascii_only, end = data.draw(st.booleans()), data.draw(st.sampled_from(["\n", "\r\n", "\n \t\n", "\n\n"]))
    values = data.draw(st.lists(json_values, max_size=8))
    text = end.join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
    content = (text + data.draw(st.sampled_from(["", end]))).encode("utf-8", "replace")
    with pieces_of(piece_bytes):
        check([content, BOM + content], JSONL, split_bytes, [plain_json(content), plain_json(BOM + content)])


cells = st.text(st.sampled_from('ab,"\n\ré '), max_size=6).filter(lambda cell: "\r" not in cell)


@unhurried
@given(st.data(), split_sizes, piece_sizes)
def test_csv(data: st.DataObject, split_bytes: int, piece_bytes: int) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoting: Any = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    width = data.draw(st.integers(1, 3))
    header = data.draw(st.lists(cells, min_size=width, max_size=width, unique=True).filter(any))
    rows = data.draw(st.lists(st.lists(cells, min_size=1, max_size=width), max_size=8))
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=end)
    writer.writerows([header, *rows])
    content = out.getvalue().encode()
    if data.draw(st.booleans()):
        content = content[: -len(end)]
    if data.draw(st.booleans()):
        content = BOM + content
    with pieces_of(piece_bytes):
        check([content, content], CSV, split_bytes, [plain_rows(content)] * 2)


@unhurried
@given(st.integers(1, 9), st.lists(st.integers(0, 30), min_size=1, max_size=4), split_sizes, piece_sizes)
def test_fixed(size: int, counts: list[int], split_bytes: int, piece_bytes: int) -> None:
    contents = [random.Random(count).randbytes(count * size) for count in counts]
    expected = [[(at, c[at : at + size]) for at in range(0, len(c), size)] for c in contents]
    with pieces_of(piece_bytes):
        check(contents, InputFormat("fixed", record_bytes=size), split_bytes, expected)


@unhurried
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), split_sizes)
def test_whole_files_also_empty_ones(contents: list[bytes], split_bytes: int) -> None:
    with folder_with(contents) as (folder, names):
        splits = list(plan(names, FILES, split_bytes, folder))
        found = [record for split in splits for record in records_of(split, FILES)]
        assert found == [(name, 0, (name, content)) for name, content in zip(names, contents)]
        copies = [through_the_broker(split, FILES, folder) for split in splits]
        assert [record for split in copies for record in records_of(split, FILES)] == found


@unhurried
@given(st.binary(max_size=60), split_sizes, st.sampled_from(["replace", "latin-1"]))
def test_any_bytes_can_be_read_with_a_policy(content: bytes, split_bytes: int, errors: str) -> None:
    codec, skipped = ("latin-1", 0) if errors == "latin-1" else ("utf-8", 3 * content.startswith(BOM))
    text = content[skipped:].decode(codec, "replace")
    lines = [line[:-1] if line.endswith("\r") else line for line in text.split("\n")[:-1]]
    rest = text.rpartition("\n")[2]
    expected = [(None, line) for line in [*lines, *([rest] if rest else [])]]
    check([content], InputFormat("lines", errors), split_bytes, [expected])


@unhurried
@given(text_bytes, st.integers(1, 50))
def test_strict_reading_fails_at_the_first_byte_that_is_not_utf8(before: bytes, split_bytes: int) -> None:
    with folder_with([before + b"\xff\nmore\n"]) as (folder, names):
        with pytest.raises(BadRecord) as caught:
            for split in plan(names, LINES, split_bytes, folder):
                list(read(split, LINES))
        assert (caught.value.source, caught.value.offset) == (names[0], len(before))


# ---------------------------------------------------------------- CSV borders are those of the csv module


@unhurried
@given(st.text(st.sampled_from('a,"\n'), max_size=30))
def test_rows_are_cut_where_the_csv_module_ends_them(text: str) -> None:
    from mapreduce.splits.rows import _borders, _first_border, _last_border

    ends, position, lines = [], 0, text.splitlines(keepends=True)
    reader = csv.reader(lines)
    for _ in reader:
        position = sum(map(len, lines[: reader.line_num]))
        ends.append(position)
    data = text.encode()
    borders = list(_borders(data))
    # the csv module takes the end of the data for the end of a row, also in quotes
    assert borders == [end for end in ends if data[end - 1 : end] == b"\n" and is_closed(text[:end])]
    assert _last_border(data) == max(borders, default=0)
    for at in range(1, len(data) + 1):
        assert _first_border(data, at) == next((end for end in borders if end >= at), len(data))


def is_closed(text: str) -> bool:
    """Whether something appended to ``text``, which ends with a newline, is a row of its own."""
    rows = list(csv.reader([*text.splitlines(keepends=True), "sentinel"]))
    return rows[-1] == ["sentinel"]


# ---------------------------------------------------------------- streams


@unhurried
@given(text_bytes, st.integers(1, 60), piece_sizes, st.sampled_from(["lines", "csv", "fixed", "files"]))
def test_standard_input_is_split_as_a_file_of_the_same_bytes(
    content: bytes, split_bytes: int, piece_bytes: int, kind: str
) -> None:
    fmt = InputFormat(kind, record_bytes=1)
    if kind == "csv":
        content = b"a,b\n" + content.replace(b"\r", b"").replace(BOM, b"")
    with folder_with([content]) as (folder, names), pieces_of(piece_bytes):
        with open(names[0]) as stdin, mock.patch.object(sys, "stdin", stdin):
            streamed = list(plan(["-"], fmt, split_bytes, os.path.join(folder, "spool")))
        found = [[strip_name(r) for r in records_of(split, fmt)] for split in streamed]
        fed = [records_of(through_the_broker(split, fmt, folder), fmt) for split in streamed]
        assert [[strip_name(r) for r in records] for records in fed] == found
        filed = [records_of(split, fmt) for split in plan(names, fmt, split_bytes, folder)]
        assert list(filter(None, found)) == [[strip_name(r) for r in records] for records in filed if records]


def strip_name(found: Found) -> tuple[int, Any]:
    _, at, record = found
    return at, record[1] if isinstance(record, tuple) else record


def test_a_stream_is_worked_on_before_it_ends(tmp_path: Path) -> None:
    source, sink = os.pipe()
    reader, writer = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
    with reader, writer, mock.patch.object(sys, "stdin", reader):
        splits = plan(["-"], LINES, 10, str(tmp_path))
        writer.write(b"first line\nsecond")
        assert [r[2] for r in records_of(next(splits), LINES)] == ["first line"]
        writer.write(b" line\n")
        writer.close()
        assert [r[2] for split in splits for r in records_of(split, LINES)] == ["second line"]


# ---------------------------------------------------------------- compression


def compressed(data: bytes, suffix: str) -> bytes:
    import bz2
    import lzma

    if suffix == ".zst":
        return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(data))
    library: Any = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix]
    return bytes(library.compress(data))


SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [0, 1, 5, 3 * MIB])
def test_compressed_files_are_told_by_their_name(suffix: str, size: int) -> None:
    data = (b"line of text\r\n" * (size // 14 + 1))[:size]
    two_streams = compressed(data, suffix) + compressed(b"more\n", suffix)
    with folder_with([two_streams], suffix) as (folder, names):
        (split,) = plan(names, LINES, 100, folder)
        found = records_of(split, LINES)
        assert [(at, record) for _, at, record in found] == plain_lines(data + b"more\n")
        assert records_of(through_the_broker(split, LINES, folder), LINES) == found


@pytest.mark.parametrize(
    "fmt", [JSONL, CSV, FILES, InputFormat("fixed", record_bytes=2)], ids=lambda f: f.kind
)
def test_every_format_can_be_compressed(fmt: InputFormat) -> None:
    data = b'"a"\n"b"\n"c"\n'
    with folder_with([gzip.compress(data)], ".gz") as (folder, names):
        expected = {
            "jsonl": [(0, "a"), (4, "b"), (8, "c")],
            "csv": [(4, {"a": "b"}), (8, {"a": "c"})],
            "files": [(0, (names[0], data))],
            "fixed": [(at, data[at : at + 2]) for at in range(0, 12, 2)],
        }[fmt.kind]
        (split,) = plan(names, fmt, 5, folder)
        found = records_of(split, fmt)
        assert [(at, record) for _, at, record in found] == expected
        assert records_of(through_the_broker(split, fmt, folder), fmt) == found


# ---------------------------------------------------------------- large records


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_record_longer_than_splits_and_pieces(end: bytes) -> None:
    content = b"a\n" + b"x" * (3 * MIB) + b"\nb\n" + b"y" * (2 * MIB) + end
    check([content, b"z\n"], LINES, 300_000, [plain_lines(content), plain_lines(b"z\n")])


def test_a_quoted_field_longer_than_splits_and_pieces() -> None:
    content = b'a,b\n1,"' + b'long ""text""\n' * 200_000 + b'"\n2,3\n'
    check([content], CSV, 500_000, [plain_rows_unlimited(content)])


def plain_rows_unlimited(data: bytes) -> list[tuple[Optional[int], Any]]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        return plain_rows(data)
    finally:
        csv.field_size_limit(before)


def test_the_csv_modules_limit_is_put_back() -> None:
    before = csv.field_size_limit()
    check([b"a\nb\n"], CSV, 100, [plain_rows(b"a\nb\n")])
    assert csv.field_size_limit() == before
