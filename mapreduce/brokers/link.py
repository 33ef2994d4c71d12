"""One connection and what is done with it, a turn at a time.

      submit ─▶ deque ─┐
                       ├─▶ pump: receive, take commands, advance, flush, tick ─▶ report ─▶ inbox ─▶ poll
      RabbitMQ ────────┘

Nothing in a turn blocks, but for a disk from which a message is read. Turns are the host's, in its own thread: with
threads of their own, each message would cost several changes of the thread that may run Python. But a host may be held
up, by a disk or a large sort, and heartbeats must go out whatever happens: so a `Watchdog` sees to links that had no
turn for two seconds.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol

from mapreduce.brokers.pyamqp import WireClosed
from mapreduce.brokers.wire import Wire

TICK_SECS = 1.0
#: A host that is well gives turns at least each `TICK_SECS`.
NEGLECTED_SECS = 2.0
#: How long the broker may take to answer our goodbye when the time to drain is over.
FAREWELL_SECS = 0.5


class Bell:
    """A descriptor that is readable after `ring` and until `hush`. Any thread may ring."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._rung = False
        weakref.finalize(self, _close_both, self._read, self._write)

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        with self._lock:
            if not self._rung:
                self._rung = True
                os.write(self._write, b"!")

    def hush(self) -> None:
        """Call before looking for what it rang for, or a ring may be missed."""
        with self._lock:
            if self._rung:
                self._rung = False
                os.read(self._read, 1)


def _close_both(one: int, other: int) -> None:
    os.close(one)
    os.close(other)


class Duty(Protocol):
    """What a link does with its connection. Called in its turns; nothing in it may block."""

    def start(self) -> None:
        """The connection stands; open channels."""

    def take(self, command: Any) -> None:
        """One command of the host."""

    def advance(self) -> None:
        """Do what has become possible: some bytes were sent, some answers have come."""

    @property
    def pause_secs(self) -> float:
        """After so long there is something to do, whatever happens."""

    @property
    def idle(self) -> bool:
        """Nothing taken waits for the broker any more."""


class Report(Protocol):
    """Where a link's events go."""

    def hand_over(self) -> None:
        """What the duty has collected is complete for now."""

    def fail(self, closed: WireClosed) -> None:
        """The connection has ended without being asked to."""


class Link:
    """See the module. One thread at a time has its turn; `submit` and `close` are the host's."""

    def __init__(self, wire: Wire, duty: Duty, report: Report) -> None:
        self._wire = wire
        self._duty = duty
        self._report = report
        self._commands: deque[Any] = deque()
        self._lock = threading.Lock()  #: of a turn
        self._begun = False
        self._more = True  #: the broker may have sent more than was read: the handshake may have read ahead
        self._next_tick = 0.0
        self._turned_at = 0.0  #: monotonic seconds, and so are these
        self._due_at = 0.0  #: there is something to do then, whatever happens
        self._drain_until: Optional[float] = None  #: it is closing
        self._wait_until: Optional[float] = None  #: for the broker's goodbye: ours is said
        self.ended = False
        self.failed = False  #: and nobody had asked for it

    def submit(self, command: Any) -> None:
        """Never blocks. It is looked at in the next turn: what was submitted by then goes out together."""
        self._commands.append(command)

    def fileno(self) -> int:
        return self._wire.fileno()

    @property
    def writes(self) -> bool:
        """There are bytes that wait until the connection takes more."""
        return self._wire.backlog > 0

    @property
    def has_more(self) -> bool:
        """It has more to read, of which its descriptor may say nothing."""
        return self._more and not self.ended

    def wait_secs(self) -> float:
        """How long its next turn can wait, if nothing is heard."""
        if self.ended:
            return float("inf")
        return 0.0 if self._commands else max(0.0, self._due_at - time.monotonic())

    def close(self, drain_until: float) -> None:
        """Begin to end in order: drain until then (monotonic seconds), and say goodbye. Needs turns until `ended`."""
        self._drain_until = drain_until
        self._due_at = 0.0

    def drop(self) -> None:
        """End at once."""
        with self._lock:
            self._end()

    # -------------------------------------------------------- turns

    def pump(self, ready: bool) -> None:
        """A turn, if there is anything to do; ``ready``: the connection can be read, or takes more."""
        if ready or self._commands or self._more or time.monotonic() >= self._due_at:
            with self._lock:
                self._turn(ready)

    def pump_if_neglected(self) -> bool:
        """The same where nobody has given it a turn for long; whether it had one."""
        if self.ended or time.monotonic() - self._turned_at < NEGLECTED_SECS:
            return False
        if not self._lock.acquire(blocking=False):  # it has its turn just now
            return False
        try:
            self._turn(True)
        finally:
            self._lock.release()
        return True

    def _turn(self, ready: bool) -> None:
        if self.ended:
            return
        try:
            self._move(ready)
        except WireClosed as closed:
            if self._wait_until is None:
                self._report.hand_over()
                self._fail(closed)
            self._end()
        except BaseException as bug:
            self._fail(WireClosed(f"internal error: {bug!r}"))
            self._end()
            if not isinstance(bug, Exception):  # Ctrl-C: whatever it came between, a new session makes good
                raise

    def _fail(self, closed: WireClosed) -> None:
        self.failed = True
        self._report.fail(closed)

    def _move(self, ready: bool) -> None:
        if not self._begun:
            self._begun = True
            self._duty.start()
        if ready or self._more:
            self._more = self._wire.receive()
        if self._wait_until is None:
            while self._commands:
                self._duty.take(self._commands.popleft())
            self._duty.advance()
        self._wire.flush()
        now = self._turned_at = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECS
            self._wire.tick()
        self._report.hand_over()
        self._due_at = min(self._next_tick, now + self._duty.pause_secs)
        if self._drain_until is not None:
            self._part(now, self._drain_until)

    def _part(self, now: float, drain_until: float) -> None:
        """Closing: the broker handles everything that we sent before it answers our goodbye."""
        if self._wait_until is not None:
            self._due_at = min(self._next_tick, self._wait_until)
            if self._wire.farewell_heard or now >= self._wait_until:
                self._end()
            return
        drained = not self._commands and not self._wire.backlog and self._duty.idle
        if drained or now >= drain_until:
            self._wait_until = drain_until = max(drain_until, now + FAREWELL_SECS)
            self._wire.say_goodbye()
            self._wire.flush()
        self._due_at = min(self._due_at, drain_until)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._wire.drop()


class Watchdog:
    """The thread that gives turns to links while the host is held up; ``rouse`` is called when it has."""

    def __init__(self, links: Sequence[Link], rouse: Callable[[], None]) -> None:
        self._links = links
        self._rouse = rouse
        self._over = threading.Event()
        threading.Thread(target=self._run, name="mr-watchdog", daemon=True).start()

    def stop(self) -> None:
        """There is nothing left to watch."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(TICK_SECS):
            turns = [link.pump_if_neglected() for link in self._links]
            if any(link.failed for link in self._links):  # the other one must not keep what the session holds
                for link in self._links:
                    link.drop()
                self._over.set()
            if any(turns):
                self._rouse()
