"""What a client has published and the broker has not confirmed; it is sent again, in order, after a lost connection."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base


class Sent:
    """Makes publications and remembers them. A token is prefix, kind, number."""

    def __init__(self, job: str, prefix: str, rng: random.Random) -> None:
        self._log = ev.log_stream(job)
        self._prefix = prefix
        self._rng = rng
        self._unconfirmed: dict[str, base.Publish] = {}
        self._counts: Counter[str] = Counter()  #: of these, by kind
        self._serial = 0

    def __len__(self) -> int:
        return len(self._unconfirmed)

    def publish(self, to: str, head: bytes, kind: str) -> base.Publish:
        """A new publication; ``kind`` is what `take` will say of it."""
        self._serial += 1
        publication = base.Publish(to, head, f"{self._prefix}{kind}:{self._serial}")
        self._note(publication)
        return publication

    def log(self, event: Any, kind: str = "event") -> base.Publish:
        """An event, for the job's log."""
        return self.publish(self._log, wire.encode(event), kind)

    def lease(self, lease: ev.Lease) -> base.Publish:
        """A lease, for `mr.1.jobs`."""
        return self.publish(ev.JOBS, wire.encode(lease), "lease")

    def take(self, token: str) -> Optional[tuple[str, base.Publish]]:
        """Its kind, and what it was: the broker has answered. None if that is known already."""
        publication = self._unconfirmed.pop(token, None)
        if publication is None:
            return None
        kind = self._kind(token)
        self._counts[kind] -= 1
        return kind, publication

    def outstanding(self, kind: str) -> int:
        """How many of these are not confirmed."""
        return self._counts[kind]

    def forget(self) -> None:
        self._unconfirmed.clear()
        self._counts.clear()

    def again(self) -> Iterator[base.Publish]:
        """All of it, in order."""
        for publication in list(self._unconfirmed.values()):
            yield self.put_back(publication)

    def put_back(self, publication: base.Publish) -> base.Publish:
        """The same publication once more; but a lease outranks the one before.

        Somebody may have taken that although the broker, restarted, has it no more; or one that was made from it, and
        is lost with it. So it counts a takeover: its holder relies on no higher one. A provisional one stays so.
        """
        if publication.to == ev.JOBS:
            lease: Any = wire.decode(publication.head)[0]
            renewals = lease.rank.renewals and lease.rank.renewals + 1
            rank = ev.Rank(renewals, self._rng.getrandbits(63))
            publication = replace(publication, head=wire.encode(replace(lease, rank=rank, takeovers=1)))
        self._note(publication)
        return publication

    def _note(self, publication: base.Publish) -> None:
        """It is on its way; perhaps once more."""
        self._counts[self._kind(publication.token)] += publication.token not in self._unconfirmed
        self._unconfirmed[publication.token] = publication

    def _kind(self, token: str) -> str:
        return token[len(self._prefix) :].partition(":")[0]
