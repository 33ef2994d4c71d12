"""Following a job's log without any part in the job: for whoever wants to see it.

    with observe(url, job, JobView()) as observing:
        observing.run(lambda: observing.caught_up)
        … observing.view …

Where a log ends nobody can tell from reading it. So the observer writes a mark of its own into it: once it has read
that, it has read all that stood before. `Marked` means nothing to anybody else.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Iterator
from typing import Any, Callable, Generic, Protocol, TypeVar

from mapreduce import errand, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.effects import Command, Connected, Tick
from mapreduce.errors import JobLost
from mapreduce.host import Host
from mapreduce.legible import Legibility, build

PREFETCH = 500
#: a broker that takes no messages takes no marks: then a log that has been quiet for so long is taken to be read
QUIET_SECS = 1.0
#: a mark that has not come back by then may be lost, and is written again
MARK_AGAIN_SECS = 30.0


class View(Protocol):
    """What is fed with a log, as `views.JobView` is."""

    def note(self, entry: Any, at: float) -> None: ...

    def restart(self) -> None: ...


V = TypeVar("V", bound=View)


class Observer(Generic[V]):
    """A role: reads a job's log, from its start, until it is closed. Decides nothing."""

    def __init__(self, job: str, view: V, rng: random.Random, prefix: str = "observer/") -> None:
        """``prefix``: one of its own for each, where a host has several."""
        self.prefix = prefix
        self.finished = False
        self.job = job
        self.view = view
        self.caught_up = False  #: all has been read that stood in the log when this session began
        self.found = False  #: there was such a log, at least
        self.gone = False  #: there is no such log (any more)
        self.blocked = False  #: the broker takes no messages
        self._legibility = Legibility()
        self._rng = rng
        self._mark = 0
        self._marked_at = 0.0
        self._reading = 0
        self._next = 0  #: offset
        self._heard_at = 0.0

    @property
    def _tag(self) -> str:
        """Deliveries of an earlier reading mean nothing."""
        return f"{self.prefix}log:{self._reading}"

    @property
    def why_unknown(self) -> str:
        """Why the view does not know the job, if its log has told that it cannot be read here."""
        return self._legibility.why_unknown()

    def close(self) -> list[Command]:
        """Read no more."""
        self.finished = True
        return [base.Cancel(self._tag)] if self._reading else []

    def handle(self, event: Any, now: float) -> list[Command]:
        if self.finished:
            return []
        if isinstance(event, Connected):
            return self._begin(now)
        if isinstance(event, base.Delivered):
            return self._on_delivered(event, now)
        if isinstance(event, base.Gone):
            self.gone = self.gone or event.tag == self._tag
        elif isinstance(event, base.Unroutable):
            self.gone = self.gone or not event.reason
        elif isinstance(event, base.Blocked):
            self.blocked = True
        elif isinstance(event, base.Unblocked):
            self.blocked = False
        elif isinstance(event, Tick):
            return self._on_tick(now)
        return []

    def _on_tick(self, now: float) -> list[Command]:
        if self.blocked and now - self._heard_at > QUIET_SECS:
            self.caught_up = True
        if not self._reading or self.caught_up or self.gone or now - self._marked_at <= MARK_AGAIN_SECS:
            return []
        self._marked_at = now
        return [self._write_mark()]

    def _begin(self, now: float) -> list[Command]:
        """In each session from the start: a broker that was down may have lost what was read."""
        if self._reading:
            self.view.restart()
        self._reading += 1
        self._next, self._heard_at, self._marked_at = 0, now, now
        self.blocked = self.caught_up = False
        self._legibility = Legibility()
        self._mark = self._rng.getrandbits(63)
        return [base.Consume(self._tag, ev.log_stream(self.job), PREFETCH, "first"), self._write_mark()]

    def _write_mark(self) -> Command:
        mark = wire.encode(ev.Marked(self._mark))
        return base.Publish(ev.log_stream(self.job), mark, f"{self.prefix}mark", joins=True)

    def _on_delivered(self, event: base.Delivered, now: float) -> list[Command]:
        assert event.offset is not None
        self._heard_at, self.found = now, True
        if event.tag == self._tag and event.offset >= self._next:
            self._next = event.offset + 1
            for entry, _ in wire.decode_all(event.body):
                self._legibility.note(entry)
                if isinstance(entry, ev.Marked):
                    self.caught_up = self.caught_up or entry.number == self._mark
                elif not isinstance(entry, wire.BadMessage):  # the coordinator reports what is unreadable
                    self.view.note(entry, event.at)
        return [base.Ack(event.receipt)]


class Observing(Generic[V]):
    """An observer at work, for commands."""

    def __init__(self, observer: Observer[V], host: Host) -> None:
        self._observer = observer
        self.host = host

    @property
    def view(self) -> V:
        return self._observer.view

    @property
    def caught_up(self) -> bool:
        """All is known that stood in the log when the session began."""
        return self._observer.caught_up

    @property
    def gone(self) -> bool:
        """The log is, or never was: there is no more to come."""
        return self._observer.gone

    def run(self, until: Callable[[], bool]) -> None:
        """Read on until the condition holds, or there is no log any more. Raises `BrokerError`.

        Raises `JobLost` if there was none from the start, or the job in it cannot be read here.
        """
        self.host.run(lambda: self.gone or until() or bool(self._observer.why_unknown))
        why = self._observer.why_unknown
        if why:
            raise JobLost(f"job {self._observer.job} cannot be read here ({build()}): {why}")
        if self.gone and not self._observer.found:
            raise JobLost(f"there is no job {self._observer.job} on this broker (any more)")


@contextlib.contextmanager
def observe(
    url: str, job: str, view: V, reconnect_secs: float = errand.RECONNECT_SECS
) -> Iterator[Observing[V]]:
    """A connected host around an observer of ``job``, a whole id. Raises `BrokerError`.

    ``reconnect_secs``: for so long a broker that goes away meanwhile may come back.
    """
    observer = Observer(job, view, random.Random(secrets.randbits(64)))
    with errand.session(url, observer, reconnect_secs=reconnect_secs) as (_, host):
        yield Observing(observer, host)
