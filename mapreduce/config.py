"""Settings from the environment, and the only module that reads it.

MR_BROKER      URL of the broker; unset: run on this machine alone
MR_DATA_DIR    where `mr` keeps what outlives a run (the private broker's data);
               default $XDG_DATA_HOME/mapreduce or ~/.local/share/mapreduce
TERM           what the terminal can do; "dumb": no more than lines
MR_RETAIN      how long the log of a job on a broker is kept after its results were fetched, unless --retain says so
MR_KEEP        how long a job on a broker is kept after it has failed, unless --keep says so
MR_SHARED_DIR  a folder that client and workers all see, for blocks, unless --shared-dir names one
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Optional


def broker_url() -> Optional[str]:
    """The broker named by MR_BROKER; None if there is none."""
    return os.environ.get("MR_BROKER") or None


def retain_time() -> Optional[str]:
    """MR_RETAIN, as it was written."""
    return os.environ.get("MR_RETAIN") or None


def keep_time() -> Optional[str]:
    """MR_KEEP, as it was written."""
    return os.environ.get("MR_KEEP") or None


def shared_dir() -> Optional[str]:
    """MR_SHARED_DIR, as it was written."""
    return os.environ.get("MR_SHARED_DIR") or None


def data_dir() -> Path:
    """Where `mr` keeps what outlives a run. May not exist yet."""
    own = os.environ.get("MR_DATA_DIR")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    base = Path(shared) if shared else Path.home() / ".local" / "share"
    return base / "mapreduce"


def terminal_kind() -> str:
    """What the terminal calls itself; "" if there is none."""
    return os.environ.get("TERM", "")


def child_environment(changes: Mapping[str, str], without: tuple[str, ...] = ()) -> dict[str, str]:
    """Our environment for a child process, less the names that begin with one of ``without``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    return {**kept, **changes}
