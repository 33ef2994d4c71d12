"""One connection and the thread that owns it.

    host's thread                    the link's thread
      submit, nudge ─▶ deque ──pipe──▶ ┐
                                       ├─ select ─▶ receive, take commands, advance, flush, tick
      RabbitMQ ─────────── socket ───▶ ┘                  │
      poll() ◀─pipe─ inbox ◀── events ────────────────────┘

Nothing in the loop blocks but the select, so heartbeats go out whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
import weakref
from collections import deque
from typing import Any, Protocol

from mapreduce.brokers.pyamqp import WireClosed
from mapreduce.brokers.wire import Wire

TICK_SECS = 1.0
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
    """What a link does with its connection. Runs in the link's thread; nothing in it may block."""

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
    """See the module. `submit`, `close` and `abandon` are the host's; all else is the thread's."""

    def __init__(self, name: str, wire: Wire, duty: Duty, report: Report) -> None:
        self._wire = wire
        self._duty = duty
        self._report = report
        self._commands: deque[Any] = deque()
        self._urgent = False  #: one of the commands is not to wait for the next tick
        self._bell = Bell()
        self._abandoned = False
        self._drain_until = float("inf")
        self._closing = False
        self._next_tick = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, command: Any, urgent: bool = True) -> None:
        """Never blocks. The thread looks at it after `nudge`, or within a second; so it does if it is not urgent."""
        self._commands.append(command)
        self._urgent = self._urgent or urgent

    def hurry(self) -> None:
        """What was submitted is not to wait for the next tick."""
        self._urgent = True

    def nudge(self) -> None:
        """What was submitted is complete for now: woken for each command, the thread would find one at a time."""
        if self._urgent:
            self._urgent = False
            self._bell.ring()

    def close(self, drain_until: float) -> None:
        """Begin to end in order: drain until then (monotonic seconds), and say goodbye."""
        self._drain_until = drain_until
        self._closing = True
        self._bell.ring()

    def abandon(self) -> None:
        """End at once."""
        self._abandoned = True
        self._bell.ring()

    def join(self, timeout_secs: float) -> None:
        self._thread.join(max(timeout_secs, 0.0))

    # -------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            self._loop()
        except WireClosed as closed:
            self._report.hand_over()
            self._report.fail(closed)
        except BaseException as bug:
            self._report.fail(WireClosed(f"internal error: {bug!r}"))
            raise
        finally:
            self._wire.drop()

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            selector.register(self._wire, selectors.EVENT_READ)
            self._duty.start()
            more = True
            while not self._abandoned:
                self._take_commands()
                self._duty.advance()
                self._wire.flush()
                self._tick()
                self._report.hand_over()
                if self._ending():
                    break
                self._wait(selector, 0.0 if more else TICK_SECS)
                more = self._wire.receive()
        if not self._abandoned:
            self._say_goodbye()

    def _wait(self, selector: selectors.BaseSelector, timeout_secs: float) -> None:
        write = selectors.EVENT_WRITE if self._wire.backlog else 0
        selector.modify(self._wire, selectors.EVENT_READ | write)
        timeout_secs = min(timeout_secs, self._duty.pause_secs)
        if self._closing:
            timeout_secs = min(timeout_secs, max(self._drain_until - time.monotonic(), 0.0))
        selector.select(timeout_secs)
        self._bell.hush()

    def _take_commands(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._duty.take(self._commands.popleft())

    def _tick(self) -> None:
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECS
            self._wire.tick()

    def _ending(self) -> bool:
        """Closing, and everything is done or the time is over."""
        if not self._closing:
            return False
        drained = not self._commands and not self._wire.backlog and self._duty.idle
        return drained or time.monotonic() >= self._drain_until

    def _say_goodbye(self) -> None:
        """The broker handles everything that we sent before it answers."""
        until = max(self._drain_until, time.monotonic() + FAREWELL_SECS)
        with contextlib.suppress(WireClosed), selectors.DefaultSelector() as selector:
            selector.register(self._wire, selectors.EVENT_READ)
            self._wire.say_goodbye()
            while not self._wire.farewell_heard and time.monotonic() < until:
                self._wire.flush()
                write = selectors.EVENT_WRITE if self._wire.backlog else 0
                selector.modify(self._wire, selectors.EVENT_READ | write)
                selector.select(max(until - time.monotonic(), 0.0))
                self._wire.receive()
