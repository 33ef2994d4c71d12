"""Files of blocks: how chunks lie on disk, written and read.

    file:   block block block …         of any partitions, in the order in which they were written
    block:  chunk chunk …               of one partition and one run; up to about BLOCK_BYTES
    chunk:  ┌────────────┬───────────┬────────────┬──────────────────────────────┐
            │ length, u64│ keys, u32 │ bucket, u16│ `codec.encode_chunk`: length │   little endian; about CHUNK_BYTES
            └────────────┴───────────┴────────────┴──────────────────────────────┘

The keys of a run are in order. Or they are not, but lie in buckets by their hash, and the chunks in the order of these;
then the block's ``kind`` begins with BUCKETED. Whoever reads one bucket of all runs after the other needs few keys at a
time, which then are in the processor's cache (Shatdal, Kant, Naughton: Cache Conscious Algorithms for Relational Query
Processing, VLDB 1994); that is worth more than an order.

A pair that is larger than a chunk, or a block, has one for itself.

What the last stage writes for output files may lie there as it is to stand in them: then a block is just these bytes,
and its ``kind`` names their format.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Callable, NamedTuple, Optional, Union

from mapreduce import codec, shared
from mapreduce.refs import Block

CHUNK_BYTES = 64 * 1024
BLOCK_BYTES = 1024 * 1024

#: parts of a partition's keys by hash: so many that one of them, of 128 MiB in memory, is in a processor's second cache
MAX_BUCKETS = 32
#: of all partitions together: a map task has a list, and writes a chunk, for each of them
MAX_BUCKETS_WRITTEN = 1024
BUCKETED = "#"

_HEADER = struct.Struct("<QIH")
HEADER_BYTES = _HEADER.size
_FIRST_PAIRS = 512
_MAX_PAIRS = 16384

Batch = tuple[list[Any], list[Any]]
#: the same, where some of the pairs are alike
CountedBatch = tuple[Union[list[Any], codec.Lines], Union[list[Any], codec.Repeated]]
#: a key and its values
Group = tuple[Any, Iterator[Any]]
Emit = Callable[[int, Block], None]


def bucket_count(partitions: int) -> int:
    """How many buckets each of so many partitions has; 1: none, they had better be sorted."""
    return max(1, min(MAX_BUCKETS, MAX_BUCKETS_WRITTEN // partitions))


class BlockWriter:
    """Appends blocks to a new file of its own in ``directory``; the first ``carries`` bytes of them go without one.

    ``emit(partition, block)`` is called for each block once its bytes have been handed to the system. Raises
    OSError as it comes. ``is_shared``: the folder is one that others see, see `shared`.
    """

    def __init__(self, directory: str, emit: Emit, carries: int = 0, is_shared: bool = False) -> None:
        self._directory = directory
        self._file: Optional[BinaryIO] = None
        self.path = ""
        self._carries = carries
        self._is_shared = is_shared
        if not carries:
            self._create()
        self._offset = 0
        self._emit = emit
        self._chunks: list[bytes] = []
        self._length = self._records = 0
        self._label = (0, 0, "")
        self._pairs_per_chunk = _FIRST_PAIRS

    def write(
        self, partition: int, run: int, kind: str, keys: codec.Keys, values: codec.Values, bucket: int = 0
    ) -> None:
        """Append pairs to a run; those that are alike count as one. Raises `codec.UnsupportedValue`."""
        if self._label != (partition, run, kind):
            self.flush()
            self._label = (partition, run, kind)
        if isinstance(keys, codec.Lines) and len(keys) > self._pairs_per_chunk:
            keys = keys.items()  # once, and not again for each chunk
        start = 0
        while start < len(keys):
            count = self._pairs_per_chunk
            start += self._write_chunk(keys[start : start + count], values[start : start + count], bucket)

    def _write_chunk(self, keys: codec.Keys, values: codec.Values, bucket: int) -> int:
        """Append a chunk, or the half of it, or a quarter …; returns its number of pairs."""
        count = len(keys)
        data = codec.encode_chunk(keys, values)
        while len(data) > 2 * CHUNK_BYTES and count > 1:
            count = max(1, min(count // 2, count * CHUNK_BYTES // len(data)))
            data = codec.encode_chunk(keys[:count], values[:count])
        most = max(4 * count, self._pairs_per_chunk)
        self._pairs_per_chunk = max(1, min(count * CHUNK_BYTES // len(data), most, _MAX_PAIRS))
        if self._length and self._length + len(data) > BLOCK_BYTES:
            self.flush()
        self._chunks += (_HEADER.pack(len(data), count, bucket), data)
        self._length += _HEADER.size + len(data)
        self._records += count
        return count

    def write_formatted(self, output_format: str, data: bytes, records: int) -> None:
        """Append bytes of the output file, which stand for so many records, to partition 0."""
        if self._label != (0, 0, output_format) or (self._length and self._length + len(data) > BLOCK_BYTES):
            self.flush()
            self._label = (0, 0, output_format)
        self._chunks.append(data)
        self._length += len(data)
        self._records += records

    def flush(self) -> None:
        """Write and emit the block at hand."""
        if not self._chunks:
            return
        partition, run, kind = self._label
        data = b"".join(self._chunks)
        if self._file is None and len(data) <= self._carries:
            self._carries -= len(data)
            block = Block("", 0, len(data), self._records, run, kind, data)
        else:
            self._append(data)
            crc = shared.checksum(data) if self._is_shared else None
            block = Block(self.path, self._offset, len(data), self._records, run, kind, crc=crc)
            self._offset += len(data)
        self._chunks, self._length, self._records = [], 0, 0
        self._emit(partition, block)

    def _append(self, data: bytes) -> None:
        if self._file is None:
            if not self._is_shared:
                os.makedirs(self._directory, exist_ok=True)
            self._create()
        assert self._file is not None
        rest = memoryview(data)
        with self._named():
            while rest:
                rest = rest[self._file.write(rest) :]

    def _create(self) -> None:
        make = shared.new_file if self._is_shared else _new_file
        descriptor, self.path = make(self._directory)
        self._file = open(descriptor, "wb", buffering=0)  # noqa: SIM115  closed by `_close`

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Trouble with a file in a folder that others see says with which."""
        try:
            yield
        except OSError as error:
            if not self._is_shared:
                raise
            raise OSError(error.errno, error.strerror, self.path) from error

    def closed_on_error(self) -> BlockWriter:
        """A context: close the file when the body raises; nothing more is emitted."""
        return self

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is not None:
            self._close()

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self.flush()
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with self._named():  # NFS tells of a full disk as late as this
                self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        self._close()
        os.unlink(self.path)


def _new_file(directory: str) -> tuple[int, str]:
    return tempfile.mkstemp(suffix=".blocks", dir=directory)


class RunReader:
    """Reads blocks that follow each other, chunk by chunk. All lie in one file, which is open meanwhile."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = iter(blocks)
        self._file: Optional[BinaryIO] = None

    def __iter__(self) -> Iterator[Batch]:
        for keys, values, _ in self.chunks():
            yield keys, values

    def chunks(self) -> Iterator[tuple[list[Any], list[Any], int]]:
        """Keys, values, and how many bytes they were."""
        try:
            for block in self._blocks:
                if self._file is None:
                    self._file = open(block.path, "rb")  # noqa: SIM115
                for chunk in _read_chunks(self._file, block):
                    yield (*codec.spelled_out(*_decode(chunk)), len(chunk.data))
        finally:
            if self._file is not None:
                self._file.close()


class _Chunk(NamedTuple):
    """As it lies in a file."""

    data: bytes
    keys: int  #: how many
    bucket: int
    path: str


def _read_chunks(file: BinaryIO, block: Block) -> Iterator[_Chunk]:
    """The chunks of a block. Raises OSError."""
    if block.crc is not None:  # in a pass of its own: a merge has many open, and room for a chunk of each
        _compare(block, shared.checksum_in(file, block))
    file.seek(block.offset)
    left = block.length
    while left > 0:
        length, keys, bucket = _HEADER.unpack(_exactly(file, _HEADER.size))
        left -= _HEADER.size + length
        if left < 0:
            raise OSError(errno.EIO, "a block is damaged: a chunk is longer than the block", block.path)
        yield _Chunk(_exactly(file, length), keys, bucket, block.path)


def _compare(block: Block, crc: int) -> None:
    """Before any of it is used. It was right before the task began; somebody has changed it since."""
    if crc != block.crc:
        raise OSError(errno.EIO, "a block is not what was written", block.path)


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise OSError(errno.EIO, "the file ends within a block", file.name)
    return data


def _decode(chunk: _Chunk) -> CountedBatch:
    """Keys and values. Raises OSError where the bytes are damaged."""
    try:
        keys, values = codec.decode_chunk(chunk.data)
    except ValueError as error:
        raise OSError(errno.EIO, f"a block is damaged: {error}", chunk.path) from error
    if len(keys) != chunk.keys:
        text = f"a block is damaged: a chunk has {len(keys)} keys, not {chunk.keys}"
        raise OSError(errno.EIO, text, chunk.path)
    return keys, values


def read_blocks(blocks: Iterable[Block]) -> Iterator[Batch]:
    """The pairs of blocks as they lie, in batches of (keys, values). Raises OSError."""
    for run in split_runs(blocks):
        yield from RunReader(run)


def read_buckets(blocks: Iterable[Block]) -> Iterator[Iterator[CountedBatch]]:
    """The pairs of bucketed runs by bucket; those of a key stand in the order of ``blocks``. Raises OSError.

    The bytes of all blocks are in memory meanwhile.
    """
    chunks: list[list[_Chunk]] = [[] for _ in range(MAX_BUCKETS)]
    for run in split_runs(blocks):
        with open(run[0].path, "rb") as file:
            for block in run:
                for chunk in _read_chunks(file, block):
                    if chunk.bucket >= MAX_BUCKETS:
                        text = f"a block is damaged: it names bucket {chunk.bucket}"
                        raise OSError(errno.EIO, text, block.path)
                    chunks[chunk.bucket].append(chunk)
    while chunks:
        yield map(_decode, chunks.pop(0))


def read_formatted(blocks: Iterable[Block]) -> Iterator[bytes]:
    """The bytes of `BlockWriter.write_formatted` as they lie, up to about 1 MiB at a time, or a block that has a
    checksum. Raises OSError.
    """
    for run in split_runs(blocks):
        with open(run[0].path, "rb") as file:
            for block in run:
                file.seek(block.offset)
                if block.crc is not None:
                    data = _exactly(file, block.length)
                    _compare(block, shared.checksum(data))
                    yield data
                    continue
                for start in range(0, block.length, BLOCK_BYTES):
                    yield _exactly(file, min(BLOCK_BYTES, block.length - start))


def split_runs(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks as lists of those that are one run: same file, same number."""
    run: list[Block] = []
    for block in blocks:
        if run and (run[-1].run, run[-1].path) != (block.run, block.path):
            yield run
            run = []
        run.append(block)
    if run:
        yield run
