"""Is anybody coordinating the job? A coordinator that is silent for long may hang, or its lease is lost.

silent for long ─▶ ask the queue of leases whether anybody consumes it ─▶ somebody does: send a higher lease
"""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.effects import Command

#: a coordinator says at least each minute how time passes; after so long without a word there may be none, and no lease
SILENT_SECS = 180.0
#: how often, then, the queue of leases is asked whether anybody is there to take one
ASK_SECS = 30.0

#: of the coordinator: it is there
_SIGNS = frozenset([ev.Took, ev.Passed, ev.Dispatched, ev.StageSealed])


class Silence:
    """How long nothing was heard of a coordinator, and what was done about it."""

    def __init__(self) -> None:
        #: when the coordinator was last heard of
        self.heard_at = 0.0
        self._renewals = 1  #: of the highest lease that was taken
        self._asked_at = 0.0
        self._lease_at = 0.0  #: when one was last sent because of the silence
        self._pause = SILENT_SECS

    def note(self, entry: Any, now: float) -> None:
        """A new entry of the log."""
        if type(entry) in _SIGNS:
            self.heard_at, self._pause = now, SILENT_SECS
        if isinstance(entry, ev.Took):
            self._renewals = max(self._renewals, entry.rank.renewals)

    def ask(self, now: float) -> list[Command]:
        """Whether there are workers at all, if there is reason to ask."""
        if not self._is_long(now) or now - self._asked_at < ASK_SECS:
            return []
        self._asked_at = now
        return [base.Inspect(ev.JOBS)]

    def next_renewal(self, answer: base.Depth, now: float) -> Optional[int]:
        """Of the lease to send now; None: a lease that nobody could take would only lie beside the first one."""
        if answer.name != ev.JOBS or not answer.consumers or not self._is_long(now):
            return None
        self._lease_at = now
        self._pause = min(2 * self._pause, 10 * SILENT_SECS)
        return self._renewals + 1

    def _is_long(self, now: float) -> bool:
        return now - max(self.heard_at, self._lease_at) > self._pause
