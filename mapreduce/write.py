"""Where a job's output goes: standard output, or a folder of part files."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional, Protocol

from mapreduce import formats
from mapreduce.errors import OutputError, ReaderGone
from mapreduce.outputs import OutputDirectory

Batch = tuple[int, list[Any], list[Any]]


class Sink(Protocol):
    """Takes the whole output, part by part."""

    def write(self, batches: Iterable[Batch], parts: int) -> None:
        """Write (part, keys, values) batches, parts in order; ``parts`` is how many there are, empty ones included."""


class StandardOutput:
    """All parts one after the other, as one file."""

    def __init__(self, output_format: str) -> None:
        self._encode = formats.writer(output_format)

    def write(self, batches: Iterable[Batch], parts: int) -> None:
        if sys.stdout is None:
            raise OutputError("standard output is closed; choose a folder for the output: -o DIR")
        out = sys.stdout.buffer
        try:
            for _, keys, values in batches:
                out.write(self._encode(keys, values))
            out.flush()
        except BrokenPipeError as error:
            raise ReaderGone("whoever read the output went away") from error
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error


class Folder:
    """A file for each part, also for the empty ones."""

    def __init__(self, directory: OutputDirectory, output_format: str) -> None:
        self._directory = directory
        self._format = output_format

    def write(self, batches: Iterable[Batch], parts: int) -> None:
        written = -1
        encode = formats.writer(self._format)
        for part, keys, values in batches:
            if part != written:
                self._write_empty(range(written + 1, part))
                written, encode = part, formats.writer(self._format)
            self._directory.write(part, encode(keys, values))
        self._write_empty(range(written + 1, parts))
        self._directory.commit()

    def _write_empty(self, parts: Sequence[int]) -> None:
        for part in parts:
            self._directory.write(part, b"")


@contextlib.contextmanager
def open_sink(directory: Optional[str], output_format: str) -> Iterator[Sink]:
    """The place for a job's output, made before the job runs. Raises `OutputError` for a folder that exists."""
    if directory is None:
        yield StandardOutput(output_format)
        return
    with OutputDirectory(directory) as folder:
        yield Folder(folder, output_format)
