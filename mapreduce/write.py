"""Where a job's output goes: standard output, or a folder of part files."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Optional, Protocol

from mapreduce import formats
from mapreduce.errors import OutputError, ReaderGone
from mapreduce.outputs import OutputDirectory
from mapreduce.refs import Block
from mapreduce.runs import read_blocks, read_formatted

#: the number of a part that is not empty, and what it is made of
Part = tuple[int, Sequence[Block]]


class Sink(Protocol):
    """Takes the whole output, part by part."""

    def write(self, parts: Iterable[Part], count: int, output_format: str) -> None:
        """Write the parts, which come in order; ``count`` is how many there are, empty ones included."""


class _Encoder:
    """From the blocks of one file to its bytes."""

    def __init__(self, output_format: str) -> None:
        self._format = output_format
        self._encode = formats.writer(output_format)

    def encode(self, blocks: Iterable[Block]) -> Iterator[bytes]:
        for kind, alike in itertools.groupby(blocks, attrgetter("kind")):
            if kind == self._format:
                yield from read_formatted(alike)
            elif not kind:
                yield from itertools.starmap(self._encode, read_blocks(alike))
            else:
                raise OutputError(
                    f"the job was submitted with --format {kind}: its output is there in no other"
                )


class StandardOutput:
    """All parts one after the other, as one file."""

    def write(self, parts: Iterable[Part], count: int, output_format: str) -> None:
        if sys.stdout is None:
            raise OutputError("standard output is closed; choose a folder for the output: -o DIR")
        out, encoder = sys.stdout.buffer, _Encoder(output_format)
        try:
            # those of all parts together: thousands of small ones lie in one file, which is opened once for them
            for data in encoder.encode(itertools.chain.from_iterable(blocks for _, blocks in parts)):
                out.write(data)
            out.flush()
        except BrokenPipeError as error:
            raise ReaderGone("whoever read the output went away") from error
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error


class Folder:
    """A file for each part, also for the empty ones."""

    def __init__(self, directory: OutputDirectory) -> None:
        self._directory = directory

    def write(self, parts: Iterable[Part], count: int, output_format: str) -> None:
        begun = 0
        for part, blocks in parts:
            self._write_empty(range(begun, part))
            for data in _Encoder(output_format).encode(blocks):
                self._directory.write(part, data)
            begun = part + 1
        self._write_empty(range(begun, count))
        self._directory.commit()

    def _write_empty(self, parts: Iterable[int]) -> None:
        for part in parts:
            self._directory.write(part, b"")


@contextlib.contextmanager
def open_sink(directory: Optional[str]) -> Iterator[Sink]:
    """The place for a job's output, made before the job runs. Raises `OutputError` for a folder that exists."""
    if directory is None:
        yield StandardOutput()
        return
    with OutputDirectory(directory) as folder:
        yield Folder(folder)
