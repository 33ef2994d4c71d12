"""The keeper of leases: takes them off ``mr.1.jobs`` and runs a coordinator for each.

A lease that comes redelivered means that its holder lost its connection, or its life. It is not run but published
anew with one more takeover; the same path a renewal takes. A job whose coordinators die again and again without any
progress is parked: ended with a named failure, without reading the log that may be what kills them.
"""

from __future__ import annotations

import random
from typing import Any, Callable, Union

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.aside import read_or_set_aside
from mapreduce.brokers import base
from mapreduce.coordination.succession import after_death, why_parked
from mapreduce.coordinator import RENEW_SECS, Coordinator
from mapreduce.effects import Command, Connected, Shutdown, Tick
from mapreduce.spec import ACK_TIMEOUT_SHARE

#: jobs that one worker coordinates at a time, those that only wait to be collected included
PREFETCH = 500
#: those of them that have ended and are kept for people to look at; more would keep out what is to run
MAX_KEPT = 100
#: tasks of these in all: each takes about 900 bytes of memory, and is read again whenever a lease is renewed
MAX_KEPT_TASKS = 200_000


class LeaseKeeper:
    """A role that hosts coordinators, each for one lease."""

    def __init__(self, worker: str, rng: random.Random) -> None:
        self.prefix = "leases/"
        self.finished = False
        self.coordinators: dict[str, Coordinator] = {}
        self._worker = worker
        self._rng = rng
        self._tag = f"{self.prefix}jobs"
        self._control_tag = f"{self.prefix}control"
        self._reissued: dict[str, tuple[base.Receipt, base.Publish]] = {}
        self._serial = 0
        #: for how long a lease may be held here; less once the broker has ended a session because an ack was overdue
        self._hold_secs = RENEW_SECS
        self._stopping = False
        self._blocked = False  #: the broker takes no messages
        self._consuming = False

    @property
    def ack_timeout_secs(self) -> float:
        """How long the broker lets anybody hold a message unacked, if it has ended a session over that; else 0.0."""
        return self._hold_secs / ACK_TIMEOUT_SHARE if self._hold_secs < RENEW_SECS else 0.0

    def handle(self, event: Any, now: float) -> list[Command]:
        commands = self._handle(event, now)
        self.finished = self._stopping and all(each.handed_on for each in self.coordinators.values())
        return commands

    def _handle(self, event: Any, now: float) -> list[Command]:
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            return handler(self, event, now)
        if isinstance(event, base.Delivered) and event.tag == self._tag:
            return self._on_lease(event, now)
        if isinstance(event, base.Delivered) and event.tag == self._control_tag:
            return self._on_control(event, now)
        if isinstance(event, base.Confirmed) and event.token in self._reissued:
            return [base.Ack(self._reissued.pop(event.token)[0])]
        if isinstance(event, base.Unroutable) and event.token in self._reissued:
            return [base.Declare(ev.JOBS, base.Kind.QUEUE), self._reissued[event.token][1]]
        return self._forward(event, now)

    def _on_connected(self, event: Connected, now: float) -> list[Command]:
        return [
            base.Declare(ev.JOBS, base.Kind.QUEUE),
            base.Declare(ev.ASIDE, base.Kind.QUEUE),
            base.Listen(self._control_tag),
        ]

    def _on_declared(self, event: base.Declared, now: float) -> list[Command]:
        """Consuming has a connection of its own, so it begins when the queue is known to be there."""
        if event.name != ev.JOBS or self._consuming or self._stopping:
            return self._forward(event, now)
        self._consuming = True
        return [base.Consume(self._tag, ev.JOBS, PREFETCH)]

    def _on_gone(self, event: base.Gone, now: float) -> list[Command]:
        if event.tag == self._tag:  # somebody deleted the queue
            self._consuming = False
            return self._on_connected(Connected(), now)
        return self._forward(event, now)

    def _on_disconnected(self, event: base.Disconnected, now: float) -> list[Command]:
        """Every lease goes back to the queue by itself; whoever gets it starts from the log."""
        if event.ack_timeout_secs > 0:
            self._hold_secs = min(self._hold_secs, event.ack_timeout_secs * ACK_TIMEOUT_SHARE)
        self._consuming = self._blocked = False
        self.coordinators.clear()
        self._reissued.clear()
        return []

    def _on_blocked(self, event: Union[base.Blocked, base.Unblocked], now: float) -> list[Command]:
        """For those who coordinate, and for those who begin to before it is over."""
        self._blocked = isinstance(event, base.Blocked)
        return self._forward(event, now)

    def _on_shutdown(self, event: Shutdown, now: float) -> list[Command]:
        """Hand every lease on as a renewal, so that the next holder need not wait for our death."""
        self._stopping = True
        commands: list[Command] = [base.Cancel(self._tag)]
        for coordinator in self.coordinators.values():
            commands += coordinator.hand_on(now)
        return commands

    def _on_lease(self, event: base.Delivered, now: float) -> list[Command]:
        lease, commands = read_or_set_aside(event, ev.Lease, ev.JOBS, f"{self.prefix}aside")
        if lease is None:
            return commands
        self._serial += 1
        if event.redelivered:
            return self._reissue(lease, event.receipt)
        prefix = f"{self.prefix}{self._serial}/"
        coordinator = Coordinator(
            lease, event.receipt, self._worker, self._rng, prefix, self._hold_secs, self._blocked
        )
        self.coordinators[prefix] = coordinator
        if self._stopping:  # it was on its way when we stopped listening
            return coordinator.hand_on(now)
        return coordinator.park(now) if why_parked(lease) else coordinator.start(now)

    def _on_control(self, event: base.Delivered, now: float) -> list[Command]:
        """A job that has ended needs no provisional lease any more."""
        try:
            advice, _ = wire.decode(event.body)
        except wire.BadMessage:
            return []  # the worker reports it
        commands: list[Command] = []
        if isinstance(advice, ev.StopJob):
            for coordinator in self.coordinators.values():
                if coordinator.lease.job == advice.job:
                    commands += coordinator.leave_if_provisional()
        self._sweep()
        return commands

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        self._make_room(now)
        return self._forward(event, now)

    def _make_room(self, now: float) -> None:
        """The longest kept go first; the last one stays, however large it is."""
        kept = [
            (secs, each) for each in self.coordinators.values() if (secs := each.kept_secs(now)) is not None
        ]
        tasks = 0
        for older, (_, coordinator) in enumerate(sorted(kept, key=lambda pair: pair[0])):
            tasks += coordinator.tasks
            if older and (older >= MAX_KEPT or tasks > MAX_KEPT_TASKS):
                coordinator.make_room()

    def _sweep(self) -> None:
        for prefix in [p for p, each in self.coordinators.items() if each.finished]:
            del self.coordinators[prefix]

    def _reissue(self, lease: ev.Lease, receipt: base.Receipt) -> list[Command]:
        again = after_death(lease, self._rng)
        publication = base.Publish(ev.JOBS, wire.encode(again), f"{self.prefix}reissue{self._serial}")
        self._reissued[publication.token] = (receipt, publication)
        return [publication]

    def _forward(self, event: Any, now: float) -> list[Command]:
        """To the coordinator that it is for; to all if it names none."""
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        if address is None:
            commands = [c for each in list(self.coordinators.values()) for c in each.handle(event, now)]
        else:
            prefix = "/".join(address.split("/")[:2]) + "/"
            coordinator = self.coordinators.get(prefix)
            commands = coordinator.handle(event, now) if coordinator is not None else []
        self._sweep()
        return commands


_HANDLERS: dict[type, Callable[[LeaseKeeper, Any, float], list[Command]]] = {
    Connected: LeaseKeeper._on_connected,
    base.Disconnected: LeaseKeeper._on_disconnected,
    Shutdown: LeaseKeeper._on_shutdown,
    base.Blocked: LeaseKeeper._on_blocked,
    base.Unblocked: LeaseKeeper._on_blocked,
    base.Gone: LeaseKeeper._on_gone,
    base.Declared: LeaseKeeper._on_declared,
    Tick: LeaseKeeper._on_tick,
}
