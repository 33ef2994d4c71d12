"""Planning by reading from front to end: CSV files, whose borders cannot be found otherwise, and streams.

A stream (standard input, a pipe) can be read once only, so it is copied into files, one per segment; a
segment can be worked on while the stream goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, Optional, cast

from mapreduce.errors import InputError
from mapreduce.refs import Segment
from mapreduce.shown import without_secrets
from mapreduce.splits.batches import PIECE_BYTES
from mapreduce.splits.format import Borders, Format, Header, Piece
from mapreduce.splits.input_file import InputFile
from mapreduce.splits.opening import file_system, is_url, opened, read_range, reason


class Part(NamedTuple):
    """A segment, and the bytes that it counts for in packing: those between its nominal borders."""

    segment: Segment
    weight: int


class _Portion(NamedTuple):
    """Bytes of whole records, and whether a segment ends after them."""

    offset: int
    data: bytes
    ends: bool


def scan_file(file: InputFile, form: Format, split_bytes: int) -> Iterator[Part]:
    """Aligned segments of a local file that is read through for its borders."""
    with opened(file.segment(0, file.size, aligned=True)) as raw:
        chunks = read_range(raw, 0, file.size, file.name)
        header, pieces = form.split_header(form.pieces(chunks, 0, file.name), file.name)
        start: Optional[int] = None
        end = 0
        for offset, data, ends in _portions(pieces, form, split_bytes):
            start = offset if start is None else start
            end = offset + len(data)
            if ends:
                yield Part(file.segment(start, end, aligned=True, header=header), split_bytes)
                start = None
        if start is not None:
            weight = _nominal(start, end, split_bytes)
            yield Part(file.segment(start, end, aligned=True, header=header), weight)


def spool_stream(file: InputFile, form: Format, split_bytes: int, spool_dir: str) -> Iterator[Part]:
    """Copy a stream into files in ``spool_dir``: a segment each, aligned. Raises `InputError`."""
    with _opened_stream(file) as stream:
        chunks = iter(lambda: stream.read(PIECE_BYTES), b"")
        if file.compression or form.borders is Borders.NONE:
            whole = (_Portion(0, chunk, False) for chunk in chunks)
            yield from _spool(whole, file, None, sys.maxsize, spool_dir, form.keeps_empty_files)
        else:
            header, pieces = form.split_header(form.pieces(chunks, 0, file.name), file.name)
            portions = _portions(pieces, form, split_bytes)
            yield from _spool(portions, file, header, split_bytes, spool_dir)


def _portions(pieces: Iterator[Piece], form: Format, split_bytes: int) -> Iterator[_Portion]:
    """The same bytes, cut where a segment ends: at the first border from a multiple of ``split_bytes`` on."""
    target = 0
    for offset, data in pieces:
        target = target or _next_multiple(offset, split_bytes)
        at = 0
        while target <= offset + len(data):
            cut = form.border(data, target - offset)
            yield _Portion(offset + at, data[at:cut], True)
            at = cut
            target = _next_multiple(offset + cut, split_bytes)
        if at < len(data):
            yield _Portion(offset + at, data[at:], False)


def _next_multiple(position: int, unit: int) -> int:
    return (position // unit + 1) * unit


def _nominal(start: int, end: int, split_bytes: int) -> int:
    """The weight of the last segment, as if it began at the multiple that it belongs to."""
    return min(end - start // split_bytes * split_bytes, split_bytes)


def _spool(
    portions: Iterator[_Portion],
    file: InputFile,
    header: Header,
    split_bytes: int,
    directory: str,
    empty: bool = False,
) -> Iterator[Part]:
    copy = _Copy(file, header, directory)
    try:
        for portion in portions:
            copy.write(portion)
            if portion.ends:
                yield Part(copy.finish(), split_bytes)
        if copy.begun or empty:
            start, end = copy.origin, copy.origin + copy.size
            yield Part(copy.finish(), _nominal(start, end, split_bytes))
    except OSError as error:
        raise InputError(
            without_secrets(f"{file.name}: cannot be copied to {directory}: {reason(error)}")
        ) from error
    finally:
        copy.close()


class _Copy:
    """Writes one file after the other; `finish` ends one and says what it holds."""

    def __init__(self, file: InputFile, header: Header, directory: str) -> None:
        self._file = file
        self._header = header
        self._directory = directory
        self._number = 0
        self._out: Optional[BinaryIO] = None
        self._path = ""
        self.origin = 0
        self.size = 0

    @property
    def begun(self) -> bool:
        return self._out is not None

    def write(self, portion: _Portion) -> None:
        if self._out is None:
            self._begin(portion.offset)
        assert self._out is not None
        self._out.write(portion.data)
        self.size += len(portion.data)

    def finish(self) -> Segment:
        if self._out is None:
            self._begin(0)
        self.close()
        compression = self._file.compression
        name, origin, size, header = self._file.name, self.origin, self.size, self._header
        return Segment(name, self._path, 0, size, origin, True, compression, "", header)

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def _begin(self, origin: int) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        while os.path.exists(self._path) or not self._path:  # other streams may be kept here as well
            self._path = os.path.join(os.path.abspath(self._directory), f"stream-{self._number:06d}")
            self._number += 1
        self._out = open(self._path, "xb")  # noqa: SIM115  (closed by `close`)
        self.origin, self.size = origin, 0


@contextmanager
def _opened_stream(file: InputFile) -> Iterator[BinaryIO]:
    try:
        if file.path == "-":
            yield _standard_input()
        elif is_url(file.path):
            fs, path = file_system(file.path)
            with fs.open(path, "rb", block_size=0) as remote:
                yield cast(BinaryIO, remote)
        else:
            with open(file.path, "rb") as local:
                yield local
    except OSError as error:
        raise InputError(without_secrets(f"{file.name}: cannot be read: {reason(error)}")) from error


def _standard_input() -> BinaryIO:
    """Not `sys.stdin`'s own buffer: Python closes that as it ends, and dies of it if a thread still waits there."""
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed; redirect a file or a pipe to it")
    # unbuffered: what there is comes at once, and can be worked on
    return cast(BinaryIO, open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))
