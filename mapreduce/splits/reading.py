"""From splits to records, and from splits to the bytes that travel through the broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Optional

from mapreduce.errors import InputError
from mapreduce.refs import Segment, Split
from mapreduce.shown import without_secrets
from mapreduce.spec import MIB, InputFormat
from mapreduce.splits.batches import PIECE_BYTES, Batch
from mapreduce.splits.compression import decompressed
from mapreduce.splits.format import Format
from mapreduce.splits.formats import make_format
from mapreduce.splits.nearby import Nearby
from mapreduce.splits.opening import opened, read_range

_COPY_BYTES = MIB  # what travels as one message
#: of a segment with so few bytes these are read when its borders are looked for, and small ones together
_SMALL_BYTES = 1024


def read(split: Split, fmt: InputFormat, data: Optional[bytes] = None) -> Iterator[Batch]:
    """The records that the split owns, in order, in batches of about 256 KiB of bytes (a longer record: whole).

    ``data``: the bytes that the segments of an `inline` split lie in, where these are at hand and in no file.
    Raises `BadRecord` for bytes that the format forbids and `InputError` for a file that is gone, cannot be
    read, is damaged, or has changed since it was planned.
    """
    form = make_format(fmt)
    for segment in split.segments:
        if data is None:
            yield from _read_file(segment, form)
        else:
            yield from _batches(segment, form, _part(segment, data))


def inline(split: Split, fmt: InputFormat, nearby: Optional[Nearby] = None) -> tuple[Split, Iterator[bytes]]:
    """The split as it is after its bytes have travelled, and these bytes in pieces of at most 1 MiB.

    The new segments hold whole records, ``start`` and ``end`` count from the first byte of the pieces,
    ``path`` is for the receiver to fill in. Reading them gives the same records, sources and offsets as
    reading ``split``. ``nearby``: one for all splits of an input, where many may be small. Raises `InputError`, as does
    the iterator.
    """
    form = make_format(fmt)
    owned, moved = [], []
    start = 0
    for segment in split.segments:
        part = _aligned(segment, nearby)
        if part.start == part.end and not form.keeps_empty_files:
            continue
        owned.append(part)
        end = start + part.end - part.start
        origin = segment.origin + part.start - segment.start
        moved.append(
            Segment(segment.name, "", start, end, origin, True, segment.compression, "", segment.header)
        )
        start = end
    return Split(tuple(moved)), _copy(owned)


class _Owned(NamedTuple):
    """Where the records of a segment lie in its file."""

    segment: Segment
    start: int
    end: int
    #: they themselves if they are few: then the file is not opened again for them
    data: Optional[bytes] = None


def _aligned(segment: Segment, nearby: Optional[Nearby]) -> _Owned:
    if nearby is not None and segment.end - segment.start <= _SMALL_BYTES:
        found = nearby.records(segment)
        if found is not None:
            start, data = found
            return _Owned(segment, start, start + len(data), data)
    if segment.aligned:
        return _Owned(segment, segment.start, segment.end)
    with opened(segment) as file:
        owned = align(segment, file)
        if not 0 < owned.end - owned.start <= _SMALL_BYTES:
            return _Owned(segment, owned.start, owned.end)
        data = b"".join(read_range(file, owned.start, owned.end, owned.name))
        return _Owned(segment, owned.start, owned.end, data)


def _copy(parts: list[_Owned]) -> Iterator[bytes]:
    for segment, start, end, data in parts:
        if data:
            yield data
        elif data is None:
            with opened(segment) as file:
                yield from read_range(file, start, end, segment.name, _COPY_BYTES)


def _read_file(segment: Segment, form: Format) -> Iterator[Batch]:
    with opened(segment) as file:
        owned = segment if segment.aligned else align(segment, file)
        yield from _batches(owned, form, read_range(file, owned.start, owned.end, owned.name))


def _part(segment: Segment, data: bytes) -> Iterator[bytes]:
    """The bytes of an `inline` segment."""
    part = data[segment.start : segment.end]
    if len(part) != segment.end - segment.start:
        raise InputError(f"{without_secrets(segment.name)}: only {len(part)} bytes of a part of it have come")
    return iter((part,) if part else ())


def _batches(owned: Segment, form: Format, chunks: Iterator[bytes]) -> Iterator[Batch]:
    if owned.compression:
        chunks = decompressed(chunks, owned.compression, owned.name)
    pieces = form.pieces(chunks, owned.origin, owned.name)
    header = owned.header
    if header is None:
        header, pieces = form.split_header(pieces, owned.name)
    return form.batches(pieces, owned.name, header)


def align(segment: Segment, file: BinaryIO) -> Segment:
    """The part of ``file`` that holds just the lines that begin in the segment; empty if none does.

    A line begins at byte 0 and after each newline, so looking for newlines starts one byte before a border.
    """
    start = segment.start
    if start:
        # not beyond the segment: with one line of a gigabyte, a hundred segments would all read on to its end
        start, found = _after_newline(file, start - 1, segment.end - 1)
        if not found:
            return segment._replace(
                start=segment.end, aligned=True, origin=segment.origin + segment.end - segment.start
            )
    end, _ = _after_newline(file, segment.end - 1, None)
    return segment._replace(start=start, end=end, aligned=True, origin=segment.origin + start - segment.start)


def _after_newline(file: BinaryIO, start: int, limit: Optional[int]) -> tuple[int, bool]:
    """The position after the first newline in [start, limit), and True; or where it ended, and False."""
    file.seek(start)
    block_bytes = 4096
    while limit is None or start < limit:
        block = file.read(block_bytes if limit is None else min(block_bytes, limit - start))
        newline = block.find(b"\n")
        if newline >= 0:
            return start + newline + 1, True
        if not block:
            break
        start += len(block)
        block_bytes = min(2 * block_bytes, PIECE_BYTES)
    return start, False
