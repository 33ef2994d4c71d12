"""Lines of text, and lines of JSON.

A line ends with LF or CR LF, which is no part of the record; a lone CR is an ordinary character. The last
line of a file need not have an end. A UTF-8 byte order mark at a file's start is skipped (not with
"latin-1", where every byte is a character); elsewhere it is the character U+FEFF.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import Any

from mapreduce.splits.batches import BadRecord, Batch, shown
from mapreduce.splits.format import Format, Header, Piece

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
JSON_BLANKS = " \t\r"


class LineFormat(Format):
    """str per line. ``errors``: "strict", "replace" or "latin-1", as in `InputFormat`."""

    def __init__(self, errors: str) -> None:
        self._errors = errors

    def pieces(self, chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
        return _whole_lines(*self.without_mark(chunks, offset))

    def border(self, data: bytes, at: int) -> int:
        newline = data.find(b"\n", at - 1)
        return len(data) if newline < 0 else newline + 1

    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        for piece in pieces:
            yield Batch(self._lines(piece, source), source, partial(line_offsets, piece))

    def _lines(self, piece: Piece, source: str) -> list[str]:
        text = self.decode(piece, source)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return lines

    def without_mark(self, chunks: Iterator[bytes], offset: int) -> tuple[Iterator[bytes], int]:
        """The chunks without a byte order mark at the file's start, and the offset of what is left."""
        if offset or self._errors == "latin-1":
            return chunks, offset
        first = b""
        while len(first) < len(BYTE_ORDER_MARK) and (chunk := next(chunks, b"")):
            first += chunk
        if first.startswith(BYTE_ORDER_MARK):
            first, offset = first[len(BYTE_ORDER_MARK) :], len(BYTE_ORDER_MARK)
        return chain((first,), chunks), offset

    def decode(self, piece: Piece, source: str) -> str:
        """The text of a piece. Raises `BadRecord` with the offset of the byte that is not UTF-8."""
        if self._errors == "latin-1":
            return piece.data.decode("latin-1")
        try:
            return piece.data.decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise _not_utf8(piece, error, source) from error


class JsonLineFormat(LineFormat):
    """The parsed value of each line; lines of blanks are skipped."""

    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        for piece in pieces:
            lines = self._lines(piece, source)
            try:
                values = list(map(json.loads, lines))
            except (ValueError, RecursionError):
                values = _parse_one_by_one(lines, piece, source)
            if values:
                yield Batch(values, source, partial(_json_offsets, piece))


def line_offsets(piece: Piece) -> Sequence[int]:
    """Of the first byte of each line."""
    lengths = [len(line) + 1 for line in piece.data.split(b"\n")]
    return list(accumulate(lengths[:-1], initial=piece.offset))


def _whole_lines(chunks: Iterator[bytes], offset: int) -> Iterator[Piece]:
    begun: list[bytes] = []  # of a line whose end has not come yet
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            begun.append(chunk)
            continue
        data = b"".join((*begun, memoryview(chunk)[:cut]))
        yield Piece(offset, data)
        offset += len(data)
        begun = [chunk[cut:]]
    rest = b"".join(begun)
    if rest:
        yield Piece(offset, rest)


def _json_offsets(piece: Piece) -> Sequence[int]:
    lines = piece.data.split(b"\n")
    blanks = JSON_BLANKS.encode()
    return [offset for offset, line in zip(line_offsets(piece), lines) if line.strip(blanks)]


def _parse_one_by_one(lines: list[str], piece: Piece, source: str) -> list[Any]:
    """The slow way, for blank lines and for the offset of a line that does not parse."""
    values = []
    for number, line in enumerate(lines):
        if not line.strip(JSON_BLANKS):
            continue
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            text = f"this line is not JSON: {error.msg} at its character {error.pos + 1}"
            raise BadRecord(source, line_offsets(piece)[number], text, shown(line)) from error
        except (ValueError, RecursionError) as error:
            text = f"this line of JSON cannot be parsed: {error}"
            raise BadRecord(source, line_offsets(piece)[number], text, shown(line)) from error
    return values


def _not_utf8(piece: Piece, error: UnicodeDecodeError, source: str) -> BadRecord:
    line_start = piece.data.rfind(b"\n", 0, error.start) + 1
    line = piece.data[line_start:].partition(b"\n")[0]
    hint = "read it with encoding errors 'replace' or 'latin-1', or convert it"
    if piece.offset == 0 and piece.data.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "it looks like UTF-16: convert it"
    elif piece.offset == 0 and piece.data.startswith(b"\x1f\x8b"):
        hint = "it looks like gzip: give it a name that ends with .gz, or decompress it"
    text = f"0x{piece.data[error.start]:02x} is not UTF-8 ({error.reason}); {hint}"
    return BadRecord(source, piece.offset + error.start, text, shown(line))
