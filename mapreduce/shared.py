"""Blocks by reference over a broker: files in a folder that client and workers all see.

    DIR/                        `mr run --shared-dir DIR`: the same path everywhere
        mr-JOB/                 made by the client alone, so whoever finds it there sees the same folder
            ATTEMPT/            16 hex digits; made and written by that attempt alone
                tmp….blocks     as in `runs`; messages carry its name, and each block's place and checksum

Nobody but the client makes the job's folder, so what a process that should be dead writes after its removal goes
nowhere. A file is closed before its attempt's `Done`; NFS shows it to others from then on (close-to-open), and that is
when they look.

All is private to one user, unless DIR has the set-group-ID bit: then its group may read and write, too.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import BinaryIO, Optional

from mapreduce.refs import Block

#: an NFS client may believe for a moment that a new name is not there
PATIENCE_SECS = 1.0
_LOOK_SECS = 0.2
_PIECE_BYTES = 1024 * 1024
_ATTEMPT = re.compile("[0-9a-f]{16}")
#: behind the name of a folder that is being removed
_GONE = ".gone"
#: of a file that is gone, of what is no file (a pipe, a socket), or of a name that a damaged message has made up.
#: Whatever else goes wrong while it is opened or read (no descriptors, no memory, a server that does not answer)
#: tells nothing of the file
_LOST = frozenset(
    [errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EISDIR, errno.ENAMETOOLONG, errno.ESPIPE, errno.ENXIO]
)


def folder_of(shared_dir: str, job: str) -> str:
    """The folder of a job in DIR."""
    return os.path.join(shared_dir, f"mr-{job}")


def job_of(name: str) -> Optional[str]:
    """The job whose folder in DIR has this name, also while that is being removed; None: no job's has."""
    if not name.startswith("mr-"):
        return None
    return name[len("mr-") : -len(_GONE)] if name.endswith(_GONE) else name[len("mr-") :]


def attempt_folder(folder: str, attempt: int) -> str:
    """The folder of an attempt in its job's."""
    return os.path.join(folder, f"{attempt:016x}")


def as_sent(block: Block) -> Block:
    """What a message says of a block in the folder of its attempt."""
    return block._replace(path=os.path.basename(block.path))


def as_found(block: Block, folder: str, attempt: int) -> Block:
    """The inverse of `as_sent`; whatever the message says, it is a file of that attempt's folder."""
    return block._replace(path=os.path.join(attempt_folder(folder, attempt), os.path.basename(block.path)))


def writer_of(block: Block) -> int:
    """The attempt in whose folder it lies."""
    return int(os.path.basename(os.path.dirname(block.path)), 16)


def checksum(data: bytes, before: int = 0) -> int:
    """CRC-32 of ``data`` behind what has ``before``: for what is lost or cut short, not against anybody's will."""
    return zlib.crc32(data, before)


# ---------------------------------------------------------------- making and removing


def make_job_folder(folder: str) -> None:
    """Make it, in a DIR that exists; nothing if it is there already. Raises OSError."""
    _make(folder)


def new_file(folder: str) -> tuple[int, str]:
    """A new file in the folder of an attempt, which is made if need be; descriptor and path. Raises OSError."""
    _make(folder)
    descriptor, path = tempfile.mkstemp(suffix=".blocks", dir=folder)
    if _is_for_group(folder):
        os.fchmod(descriptor, 0o640)
    return descriptor, path


def _make(folder: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        if _is_for_group(os.path.dirname(folder)):
            os.chmod(folder, stat.S_ISGID | 0o770)


def _is_for_group(folder: str) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_ISGID)


def remove_job_folder(folder: str) -> None:
    """Remove it with what attempts have left in it, if it is there. It is renamed first: nobody writes into it then.

    The name comes from a message: what attempts do not make is not touched. Raises OSError if the folder stays,
    ValueError for what is no path.
    """
    if not os.path.isabs(folder):
        raise ValueError("its path is not absolute")
    gone = f"{folder}{_GONE}"
    with contextlib.suppress(OSError):  # then it is emptied where it is
        if all(map(_ATTEMPT.fullmatch, os.listdir(folder))):
            os.rename(folder, gone)
    for each in (folder, gone):
        _remove_attempts(each)


def _remove_attempts(folder: str) -> None:
    """And the folder itself, if it holds nothing else."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, PermissionError):  # who may not look into it has had no part in the job
        return
    for name in filter(_ATTEMPT.fullmatch, names):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):  # several may be at it
        os.rmdir(folder)


# ---------------------------------------------------------------- reading


def trouble_with(folder: str) -> str:
    """Why a job's folder is of no use here; "": it can be read."""
    if not os.path.isdir(folder):
        return "is not there"
    return "" if os.access(folder, os.R_OK | os.X_OK) else "may not be read"


def lost(blocks: Iterable[Block], patience_secs: float = PATIENCE_SECS) -> list[Block]:
    """Those whose file is not there, is too short, or holds other bytes. Reads all of them.

    Raises OSError where a file cannot be read for another reason: then nothing is known of them.
    """
    bad = list(itertools.chain.from_iterable(map(_damaged, _by_file(blocks))))
    until = time.monotonic() + patience_secs
    while bad and time.monotonic() < until:
        time.sleep(_LOOK_SECS)
        for folder in {os.path.dirname(block.path) for block in bad}:
            with contextlib.suppress(OSError), os.scandir(folder):
                pass  # opening a folder makes an NFS client ask what is in it
        bad = list(itertools.chain.from_iterable(map(_damaged, _by_file(bad))))
    return bad


def _by_file(blocks: Iterable[Block]) -> Iterable[list[Block]]:
    return (list(its) for _, its in itertools.groupby(blocks, attrgetter("path")))


def _damaged(blocks: Sequence[Block]) -> list[Block]:
    """Of one file."""
    try:
        with open(blocks[0].path, "rb", buffering=0, opener=_at_once) as file:
            return [block for block in blocks if checksum_in(file, block) != block.crc]
    except (ValueError, OverflowError):  # no name, or no place, of a file
        return list(blocks)
    except OSError as error:
        if error.errno not in _LOST:
            raise
        return list(blocks)


def _at_once(path: str, flags: int) -> int:
    """A descriptor; it does not wait until somebody writes into what has become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def checksum_in(file: BinaryIO, block: Block) -> int:
    """Of the block's bytes as they are in its file. -1: the file is too short, or it is no place in a file."""
    if block.offset < 0:
        return -1
    file.seek(block.offset)
    crc, left = 0, block.length
    while left:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            return -1
        crc, left = checksum(piece, crc), left - len(piece)
    return crc


def copied(blocks: Sequence[Block], path: str) -> list[Block]:
    """Blocks that lie in a shared folder, appended to a file of our own; others as they are. Raises OSError."""
    with open(path, "ab") as target:
        return [block if block.crc is None else _copied(block, target) for block in blocks]


def _copied(block: Block, target: BinaryIO) -> Block:
    with open(block.path, "rb", opener=_at_once) as source:
        source.seek(block.offset)
        data = source.read(block.length)
    if checksum(data) != block.crc:
        raise OSError(f"{block.path} is not what it was")
    offset = target.tell()
    target.write(data)
    return block._replace(path=target.name, offset=offset, crc=None)
