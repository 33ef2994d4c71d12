"""The loop around the roles: feeds them what happens, performs what they ask.

    broker.poll ─┐                                   ┌─▶ broker.perform
    pool.poll   ─┼─▶ the role it is for ─ commands ──┼─▶ pool, files
    posted      ─┘    (all of them: ticks, sessions) └─▶ log

One thread; roles run in it and nowhere else, and `poll` moves the broker's connections in it, for which it never waits.
Whatever blocks (reading input, a file server) has a thread of its own behind `post`; but what is published is read from
this machine's disk in this one, and a client makes the folder that its job shares, since nothing else can begin before.
Without a session the loop goes on: ticks, executors and what is posted are handled as ever, commands for the broker go
nowhere (`brokers.base`), and now and then it tries to begin a new session, which may take its time (`connecting`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import selectors
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

from mapreduce import effects, shared
from mapreduce.background import Background
from mapreduce.brokers import base
from mapreduce.connecting import Connecting
from mapreduce.errors import BrokerError, BrokerRefused, BrokerUnsuitable
from mapreduce.feeder import Feeder
from mapreduce.pool import ExecutorPool
from mapreduce.refs import Failure, trouble_of

TICK_SECS = 0.25
RECONNECT_FIRST_SECS = 0.1
RECONNECT_MOST_SECS = 5.0
#: a session that ends sooner has not brought the broker back
STEADY_SECS = 10.0
#: how long the end waits for shared folders that are being removed
REMOVING_SECS = 10.0

Logger = Callable[[effects.Report], None]
#: is told level and text of a report
Reporter = Callable[[str, str], None]


def log_to(report: Reporter) -> Logger:
    """For whoever wants no more of reports."""
    return lambda said: report(said.level, said.text)


class Host:
    """Runs roles against one broker session, and an executor pool if there are workers among them."""

    def __init__(
        self,
        broker: base.Broker,
        roles: Iterable[effects.Role],
        log: Logger,
        pool: Optional[ExecutorPool] = None,
        reconnect_secs: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.roles = list(roles)
        self.feeder: Optional[Feeder] = None
        #: called a few times a second, when the roles have been told of the tick: for whoever shows what they know
        self.watch: Callable[[], None] = _look_away
        self._broker = broker
        self._pool = pool
        self._log = log
        self._reconnect_secs = reconnect_secs
        self._clock = clock
        self._began = 0.0  #: the session, or the last one
        self._retry_at: Optional[float] = None  #: None: there is a session
        self._connecting: Optional[Connecting] = None
        self._pause = RECONNECT_FIRST_SECS
        self._give_up_at = 0.0
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        #: held while the wake pipe is written or closed; a signal handler may come in between
        self._waking = threading.RLock()
        self._closed = False
        #: apart: what is looked for does not wait for a large tree to go, and the end does not wait for it
        self._checking, self._removing = Background("mr-check"), Background("mr-remove")
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._next_tick = 0.0
        self._alarms: dict[effects.Role, float] = {}  #: when to send whom a tick of its own
        self._deferred: dict[effects.Role, None] = {}  #: who has something left to do when all is handled
        self._selector = selectors.DefaultSelector()
        self._watched: set[int] = set()  #: descriptors that are registered there
        self._executes: Optional[effects.Role] = None  #: whose attempts the executors run

    # ------------------------------------------------------------ from outside

    def post(self, event: Any, urgent: bool = True) -> None:
        """Hand an event to all roles, a `Report` to the log; from any thread, also from a signal handler.

        One that is not urgent is handled with the next that is, or the next tick. Nothing happens after `close`.
        """
        self._posted.put(event)
        if urgent:
            self._wake()

    def _wake(self) -> None:
        with self._waking, contextlib.suppress(BlockingIOError):  # full: it is awake already
            if not self._closed:  # else the descriptor is another file's
                os.write(self._wake_write, b"\0")

    def connect(self) -> None:
        """Begin the first session; blocks, with a limit. Raises `BrokerError`."""
        self._broker.connect()
        self._began = self._clock()
        self._give_up_at = self._began + self._reconnect_secs
        self._tell_all(effects.Connected())

    def join(self, role: effects.Role) -> None:
        """One more role, in the session that there is."""
        self.roles.append(role)
        self._tell(role, effects.Connected())

    def run(self, until: Callable[[], bool]) -> None:
        """Loop until the condition holds. Raises `BrokerError` when the broker is gone for good."""
        while not until():
            if not self._step():
                wake_at = self._next_tick if self._retry_at is None else min(self._next_tick, self._retry_at)
                if self._alarms:
                    wake_at = min(wake_at, *self._alarms.values())
                patience = [self._pool.wait_secs() if self._pool is not None else None]
                if self._connecting is None:
                    patience.append(self._broker.wait_secs())
                secs = max(0.0, wake_at - self._clock())
                self._wait(min([secs, *(each for each in patience if each is not None)]))

    def perform(self, role: effects.Role, commands: Iterable[effects.Command]) -> None:
        """Do what a role asks for."""
        for command in commands:
            action = _LOCAL.get(type(command))
            if action is not None:
                action(self, role, command)
            elif self._connecting is None:
                self._broker.perform(command)  # type: ignore[arg-type]  # all that is not local is the broker's

    def close(self) -> None:
        """Let go of the wake pipe and the threads; broker and pool belong to whoever made them.

        What is being removed of shared folders has `REMOVING_SECS` for it.
        """
        if self.feeder is not None:
            self.feeder.stop()
        if self._connecting is not None:
            self._connecting.abandon()
        self._checking.close(0.0)
        if not self._removing.close(REMOVING_SECS):
            text = "a folder that a job has shared is still being removed: what is left of it stays"
            self.post(effects.Report("warning", text, "folder_left"))
        for event in self._all_posted():
            if isinstance(event, effects.Report):
                self._log(event)
        self._selector.close()
        with self._waking:
            self._closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    # ------------------------------------------------------------ the loop

    def _step(self) -> bool:
        """Handle all that is there; False if there was nothing."""
        found = False
        if self._connecting is not None and self._connecting.over:
            self._connected_or_not(self._connecting.error)
        for event in self._broker.poll() if self._connecting is None else ():
            found = True
            if isinstance(event, base.Disconnected):
                self._disconnected(event)
            elif isinstance(event, base.Unavailable):
                text = f"the broker cannot use its queue {event.name} for now; what is to go there waits"
                self._log(effects.Report("warning", text, "unavailable"))
            else:
                self._route(event)
        if self._pool is not None:
            for slot_event in self._pool.poll():
                found = True
                assert self._executes is not None
                self._tell(self._executes, slot_event)
        for event in self._all_posted():
            found = True
            if isinstance(event, effects.Report):
                self._log(event)
            else:
                self._tell_all(event)
        now = self._clock()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECS
            self._tell_all(effects.Tick())
            self.watch()
            found = True  # what it set off must be seen before waiting
        for role in [role for role, when in self._alarms.items() if now >= when]:
            del self._alarms[role]
            self._tell(role, effects.Tick())
            found = True
        while self._deferred:
            found = True  # as above
            self._tell(self._deferred.popitem()[0], effects.Deferred())
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = float("inf")
            self._connecting = Connecting(self._broker, self._wake)
        return found

    def _all_posted(self) -> Iterator[Any]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._posted.get_nowait()

    def _wait(self, timeout: float) -> None:
        wanted = {self._wake_read}
        if self._connecting is None:
            wanted.add(self._broker.fileno())
        if self._pool is not None:
            wanted.update(self._pool.filenos())
        wanted.discard(-1)
        if wanted != self._watched:
            self._watch(wanted)
        ready = self._selector.select(timeout)
        if any(key.fd == self._wake_read for key, _ in ready):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _watch(self, wanted: set[int]) -> None:
        """Wait for these from now on."""
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        for source in wanted:
            self._selector.register(source, selectors.EVENT_READ)
        self._watched = wanted

    def _route(self, event: Any) -> None:
        """To the role whose prefix its tag or token begins with; to all if it names none."""
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        if address is None:
            self._tell_all(event)
            return
        for role in self.roles:
            if address.startswith(role.prefix):
                self._tell(role, event)

    def _tell_all(self, event: Any) -> None:
        for role in self.roles:
            self._tell(role, event)

    def _tell(self, role: effects.Role, event: Any) -> None:
        self.perform(role, role.handle(event, self._clock()))

    # ------------------------------------------------------------ sessions

    def _disconnected(self, event: base.Disconnected) -> None:
        """Try again at once, unless the session died as soon as it had begun."""
        self._tell_all(event)
        error = _passing(_error_of(event))
        text = f"lost the connection to the broker ({event.reason}); trying again"
        self._log(effects.Report("warning", text, "connection_lost"))
        now = self._clock()
        if now - self._began < STEADY_SECS:
            self._put_off(error)
        else:
            self._retry_at, self._pause = now, RECONNECT_FIRST_SECS
            self._give_up_at = now + self._reconnect_secs

    def _put_off(self, error: BrokerError) -> None:
        """Try again after a pause, longer from time to time; raises the error when it has gone on for too long."""
        self._retry_at = self._clock() + self._pause
        if self._retry_at > self._give_up_at:
            raise error
        self._pause = min(self._pause * 2, RECONNECT_MOST_SECS)

    def _connected_or_not(self, error: Optional[BaseException]) -> None:
        self._connecting = None
        if error is not None:
            self._put_off(_passing(error))
            return
        self._retry_at, self._began = None, self._clock()
        self._log(effects.Report("info", "connected again", "connected"))
        self._tell_all(effects.Connected())

    # ------------------------------------------------------------ local commands

    def _append(self, role: effects.Role, command: effects.Append) -> None:
        try:
            fd = _open_to_append(command.path)
            try:
                rest = command.body
                while rest:
                    rest = rest[os.write(fd, rest) :]
            finally:
                os.close(fd)
        except OSError as error:
            reason = f"cannot write {command.path}: {error.strerror or error}"
            self._tell(role, effects.AppendFailed(command.key, reason, trouble_of(error)))

    def _remove_tree(self, role: effects.Role, command: effects.RemoveTree) -> None:
        if command.shared:
            self._removing.do(functools.partial(_remove_tree, command.path))
        else:  # at once: a retry of the job may write there again
            _remove_tree(command.path)

    def _share_folder(self, role: effects.Role, command: effects.ShareFolder) -> None:
        try:
            shared.make_job_folder(command.path)
        except OSError as error:
            reason = f"cannot make the folder {command.path}: {error.strerror or error}"
            self._tell(role, effects.AppendFailed(command.key, reason, trouble_of(error)))

    def _check_blocks(self, role: effects.Role, command: effects.CheckBlocks) -> None:
        """In the background: it reads them all, perhaps from a server that does not answer."""
        self._checking.do(lambda: self._check(command))

    def _check(self, command: effects.CheckBlocks) -> None:
        trouble, lost = shared.trouble_with(command.folder), []
        try:
            lost = shared.lost(command.blocks) if not trouble else []
            trouble = trouble or shared.trouble_with(command.folder)
        except PermissionError as error:
            trouble = f"may not be read ({error.filename})"
        except OSError as error:
            trouble = f"cannot be read ({error.strerror or error})"
        attempts = tuple(sorted({shared.writer_of(block) for block in lost}))
        self.post(effects.BlocksChecked(command.key, trouble, attempts))

    def _remove_shared(self, role: effects.Role, command: effects.RemoveShared) -> None:
        self._removing.do(lambda: self._remove(command.path))

    def _remove(self, folder: str) -> None:
        try:
            shared.remove_job_folder(folder)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            text = f"cannot remove the folder {folder}, which a job has shared: {reason}"
            self.post(effects.Report("warning", text, "folder_left"))

    def _execute(self, role: effects.Role, command: effects.Execute) -> None:
        assert self._pool is not None
        self._executes = role
        try:
            if not command.task.carries:
                os.makedirs(command.task.directory, exist_ok=True)
        except OSError as error:
            text = f"cannot make the folder {command.task.directory}: {error.strerror or error}"
            failure = Failure(trouble_of(error), text)
            self._tell(role, effects.ExecutorFailed(command.slot, command.task.attempt, failure))
            return
        self._pool.submit(command.slot, command.code, command.spec, command.task)

    def _kill_executor(self, role: effects.Role, command: effects.KillExecutor) -> None:
        assert self._pool is not None
        self._pool.kill(command.slot, command.attempt)

    def _forget_job(self, role: effects.Role, command: effects.ForgetJob) -> None:
        if self._pool is not None:
            self._pool.forget(command.code)

    def _read_input(self, role: effects.Role, command: effects.ReadInput) -> None:
        assert self.feeder is not None
        self.feeder.request()

    def _wake_at(self, role: effects.Role, command: effects.WakeAt) -> None:
        self._alarms[role] = command.when

    def _defer(self, role: effects.Role, command: effects.Defer) -> None:
        self._deferred[role] = None

    def _leave(self, role: effects.Role, command: effects.Leave) -> None:
        self.post(effects.Shutdown())

    def _say(self, role: effects.Role, command: effects.Report) -> None:
        self._log(command)


def _look_away() -> None:
    """Nobody watches."""


def _error_of(event: base.Disconnected) -> BrokerError:
    """Why the session has ended."""
    if event.denied:
        return BrokerRefused(event.reason)
    if event.unsuitable:
        return BrokerUnsuitable(
            f"{event.reason}; delete what has that name, or use a virtual host of its own"
        )
    return BrokerError(event.reason)


def _passing(error: BaseException) -> BrokerError:
    """The error, if trying again may help; else it is raised."""
    if not isinstance(error, BrokerError) or isinstance(error, (BrokerRefused, BrokerUnsuitable)):
        raise error
    return error


def _remove_tree(path: str) -> None:
    """If it is there: most short tasks never make theirs."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def _open_to_append(path: str) -> int:
    """A descriptor; makes the file and its folder if need be."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o600)


_LOCAL: dict[type, Callable[[Host, effects.Role, Any], None]] = {
    effects.Append: Host._append,
    effects.RemoveTree: Host._remove_tree,
    effects.ShareFolder: Host._share_folder,
    effects.CheckBlocks: Host._check_blocks,
    effects.RemoveShared: Host._remove_shared,
    effects.Execute: Host._execute,
    effects.KillExecutor: Host._kill_executor,
    effects.ForgetJob: Host._forget_job,
    effects.ReadInput: Host._read_input,
    effects.Report: Host._say,
    effects.WakeAt: Host._wake_at,
    effects.Defer: Host._defer,
    effects.Leave: Host._leave,
}
