"""Whether two programs have computed the same: a digest of what lies in their output folders.

How lines are spread over part files is each program's own affair. Files whose names begin with "part" count, in order
of their names, wherever in the folder they are; markers and checksums do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 1 << 20


def in_order(folder: Path) -> str:
    """The parts one after the other, as one file."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts(folder):
        with open(part, "rb") as file:
            for piece in iter(lambda: file.read(_READ_BYTES), b""):
                digest.update(piece)
    return digest.hexdigest()


def in_any_order(folder: Path) -> str:
    """The lines of all parts, sorted."""
    lines = sorted(line for part in parts(folder) for line in part.read_bytes().splitlines())
    return hashlib.blake2b(b"\n".join(lines), digest_size=16).hexdigest()


def values_in_order(folder: Path) -> str:
    """What stands after the last tab of each line, or the line if it has none."""
    lines = (line for part in parts(folder) for line in part.read_bytes().splitlines())
    return hashlib.blake2b(
        b"\n".join(line.rpartition(b"\t")[2] for line in lines), digest_size=16
    ).hexdigest()


def none(folder: Path) -> str:
    """For what has no answer to compare, or compares it itself."""
    return ""


def parts(folder: Path) -> Iterator[Path]:
    """The part files that are there, in order of name."""
    yield from sorted(path for path in folder.rglob("part*") if path.is_file())
