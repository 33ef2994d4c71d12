"""A worker's folders on its own disk, one for each job and in it one for each attempt, and what is removed when."""

from __future__ import annotations

import os

from mapreduce.attempt import Attempt
from mapreduce.effects import Command, RemoveTree


class Folders:
    """``by_reference``: worker and client are one process, in which others read what attempts have written where it
    lies; all of it goes with that."""

    def __init__(self, directory: str, by_reference: bool) -> None:
        self._directory = directory
        self._by_reference = by_reference

    def of_attempt(self, job: str, number: int) -> str:
        """The path of its folder, in its job's; whoever writes there first makes it."""
        return f"{self._of_job(job)}{os.sep}{number:016x}"

    def when_over(self, attempt: Attempt) -> list[Command]:
        """The log has its outcome."""
        return [] if self._by_reference and attempt.wrote else self.when_forgotten(attempt)

    def when_forgotten(self, attempt: Attempt) -> list[Command]:
        """What it has written for others stays while the log may have its `Done`, though nobody has said so yet."""
        removed: list[Command] = [RemoveTree(attempt.folder)]
        if attempt.slot >= 0 and not attempt.may_win and attempt.output_folder:
            removed.append(RemoveTree(attempt.output_folder, shared=True))
        return removed

    def when_job_is_over(self, job: str) -> list[Command]:
        """Nothing of it runs here any more."""
        return [] if self._by_reference else [RemoveTree(self._of_job(job))]

    def _of_job(self, job: str) -> str:
        return f"{self._directory}{os.sep}{job}"
