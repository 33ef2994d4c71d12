"""CSV with a header line: a dict per row, values as str.

The dialect is Python's default ("excel"): comma, quotes doubled inside of quotes, rows end with LF or CR
LF, and newlines may stand in quoted fields. The first row that is not blank is the header. Blank lines are
skipped; a row that is shorter than the header gets None for what is missing, a longer one is an error, and
so is a quote that is never closed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Optional

from mapreduce.splits.batches import BadRecord, Batch, shown
from mapreduce.splits.format import Borders, Header, Piece
from mapreduce.splits.lines import LineFormat

#: a longer row is taken for one with a quote that is not closed
ROW_LIMIT_BYTES = 64 * 1024 * 1024

#: A quoted field, as the `csv` module sees it: outside of quotes, only a quote at a field's start opens one.
#: Group 1 is missing where the data ends before the closing quote.
_QUOTED = re.compile(rb'"(?<![^,\n]")[^"]*(?:""[^"]*)*(?:(")|\Z)')


class CsvFormat(LineFormat):
    """dict per row."""

    borders = Borders.SCANNED

    def pieces(self, chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
        return _whole_rows(*self.without_mark(chunks, offset), source)

    def border(self, data: bytes, at: int) -> int:
        return _first_border(data, at)

    def split_header(self, pieces: Iterator[Piece], source: str) -> tuple[Header, Iterator[Piece]]:
        for offset, data in pieces:
            start = 0
            while start < len(data):
                end = _first_border(data, start + 1)
                if data[start:end].strip(b"\r\n"):
                    header = self._header(Piece(offset + start, data[start:end]), source)
                    rest = (Piece(offset + end, data[end:]),) if end < len(data) else ()
                    return header, chain(rest, pieces)
                start = end
        return None, iter(())

    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        for piece in pieces:
            rows = [row for row in self._rows(piece, source) if row]
            if rows:
                assert header is not None
                yield Batch(_dicts(rows, header, piece, source), source, partial(_row_offsets, piece))

    def _header(self, piece: Piece, source: str) -> tuple[str, ...]:
        header = tuple(self._rows(piece, source)[0])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            text = f"the header names column {twice[0]!r} more than once; give each column its own name"
            raise BadRecord(source, piece.offset, text, shown(piece.data))
        return header

    def _rows(self, piece: Piece, source: str) -> list[list[str]]:
        text = self.decode(piece, source)
        limit = csv.field_size_limit(2 * ROW_LIMIT_BYTES)  # a setting of the whole process: put it back
        try:
            return list(csv.reader(io.StringIO(text, newline="\n")))
        except csv.Error as error:
            raise self._find_error(piece, source) or BadRecord(source, piece.offset, str(error)) from error
        finally:
            csv.field_size_limit(limit)

    def _find_error(self, piece: Piece, source: str) -> Optional[BadRecord]:
        """The row that the csv module does not like: only rows without newlines can be of that kind."""
        for start, end in _rows_of(piece.data):
            row = piece.data[start:end]
            if b"\0" in row:
                return BadRecord(source, piece.offset + start, "this row holds a NUL byte", shown(row))
            if b"\r" in _QUOTED.sub(b"", row).rstrip(b"\r\n"):
                text = "this row holds a CR that ends no line; convert the line ends to LF or CR LF"
                return BadRecord(source, piece.offset + start, text, shown(row))
        return None


def _dicts(rows: list[list[str]], header: tuple[str, ...], piece: Piece, source: str) -> list[Any]:
    width = len(header)
    widths = set(map(len, rows))
    if max(widths) > width:
        number = next(number for number, row in enumerate(rows) if len(row) > width)
        text = f"this row has {len(rows[number])} fields, the header {width}; is a comma not quoted?"
        raise BadRecord(source, _row_offsets(piece)[number], text, shown(rows[number]))
    if min(widths) < width:
        blank = [None] * width
        return [dict(zip(header, row + blank[len(row) :])) for row in rows]  # type: ignore[operator]
    return list(map(dict, map(zip, repeat(header), rows)))


def _whole_rows(chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
    held: list[bytes] = []
    held_bytes = wanted_bytes = 0
    for chunk in chunks:
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes < wanted_bytes:
            continue
        data = b"".join(held)
        cut = _last_border(data)
        if cut:
            yield Piece(offset, data[:cut])
            offset += cut
            data = data[cut:]
            wanted_bytes = 0
        elif held_bytes > ROW_LIMIT_BYTES:
            text = f"a row of more than {ROW_LIMIT_BYTES >> 20} MiB begins here; is a closing quote missing?"
            raise BadRecord(source, offset, text, shown(data))
        else:
            wanted_bytes = 2 * held_bytes  # looking again at every chunk would take quadratic time
        held, held_bytes = [data], len(data)
    rest = b"".join(held)
    last = deque(_QUOTED.finditer(rest), maxlen=1)
    if last and not last[0].group(1):
        text = "the quote that opens here is not closed before the end of the file"
        raise BadRecord(source, offset + last[0].start(), text, shown(rest[last[0].start() :]))
    if rest:
        yield Piece(offset, rest)


def _last_border(data: bytes) -> int:
    """The end of the last whole row in ``data``, which begins with a row; 0 if none is whole."""
    end = data.rfind(b"\n") + 1
    if data.find(b'"', 0, end) < 0:
        return end
    last = deque(_QUOTED.finditer(data, 0, end), maxlen=1)  # a loop at C speed
    if not last or last[0].group(1):
        return end
    return max(_borders(data[: last[0].start()]), default=0)


def _first_border(data: bytes, at: int) -> int:
    """The first end of a row at ``at`` or after it; the end of ``data`` if there is none."""
    newline = data.find(b"\n", at - 1)
    for quoted in _QUOTED.finditer(data):
        if newline < quoted.start():
            break
        if newline < quoted.end():
            newline = data.find(b"\n", quoted.end())
    return len(data) if newline < 0 else newline + 1


def _borders(data: bytes) -> Iterator[int]:
    """The end of each row, without the last one if that has no newline."""
    newline = data.find(b"\n")
    for quoted in _QUOTED.finditer(data):
        while 0 <= newline < quoted.start():
            yield newline + 1
            newline = data.find(b"\n", newline + 1)
        if 0 <= newline < quoted.end():
            newline = data.find(b"\n", quoted.end())
    while newline >= 0:
        yield newline + 1
        newline = data.find(b"\n", newline + 1)


def _row_offsets(piece: Piece) -> Sequence[int]:
    """Of the first byte of each row that is not blank."""
    return [
        piece.offset + start for start, end in _rows_of(piece.data) if piece.data[start:end].strip(b"\r\n")
    ]


def _rows_of(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each row, blank ones included."""
    ends = [*_borders(data), len(data)]
    return zip([0, *ends], ends)
