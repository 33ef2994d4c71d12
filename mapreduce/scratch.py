"""Temporary folders that do not outlive their process for long.

$TMPDIR/
    mr-worker-k3j9x2/       locked while its process lives, removed at its end
    mr-worker-0a8f1c/       of a process that was killed: nobody holds its lock, so the next one removes it
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
import weakref

from mapreduce.signals import Stopped

try:
    import fcntl
except ImportError:  # not POSIX: leftovers of killed processes stay
    fcntl = None  # type: ignore[assignment]


class ScratchFolder:
    """A new, empty, locked folder; the making removes those of the same prefix and user whose process died.

    Removed by `close`, at the end of its context, when it is forgotten, or at the end of the interpreter.
    """

    def __init__(self, prefix: str) -> None:
        _sweep(prefix)
        self.path, lock = _make(prefix)
        self._remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove it with all it holds. May be called again."""
        self._remove()

    def __enter__(self) -> ScratchFolder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def try_lock(directory: str, wait: bool = False) -> int:
    """A descriptor that holds the folder's lock; -1 if somebody else holds it or there are no locks here."""
    if fcntl is None:
        return -1
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _make(prefix: str) -> tuple[str, int]:
    """A sweeper may come between making and locking: wait for it, and then see what it has left."""
    while True:
        path = tempfile.mkdtemp(prefix=prefix)
        lock = try_lock(path, wait=True)
        if os.path.isdir(path):
            return path, lock
        if lock >= 0:
            os.close(lock)


def _remove(path: str, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # else a copy of the process ends, not the process
        try:
            shutil.rmtree(path, ignore_errors=True)
        except (KeyboardInterrupt, Stopped):  # a signal in the middle: what was begun is ended first
            shutil.rmtree(path, ignore_errors=True)
            raise
    if lock >= 0:
        os.close(lock)


def _sweep(prefix: str) -> None:
    if fcntl is None:
        return
    for path in glob.glob(glob.escape(os.path.join(tempfile.gettempdir(), prefix)) + "*"):
        lock = try_lock(path)
        if lock >= 0:
            status = os.fstat(lock)
            if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700:
                shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
