"""The job's lease as its client publishes it: when it submits the job, and again when nobody seems to hold it."""

from __future__ import annotations

import random
from typing import Optional

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client.sent import Sent
from mapreduce.effects import Command
from mapreduce.spec import JobSpec


class OwnLease:
    """Makes leases of one job, and knows whether one is still on its way."""

    def __init__(self, job: str, sent: Sent, rng: random.Random) -> None:
        self._job = job
        self._sent = sent
        self._rng = rng
        #: the queue was not there
        self._returned: Optional[base.Publish] = None

    def publish(self, spec: JobSpec, renewals: int, takeovers: int = 0) -> base.Publish:
        """The lease of renewal 0 is provisional: whoever gets it waits, and finds itself outranked by the next."""
        rank = ev.Rank(renewals, self._rng.getrandbits(63))
        lease = ev.Lease(self._job, rank, takeovers, spec.stages, spec.partitions, shared_dir=spec.shared_dir)
        return self._sent.lease(lease)

    def returned(self, publication: base.Publish) -> None:
        """Somebody has deleted the queue: `repeat` sends it again; not at once, lest we spin."""
        self._returned = publication

    def repeat(self) -> list[Command]:
        """What was returned, once more."""
        lease, self._returned = self._returned, None
        return [] if lease is None else [self.place(), self._sent.put_back(lease)]

    @staticmethod
    def place() -> base.Declare:
        """Where leases go."""
        return base.Declare(ev.JOBS, base.Kind.QUEUE)

    def forget(self) -> None:
        """Of one that was returned: there will be another."""
        self._returned = None

    @property
    def on_its_way(self) -> bool:
        """A lease of ours is not stored, as far as we know."""
        return self._returned is not None or self._sent.outstanding("lease") > 0
