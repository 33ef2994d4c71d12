"""What reading gives: batches of records, and the error for bytes that are not what the format says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

from mapreduce.errors import InputError
from mapreduce.shown import without_secrets

#: Bytes that are read, cut and decoded at once; a record that is longer is read whole. With 1 MiB, what is alive
#: at a time no longer fits in the caches of usual processors, and reading lines takes a third longer.
PIECE_BYTES = 256 * 1024
_SHOWN_CHARACTERS = 200


class BadRecord(InputError):
    """Bytes of the input that the format forbids.

    ``source`` is the file as the user named it, ``offset`` the byte in it (in what it decompresses to, if
    it is compressed), ``message`` what is wrong there and what to do, ``record`` a short repr of the
    record.
    """

    def __init__(self, source: str, offset: int, message: str, record: str = "") -> None:
        super().__init__(f"{without_secrets(source)}: byte {offset}: {message}")
        self.source = source
        self.offset = offset
        self.message = message
        self.record = record

    def __reduce__(self) -> tuple[Any, ...]:
        return BadRecord, (self.source, self.offset, self.message, self.record)


def shown(record: object) -> str:
    """``repr``, cut so that it fits into a message."""
    if isinstance(record, (str, bytes)):
        record = record[:_SHOWN_CHARACTERS]
    text = repr(record)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


class Batch:
    """Records that follow one another in one file; about 256 KiB of bytes."""

    __slots__ = ("_find_offsets", "_offsets", "records", "source")

    def __init__(self, records: list[Any], source: str, find_offsets: Callable[[], Sequence[int]]) -> None:
        self.records = records
        #: the file as the user named it
        self.source = source
        self._find_offsets = find_offsets
        self._offsets: Optional[Sequence[int]] = None

    def locate(self, i: int) -> int:
        """Where the first byte of ``records[i]`` stands in the file called ``source`` (in what that
        decompresses to, if it is compressed). Worked out on the first call: for messages, not for loops."""
        if self._offsets is None:
            self._offsets = self._find_offsets()
        return self._offsets[i]
