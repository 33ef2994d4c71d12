"""Whose job it is: of several clients that go on with it, the last one does, as the log tells in one order to all."""

from __future__ import annotations

from typing import Optional

from mapreduce import events as ev


class Claim:
    """Ours on the job, as far as the log was read."""

    def __init__(self, submits: bool) -> None:
        """``submits``: the job is ours until another client goes on with it."""
        self.number: Optional[int] = None  #: of ours in the log, if we went on with another's job
        self.holds = submits
        self._seen: set[int] = set()  #: in this reading; where one is repeated means nothing

    def restart(self, attached: bool) -> None:
        """The log is read again, from its start. ``attached``: the job is somebody else's."""
        self.holds = self.number is None and not attached
        self._seen.clear()

    def is_lost_to(self, entry: ev.Resumed) -> bool:
        """Take the next claim; whether it takes the job from us."""
        if not entry.claims or entry.client in self._seen:
            return False
        self._seen.add(entry.client)
        if entry.client == self.number:
            self.holds = True
            return False
        return self.holds
