"""Records that are bytes: whole files, and records of a fixed size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from mapreduce.splits.batches import PIECE_BYTES, BadRecord, Batch, shown
from mapreduce.splits.format import Borders, Format, Header, Piece


class WholeFileFormat(Format):
    """(name, bytes) per file, empty ones included; a compressed file's bytes are what it decompresses to."""

    borders = Borders.NONE
    keeps_empty_files = True

    def pieces(self, chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
        yield Piece(offset, b"".join(chunks))

    def border(self, data: bytes, at: int) -> int:
        return len(data)

    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        for piece in pieces:
            yield Batch([(source, piece.data)], source, lambda: (0,))


class FixedFormat(Format):
    """bytes of ``record_bytes`` each."""

    borders = Borders.COMPUTED

    def __init__(self, record_bytes: int) -> None:
        self._record_bytes = record_bytes

    def pieces(self, chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
        held: list[bytes] = []
        held_bytes = 0
        for chunk in chunks:
            held.append(chunk)
            held_bytes += len(chunk)
            cut = held_bytes - held_bytes % self._record_bytes
            if cut and held_bytes >= PIECE_BYTES:
                data = b"".join(held)
                yield Piece(offset, data[:cut])
                offset += cut
                held, held_bytes = [data[cut:]], held_bytes - cut
        rest = b"".join(held)
        if len(rest) % self._record_bytes:
            raise self._remainder(offset, rest, source)
        if rest:
            yield Piece(offset, rest)

    def border(self, data: bytes, at: int) -> int:
        return -(-at // self._record_bytes) * self._record_bytes

    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        size = self._record_bytes
        for offset, data in pieces:
            starts = range(0, len(data), size)
            records = [data[start : start + size] for start in starts]
            yield Batch(records, source, partial(range, offset, offset + len(data), size))

    def check_size(self, size: int, source: str) -> None:
        if size % self._record_bytes:
            raise self._remainder(0, b"", source, size)

    def _remainder(self, offset: int, rest: bytes, source: str, size: int = 0) -> BadRecord:
        size = size or len(rest)
        left = size % self._record_bytes
        text = f"{left} bytes are left after the last whole record of {self._record_bytes} bytes"
        text += "; is the record size right, is the file complete?"
        return BadRecord(source, offset + size - left, text, shown(rest[-left:]) if rest else "")
