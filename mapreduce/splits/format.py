"""The contract of a record format: how bytes are cut into whole records, and how these become values.

One file per family implements it: `lines`, `rows` (CSV), `binary` (whole files, fixed size).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple, Optional

from mapreduce.splits.batches import Batch

Header = Optional[tuple[str, ...]]


class Piece(NamedTuple):
    """Bytes of whole records; the first one begins at byte ``offset`` of the original file."""

    offset: int
    data: bytes


class Borders(Enum):
    NEARBY = "by looking around, from anywhere in the file"
    COMPUTED = "by arithmetic, without the file"
    SCANNED = "by reading from the file's start"
    NONE = "there are none: a file is one segment"


class Format(ABC):
    """Stateless: one object serves any number of files."""

    #: how the borders of records in a large file are found
    borders = Borders.NEARBY
    #: True: an empty file is a record
    keeps_empty_files = False

    @abstractmethod
    def pieces(self, chunks: Iterator[bytes], offset: int, source: str) -> Iterator[Piece]:
        """Cut ``chunks``, whose first byte is a record's first and byte ``offset`` of the file, into pieces
        of about 256 KiB. Raises `BadRecord` where the last record is not whole."""

    @abstractmethod
    def border(self, data: bytes, at: int) -> int:
        """The first record's end in ``data`` (a piece) that is at ``at`` > 0 or after it."""

    @abstractmethod
    def batches(self, pieces: Iterable[Piece], source: str, header: Header) -> Iterator[Batch]:
        """The values. ``header`` is what `split_header` gave. Raises `BadRecord`."""

    def split_header(self, pieces: Iterator[Piece], source: str) -> tuple[Header, Iterator[Piece]]:
        """Take the header, where the format has one, from the front of a file's pieces."""
        return None, pieces

    def check_size(self, size: int, source: str) -> None:  # noqa: B027  (most formats take any size)
        """Raises `BadRecord` if a file of ``size`` bytes cannot be whole records."""
