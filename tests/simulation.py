"""Whole jobs with the real roles on a virtual clock: a seed decides who acts next, who dies, which link breaks.

Brokers are sessions of one `MemoryServer`; executors are modelled: a task's output is a list of pairs kept in a
dict by block path. User code is not deterministic here: each attempt stamps what it writes with its own number, so
that an output mixed from two attempts of one task shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from mapreduce import effects
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from mapreduce.client import Client, Phase
from mapreduce.leases import LeaseKeeper
from mapreduce.refs import Block, Failure, Segment, Split, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.worker import Worker

Pair = tuple[Any, Any]
#: how long a lossy broker loses: each loss may cost the time between two renewals, undisturbed
LOSSY_SECS = 60.0
#: stands where a message was lost
LOST = b"\x01\x00\x00\x00\x00"
#: events that nobody but the client knows of
CLIENTS_OWN = (b"InputComplete", b"CancelRequested", b"Missing", b"Submitted")


@dataclass
class World:
    """What all actors share: the broker, the clock, and the files they wrote."""

    seed: int
    now: float = 0.0
    server: MemoryServer = field(default_factory=MemoryServer)
    files: dict[str, list[Pair]] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)
    #: the chance that a task takes 1,000 s
    slow: float = 0.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now:9.2f}  {text}")


class Actor:
    """A process: a session, its roles, and executors that need time."""

    def __init__(self, world: World, name: str, roles: list[effects.Role]) -> None:
        self.world = world
        self.name = name
        self.roles = roles
        self.broker = MemoryBroker(world.server)
        self.running: dict[int, tuple[float, effects.Execute]] = {}
        self.input: list[Any] = []
        self.dead = False
        self.connected = False
        self._tick = 0.0

    def connect(self) -> None:
        self.broker.connect()
        self.connected = True
        self.tell_all(effects.Connected())

    def step(self) -> bool:
        """Handle what is there; False if nothing was."""
        if self.dead:
            return False
        if not self.connected:
            self.connect()
            return True
        found = False
        for event in self.broker.poll():
            found = True
            self.route(event)
        for slot, (ends, command) in list(self.running.items()):
            if self.world.now >= ends and slot in self.running:
                del self.running[slot]
                found = True
                self.finish(command)
        if self.world.now >= self._tick:
            self._tick = self.world.now + 0.25
            self.tell_all(effects.Tick())
        return found

    def route(self, event: Any) -> None:
        if isinstance(event, base.Disconnected):
            self.connected = False
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        for role in self.roles:
            if address is None or address.startswith(role.prefix):
                self.perform(role, role.handle(event, self.world.now))

    def tell_all(self, event: Any) -> None:
        for role in self.roles:
            self.perform(role, role.handle(event, self.world.now))

    def perform(self, role: effects.Role, commands: list[effects.Command]) -> None:
        for command in commands:
            if isinstance(command, effects.Execute):
                duration = self.world.rng.expovariate(1.0)
                if self.world.slow and self.world.rng.random() < self.world.slow:
                    duration = 1000.0
                self.running[command.slot] = (self.world.now + duration, command)
            elif isinstance(command, effects.KillExecutor):
                self.running.pop(command.slot, None)
            elif isinstance(command, effects.ReadInput):
                if self.input:
                    self.perform(role, role.handle(self.input.pop(0), self.world.now))
            elif isinstance(command, effects.Report):
                self.world.note(f"{self.name}: {command.text}")
            elif not isinstance(command, (effects.Append, effects.RemoveTree, effects.ForgetJob)):
                self.broker.perform(command)

    def finish(self, command: effects.Execute) -> None:
        """The modelled executor's outcome."""
        task, slot = command.task, command.slot
        if self.world.rng.random() < 0.03:
            failure = Failure("raised", "bad luck", "map model")
            self.tell_all(effects.ExecutorFailed(slot, task.attempt, failure))
            return
        for partition, pairs in sorted(self.run_model(task, command.spec).items()):
            path = f"{task.attempt}/{partition}"
            self.world.files[path] = pairs
            block = Block(path, 0, len(pairs), len(pairs), 0, "")
            self.tell_all(effects.ExecutorBlock(slot, task.attempt, partition, 0, block))
        counters = {"tasks": 1}
        self.tell_all(effects.ExecutorDone(slot, task.attempt, counters, {"records_in": 1, "records_out": 1}))

    def run_model(self, task: TaskSpec, spec: JobSpec) -> dict[int, list[Pair]]:
        """Stage 0 writes (index, stamp) to every partition but one; later stages copy what they read, stamped."""
        if task.split is not None:
            pairs = [((task.index,), (task.attempt,))]
        else:
            read = [pair for block in task.blocks for pair in self.world.files[block.path]]
            pairs = [((*key, task.index), (*stamps, task.attempt)) for key, stamps in read]
        if task.stage == spec.stages - 1:
            return {0: pairs} if pairs else {}
        skipped = task.index % (spec.partitions + 1) if task.stage == 0 else -1
        return {partition: pairs for partition in range(spec.partitions) if pairs and partition != skipped}

    def crash(self) -> None:
        """kill -9: nothing it says from now on is heard; its deliveries go back."""
        self.dead = True
        self.running.clear()
        self.broker.close(0)


class Simulation:
    """One job (others may share its world and workers), some workers, and trouble."""

    def __init__(
        self,
        seed: int,
        stages: int = 2,
        partitions: int = 3,
        splits: int = 6,
        workers: int = 3,
        *,
        slow: float = 0.0,
        lossy: bool = False,
        detached: bool = False,
        job: str = "job",
        beside: Optional[Simulation] = None,
    ) -> None:
        """``lossy``: the broker loses what it has confirmed, anywhere; the job may fail then, but must say so."""
        self.world: World = World(seed, slow=slow) if beside is None else beside.world
        self.lossy = lossy
        self.spec = JobSpec("model", {}, {}, stages, partitions, tries=1000, detached=detached)
        self.client = Client(job, self.spec, "", "0", self.world.rng, at=0.0)
        self.front = Actor(self.world, f"client of {job}", [self.client])
        segment = Segment("f", "f", 0, 1, 0, True)
        self.front.input = [effects.InputSplit(Split((segment,)), False)] * splits + [effects.InputEnd()]
        self.splits = splits
        self.workers: list[Actor] = []
        self.others: list[Simulation] = []
        self._serial = 0
        if beside is not None:
            self.workers = beside.workers
            beside.others.append(self)
            return
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        self._serial += 1
        name = f"w{self._serial}"
        queue = ev.tasks_queue(self.spec.pool, self.spec.interpreter)
        rng = self.world.rng
        slots = rng.randint(1, 2)
        roles: list[effects.Role] = [LeaseKeeper(name, rng), Worker(name, slots, (queue,), "", True, rng)]
        self.workers.append(Actor(self.world, name, roles))

    @property
    def actors(self) -> list[Actor]:
        return [self.front, *(other.front for other in self.others), *self.workers]

    def run(self, trouble: float, until: Callable[[], bool], limit: float = 10_000.0) -> bool:
        """Let things happen until the condition holds; ``trouble`` is the chance of some per step."""
        world = self.world
        while not until():
            if world.now > limit:
                return False
            calm = self.lossy and world.now > LOSSY_SECS
            if world.rng.random() < trouble and not calm:
                self.make_trouble()
            if world.slow or self.lossy:
                self.step_all()
            elif not world.rng.choice(self.actors).step():
                world.now += world.rng.choice([0.0, 0.01, 0.1])
        return True

    def step_all(self) -> None:
        """For long stories: everybody acts, in any order; when nothing happens, seconds pass."""
        actors = self.actors
        self.world.rng.shuffle(actors)
        if sum(actor.step() for actor in actors) == 0:
            self.world.now += self.world.rng.choice([0.1, 1.0, 2.0])

    def make_trouble(self) -> None:
        world = self.world
        kind = world.rng.random()
        victim = world.rng.choice(self.workers)
        if self.lossy and kind < 0.6:
            self.lose_anything()
        elif kind < 0.05:
            world.note("the broker restarts")
            for actor in self.actors:
                actor.broker.drop("simulated")
        elif kind < 0.45:
            world.note(f"kill {victim.name}")
            victim.crash()
            self.workers.remove(victim)
            self.add_worker()
        elif kind < 0.8:
            world.note(f"drop the connection of {victim.name}")
            victim.broker.drop("simulated")
        elif kind < 0.9:
            world.note("drop a client's connection")
            world.rng.choice([self, *self.others]).front.broker.drop("simulated")
        else:
            self.lose_message()

    def lose_message(self) -> None:
        """Take one block out of a stream although it was confirmed: the seal must catch it."""
        names = [n for n in self.world.server.places if n.startswith("mr.1.job.") and n[-1].isdigit()]
        if not names:
            return
        name = self.world.rng.choice(sorted(names))
        bodies: Optional[list[bytes]] = getattr(self.world.server.places[name], "bodies", None)
        if bodies:
            index = self.world.rng.randrange(len(bodies))
            if b"BlockHead" in bodies[index]:
                bodies[index] = LOST
                self.world.note(f"lose entry {index} of {name}")

    def lose_anything(self) -> None:
        """Take any message out of any stream or work queue, although it was confirmed.

        Left alone: leases, for nobody would know of the job, and what only its client can say again.
        """
        places: Any = self.world.server.places
        names = [n for n, p in places.items() if n != ev.JOBS and (hasattr(p, "ready") or p.bodies)]
        if not names:
            return
        name = self.world.rng.choice(sorted(names))
        place = places[name]
        if hasattr(place, "ready"):
            held = [c.unacked for c in place.consumers if c.unacked]
            if place.ready and self.world.rng.random() < 0.5:
                self.world.note(f"lose what is first on {name}")
                place.ready.pop(0)
            elif held and "tasks" in name:  # as in a restart: whoever holds it loses its connection
                unacked = self.world.rng.choice(held)
                unacked.pop(self.world.rng.choice(sorted(unacked)))
                self.world.note(f"the broker restarts and forgets a message of {name}")
                for actor in self.actors:
                    actor.broker.drop("simulated")
        else:
            index = self.world.rng.randrange(max(0, len(place.bodies) - 3), len(place.bodies))
            body = place.bodies[index]
            own = any(kind in body[:40] for kind in CLIENTS_OWN)
            if not own and len(body) > len(LOST) and not self.has_been_read(name, index):
                self.world.note(f"lose entry {index} of {name}: {body[:24]!r}")
                place.bodies[index] = LOST
                for actor in self.actors:  # nobody has seen it
                    inbox = actor.broker._inbox
                    inbox[:] = [e for e in inbox if not (isinstance(e, base.Delivered) and e.body is body)]

    def has_been_read(self, name: str, index: int) -> bool:
        """Whether somebody has folded this entry of a log: to take it back would part the folds for good."""
        readers: list[Any] = [each.client for each in (self, *self.others)]
        offsets = [client._log_offset for client in readers if ev.log_stream(client.job) == name]
        for worker in self.workers:
            for keeper in worker.roles:
                if isinstance(keeper, LeaseKeeper):
                    running = keeper.coordinators.values()
                    offsets += [c._next_offset for c in running if ev.log_stream(c.lease.job) == name]
        return any(offset > index for offset in offsets)

    def output(self) -> list[Pair]:
        return [
            p for blocks in self.client.output() for block in blocks for p in self.world.files[block.path]
        ]

    def check_output(self) -> None:
        """Every path of a split through the partitions appears once, and each attempt's stamp is the same all over."""
        pairs = self.output()
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), "a record was counted twice"
        assert set(keys) == self.expected_keys(), "records are missing or invented"
        stamps: dict[tuple[int, int], int] = {}
        for key, stamped in pairs:
            for stage, stamp in enumerate(stamped):
                task = (stage, key[stage])
                assert stamps.setdefault(task, stamp) == stamp, f"two attempts of task {task} in one output"
        assert self.client.state.counters.get("tasks", 0) == sum(s.done for s in self.client.state.stages)

    def expected_keys(self) -> set[tuple[int, ...]]:
        keys: set[tuple[int, ...]] = set()
        for index in range(self.splits):
            paths: list[tuple[int, ...]] = [(index,)]
            for stage in range(1, self.spec.stages):
                paths = [
                    (*path, partition)
                    for path in paths
                    for partition in range(self.spec.partitions)
                    if stage > 1 or partition != index % (self.spec.partitions + 1)
                ]
            keys.update(paths)
        return keys

    def play(self, trouble: float, limit: float = 10_000.0) -> None:
        """The whole job, then its end; raises AssertionError with what went wrong."""
        jobs = [self, *self.others]
        assert self.run(trouble, lambda: all(each.settled() for each in jobs), limit), "it hangs"
        for job in jobs:
            job.settle()
        limit = self.world.now + 4000
        assert self.run(0.0, lambda: all(each.client.finished for each in jobs), limit), "delivering hangs"
        assert self.run(0.0, self.clean, limit), f"left behind: {self.leftovers()}"

    def settled(self) -> bool:
        """The output is here, or it is known why there is none. A detached job gets a second client."""
        if self.client.detached and self.spec.detached:
            self.world.note(f"collect {self.client.job}")
            self.front.broker.close(0)
            self.client = Client(self.client.job, None, "", "0", self.world.rng, at=0.0)
            self.front = Actor(self.world, f"collector of {self.client.job}", [self.client])
        return self.client.finished or self.client.phase is Phase.COLLECTED

    def settle(self) -> None:
        if self.lossy and self.client.error is not None:
            assert str(self.client.error), "it failed without a word"
            return
        assert self.client.error is None, f"it failed: {self.client.error}"
        self.check_output()
        self.front.perform(self.client, self.client.deliver())

    def leftovers(self) -> list[str]:
        return [name for name in self.world.server.names() if name.startswith("mr.1.job.")]

    def clean(self) -> bool:
        jobs: Any = self.world.server.places.get(ev.JOBS)
        held = any(c.unacked for c in jobs.consumers) if jobs is not None else False
        return not self.leftovers() and not jobs.ready and not held
