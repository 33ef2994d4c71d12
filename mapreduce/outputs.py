"""The folder that `-o DIR` names: it appears whole or not at all.

    DIR's parent/
        .DIR.mr-1f3a…/      while the job runs; hidden, a new name for every run
            part-00000
            part-00001
        DIR/                renamed from it, once all is written and synced
            part-00000
            part-00001
            _SUCCESS        empty

The hidden folder is locked while its run lives. A run that was killed cannot remove its own: the next one to
the same DIR finds it unlocked and does. Nothing of it is ever taken over.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import BinaryIO, Optional, Union

from mapreduce.errors import OutputError
from mapreduce.scratch import try_lock


class OutputDirectory:
    """Part files on their way to ``path``. A context manager: what is not committed at its end is removed.

        with OutputDirectory("counts") as output:
            output.write(0, b"a\\t1\\n")
            output.write(1, b"")        an empty part is a file too
            output.commit()

    Every method raises `OutputError`. The constructor does so at once if ``path`` exists or cannot be made:
    before the job runs, not after.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = os.path.abspath(path)
        self._name = os.fspath(path)  # as the user wrote it, for messages
        self._file: Optional[BinaryIO] = None
        self._part = -1
        self._lock = -1
        if not self._name:
            raise OutputError("the folder for the output has no name")
        if os.path.lexists(self.path):
            raise OutputError(
                f"{self._name} exists already: remove it, or choose another folder for the output"
            )
        parent, name = os.path.split(self.path)
        self._prefix = os.path.join(parent, f".{name}.mr-")
        self._hidden = self._prefix + secrets.token_hex(8)
        with self._translated():
            os.makedirs(parent, exist_ok=True)
            self._remove_leftovers()
            os.mkdir(self._hidden)
            self._lock = try_lock(self._hidden)

    def write(self, part: int, data: bytes) -> None:
        """Append to a part. Parts are written in ascending order: a part once left is complete."""
        with self._translated():
            if part != self._part:
                if part < self._part:
                    raise ValueError(f"part {part} after part {self._part}")
                self._finish_part()
                path = os.path.join(self._hidden, f"part-{part:05d}")
                self._file, self._part = open(path, "xb"), part  # noqa: SIM115  closed by _finish_part or close
            assert self._file is not None
            self._file.write(data)

    def commit(self) -> None:
        """Make the folder appear, with all its parts and `_SUCCESS`."""
        with self._translated():
            self._finish_part()
            with open(os.path.join(self._hidden, "_SUCCESS"), "xb") as success:
                _sync(success.fileno())
            _sync_directory(self._hidden)
            # Onto a folder that was made meanwhile: replaces an empty one, else fails with ENOTEMPTY.
            os.rename(self._hidden, self.path)
            _sync_directory(os.path.dirname(self.path))
        self.close()

    def close(self) -> None:
        """Remove whatever was not committed. May be called again."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk once more: what we remove need not be complete
                self._file.close()
            self._file = None
        shutil.rmtree(self._hidden, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> OutputDirectory:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _finish_part(self) -> None:
        if self._file is not None:
            self._file.flush()
            _sync(self._file.fileno())
            self._file.close()
            self._file = None

    def _remove_leftovers(self) -> None:
        for leftover in glob.glob(glob.escape(self._prefix) + "*"):
            lock = try_lock(leftover)
            if lock >= 0:
                shutil.rmtree(leftover, ignore_errors=True)
                os.close(lock)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(self.path):
                reason = "somebody else made it while the job ran: remove it, or choose another folder"
            else:
                reason = error.strerror or str(error)
            raise OutputError(f"cannot write the output to {self._name}: {reason}") from error


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot, for folders above all; a real failure to write is another error.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _sync_directory(path: str) -> None:
    """Make the names in a folder last, where the system can open folders."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows, or a folder that we may write and not read
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
