"""Going on with a job that has failed: what is done stays done, the rest runs again, perhaps with corrected code.

    log a mark, read the log ─▶ mark seen: all before it is known; the job has failed and is kept
        ─▶ `looked`; the host checks the corrected code, if there is any, and calls `retry`
    log `Retried` ─▶ seen, and valid: the job runs ─▶ from here on a client like any that is attached

What stands first in the log counts: another's `Retried` makes this one void, and so does `Expired`. One that does not
come back is said again; a repeat has the same number, so that it counts once.
"""

from __future__ import annotations

import random
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client.phase import Phase
from mapreduce.client.role import Client
from mapreduce.effects import Command
from mapreduce.errors import Cancelled, JobLost
from mapreduce.state import JobState


class RetryingClient(Client):
    """A role: somebody's job that has failed, until it goes on; then its output."""

    def __init__(
        self, job: str, directory: str, version: str, rng: random.Random, at: Optional[float] = None
    ) -> None:
        super().__init__(job, None, directory, version, rng, at)
        self.phase = Phase.RESUMING
        #: the job can go on: the host is to call `retry`
        self.looked = False
        #: it does, because of us
        self.retried = False
        self._number = rng.getrandbits(63)
        self._mark = 0  #: of this reading
        self._retried: Optional[ev.Retried] = None

    def retry(self, bundle: Optional[dict[str, Any]]) -> list[Command]:
        """Let the job go on. ``bundle``: its corrected code; None: as it is."""
        self.looked = False
        self._retried = ev.Retried(self._number, bundle, self._submitted_at)
        return [self._publish_event(self._retried)]

    def cancel(self, reason: str, now: float) -> list[Command]:
        """Leave. Unless it is detached, a job that goes on wants somebody to wait for its output."""
        if self.error is None:
            self.error = Cancelled(f"stopped ({reason}); {self._how_it_stands()}")
        return super().cancel(reason, now)

    def _how_it_stands(self) -> str:
        spec = self.state.spec
        if self._retried is None or spec is None:
            return f"nothing of job {self.job} was changed"
        goes_on = "goes on" if self.phase is not Phase.RESUMING else "is told to go on"
        if spec.detached:
            return f"job {self.job} {goes_on}; for its results: mr results {self.job}"
        return (
            f"job {self.job} {goes_on}, and is given up in {spec.client_timeout_secs:g} s unless somebody waits for "
            f"its results: mr results {self.job}"
        )

    def _read_log(self) -> list[Command]:
        commands = super()._read_log()
        if self.phase is Phase.RESUMING:
            self._mark = self._rng.getrandbits(63)
            commands.append(self._publish_event(ev.Marked(self._mark)))
        return commands

    def _signs_of_life(self) -> list[Command]:
        """What is not in the log, as far as that was read, may have been lost."""
        commands = super()._signs_of_life()
        if self.phase is Phase.RESUMING:
            commands.append(self._publish_event(self._retried or ev.Marked(self._mark)))
        return commands

    def _on_unroutable(self, event: base.Unroutable, now: float) -> list[Command]:
        if self.phase is not Phase.RESUMING or not event.reason:
            return super()._on_unroutable(event, now)
        self.error = self.error or JobLost(
            f"job {self.job} cannot go on: the broker refuses what it is told: {event.reason}"
        )
        self._end()
        return []

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        if event.tag == self._log.tag and self.phase is Phase.RESUMING:
            self._lose(ev.log_stream(self.job))
            return []
        return super()._on_gone(event, now)

    def _lose(self, place: str) -> None:
        if self.phase is Phase.RESUMING and self.state.spec is not None:
            self.error = self.error or JobLost(_gone(self.job))
        super()._lose(place)

    @property
    def _hears_the_end(self) -> bool:
        return self.phase is not Phase.RESUMING and super()._hears_the_end

    def _on_log(self, entry: Any, at: float, now: float) -> list[Command]:
        commands = super()._on_log(entry, at, now)
        if self.phase is not Phase.RESUMING:
            return commands
        if self._number in self.state.retries:
            self.phase, self.retried = Phase.WAITING, True
            return [*commands, self._publish_event(ev.Present()), *self._read_output()]
        ours = isinstance(entry, ev.Retried) and entry.number == self._number
        if ours or (isinstance(entry, ev.Marked) and entry.number == self._mark):
            reason = why_not(self.job, self.state)
            if reason:
                self.error = JobLost(reason)
                self._end()
            self.looked = self._retried is None and not reason
        return commands


def why_not(job: str, state: JobState) -> str:
    """Why the job cannot go on, and what to do instead; "": it can."""
    terminal = state.terminal
    if state.can_go_on:
        return ""
    if state.spec is None:
        return f"job {job} was never submitted completely; submit it anew"
    if terminal is None:
        by = "somebody has retried it already" if state.revision else "it has not failed"
        return f"job {job} goes on: {by}; wait for its results: mr results {job}"
    if isinstance(terminal, ev.Delivered):
        return f"job {job} has not failed: its output was delivered"
    if not isinstance(terminal, ev.Failed):
        how = "was cancelled" if isinstance(terminal, ev.Cancelled) else "was given up"
        return f"job {job} {how} ({terminal.reason}), so nothing of it is kept; submit it anew"
    if terminal.failure.kind == "lost":
        return f"job {job} cannot go on: {terminal.failure.message}; submit it anew"
    if not state.kept:
        return _gone(job)
    return f"job {job} cannot go on: it failed before all of its input was in; submit it anew"


def _gone(job: str) -> str:
    return f"job {job} cannot go on: what was kept of it after its failure is gone (--keep); submit it anew"
