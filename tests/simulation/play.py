"""One schedule from start to end, and whether all is right then.

For each job: the right output with the counters of one attempt per task, or a failure that names a cause that the
scenario has in it; never a hang. Afterwards: no stream, no lease, no dispatch, no delivery that somebody holds, and
workers with nothing to do.
"""

from __future__ import annotations

import ast
import contextlib
import random
from collections.abc import Iterator
from typing import Any, Optional

from mapreduce import attempt, coordinator, effects, haste
from mapreduce import events as ev
from mapreduce.client import CancelClient, Client, Phase, RetryingClient
from mapreduce.coordination import dispatcher
from mapreduce.errors import MapReduceError
from mapreduce.haste import BEHIND
from mapreduce.leases import LeaseKeeper
from mapreduce.worker import Worker
from tests.simulation import model, trace
from tests.simulation.actor import Actor
from tests.simulation.families import focus
from tests.simulation.folder import SharedFolder
from tests.simulation.model import Files
from tests.simulation.node import Node, Queue
from tests.simulation.scenario import CORRECTED, DIES, KILLS_HOST, JobPlan, Retry, Scenario, draw
from tests.simulation.trouble import Trouble
from tests.simulation.world import World

#: virtual seconds: whatever has not ended by then hangs
PATIENCE_SECS = 20_000.0
#: things that happen: a schedule of an ordinary length has thousands
MAX_STEPS = 3_000_000


class Wrong(AssertionError):
    """What the oracle says."""


def run(seed: int) -> World:
    """Play the schedule of a seed. Raises `Wrong`, or whatever a role raised."""
    play = Play(focus(draw(seed)))
    with settings(play.scenario):
        play.play()
    return play.world


def replay(seed: int) -> tuple[str, Optional[BaseException]]:
    """The trace of a seed's schedule, and what was wrong in the end."""
    play = Play(focus(draw(seed)))
    play.world.trace = []
    for line in play.scenario.describe():
        play.world.note("scenario", line)
    error: Optional[BaseException] = None
    try:
        with settings(play.scenario):
            play.play()
    except Exception as raised:
        error = raised
        play.world.note("oracle", f"{type(raised).__name__}: {raised}")
    else:
        play.world.note("oracle", "all is right")
    return trace.text(play.world.trace), error


@contextlib.contextmanager
def settings(scenario: Scenario) -> Iterator[None]:
    """Limits that this scenario sets lower than the engine does."""
    chosen: list[tuple[Any, str, Any]] = [
        (coordinator, "RENEW_SECS", scenario.renew_secs),
        (attempt, "PART_BYTES", scenario.part_bytes),
        (attempt, "CARRIED_BYTES", scenario.carried),
        (attempt, "OUTPUT_BYTES", scenario.carried // 4),
    ]
    if scenario.ranges:  # from the first dispatch on, and of all that may wait
        chosen += [
            (haste, "SHARE", 1.0),
            (dispatcher, "Haste", _InHaste),
            (dispatcher, "MIN_WINDOW", 2 * scenario.ranges),
            (dispatcher, "MIN_WINDOW_RUNNING", 2 * scenario.ranges),
            (dispatcher, "RANGE_SHARE", 2),
            (dispatcher, "MAX_RANGE", scenario.ranges),
        ]
    before = [(module, name, getattr(module, name)) for module, name, _ in chosen]
    try:
        for module, name, value in chosen:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class _InHaste(haste.Haste):
    """Who has heard that tasks are short."""

    def __init__(self) -> None:
        super().__init__()
        self.hear()


class Job:
    """One job of a play: its client, and what became of it."""

    def __init__(self, play: Play, plan: JobPlan) -> None:
        self.play = play
        self.plan = plan
        self.client: Optional[Client] = None
        self.front: Optional[Actor] = None
        self._fronts: list[Actor] = []  #: also those of clients that have left
        self.over = False
        self.outcome = ""
        self.abandoned = False  #: its client has died, and nobody comes for it
        self.robbed = False  #: a stream of it was deleted
        self._retries = list(plan.retries)
        self._rivalled = False
        self._cancelled = False
        self._corrected_before = False  #: its code was, when the client came
        self._delivered = False  #: a client has said that it has the output, and may have died then
        self._correct = False  #: what the retrying client brings
        self._delivering = False
        play.world.at(plan.at, self._submit)

    def _submit(self) -> None:
        rng = random.Random(self.play.world.rng.getrandbits(64))
        client = Client(self.plan.name, self.plan.spec, "client", "0", rng, at=0.0)
        self._come(client, "client")
        assert self.front is not None
        self.front.input.extend(self._input())

    def _input(self) -> list[Any]:
        """What the client reads, with the splits in pieces, in messages of their own or by reference."""
        inline = not self.play.scenario.by_reference
        items: list[Any] = []
        for task in range(len(self.plan.records)):
            data = model.input_bytes(self.plan, task) if inline else b""
            split = model.split_of(self.plan, task)
            size = max(1, self.play.world.rng.choice((8, 12, 100)))
            if data and (task % 3 == 2 or self.play.scenario.carried):
                items.append(effects.InputSplits((ev.SplitInput(split, data=data),)))
                continue
            items += [effects.InputPiece(data[cut : cut + size]) for cut in range(0, len(data), size)]
            items.append(effects.InputSplit(split) if data else effects.InputSplits((ev.SplitInput(split),)))
        return [*items, effects.InputEnd()]

    def _come(self, client: Client, what: str) -> None:
        self.client = client
        client.by_reference = self.play.scenario.by_reference
        self._delivering = False
        self._corrected_before = self._corrected
        self.front = Actor(self.play, f"{what} of {self.plan.name}", [client])
        self.front.on_event = self._look
        self._fronts.append(self.front)

    def _collect(self) -> None:
        if not self.over:
            self._come(Client(self.plan.name, None, "collector", "0", self._rng(), at=0.0), "collector")

    def _rng(self) -> random.Random:
        return random.Random(self.play.world.rng.getrandbits(64))

    @property
    def _corrected(self) -> bool:
        """Its code is, as far as the log was read."""
        known = self.play.node.monitor.conduct.known(self.plan.name)
        return known is not None and known.spec is not None and known.spec.bundle == CORRECTED

    # ------------------------------------------------------------ what its user does when it has failed

    def _try_again(self) -> None:
        retry = self._retries.pop(0)
        self.play.world.after(retry.after, self._act, retry)
        if retry.rival:
            self.play.world.after(retry.after * self.play.world.rng.random() * 2, self._rival, retry)

    def _act(self, retry: Retry) -> None:
        self.play.world.tally("jobs cancelled after their failure" if retry.cancels else "retries")
        if retry.cancels:
            self._cancelled = True
            self._come(CancelClient(self.plan.name, "canceller", "0", self._rng()), "canceller")
            return
        self._come(RetryingClient(self.plan.name, "retrier", "0", self._rng(), at=0.0), "retrier")
        self._correct = retry.corrected

    def _rival(self, retry: Retry) -> None:
        """Somebody else, who dies when the job goes on."""
        client = RetryingClient(self.plan.name, "rival", "0", self._rng(), at=0.0)
        actor = Actor(self.play, f"rival of {self.plan.name}", [client])
        self._rivalled = True

        def look() -> None:
            if client.looked:
                actor.perform(client, client.retry(None))
            elif (client.finished or client.phase is not Phase.RESUMING) and not actor.dead:
                actor.crash()

        actor.on_event = look
        self.play.world.after(100.0, actor.crash)

    def client_died(self) -> None:
        assert self.front is not None and self.client is not None
        self.front.crash()
        if self.client.attached or self.client.detached:  # somebody comes for it again
            self.play.world.after(self.play.world.rng.random() * 30.0, self._collect)
        else:
            self.abandoned = self.over = True
            self.outcome = "abandoned"

    def _look(self) -> None:
        """After each event of the client."""
        client, front, world = self.client, self.front, self.play.world
        assert client is not None and front is not None
        if front.dead:
            return
        if isinstance(client, RetryingClient) and client.looked:
            front.perform(client, client.retry(CORRECTED if self._correct else None))
        elif client.detached and self.plan.spec.detached and client.error is None:
            front.leave()
            world.after(world.rng.choice((0.0, 5.0, 100.0)), self._collect)
        elif client.phase is Phase.COLLECTED and not self._delivering:
            self._delivering = True
            self._check(client, front)
            world.after(world.delay(), self._deliver, client, front)
        elif client.finished:
            if client.error is not None:
                self._judge(client.error)
            elif isinstance(client, CancelClient):
                self.outcome = "cancelled"
            elif not self._delivering:
                raise Wrong(f"{self.plan.name}: its client ended without output and without an error")
            front.leave()
            if client.error is None or not self._goes_on(str(client.error)):
                self.over = True

    def _goes_on(self, text: str) -> bool:
        """What its user does then."""
        if "goes on: " in text:  # somebody else was faster
            self.play.world.after(0.0, self._collect)
        elif self._retries and any(cause in text for cause in ("bad record", "bad luck", "workers died")):
            self._try_again()
        else:
            return False
        return True

    def _deliver(self, client: Client, front: Actor) -> None:
        if not front.dead and client.phase is Phase.COLLECTED:
            self._delivered = True
            front.perform(client, client.deliver())
            self.outcome = "right"

    # ------------------------------------------------------------ what is right

    def _check(self, client: Client, front: Actor) -> None:
        assert client.collected is not None
        left_out = {place for place, how in self.plan.bad.items()}
        if self._corrected:  # what was won before leaves them out
            left_out &= {ast.literal_eval(record.record) for _, record in client.collected.skipped}
        if self.plan.bad and self.plan.spec.skip_bad < len(left_out):
            raise Wrong(f"{self.plan.name}: it has an output, although user code fails for good")
        keys, counters = model.expected(self.plan, left_out)
        blocks = [block for _, part in client.collected.parts for block in part]
        loaded = [model.load(front.files, self.play.folder, block) for block in blocks]
        if any(each is None for each in loaded):
            raise Wrong(f"{self.plan.name}: its client takes an output that is not all there")
        pairs = [pair for each in loaded for pair in each or ()]
        try:
            model.check_output(pairs, keys)
        except AssertionError as error:
            raise Wrong(f"{self.plan.name}: {error}") from error
        if client.collected.counters != counters:
            raise Wrong(f"{self.plan.name}: counters {client.collected.counters}, expected {counters}")

    def _judge(self, error: MapReduceError) -> None:
        """A failure must have a cause that the scenario has in it."""
        text, scenario, counts = str(error), self.play.scenario, self.play.world.counts
        self.outcome = "failed"
        self.play.world.tally("jobs that failed with a named cause")
        self.play.world.note("job", f"{self.plan.name} failed: {text}")
        silent = any(f.frozen_secs >= self.plan.spec.client_timeout_secs / 2 for f in self._fronts)
        deaths = sum(counts.get(what, 0) for what in _DEATHS)
        hows = set(self.plan.bad.values())
        known = self.play.node.monitor.conduct.known(self.plan.name)
        if "bad record" in text and self._corrected_before and "may be left out" not in text:
            raise Wrong(f"{self.plan.name}: an old failure is told, or made by old code: {text}")
        kept_for_long = self.plan.spec.keep_secs > 200.0
        allowed = (
            ("bad record" in text and self.plan.bad and len(self.plan.bad) > self.plan.spec.skip_bad)
            or ("bad luck" in text and scenario.bad_luck and self.plan.spec.tries < 1000)
            or ("workers died" in text and (self._kills(text) or deaths >= 4))
            or (DIES in hows and self.plan.spec.tries < 4 and "bad record" in text)
            or (scenario.lossy and "lost" in text)
            or (scenario.full_disk and "no space left" in text)
            or (scenario.blind and "is not there" in text)
            or (self.robbed and any(word in text for word in ("gone", "lost", "no stream", "no job")))
            or (silent and ("nothing was heard of its client" in text or ".log is gone" in text))
            or ((self._delivering or self._delivered) and "delivered to somebody else" in text)
            or ("no job" in text and self._delivered)
            or ("goes on: " in text and self._rivalled)
            or ("is asked to end" in text and self._cancelled)
            or ("what was kept of it" in text and not kept_for_long)
            or ("no job" in text and self.plan.retries and (not kept_for_long or self._cancelled))
            or ("before all of its input" in text and known is not None and known.total is None)
            or ("lost" in text and "cannot go on" in text and scenario.lossy)
            or (("over already" in text or "was delivered" in text) and self._cancelled)
        )
        if not allowed:
            raise Wrong(f"{self.plan.name}: it failed, and nothing in the scenario accounts for it: {text}")

    def _kills(self, text: str) -> bool:
        """Whether a record ends its host, of the task that this names; where two run side by side, of any."""
        tasks = {task for (task, _), how in self.plan.bad.items() if how == KILLS_HOST}
        return any(f"at f{task}, byte" in text or 2 in self.play.scenario.slots for task in tasks)


_DEATHS = (
    "crashes", "crashes between two commands", "dropped connections", "drops between two commands",
    "broker restarts", "freezes", "ack timeouts",
)  # fmt: skip


class Play:
    """All that one schedule has: a `actor.Stage`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World(scenario.seed, scenario.latency, scenario.spikes)
        self.node = Node(self.world, scenario.ack_timeout)
        self.node.dawdling, self.node.deaf = scenario.dawdling, scenario.deaf
        self.node.stutter = scenario.stutter
        self.plans = {plan.name: plan for plan in scenario.jobs}
        self.shared_files: Files = {}
        self.folder = SharedFolder()
        self.workers: list[Actor] = []
        self.jobs: list[Job] = []
        self._serial = 0
        self._done = False

    def play(self) -> None:
        """To its end. Raises `Wrong`, or whatever a role raised."""
        for _ in range(self.scenario.workers):
            self.world.at(0.0, self.add_worker)
        for at in self.scenario.late_workers:
            self.world.at(at, self.add_worker)
        self.jobs = [Job(self, plan) for plan in self.scenario.jobs]
        Trouble(self)
        self.world.after(1.0, self._look)
        world = self.world
        steps, breaches = 0, self.node.monitor.breaches
        while not self._done:
            if world.now > PATIENCE_SECS:
                raise Wrong(f"it hangs: {self.state()}")
            if steps > MAX_STEPS:
                raise Wrong(f"it runs in circles: {self.state()}")
            steps += 1
            world.step()
            if breaches:
                raise Wrong(breaches[0])
        for job in self.jobs:
            world.tally(f"jobs {job.outcome}")
        world.tally("jobs")
        self._check_leftovers()

    def add_worker(self) -> None:
        self._serial += 1
        name = f"w{self._serial}"
        rng = random.Random(self.world.rng.getrandbits(64))
        spec = self.scenario.jobs[0].spec
        queue = ev.tasks_queue(spec.pool, spec.interpreter)
        slots = self.world.rng.choice(self.scenario.slots)
        worker = Worker(name, slots, (queue,), name, self.scenario.by_reference, rng)
        while self.scenario.hasty and worker._haste.behind < BEHIND:
            worker._haste.took(0.0)
        actor = Actor(self, name, [LeaseKeeper(name, rng), worker])
        actor.restart = lambda: self._replace(actor)
        self.workers.append(actor)

    def _replace(self, actor: Actor) -> None:
        self.workers.remove(actor)
        self.world.after(self.world.rng.choice((0.0, 1.0, 20.0)), self.add_worker)

    def deleted(self, name: str) -> None:
        for job in self.jobs:
            if name.startswith(f"mr.1.job.{job.plan.name}."):
                job.robbed = True
                self.node.monitor.conduct.forget(job.plan.name)

    def _look(self) -> None:
        self._done = all(job.over for job in self.jobs) and not self.leftovers()
        self._inspect_workers()
        quiet = self.world.now - self.world.busy_at > 2.0
        self.world.after(4.0 if quiet else 0.5, self._look)

    def _inspect_workers(self) -> None:
        for actor in self.workers:
            if actor.session is not None and not actor.session.hampered and not actor.dead:
                for role in actor.roles:
                    if isinstance(role, Worker):
                        self.node.monitor.conduct.inspect(role, self.node.places)

    # ------------------------------------------------------------ afterwards

    def leftovers(self) -> list[str]:
        """What is left of jobs on the broker, or held by somebody."""
        names = [name for name in self.node.places if name.startswith("mr.1.job.")]
        names += [*self.folder.folders, *self.folder.files]
        for name, place in self.node.places.items():
            if isinstance(place, Queue) and place.ready:
                names.append(f"{len(place.ready)} on {name}")
        for session in self.node.sessions:
            names += [
                f"{session.name} holds {len(c.unacked)} of {c.place.name}"
                for c in session.consumers.values()
                if c.unacked and isinstance(c.place, Queue)
            ]
        for actor in self.workers:
            for role in actor.roles:
                if isinstance(role, LeaseKeeper) and role.coordinators:
                    names.append(f"{actor.name} coordinates {len(role.coordinators)}")
                elif isinstance(role, Worker) and role._attempts:
                    names.append(f"{actor.name} has {len(role._attempts)} attempts")
        return sorted(names)

    def state(self) -> str:
        jobs = [
            f"{job.plan.name} {job.outcome or (job.client.phase.value if job.client else 'not there')}"
            for job in self.jobs
        ]
        return f"{', '.join(jobs)}; left: {', '.join(self.leftovers()) or 'nothing'}"

    def _check_leftovers(self) -> None:
        left = self.leftovers()
        if left:
            raise Wrong(f"left behind: {', '.join(left)}")
