"""How much memory process groups use, and the cap on what one process can ask for.

The pool measures the executor's group several times a second, less often where that takes long, and ends it when that
is over the limit. One huge allocation would be over it long before, so the executor has a cap as well: an allocation
beyond that is a `MemoryError` in user code, whose traceback and record are known.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Collection, Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024
#: what Linux counts as a process's own, in /proc/PID/status; pages that are part of a file can be dropped
_OWN = ("RssAnon:", "RssShmem:", "VmSwap:")
#: the same, pages that several processes share counted in parts, in /proc/PID/smaps_rollup
_SHARES = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")

MEASURABLE = sys.platform == "linux" and os.path.exists("/proc/self/status")


def used_memory(groups: Collection[int]) -> dict[int, int]:
    """Bytes of memory that the processes of each group use together. Groups that are gone are left out."""
    return {group: _together(pids) for group, pids in _members(set(groups)).items()}


def own_memory() -> int:
    """Bytes of memory that this process uses, without its children; 0: that cannot be told here."""
    return _memory_of(os.getpid())


def others_in_group() -> bool:
    """Whether this process's group has other processes, as far as that can be known."""
    if not MEASURABLE:
        return False
    group = os.getpgrp()
    return bool(set(_members({group}).get(group, [])) - {os.getpid()})


def _members(groups: set[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            # it may have ended meanwhile
            with (
                contextlib.suppress(OSError, IndexError, ValueError),
                open(f"/proc/{name}/stat", "rb") as file,
            ):
                state, _, group = file.read().rpartition(b")")[2].split()[:3]
                if int(group) in groups and state not in b"ZX":
                    found.setdefault(int(group), []).append(int(name))
    return found


def _together(pids: list[int]) -> int:
    # A process that was forked shares most of its memory; to tell how much takes the system long.
    return sum(map(_memory_of, pids)) if len(pids) == 1 else sum(map(_share_of, pids))


def _memory_of(pid: int) -> int:
    return sum(_sizes(f"/proc/{pid}/status", _OWN))


def _share_of(pid: int) -> int:
    return sum(_sizes(f"/proc/{pid}/smaps_rollup", _SHARES)) or _memory_of(pid)


def _sizes(path: str, names: tuple[str, ...]) -> Iterator[int]:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(names):
                yield int(line.split()[1]) * _KIB


def cap_memory(limit: int) -> None:
    """Let this process allocate ``limit`` bytes more than it has now."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + limit
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # not where the system knows no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What counts for RLIMIT_DATA at present."""
    if MEASURABLE:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[5]) * _PAGE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB)
