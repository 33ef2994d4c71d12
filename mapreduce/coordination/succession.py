"""Leases that follow one another: each outranks the one before.

A provisional one (of renewal 0) stays provisional, for whoever gets it has to wait again. It becomes a proper one when
somebody coordinates by it, or when too many have died with it: who holds it only waits, as a rule, so that its deaths
prove nothing about the log, and those of the next one do.
"""

from __future__ import annotations

import random
from dataclasses import replace

from mapreduce import events as ev

MAX_TAKEOVERS = 10
#: so often in a row may a lease be renewed before the log is read
MAX_UNREAD = 30
#: so many holders in a row may find that they cannot make out what the job is: workers of another build may stand side
#: by side, and one that can may come after them
MAX_STRANGERS = 20


def why_parked(lease: ev.Lease) -> str:
    """Why nobody should take the job over any more; empty: somebody should."""
    if lease.takeovers > MAX_TAKEOVERS:
        return f"{lease.takeovers} coordinators died without any progress; its log may be what kills them"
    if lease.unread > MAX_UNREAD:
        return f"{lease.unread} coordinators in a row could not read its log before the broker wanted its lease back"
    return ""


def is_provisional(lease: ev.Lease) -> bool:
    return lease.rank.renewals == 0


def renewed(lease: ev.Lease, takeovers: int, rng: random.Random, proper: bool) -> ev.Lease:
    """The next lease; ``proper``: its holder has read the log, so there is one."""
    if is_provisional(lease) and not proper:
        return replace(lease, rank=ev.Rank(0, lease.rank.salt + 1), takeovers=takeovers)
    rank = ev.Rank(lease.rank.renewals + 1, rng.getrandbits(63))
    return replace(lease, rank=rank, takeovers=takeovers)


def after_death(lease: ev.Lease, rng: random.Random) -> ev.Lease:
    """The next lease, when the holder of this one is gone."""
    takeovers = lease.takeovers + 1
    if is_provisional(lease) and takeovers > MAX_TAKEOVERS:
        return renewed(lease, 0, rng, proper=True)
    return renewed(lease, takeovers, rng, proper=False)
