"""Going on with a job whose client died.

    log a mark, a `Resumed` that claims nothing, read the log ─▶ mark seen: all before it is known
        ─▶ `looked`; the host calls `claim` if it can go on: the input is all in, or can be read again
    log the claim ─▶ claim seen: the job is ours
        ─▶ input all in: waiting, like any client
        ─▶ it is not: `lacks_input`; the host plans the same splits and calls `feed` ─▶ feeding, behind what is logged

So whoever cannot go on with a job has not taken it from a client that lives after all. A client that reads another's
claim after its own, or after its own submission, leaves the job to that one. Should both go on for a while, nothing is
wrong: pieces and splits are numbered and the same. A claim that does not come back is repeated; what counts is where
each stands first, so that of two clients one stays.
"""

from __future__ import annotations

import random

from mapreduce import events as ev
from mapreduce.client.phase import Phase
from mapreduce.client.role import Client
from mapreduce.effects import Command, Connected
from mapreduce.errors import JobLost


class ResumingClient(Client):
    """A role: somebody else's job, until it is ours."""

    def __init__(self, job: str, directory: str, version: str, rng: random.Random) -> None:
        super().__init__(job, None, directory, version, rng)
        self.phase = Phase.RESUMING
        #: what was done before us is known: the host is to call `claim` if it can go on
        self.looked = False
        #: the job is ours, and its input still not all in: the host is to call `feed`
        self.lacks_input = False
        self._number = rng.getrandbits(63)
        self._asked = False

    def claim(self) -> list[Command]:
        """We can go on with the job."""
        self.looked = False
        self._claim.number = self._number
        return [self._resumed()]

    def feed(self) -> list[Command]:
        """The host is ready to read the input behind the first `fed` splits."""
        self.lacks_input = False
        return self._feeding.start()

    @property
    def fed(self) -> int:
        """How many splits are in the log."""
        return self._feeding.logged

    def _resumed(self) -> Command:
        return self._publish_event(ev.Resumed(self._number, claims=self._claim.number is not None))

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        commands = super()._on_connected(event, now)
        if not self._asked:
            self._asked = True
            commands.append(self._resumed())
        return commands

    def _signs_of_life(self) -> list[Command]:
        """What is not in the log, as far as that was read, may have been lost."""
        commands = super()._signs_of_life()
        if self._waits() and not self._claim.holds:
            commands.append(self._resumed())
        return commands

    def _on_resumed(self, entry: ev.Resumed, now: float) -> list[Command]:
        commands = super()._on_resumed(entry, now)
        if self.phase is not Phase.RESUMING or entry.client != self._number:
            return commands
        spec = self.state.spec
        if spec is None:
            self.error = JobLost(f"job {self.job} was never submitted completely; submit it anew")
            self._end()
            return []
        total = self.state.stages[0].total
        self.looked = self._claim.number is None
        if not self._claim.holds:
            return []
        self._spec = spec
        self._feeding.skip(self.state.splits)
        self._input_confirmed = total == self.fed  # else what was said of its end is not ours to repeat
        self.lacks_input = total is None
        self.phase = Phase.FEEDING if self.lacks_input else Phase.WAITING
        commands = [self._publish_event(ev.Present()), *self._read_output()]
        return [*commands, *self._check_collected()]
