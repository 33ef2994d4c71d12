"""Small segments of a file that lie next to each other: read together, handed out one by one.

To open a file, to look at its pin twice and to close it takes ten times as long as to read the ten bytes of a tiny
segment, so a block is read for those that follow. The pin was right before and after that: what is taken of the block
is what was planned, whatever becomes of the file later; and the next block is read from a file that is opened anew.
"""

from __future__ import annotations

from typing import Optional

from mapreduce.refs import Segment
from mapreduce.splits.opening import is_url, opened

BLOCK_BYTES = 64 * 1024


class Nearby:
    """The block that was read last, of any file."""

    def __init__(self) -> None:
        self._file = ("", "")  #: its path and pin
        self._start = 0  #: of the block in the file
        self._data = b""

    def records(self, segment: Segment) -> Optional[tuple[int, bytes]]:
        """Where the records of a segment lie in its file, and they themselves, as `reading.align` finds them.

        None: one block does not tell, or nothing pins the file. Raises `InputError`.
        """
        if not segment.pin or is_url(segment.path):
            return None
        known = self._file == (segment.path, segment.pin) and self._holds(segment)
        found = self._find(segment) if known else None
        if found is None and not (known and self._begins_at(segment)):
            self._read(segment)
            found = self._find(segment) if self._holds(segment) else None
        return found

    def _read(self, segment: Segment) -> None:
        """The block that begins one byte before the segment: a line begins there if that is a newline."""
        start = max(0, segment.start - 1)
        with opened(segment) as file:
            file.seek(start)
            data = file.read(BLOCK_BYTES)
        self._file, self._start, self._data = (segment.path, segment.pin), start, data

    def _begins_at(self, segment: Segment) -> bool:
        """To read a block for the segment would bring this one."""
        return self._start == max(0, segment.start - 1)

    def _holds(self, segment: Segment) -> bool:
        end = self._start + len(self._data)
        return self._start <= max(0, segment.start - 1) and segment.end <= end

    def _find(self, segment: Segment) -> Optional[tuple[int, bytes]]:
        """In the block, which holds the segment."""
        data, start, end = self._data, segment.start - self._start, segment.end - self._start
        if not segment.aligned:
            if segment.start:
                start = data.find(b"\n", start - 1, end - 1) + 1
                if not start:  # no line begins in it
                    return segment.end, b""
            end = data.find(b"\n", end - 1) + 1
            if not end and not self._is_last(segment):
                return None
            end = end or len(data)
        return self._start + start, data[start:end]

    def _is_last(self, segment: Segment) -> bool:
        """The block ends where the file does, by its pin."""
        return segment.pin.startswith(f"{self._start + len(self._data)}:")
