"""What a coordinator logs: an entry that was confirmed, but does not come back from the log, is logged again.

A broker may lose what it has confirmed. Every entry of a coordinator may be repeated, so none has to be lost for good.
"""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base

#: an entry that has not come back so long after its confirm is logged again
AGAIN_SECS = 60.0
#: what coordinators write; others' entries cannot all be looked up
_OWN = (ev.Took, ev.Dispatched, ev.Lost, ev.StageSealed, ev.Failed, ev.Expired, ev.Cancelled, ev.Abandoned)
#: nothing goes on, or nothing else, until somebody reads them
_AWAITED = (ev.StageSealed, ev.Failed, ev.Cancelled, ev.Abandoned)


class Journal:
    """One coordinator's entries in its job's log; their tokens are ``prefix``, the event's type and a number."""

    def __init__(self, log: str, prefix: str) -> None:
        self.log = log
        self._prefix = prefix
        self._serial = 0
        self._tokens: dict[str, Any] = {}
        #: entries on their way: None until confirmed, then when
        self._awaited: dict[Any, Optional[float]] = {}

    def write(self, event: Any) -> base.Publish:
        """Log the event, for sure."""
        publication = self.mention(event)
        self._tokens[publication.token] = event
        self._awaited[event] = None
        return publication

    def mention(self, event: Any) -> base.Publish:
        """Log the event; it does not matter much if it gets lost."""
        self._serial += 1
        token = f"{self._prefix}{type(event).__name__}:{self._serial}"
        return base.Publish(
            self.log, wire.encode(event), token, joins=True, hurries=isinstance(event, _AWAITED)
        )

    def confirmed(self, token: str, now: float) -> None:
        event = self._tokens.pop(token, None)
        if event in self._awaited:
            self._awaited[event] = now

    def returned(self, token: str) -> Any:
        """The entry did not get there, and is not waited for any more; it, unless it was only mentioned."""
        event = self._tokens.pop(token, None)
        self._awaited.pop(event, None)
        return event

    def read(self, entry: Any) -> None:
        """An entry has come from the log."""
        if type(entry) in _OWN:
            self._awaited.pop(entry, None)

    def overdue(self, now: float) -> list[base.Publish]:
        """The same once more for whatever must be lost."""
        lost = [event for event, at in self._awaited.items() if at is not None and now - at > AGAIN_SECS]
        return [self.write(event) for event in lost]
