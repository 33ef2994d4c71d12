"""Folders that jobs have shared (`mr run --shared-dir`), and what of them is left.

A folder is not the broker's: jobs of several brokers may share one DIR, and that a broker knows nothing of a job does
not say that it is over. So only a folder whose job the user names is removed, and only if this broker has none such.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

from mapreduce import events as ev
from mapreduce import shared
from mapreduce.display import texts
from mapreduce.doctor.finding import NOTE, OK, WARNING, Finding


class Folder(NamedTuple):
    """What one job has in DIR."""

    job: str
    paths: tuple[str, ...]  #: of its folder, or of what is left of that while it is being removed, or both
    files: int
    size: int  #: bytes
    changed_at: float  #: the last change in it: seconds since the epoch, by the file server's clock

    @property
    def names(self) -> str:
        """As people are shown them."""
        return " and ".join(self.paths)


def list_folders(shared_dir: str) -> dict[str, tuple[str, ...]]:
    """Their paths, by job. Raises OSError if DIR cannot be read."""
    found: dict[str, tuple[str, ...]] = {}
    with os.scandir(os.path.abspath(shared_dir)) as entries:
        for entry in entries:
            job = shared.job_of(entry.name)
            if job is not None and ev.is_name(job) and entry.is_dir(follow_symlinks=False):
                found[job] = tuple(sorted((*found.get(job, ()), entry.path)))
    return found


def measure(listed: Mapping[str, tuple[str, ...]]) -> list[Folder]:
    """What `list_folders` has found, the one longest unchanged first. Looks at every file."""
    folders = [_measure(job, paths) for job, paths in listed.items()]
    return sorted(folders, key=lambda folder: (folder.changed_at, folder.job))


def _measure(job: str, paths: tuple[str, ...]) -> Folder:
    """As far as it may be read, and is still there."""
    files = size = 0
    changed_at = 0.0
    todo = [*paths]
    while todo:
        each = todo.pop()
        try:
            status = os.lstat(each)
            if stat.S_ISDIR(status.st_mode):
                todo += [os.path.join(each, name) for name in os.listdir(each)]
            else:
                files, size = files + 1, size + status.st_size
            changed_at = max(changed_at, status.st_mtime)
        except OSError:
            continue
    return Folder(job, paths, files, size, changed_at)


def check_folders(
    folders: Sequence[Folder], alive: Collection[str], unsure: bool, named: Collection[str], clean: bool
) -> Iterator[Finding]:
    """``alive``: jobs that this broker knows. ``unsure``: there may be others. ``named``: jobs, by the user."""
    now = time.time()
    for folder in folders:
        age = texts.secs(now - folder.changed_at)
        size = f"{texts.count(folder.files, 'file')}, {texts.size(folder.size)}"
        what = f"{folder.names}: {size}, last changed {age} ago"
        if folder.job in alive:
            yield Finding("folders", OK, f"{what}; its job is there")
        elif unsure:
            yield Finding("folders", NOTE, f"{what}; whose it is cannot be told while workers do not answer")
        elif clean and folder.job in named:
            yield _remove(folder, size)
        else:
            directory = os.path.dirname(folder.paths[0])
            advice = f"if no other broker does: mr doctor --shared-dir {directory} --clean {folder.job}"
            yield Finding("folders", WARNING, f"{what}; this broker knows no such job", advice)
    if not folders:
        yield Finding("folders", OK, "no job shares one there")


def _remove(folder: Folder, size: str) -> Finding:
    trouble = _trouble_with_removing(folder)
    if trouble:
        return Finding("folders", WARNING, f"cannot remove {folder.names}: {trouble}")
    return Finding("folders", OK, f"removed {folder.names}: {size}")


def _trouble_with_removing(folder: Folder) -> Optional[str]:
    whole = shared.folder_of(os.path.dirname(folder.paths[0]), folder.job)
    try:
        shared.remove_job_folder(whole)
    except OSError as error:
        return error.strerror or str(error)
    return "it is another user's" if any(map(os.path.lexists, folder.paths)) else None
