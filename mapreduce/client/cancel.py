"""What `mr cancel` is: attached, asks for the end of the job and waits until the log tells of it.

Of a job that has failed and is kept, the end is that it is kept no longer.
"""

from __future__ import annotations

import random
from typing import Any

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client.outcome import over_already
from mapreduce.client.phase import Phase
from mapreduce.client.role import Client
from mapreduce.effects import Command, Connected, Tick
from mapreduce.errors import JobLost

#: a takeover may be under way
CONFIRM_CANCEL_SECS = 60.0


class CancelClient(Client):
    """A role: ends somebody else's job."""

    def __init__(self, job: str, directory: str, version: str, rng: random.Random) -> None:
        super().__init__(job, None, directory, version, rng)

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        commands = super()._on_connected(event, now)
        if self._cancel_reason is None:
            self._leave_at = now + CONFIRM_CANCEL_SECS
            commands += self._ask_to_end("mr cancel")
        return commands

    def _on_log(self, entry: Any, at: float, now: float) -> list[Command]:
        revision = self.state.revision
        commands = super()._on_log(entry, at, now)
        if self.state.revision > revision:  # what was asked before that means nothing now
            commands += self._ask_to_end("mr cancel")
        return commands

    def _check_legible(self, entry: Any, now: float) -> list[Command]:
        """Whoever coordinates the job can read it; we need not."""
        return []

    @property
    def _takes_output(self) -> bool:
        return False

    def _take_outcome(self) -> list[Command]:
        terminal, spec = self.state.terminal, self.state.spec
        assert terminal is not None
        if self.state.kept:
            return []  # until that is given up
        if self.state.expired:
            self._end()
            return []
        if not isinstance(terminal, ev.Cancelled):
            self.error = over_already(self.job, terminal)
        elif spec is not None and spec.detached:  # nobody else is there to say that the log can go
            self.phase = Phase.CLOSING
            return [self._publish_event(ev.Delivered(-1), "delivered")]
        self._end()
        return []

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        if event.tag == self._log.tag and self.state.kept:
            self._end()  # it was, and is not any more
            return []
        return super()._on_gone(event, now)

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        over = self.state.terminal is not None and not self.state.kept
        if self._leave_at is not None and now > self._leave_at and not over:
            text = f"job {self.job} is asked to end, but no worker coordinates it now; the next one that does ends it"
            self.error = self.error or JobLost(text)
        return super()._on_tick(event, now)
