"""The mark of a careful attempt: which record user code has at the moment, in a file that outlives the process.

    file:  slot │ slot                   written in turns; SLOT_BYTES each
    slot:  ┌─────────┬────────────┬─────────────┬────────────────────────────────────────────┐
           │ CRC, u32│ number, u64│ length, u32 │ `codec`: (position, source, offset, record) │   little endian
           └─────────┴────────────┴─────────────┴────────────────────────────────────────────┘

The file is mapped into memory: a write takes no system call, and holds whatever ends the process. The reader takes the
slot with the higher number of those whose checksum is right. So a write that was cut short is not seen, and the
record that it was for was not yet handed to user code.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from typing import NamedTuple, Optional

from mapreduce import codec

SLOT_BYTES = 16 * 1024
_NAME = "mark"
_HEADER = struct.Struct("<IQI")
_NUMBERED = struct.Struct("<QI")
#: so that a place always fits its slot
_MAX_SOURCE, _MAX_RECORD = 1000, 2500


class Place(NamedTuple):
    """A record, as `refs.Failure` and `refs.Skipped` name it."""

    position: int
    source: str
    offset: int
    record: str


NOWHERE = Place(-1, "", -1, "")


class Mark:
    """The executor's side: says where it is."""

    def __init__(self, directory: str) -> None:
        """Maps the file that is in the attempt's folder; makes it if `prepare` has not. Raises OSError."""
        fd = prepare(directory)
        try:
            self._memory = mmap.mmap(fd, 2 * SLOT_BYTES)
        finally:
            os.close(fd)
        self._pid = os.getpid()
        self._number = 0

    def set(self, place: Place) -> None:
        """From now on user code has this record."""
        if os.getpid() != self._pid:
            os._exit(1)  # a copy of this process that user code has made: it must not speak for us
        position, source, offset, record = place
        body = codec.pack((position, source[:_MAX_SOURCE], offset, record[:_MAX_RECORD]))
        self._number += 1
        data = _NUMBERED.pack(self._number, len(body)) + body
        start = self._number % 2 * SLOT_BYTES
        self._memory[start + 4 : start + 4 + len(data)] = data
        self._memory[start : start + 4] = zlib.crc32(data).to_bytes(4, "little")

    def clear(self) -> None:
        """User code has no record that could be named."""
        self.set(NOWHERE)

    def close(self) -> None:
        self._memory.close()


def prepare(directory: str) -> int:
    """Make the file, if it is not there; a descriptor to `read` it by, also when it has been removed.

    All its bytes are written, for a mapped file must not need room on a full disk later. Raises OSError.
    """
    fd = os.open(os.path.join(directory, _NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        have = os.fstat(fd).st_size
        if have < 2 * SLOT_BYTES:
            os.pwrite(fd, bytes(2 * SLOT_BYTES - have), have)
    except OSError:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> Optional[Place]:
    """Where the executor was last; None if it had no record."""
    found = [_slot(os.pread(fd, SLOT_BYTES, start)) for start in (0, SLOT_BYTES)]
    _, place = max(slot for slot in [(0, NOWHERE), *found] if slot is not None)
    return None if place == NOWHERE else place


def _slot(data: bytes) -> Optional[tuple[int, Place]]:
    if len(data) < _HEADER.size:
        return None
    checksum, number, length = _HEADER.unpack_from(data)
    end = _HEADER.size + length
    if not number or end > SLOT_BYTES or zlib.crc32(data[4:end]) != checksum:
        return None
    return number, Place(*codec.unpack(data[_HEADER.size : end]))
