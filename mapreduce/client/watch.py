"""What `mr attach` is: looks on until the job has ended, and takes its output if nobody else waits for that.

The output of a detached job is for whoever comes for it. Any other job has a client of its own, which it would be taken
away from; and only that client keeps such a job alive.
"""

from __future__ import annotations

import random
from typing import Any

from mapreduce import events as ev
from mapreduce.client.outcome import error_of
from mapreduce.client.role import Client
from mapreduce.effects import Command


class WatchingClient(Client):
    """A role: somebody else's job, to its end."""

    def __init__(self, job: str, directory: str, version: str, rng: random.Random) -> None:
        super().__init__(job, None, directory, version, rng)

    @property
    def _takes_output(self) -> bool:
        """Whether there is output for us; False as long as that is not known."""
        return self.state.spec is not None and self.state.spec.detached

    def _on_log(self, entry: Any, at: float, now: float) -> list[Command]:
        known = self._takes_output
        commands = super()._on_log(entry, at, now)
        if self._takes_output and not known:
            commands += self._read_output()
        return commands

    def _signs_of_life(self) -> list[Command]:
        """None for a job with a client of its own; but the broker may have lost what we wait for."""
        if self._takes_output:
            return super()._signs_of_life()
        return [self._publish_event(ev.Marked(self._end_mark))] if self._end_mark is not None else []

    def _take_outcome(self) -> list[Command]:
        if self._takes_output:
            return super()._take_outcome()
        terminal = self.state.terminal
        assert terminal is not None
        if not isinstance(terminal, ev.Delivered):
            self.error = self.error or error_of(terminal, self.state)
        self._end()
        return []

    def _lose(self, place: str) -> None:
        if self.state.ready and not self._takes_output:
            self._end()  # delivered, and forgotten before we have read of that
        else:
            super()._lose(place)
