"""Watches processes: what each knows, and what it does about it, where the broker alone would not show it.

- A coordinator knows what `reference` says of the log that it has read, and does nothing before its own `Took`.
- Its dispatches are of the current generation, and leave out the records that ended careful attempts.
- A complete stage gets its seals, and its `StageSealed`, while one coordinator is there all along.
- A reader that meets a seal of a later generation reads no further.
- An attempt whose dispatch is acked says that it is alive.
- A task that may have ended its host is dispatched as such, and in no company; beside an attempt of it nothing is
  started ahead.
- Who does not see a shared folder voids nothing that lies in it.
- What came in one message with a task that takes long does not wait for it, nor does what its executor has been given.
- Of a job only one task at a time goes before its others, and only while none of it runs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Phase
from mapreduce.brokers import base
from mapreduce.coordinator import Coordinator
from mapreduce.haste import LONG_SECS
from mapreduce.leases import LeaseKeeper
from mapreduce.worker import Worker
from tests.simulation.reference import Facts, Reference, facts_of
from tests.simulation.world import QUIET_TICK_SECS, World

#: by the log's clock; what is lost of it is repeated after 60 s, perhaps twice; another coordinator comes after 480 s
UNSEALED_SECS = 250.0
#: between two signs of life: each minute, a tick's time later, and up to 20 s on its way
SILENT_SECS = 120.0
#: a task that takes long is noticed at one tick, what has come or become ready since is handed back at the next
NOTICED_SECS = 2 * QUIET_TICK_SECS + 1.0
HANDED_BACK_SECS = LONG_SECS + NOTICED_SECS
#: what only a coordinator that has read the log may say
_DECISIONS = (ev.Dispatch, ev.Seal, ev.Dispatched, ev.StageSealed, ev.Lost, ev.Failed, ev.Cancelled)
_NO_CHANGE = (ev.Passed, ev.Present, ev.Alive, ev.Long, ev.Back, ev.Took, ev.Resumed)


class _Log:
    """One log, as far as anybody has read it: what is lost before that is not in it for anyone.

    A log that was deleted and is declared anew, by a client that was silent for too long, is another one.
    """

    def __init__(self) -> None:
        self.fold = Reference()
        self.facts: list[Facts] = []  #: that there were, in turn
        self.which: dict[int, int] = {}  #: offset → which of these
        self.entries: dict[int, list[Any]] = {}  #: by offset; several that were joined have one
        self.next_offset = 0
        self.due: Optional[tuple[int, int]] = None  #: stage and generation to be sealed
        self.waited = 0.0
        self.passed: dict[int, float] = {}  #: by the lease's salt
        self.robbed = False  #: somebody deleted a stream of its job


class Conduct:
    """Of all processes of one play."""

    def __init__(self, world: World, blame: Callable[[str], None]) -> None:
        self._world = world
        self._blame = blame
        self._logs: dict[str, _Log] = {}  #: the last one of each job
        self._reads: dict[int, _Log] = {}  #: by the serial number of a consumer
        self._took: dict[tuple[str, str], ev.Rank] = {}  #: process and coordinator that have said so
        self._caught_up: set[tuple[str, str]] = set()
        self._lowest: dict[tuple[str, str], int] = {}  #: priority of what a coordinator has dispatched
        self._first: dict[str, set[int]] = {}  #: by job, dispatches that go before its others
        #: how attempts would tell their outcome that do not see the shared folder
        self._blind: set[str] = set()
        self._alive: dict[int, float] = {}  #: attempt → when the broker had its last sign of life

    def forget(self, job: str) -> None:
        """Somebody deletes what it has: what was read of its log is not all that there is to know."""
        log = self._logs.get(job)
        if log is not None:
            log.robbed = True

    def known(self, job: str) -> Optional[Reference]:
        """What the log says, as far as anybody has read it."""
        log = self._logs.get(job)
        return log.fold if log is not None and not log.robbed else None

    # ------------------------------------------------------------ what comes to the broker

    def declared(self, job: str) -> None:
        """A log that was not there."""
        self._logs[job] = _Log()

    def consumed(self, job: str, serial: int) -> None:
        """Somebody begins to read the log that is there now."""
        self._reads[serial] = self._logs[job]

    def comes(self, event: Any) -> None:
        """An event of a log."""
        if isinstance(event, (ev.Long, ev.Alive)):
            self._alive[event.attempt] = self._world.now

    def inspect(self, worker: Worker, places: Collection[str]) -> None:
        """Now and then, a worker that nothing hampers; ``places``: the names of all that there are."""
        for attempt in worker._attempts.values():
            silent = self._world.now - self._alive.get(attempt.number, self._world.now)
            has_log = ev.log_stream(attempt.job) in places
            goes_on = not attempt.held and attempt.phase < Phase.CLOSING and has_log
            if goes_on and silent > SILENT_SECS:
                self._blame("a long attempt does not say that it is alive")
        began = min((attempt.began for attempt in worker._slots.at_work), default=self._world.now)
        in_ranges = [
            a
            for a in worker._attempts.values()
            if a.delivery.is_range
            and a.phase in (Phase.READY, Phase.STARTED, Phase.GIVEN)
            and self._world.now - a.since > NOTICED_SECS
        ]
        if self._world.now - began > HANDED_BACK_SECS and len(in_ranges) > len(worker._slots) + 1:
            self._blame("what came in a range waits behind a task that takes long")
        if worker._slots.stuck(self._world.now, HANDED_BACK_SECS):
            self._blame("an executor is at a task that takes long, and has others behind it")

    # ------------------------------------------------------------ what a process hears

    def does_not_see(self, key: str) -> None:
        """The attempt that asks by this key is told that the shared folder is not there."""
        self._blind.add(key.replace("/check:", "/close:"))

    def heard(self, name: str, role: Any, event: Any) -> None:
        """The role has taken it."""
        if type(event) is not base.Delivered or event.offset is None:
            return
        if isinstance(role, Worker):
            self._reads_input(role, event)
        elif isinstance(role, LeaseKeeper) and event.tag.endswith("/log"):
            self._reads_log(name, role, event, event.offset)

    def _reads_input(self, worker: Worker, event: base.Delivered) -> None:
        if not event.tag.startswith("worker/input:"):
            return
        attempt = worker._attempts.get(int(event.tag.rpartition(":")[2]))
        if attempt is not None and attempt.phase is Phase.INPUT and attempt.dispatch.stage > 0:
            seals = [msg for msg, _ in wire.decode_all(event.body) if isinstance(msg, ev.Seal)]
            if any(seal.generation > attempt.dispatch.generation for seal in seals):
                self._blame("an attempt reads on that was shown a seal of a later generation")

    def _reads_log(self, name: str, keeper: LeaseKeeper, event: base.Delivered, offset: int) -> None:
        prefix = event.tag[: -len("log")]
        coordinator = keeper.coordinators.get(prefix)
        if coordinator is None or coordinator._next_offset != offset + 1:
            return  # it has left meanwhile
        log = self._reads[event.receipt.number >> 32]
        if offset not in log.entries:
            log.entries[offset] = [entry for entry, _ in wire.decode_all(event.body)]
        entries = log.entries[offset]
        took = ev.Took(self._took[name, prefix], name) if (name, prefix) in self._took else None
        if took in entries:
            self._caught_up.add((name, prefix))
        if log.robbed:
            return
        if offset >= log.next_offset:
            self._fold(log, offset, entries)
        left = coordinator._outranked and len(entries) > 1  # in the midst of them
        if offset in log.which and not left and not all(isinstance(entry, _NO_CHANGE) for entry in entries):
            right = log.facts[log.which[offset]]
            here = facts_of(coordinator.state)
            if here != right:
                parted = [field for field in Facts._fields if getattr(here, field) != getattr(right, field)]
                names = ", ".join(type(entry).__name__ for entry in entries)
                self._blame(f"after {names} a coordinator is wrong about: {', '.join(parted)}")

    def _fold(self, log: _Log, offset: int, entries: list[Any]) -> None:
        log.next_offset = offset + 1
        for entry in entries:
            log.fold.apply(entry)
            if isinstance(entry, _NO_CHANGE):
                self._wait(log, entry)
        if all(isinstance(entry, _NO_CHANGE) for entry in entries):
            return
        facts = log.fold.facts()
        if not log.facts or facts != log.facts[-1]:
            log.facts.append(facts)
        log.which[offset] = len(log.facts) - 1
        due = log.fold.to_be_sealed()
        if due != log.due:
            log.due, log.waited = due, 0.0

    def _wait(self, log: _Log, entry: Any) -> None:
        if isinstance(entry, ev.Took):
            log.waited = 0.0
        elif isinstance(entry, ev.Passed):
            known = log.passed.get(entry.salt, 0.0)
            log.passed[entry.salt] = max(known, entry.total_secs)
            if log.due is None:
                return
            log.waited += log.passed[entry.salt] - known
            if log.waited > UNSEALED_SECS:
                self._blame("a complete stage is not sealed")

    # ------------------------------------------------------------ what it does

    def says(self, name: str, role: Any, command: base.Publish) -> None:
        """It publishes something."""
        if isinstance(role, Worker):
            if command.token.startswith(("worker/start:", "worker/starts:")):
                self._starts(role)
            elif command.token in self._blind and b"Missing" in command.head[5:16]:
                self._blame("who does not see the shared folder says what is not there")
            return
        if not isinstance(role, LeaseKeeper):
            return
        prefix = "/".join(command.token.split("/")[:2]) + "/"
        messages = [message for message, _ in wire.decode_all(command.head)]
        if isinstance(messages[0], ev.Took):
            self._took[name, prefix] = messages[0].rank
        elif isinstance(messages[0], _DECISIONS) and (name, prefix) not in self._caught_up:
            self._blame(f"a coordinator decides ({type(messages[0]).__name__}) before it has read the log")
        elif isinstance(messages[0], ev.Dispatch):
            self._dispatches(role, prefix, messages)
            coordinator = role.coordinators.get(prefix)
            lowest = self._lowest.get((name, prefix), base.MAX_PRIORITY)
            self._lowest[name, prefix] = min(lowest, command.priority)
            if coordinator is not None and command.priority > lowest:
                self._goes_first(coordinator, messages[0])

    def _dispatches(self, keeper: LeaseKeeper, prefix: str, messages: list[ev.Dispatch]) -> None:
        """In one message."""
        if len(messages) > 1:
            self._world.tally("ranges")
            if any(message.alone for message in messages):
                self._blame("a task that has to be alone with its worker is dispatched in company")
        for message in messages:
            coordinator = keeper.coordinators.get(prefix)
            task = coordinator.state.task(message.stage, message.index) if coordinator is not None else None
            if coordinator is None or task is None:
                return
            if message.generation != coordinator.state.stages[message.stage].generation:
                self._blame("a dispatch is of a void generation")
            if message.careful and set(message.skip) != set(task.skips):
                self._blame("a careful dispatch does not leave out the records that ended careful attempts")
            if task.losses and not message.alone:
                self._blame("the dispatch of a task that has lost a worker does not say so")

    def _goes_first(self, coordinator: Coordinator, message: ev.Dispatch) -> None:
        """The priority of a job only falls, but for one task while others go before all of its tasks."""
        self._world.tally("tasks that go before others")
        first = self._first.setdefault(message.job, set())
        if coordinator.state.running:
            self._blame("a task goes before others although others of its job run")
        if first & coordinator.state.unstarted.keys():
            self._blame("two tasks of a job go before others at a time")
        first.add(message.dispatch)

    def _starts(self, worker: Worker) -> None:
        """All that it has started and not run is charged with its death."""
        started = [a for a in worker._attempts.values() if Phase.STARTING <= a.phase <= Phase.RUNNING]
        if len(started) > len(worker._slots) and any(attempt.dispatch.alone for attempt in started):
            self._blame("attempts are started ahead beside one whose task has lost a worker")
