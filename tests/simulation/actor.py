"""A process: its session with the broker, its roles, and executors that need time. What `Host` and the pool do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol

from mapreduce import effects, wire
from mapreduce.brokers import base
from mapreduce.refs import Carried, Failure, Stats
from tests.simulation import model, trace
from tests.simulation.folder import SharedFolder
from tests.simulation.model import Files
from tests.simulation.node import Node, Session
from tests.simulation.scenario import JobPlan, Scenario
from tests.simulation.world import QUIET_TICK_SECS

TICK_SECS = 0.25
#: until another executor goes on with what a dead one was given
RESTART_SECS = 0.2
#: a role may hear of more before it decides what follows
SETTLE_SECS = 0.02
_LOCAL = (effects.Append, effects.RemoveTree, effects.ForgetJob, effects.Report)


class Stage(Protocol):
    """What actors share."""

    node: Node
    scenario: Scenario
    plans: dict[str, JobPlan]
    shared_files: Files
    folder: SharedFolder


@dataclass
class Fuse:
    """Trouble that waits for a moment in the middle of a role's commands."""

    after: int  #: so many commands that fit
    fits: Callable[[Any], bool]
    act: Callable[[], None]


class Actor:
    """One process; dead once `crash` was called, or once it has left."""

    def __init__(self, stage: Stage, name: str, roles: list[Any]) -> None:
        self.stage = stage
        self.world = stage.node.world
        self.name = name
        self.roles = roles
        self.files: Files = stage.shared_files if stage.scenario.by_reference else {}
        self.session: Optional[Session] = None
        self.dead = False
        self.fuse: Optional[Fuse] = None
        self.input: deque[Any] = deque()
        #: after each event; a client's tells what has become of its job
        self.on_event: Callable[[], None] = lambda: None
        self.restart: Callable[[], None] = lambda: None  #: what its host does once it is dead
        #: by slot: what its executor has, the first of it at work
        self._lanes: dict[int, deque[effects.Execute]] = {}
        self._runs: dict[int, object] = {}  #: which run of it that is
        self.frozen_secs = 0.0  #: in all
        self._frozen_until = 0.0
        self._backlog: deque[Callable[[], None]] = deque()
        self._redelivered: set[int] = set()
        self._stopping = False
        self._tick_gap = TICK_SECS
        self._pause = 0.1
        self._input_at = 0.0  #: when the last item of the input is read
        self._connect()
        self.world.after(self.world.rng.random() * TICK_SECS, self._tick)

    # ------------------------------------------------------------ what comes in

    def hear(self, event: Any) -> None:
        """An event for the roles, from now on."""
        self._when_awake(lambda: self._take(event))

    def _when_awake(self, action: Callable[[], None]) -> None:
        if self.dead:
            return
        if self._backlog or self.world.now < self._frozen_until:
            self._backlog.append(action)
        else:
            action()

    def _take(self, event: Any) -> None:
        if self.dead:
            return
        world = self.world
        if world.trace is not None:
            world.note(self.name, "◀ " + trace.describe(event))
        kind = type(event)
        world.busy_at = world.now
        if kind is base.Disconnected:
            world.tally("lost connections")
            self.session = None
            world.after(self._pause * world.rng.random(), self._connect_when_awake)
            self._pause = min(self._pause * 2, 5.0)
        elif kind is base.Delivered and event.redelivered and event.tag.startswith("worker/tasks"):
            self._redelivered.update(message.dispatch for message, _ in wire.decode_all(event.body))
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        for role in self.roles:
            if address is None or address.startswith(role.prefix):
                commands = role.handle(event, world.now)
                self.stage.node.monitor.conduct.heard(self.name, role, event)
                self.perform(role, commands)
                if self.dead:
                    return
        self._after_event()

    def _after_event(self) -> None:
        self.on_event()
        if self._stopping and not self.dead and all(role.finished for role in self.roles):
            self.leave()

    def tell_all(self, event: Any) -> None:
        """All roles, at once; a tick, say."""
        for role in self.roles:
            self.perform(role, role.handle(event, self.world.now))
            if self.dead:
                return
        self._after_event()

    def _tick(self) -> None:
        if self.dead:
            return
        if self.world.now >= self._frozen_until and not self._backlog:
            self.tell_all(effects.Tick())
        quiet = self.world.now - self.world.busy_at > 2.0
        self._tick_gap = min(self._tick_gap * 2, QUIET_TICK_SECS) if quiet else TICK_SECS
        self.world.after(self._tick_gap, self._tick)

    def _alarm(self, role: Any) -> None:
        """A tick that it has asked for."""
        if not self.dead and self.world.now >= self._frozen_until and not self._backlog:
            self.perform(role, role.handle(effects.Tick(), self.world.now))
            if not self.dead:
                self._after_event()

    def _settle_soon(self, role: Any) -> None:
        """All that has happened by now is handled at once, or a little of what comes next with it."""
        if self.world.chance(0.5):
            self.world.after(self.world.rng.random() * SETTLE_SECS, self._settle, role)
        else:
            self.perform(role, role.handle(effects.Deferred(), self.world.now))

    def _settle(self, role: Any) -> None:
        self._when_awake(lambda: self._settle_now(role))

    def _settle_now(self, role: Any) -> None:
        self.perform(role, role.handle(effects.Deferred(), self.world.now))
        if not self.dead:
            self._after_event()

    # ------------------------------------------------------------ sessions

    def _connect_when_awake(self) -> None:
        self._when_awake(self._connect)

    def _connect(self) -> None:
        if self.dead or self.session is not None:
            return
        if self.stage.node.down_until > self.world.now:
            self.world.after(1.0, self._connect_when_awake)
            return
        self.session = Session(self.stage.node, self.name, self.hear)
        self.world.after(10.0, self._calm_down, self.session)
        self.tell_all(effects.Connected())

    def _calm_down(self, session: Session) -> None:
        if self.session is session:
            self._pause = 0.1

    # ------------------------------------------------------------ what goes out

    def perform(self, role: Any, commands: list[Any]) -> None:
        """Do what a role asks for; the fuse may burn down between any two of these."""
        world = self.world
        for command in commands:
            if self.fuse is not None and self.fuse.fits(command):
                self.fuse.after -= 1
                if self.fuse.after < 0:
                    act, self.fuse = self.fuse.act, None
                    act()
            if self.dead:
                return
            if world.trace is not None:
                world.note(self.name, "  ▶ " + trace.describe(command))
            kind = type(command)
            if kind is base.Publish:
                self.stage.node.monitor.conduct.says(self.name, role, command)
                if command.token.startswith(("worker/start:", "worker/starts:", "worker/reads:")):
                    for message, _ in wire.decode_all(command.head):
                        self.stage.node.monitor.starts(message, self._redelivered)
                if self.session is not None:
                    self.session.perform(command, self._whole(command))
            elif kind is effects.Execute:
                self._execute(command)
            elif kind is effects.KillExecutor:
                self._kill(command)
            elif kind is effects.Append:
                self._append(role, command)
            elif kind is effects.ShareFolder:
                self.stage.folder.make(command.path)
            elif kind is effects.CheckBlocks:
                self._check_later(role, command)
            elif kind is effects.RemoveShared:
                self.stage.folder.remove(command.path)
            elif kind is effects.RemoveTree:
                self.stage.folder.remove(command.path)
                if self.stage.scenario.by_reference:
                    continue  # blocks by reference belong to a broker of one process, whose sessions never break
                for path in [path for path in self.files if path.startswith(command.path + "/")]:
                    del self.files[path]
            elif kind is effects.Defer:
                self._settle_soon(role)
            elif kind is effects.WakeAt:
                world.at(command.when, self._alarm, role)
            elif kind is effects.ReadInput:
                if self.input:
                    self._input_at = max(self._input_at, world.now + world.delay())
                    world.at(self._input_at, self.hear, self.input.popleft())
            elif kind not in _LOCAL and self.session is not None:
                self.session.perform(command)

    def _whole(self, command: base.Publish) -> Optional[bytes]:
        if command.body is None:
            return command.head
        path, offset, length = command.body
        body = bytes(self.files.get(path, b"")[offset : offset + length])
        return command.head + body if len(body) == length else None

    def _append(self, role: Any, command: effects.Append) -> None:
        if self.world.chance(self.stage.scenario.full_disk) and role.prefix == "worker/":
            self.world.tally("full disks")
            self.world.after(0.0, self.hear, effects.AppendFailed(command.key, "no space left"))
        else:
            self.files.setdefault(command.path, bytearray()).extend(command.body)

    def _check_later(self, role: Any, command: effects.CheckBlocks) -> None:
        def check() -> None:
            blind = role.prefix == "worker/" and self.world.chance(self.stage.scenario.blind)
            here = command.folder in self.stage.folder.folders and not blind
            attempts = self.stage.folder.lost(command.blocks) if here else ()
            if not here:
                self.stage.node.monitor.conduct.does_not_see(command.key)
            if attempts:
                self.world.tally("lost files noticed")
            self._take(effects.BlocksChecked(command.key, "" if here else "is not there", attempts))

        self.world.after(self.world.delay(), self._when_awake, check)

    # ------------------------------------------------------------ executors

    def _execute(self, command: effects.Execute) -> None:
        lane = self._lanes.setdefault(command.slot, deque())
        self.stage.node.monitor.executes(command, lane)
        lane.append(command)
        if len(lane) == 1:
            self._run(command)
        else:
            self.world.tally("attempts given ahead")

    def _run(self, command: effects.Execute, pause: float = 0.0) -> None:
        scenario, rng = self.stage.scenario, self.world.rng
        secs = rng.expovariate(1.0) * scenario.task_secs
        if self.world.chance(scenario.slow):
            secs = rng.choice((100.0, 1000.0))
        run = self._runs[command.slot] = object()
        self.world.after(pause + secs, self._when_awake, lambda: self._finish(command, run, secs))

    def _kill(self, command: effects.KillExecutor) -> None:
        lane = self._lanes.get(command.slot, deque())
        first = bool(lane) and lane[0].task.attempt == command.attempt
        for each in [each for each in lane if each.task.attempt == command.attempt]:
            lane.remove(each)
        if first:
            self._begin_next(command.slot, RESTART_SECS)

    def _begin_next(self, slot: int, pause: float = 0.0) -> None:
        self._runs.pop(slot, None)
        if self._lanes[slot]:
            self._run(self._lanes[slot][0], pause)

    def _finish(self, command: effects.Execute, run: object, secs: float) -> None:
        """The executor's outcome."""
        task, slot = command.task, command.slot
        if self.dead or self._runs.get(slot) is not run:
            return
        self._lanes[slot].popleft()
        self._begin_next(slot)
        world, scenario = self.world, self.stage.scenario
        if world.chance(scenario.bad_luck):
            world.tally("failed attempts")
            kind = world.rng.choice(("raised", "died"))
            self._take(effects.ExecutorFailed(slot, task.attempt, Failure(kind, "bad luck", "map model")))
            return
        try:
            plan = self.stage.plans[task.job]
            outcome = model.run(
                plan, command.spec, task, self.files, self.stage.folder, scenario.block_records
            )
        except model.HostKilled:
            world.tally("hosts killed by records")
            world.note(self.name, "is killed by a record")
            self.crash()
            return
        if outcome.failure is not None:
            world.tally("failed attempts")
            self._take(effects.ExecutorFailed(slot, task.attempt, outcome.failure))
            return
        carried: list[Carried] = []
        for partition, seq, block in outcome.blocks:
            if block.data is not None and world.chance(0.7):
                carried.append(Carried(partition, seq, block))
            else:
                self._take(effects.ExecutorBlock(slot, task.attempt, partition, seq, block))
        world.tally("blocks that come with the answer", len(carried))
        stats: Stats = {"records_in": 1, "records_out": 1}
        if scenario.ranges:
            stats["seconds"] = secs
        if outcome.skipped:
            world.tally("skipped records", len(outcome.skipped))
        its = (outcome.counters, stats, outcome.skipped, tuple(carried))
        self._take(effects.ExecutorDone(slot, task.attempt, *its))

    # ------------------------------------------------------------ ends and pauses

    def crash(self) -> None:
        """kill -9: nothing it says from now on is heard; its deliveries go back."""
        if not self.dead:
            self.dead = True
            if self.session is not None:
                self.session.cut("killed", silent=True)
            self.restart()

    def leave(self) -> None:
        """It has nothing left to do."""
        self.dead = True
        self.world.note(self.name, "leaves")
        if self.session is not None:
            self.session.farewell()
        self.restart()

    def shut_down(self) -> None:
        """SIGTERM."""
        if not self._stopping:
            self._stopping = True
            self.hear(effects.Shutdown())

    def freeze(self, secs: float) -> None:
        """SIGSTOP: nothing happens in it for a while."""
        until = max(self._frozen_until, self.world.now + secs)
        self.frozen_secs += until - max(self._frozen_until, self.world.now)
        self._frozen_until = until
        if self.session is not None:
            self.session.hampered = True
        self.world.at(self._frozen_until, self._wake)

    def _wake(self) -> None:
        while self._backlog and not self.dead and self.world.now >= self._frozen_until:
            self._backlog.popleft()()

    @property
    def frozen(self) -> bool:
        return self.world.now < self._frozen_until
