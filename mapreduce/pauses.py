"""When a worker leaves tasks to others for a while: its disk is full, or it lacks a folder that a job shares.

If there are no others the job's tries last the longer (with a folder for `tries.backoff`), and somebody may make room
meanwhile.
"""

from __future__ import annotations

from mapreduce.attempt import Attempt
from mapreduce.effects import Command, Report
from mapreduce.intake import Intake
from mapreduce.refs import Failure

#: how long with a full disk; twice as long each time, until a task succeeds
DISK_PAUSE_SECS = 10.0
MAX_DISK_PAUSE_SECS = 300.0
#: the same where it does not see the folder that a job shares, or that is full: other jobs have no need of it
FOLDER_PAUSE_SECS = 1.0
MAX_FOLDER_PAUSE_SECS = 4.0


class Pauses:
    """How long the next ones are, and what begins and ends with them; ``intake``: what pauses."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._disk_secs, self._folder_secs = DISK_PAUSE_SECS, FOLDER_PAUSE_SECS

    def begin(self, attempt: Attempt, failure: Failure, now: float) -> list[Command]:
        """Its failure is of kind "disk" or "folder"."""
        if not self._intake.open:
            return []
        secs, what = self._next(failure.kind)
        text, d = f"{failure.message}; taking no task for {secs:.0f} s", attempt.dispatch
        return [Report("warning", text, what, d.job, d.stage, d.index), *self._intake.pause(now + secs)]

    def _next(self, kind: str) -> tuple[float, str]:
        """Seconds, and what a report of it is about."""
        if kind == "folder":
            secs = self._folder_secs
            self._folder_secs = min(2 * secs, MAX_FOLDER_PAUSE_SECS)
            return secs, "folder_trouble"
        secs = self._disk_secs
        self._disk_secs = min(2 * secs, MAX_DISK_PAUSE_SECS)
        return secs, "disk_full"

    def succeeded(self, attempt: Attempt) -> None:
        """There is room. That a folder is there, and can be read, would not say that it can be written."""
        self._disk_secs = DISK_PAUSE_SECS
        if attempt.shared_folder:
            self._folder_secs = FOLDER_PAUSE_SECS
