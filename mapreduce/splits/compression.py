"""Compressed files, told by their names. They are read from front to end, whole, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, Callable, cast

from mapreduce.errors import InputError
from mapreduce.shown import without_secrets
from mapreduce.splits.batches import PIECE_BYTES

_BY_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
#: zstandard gives all that some input expands to at once, so it is fed little
_ZSTD_INPUT_BYTES = 16 * 1024


@lru_cache(maxsize=16)  # a large file has many segments
def compression_of(name: str) -> str:
    """ "gzip", "bzip2", "xz" or "zstd" by the end of the name, else ""."""
    return next((kind for suffix, kind in _BY_SUFFIX.items() if name.endswith(suffix)), "")


def decompressed(raw: Iterator[bytes], compression: str, source: str) -> Iterator[bytes]:
    """The bytes that ``raw`` expands to, in chunks of about 256 KiB. Streams that follow one another in a file
    (as `cat a.gz b.gz` makes them) are read one after the other. Raises `InputError` for a damaged file."""
    stream = cast(BinaryIO, io.BufferedReader(_Chunks(raw)))
    with _named(source, compression):
        if compression == "zstd":
            yield from _zstd(stream, source)
            return
        with _OPENERS[compression](stream) as expanded:
            while chunk := expanded.read(PIECE_BYTES):
                yield chunk


@contextmanager
def _named(source: str, compression: str) -> Iterator[None]:
    """All that the libraries raise for damaged data, as one clear line. OSError is gzip's and bz2's way; real
    trouble with reading has been translated below, by `opening`."""
    name = without_secrets(source)
    try:
        yield
    except EOFError as error:
        text = f"{name}: the {compression} data ends too early: the file is not complete; copy it again"
        raise InputError(text) from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        text = f"{name}: the {compression} data is damaged ({error}); check the file, or its name"
        raise InputError(text) from error


def _zstd(stream: BinaryIO, source: str) -> Iterator[bytes]:
    # the library's own stream reader takes a file that was cut off for its end, so frames are counted here
    try:
        import zstandard
    except ImportError as error:
        raise InputError(
            f"{without_secrets(source)}: needs a package ({error}): pip install zstandard"
        ) from error
    frame: Any = None
    expanded: list[bytes] = []
    size = 0
    data = b""
    try:
        while data := data or stream.read(_ZSTD_INPUT_BYTES):
            frame = frame or zstandard.ZstdDecompressor().decompressobj(write_size=64 * 1024)
            expanded.append(frame.decompress(data))
            size += len(expanded[-1])
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
            if size >= PIECE_BYTES:
                yield b"".join(expanded)
                expanded, size = [], 0
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error
    if frame is not None:
        raise EOFError
    yield b"".join(expanded)


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
