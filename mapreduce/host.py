"""The loop around the roles: feeds them what happens, performs what they ask.

    broker.poll ─┐                                   ┌─▶ broker.perform
    pool.poll   ─┼─▶ the role it is for ─ commands ──┼─▶ pool, files
    posted      ─┘    (all of them: ticks, sessions) └─▶ report

One thread; roles run in it and nowhere else. Whatever blocks (a broker's sockets, reading input) has a thread of
its own behind `poll` or `post`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import shutil
import time
from collections.abc import Iterable
from typing import Any, Callable, Optional

from mapreduce import effects
from mapreduce.brokers import base
from mapreduce.errors import BrokerError, BrokerRefused
from mapreduce.feeder import Feeder
from mapreduce.pool import ExecutorPool

TICK_SECS = 0.25
RECONNECT_FIRST_SECS = 0.1
RECONNECT_MOST_SECS = 5.0

Reporter = Callable[[str, str], None]


class Host:
    """Runs roles against one broker session, and an executor pool if there are workers among them."""

    def __init__(
        self,
        broker: base.Broker,
        roles: Iterable[effects.Role],
        report: Reporter,
        pool: Optional[ExecutorPool] = None,
        reconnect_secs: float = 600.0,
    ) -> None:
        self.roles = list(roles)
        self.feeder: Optional[Feeder] = None
        self._broker = broker
        self._pool = pool
        self._report = report
        self._reconnect_secs = reconnect_secs
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._next_tick = 0.0

    # ------------------------------------------------------------ from outside

    def post(self, event: Any) -> None:
        """Hand an event to all roles; from any thread, also from a signal handler."""
        self._posted.put(event)
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wake_write, b"\0")

    def connect(self) -> None:
        """Begin the first session. Raises `BrokerError`."""
        self._broker.connect()
        self._tell_all(effects.Connected())

    def run(self, until: Callable[[], bool]) -> None:
        """Loop until the condition holds. Raises `BrokerError` when the broker is gone for good."""
        while not until():
            if not self._step():
                self._wait(max(0.0, self._next_tick - time.monotonic()))

    def perform(self, role: effects.Role, commands: Iterable[effects.Command]) -> None:
        """Do what a role asks for."""
        for command in commands:
            action = _LOCAL.get(type(command))
            if action is not None:
                action(self, role, command)
            else:
                self._broker.perform(command)  # type: ignore[arg-type]  # all that is not local is the broker's

    def close(self) -> None:
        """Let go of the wake pipe and the input thread; broker and pool belong to whoever made them."""
        if self.feeder is not None:
            self.feeder.stop()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # ------------------------------------------------------------ the loop

    def _step(self) -> bool:
        """Handle all that is there; False if there was nothing."""
        found = False
        for event in self._broker.poll():
            found = True
            if isinstance(event, base.Disconnected):
                self._reconnect(event)
            else:
                self._route(event)
        if self._pool is not None:
            for slot_event in self._pool.poll():
                found = True
                self._tell_all(slot_event)
        with contextlib.suppress(queue.Empty):
            while True:
                self._tell_all(self._posted.get_nowait())
                found = True
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECS
            self._tell_all(effects.Tick())
            found = True  # what it set off must be seen before waiting
        return found

    def _wait(self, timeout: float) -> None:
        with selectors.DefaultSelector() as selector:
            sources = [self._wake_read, self._broker.fileno()]
            if self._pool is not None:
                sources += self._pool.filenos()
            for source in sources:
                if source >= 0:
                    selector.register(source, selectors.EVENT_READ)
            selector.select(timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _route(self, event: Any) -> None:
        """To the role whose prefix its tag or token begins with; to all if it names none."""
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        if address is None:
            self._tell_all(event)
            return
        for role in self.roles:
            if address.startswith(role.prefix):
                self.perform(role, role.handle(event, time.monotonic()))

    def _tell_all(self, event: Any) -> None:
        for role in self.roles:
            self.perform(role, role.handle(event, time.monotonic()))

    def _reconnect(self, event: base.Disconnected) -> None:
        """Tell the roles, then try until a new session begins. Blocks: without a broker there is nothing to do."""
        self._tell_all(event)
        if event.denied:
            raise BrokerRefused(event.reason)
        self._report("warning", f"lost the connection to the broker ({event.reason}); trying again")
        deadline = time.monotonic() + self._reconnect_secs
        pause = RECONNECT_FIRST_SECS
        while True:
            try:
                self._broker.connect()
                break
            except BrokerRefused:
                raise
            except BrokerError:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, RECONNECT_MOST_SECS)
        self._report("info", "connected again")
        self._tell_all(effects.Connected())

    # ------------------------------------------------------------ local commands

    def _append(self, role: effects.Role, command: effects.Append) -> None:
        try:
            fd = os.open(command.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(command.path), exist_ok=True)
            fd = os.open(command.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            rest = command.body
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError as error:
            reason = f"cannot write {command.path}: {error.strerror}"
            self.perform(role, role.handle(effects.AppendFailed(command.key, reason), time.monotonic()))
        finally:
            os.close(fd)

    def _remove_tree(self, role: effects.Role, command: effects.RemoveTree) -> None:
        shutil.rmtree(command.path, ignore_errors=True)

    def _execute(self, role: effects.Role, command: effects.Execute) -> None:
        assert self._pool is not None
        os.makedirs(command.task.directory, exist_ok=True)
        self._pool.submit(command.slot, command.job, command.spec, command.task)

    def _kill_executor(self, role: effects.Role, command: effects.KillExecutor) -> None:
        assert self._pool is not None
        self._pool.kill(command.slot)

    def _read_input(self, role: effects.Role, command: effects.ReadInput) -> None:
        assert self.feeder is not None
        self.feeder.request()

    def _say(self, role: effects.Role, command: effects.Report) -> None:
        self._report(command.level, command.text)


_LOCAL: dict[type, Callable[[Host, effects.Role, Any], None]] = {
    effects.Append: Host._append,
    effects.RemoveTree: Host._remove_tree,
    effects.Execute: Host._execute,
    effects.KillExecutor: Host._kill_executor,
    effects.ReadInput: Host._read_input,
    effects.Report: Host._say,
}
