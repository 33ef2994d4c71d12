"""A job on a cluster, simulated: who waits for which processor and which wire, and who is busy when it is over.

    client ─▶ broker ─▶ worker ─▶ executor ─▶ worker ─▶ broker ─▶ worker ─▶ executor ─▶ worker ─▶ broker ─▶ client
           pieces     input        map            blocks      partition     reduce             output

Data moves in grains of `GRAIN_MIB`; a grain takes its turn at each process and each network card on its way, so a long
transfer goes through all of them at once, and whichever is slowest sets the pace. What the engine bounds is bounded
here: what a writer has in flight, what a reader has asked for, one task more than executors in a worker (while tasks
are short the engine lets more come, which is not simulated). A reduce begins when all maps are done. A worker's I/O
process, the client and the coordinator are one thread each; a broker's node has cores.

Not simulated: failures, copies of stragglers, other jobs, the page cache and the disks (of the broker: it must write
what it is sent), switches between the hosts. All that is random is how long a task takes (`Cluster.jitter`), by a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator
from dataclasses import dataclass, field, replace

from bench.growth.engine import Process, Server, Simulation, Tokens, Wait
from bench.growth.fit import Costs, Work

GRAIN_MIB = 2.0
#: MiB: what a writer has in flight, and a reader on its way (`brokers.publisher`, `attempt.PREFETCH`)
WINDOW_MIB = 8.0
BLOCK_MIB = 1.0
#: how long a process keeps a core that others wait for, too: Linux's slice on two cores, about
QUANTUM_SECS = 0.002


@dataclass(frozen=True)
class Cluster:
    """Machines. Network speeds are MiB/s each way; 0: no limit."""

    hosts: int
    executors: int  #: of each host, which has one more core for its worker's I/O
    network: float  #: of each host, the client's included
    nodes: int = 1  #: of the broker
    node_network: float = 0.0
    node_cores: int = 4
    replicas: int = 1  #: of each stream
    balanced: bool = True  #: streams have their leaders on all nodes; else all on the client's
    round_trip: float = 0.0005  #: seconds to the broker and back, its confirmation included
    store: float = 0.0  #: of the storage that references point to, all hosts together, MiB/s; 0: no limit
    shared_cores: int = 0  #: all processes live on one machine with so many cores; 0: each has its own
    others: int = 0  #: processes of somebody else that want the shared cores all the time
    jitter: float = 0.1  #: a task takes up to so much more or less


@dataclass(frozen=True)
class Task:
    """Sizes of a job."""

    input: float  #: MiB
    split: float = 8.0  #: MiB
    partitions: int = 8
    input_by_reference: bool = False
    blocks_by_reference: bool = False  #: what the engine cannot do (yet) over a broker


@dataclass
class Outcome:
    """How long it took, and what share of that time each was busy."""

    seconds: float = 0.0
    maps_seconds: float = 0.0  #: until all maps were done
    busy: dict[str, float] = field(default_factory=dict)  #: 0 to 1
    others: float = 0.0  #: seconds of the shared cores that others had
    blocks: int = 0
    streams: int = 0

    @property
    def limit(self) -> str:
        """Whatever was busiest."""
        return max(self.busy, key=lambda name: self.busy[name])


class _Machine:
    """Where a process runs: a core of its own, or one of those that all share."""

    def __init__(self, simulation: Simulation, cores: int, pool: Server | None) -> None:
        self.processes = Server(simulation, cores)
        self._pool = pool

    def work(self, seconds: float) -> Generator[Wait, None, None]:
        if self._pool is None:
            yield self.processes.use(seconds)
            return
        left = seconds
        while left > 0:
            yield self._pool.use(min(left, QUANTUM_SECS))
            left -= QUANTUM_SECS


class _Wire:
    """A network card, one way."""

    def __init__(self, simulation: Simulation, speed: float) -> None:
        self.server = Server(simulation, 1)
        self._speed = speed

    def carry(self, mib: float) -> Generator[Wait, None, None]:
        if self._speed:
            yield self.server.use(mib / self._speed)


class _Node:
    """Of the broker."""

    def __init__(self, simulation: Simulation, cluster: Cluster, pool: Server | None) -> None:
        self.machine = _Machine(simulation, cluster.node_cores, pool)
        self.into, self.out = (_Wire(simulation, cluster.node_network) for _ in range(2))


class _Host:
    """A worker: its I/O process, its executors, its network card."""

    def __init__(self, simulation: Simulation, cluster: Cluster, pool: Server | None) -> None:
        self.worker = _Machine(simulation, 1, pool)
        self.executors = _Machine(simulation, cluster.executors, pool)
        self.into, self.out = (_Wire(simulation, cluster.network) for _ in range(2))
        self.slots = Tokens(cluster.executors)
        self.holds = Tokens(cluster.executors + 1)


class JobSimulation:
    """One job, from its submission to the last byte of its output."""

    def __init__(self, cluster: Cluster, task: Task, work: Work, costs: Costs, seed: int = 1) -> None:
        self._sim = Simulation()
        self._cluster, self._task, self._work, self._costs = cluster, task, work, costs
        self._rng = random.Random(seed)
        pool = Server(self._sim, cluster.shared_cores) if cluster.shared_cores else None
        self._pool = pool
        self._client = _Host(self._sim, replace(cluster, executors=1), pool)
        self._hosts = [_Host(self._sim, cluster, pool) for _ in range(cluster.hosts)]
        self._nodes = [_Node(self._sim, cluster, pool) for _ in range(cluster.nodes)]
        self._store = _Wire(self._sim, cluster.store)
        self._coordinator = _Machine(self._sim, 1, pool) if pool is None else self._hosts[0].worker
        self._maps = max(1, math.ceil(task.input / task.split))
        self._per_map = task.input / self._maps
        self._shuffle = task.input * work.shuffle
        # a map writes a run for each partition, cut into blocks; of little data not all partitions get some
        each = self._shuffle / self._maps / task.partitions
        self._blocks_each = max(1, math.ceil(each / BLOCK_MIB))
        self._fed = Tokens(0)
        self._over = Tokens(0)
        self._out = task.input * work.output / task.partitions  #: MiB that a reduce writes
        self._collected = Tokens(0)  #: grains of output that the client has
        self._ended_at = 0.0  #: 0: it has not
        self._others_secs = 0.0
        self._read_ahead = Tokens(max(1, int(WINDOW_MIB / GRAIN_MIB)))

    def run(self) -> Outcome:
        """Simulate. Takes a second for some ten thousand tasks."""
        outcome = Outcome(blocks=self._maps * self._task.partitions * self._blocks_each)
        outcome.streams = self._task.partitions + 3
        self._sim.start(self._job(outcome))
        for _ in range(self._cluster.others):
            self._sim.start(self._other())
        self._sim.run()
        outcome.seconds = self._ended_at
        outcome.others = self._others_secs
        outcome.busy = self._busy(outcome.seconds)
        return outcome

    def _busy(self, seconds: float) -> dict[str, float]:
        def share(servers: list[Server]) -> float:
            return max(server.busy / server.capacity for server in servers) / seconds

        busy = {
            "client": share([self._client.worker.processes]),
            "client's network": share([self._client.into.server, self._client.out.server]),
            "coordinator": share([self._coordinator.processes]),
            "workers' I/O": share([host.worker.processes for host in self._hosts]),
            "executors": sum(host.executors.processes.busy for host in self._hosts)
            / (self._cluster.hosts * self._cluster.executors * seconds),
            "hosts' network": share([wire.server for host in self._hosts for wire in (host.into, host.out)]),
            "broker's processor": share([node.machine.processes for node in self._nodes]),
            "broker's network": share(
                [wire.server for node in self._nodes for wire in (node.into, node.out)]
            ),
            "storage": share([self._store.server]),
        }
        if self._pool is not None:
            return {"the machine": min(1.0, share([self._pool]))}
        return busy

    # ------------------------------------------------------------ the job

    def _job(self, outcome: Outcome) -> Process:
        costs, task = self._costs, self._task
        yield from self._client.worker.work(costs.client["job"])
        streams = outcome.streams * costs.node["stream"]
        yield from self._nodes[0].machine.work(costs.node["job"] + streams)
        self._sim.start(self._feed())
        for number in range(self._maps):
            self._sim.start(self._map(number))
        for _ in range(self._maps):
            yield self._over.take()
        outcome.maps_seconds = self._sim.now
        yield self._sim.sleep(2 * self._cluster.round_trip)  # seals, and that they are sealed
        for number in range(task.partitions):
            self._sim.start(self._reduce(number))
        for _ in range(task.partitions):
            yield self._over.take()
        for _ in range(task.partitions * len(_grains(self._out))):
            yield self._collected.take()
        yield self._sim.sleep(2 * self._cluster.round_trip)
        self._ended_at = self._sim.now

    def _other(self) -> Process:
        assert self._pool is not None
        while not self._ended_at:
            yield self._pool.use(QUANTUM_SECS)
            self._others_secs += QUANTUM_SECS

    def _feed(self) -> Process:
        """The client sends pieces, so many at a time; a split is there with its last piece."""
        if self._task.input_by_reference:
            self._fed.give(self._maps)
            return
        for _ in range(self._maps):
            grains = _grains(self._per_map)
            last = Tokens(0)
            for grain in grains:
                yield self._read_ahead.take()
                self._sim.start(self._piece(grain, last))
            self._sim.start(self._when(last, len(grains)))

    def _piece(self, mib: float, last: Tokens) -> Process:
        yield from self._client.worker.work(mib * self._costs.client["input MiB"])
        yield from self._write(self._client, 0, mib, 0)
        self._read_ahead.give()
        last.give()

    def _when(self, latch: Tokens, count: int) -> Process:
        for _ in range(count):
            yield latch.take()
        self._fed.give()

    def _map(self, number: int) -> Process:
        yield self._fed.take()
        host_number = yield from self._taken(number)
        host = self._hosts[host_number]
        yield from self._dispatched()
        source = self._store if self._task.input_by_reference else None
        yield from self._fetch(host, host_number, self._per_map, 0, source)
        yield host.slots.take()
        yield self._sim.sleep(self._cluster.round_trip)  # `Started` is confirmed
        blocks = self._task.partitions * self._blocks_each
        seconds = self._per_map * self._work.map_secs + self._costs.executor_task
        yield from host.executors.work((seconds + blocks * self._costs.executor_block) * self._luck())
        host.slots.give()
        yield from self._send(host, host_number, self._shuffle / self._maps, blocks, number)
        yield from self._done(host)
        host.holds.give()
        self._over.give()

    def _reduce(self, number: int) -> Process:
        host_number = yield from self._taken(number)
        host = self._hosts[host_number]
        yield from self._dispatched()
        mib = self._shuffle / self._task.partitions
        blocks = self._maps * self._blocks_each
        source = self._store if self._task.blocks_by_reference else None
        yield from self._fetch(host, host_number, mib, number, source)
        yield from host.worker.work(blocks / 2 * self._costs.worker["block"])
        yield host.slots.take()
        yield self._sim.sleep(self._cluster.round_trip)
        seconds = mib * self._work.reduce_secs + self._costs.executor_task
        yield from host.executors.work((seconds + blocks * self._costs.executor_block) * self._luck())
        host.slots.give()
        yield from self._send(
            host, host_number, self._out, math.ceil(self._out / BLOCK_MIB), 0, to_client=True
        )
        yield from self._done(host)
        host.holds.give()
        self._over.give()

    def _luck(self) -> float:
        return 1 + self._cluster.jitter * (2 * self._rng.random() - 1)

    # ------------------------------------------------------------ its steps

    def _taken(self, number: int) -> Generator[Wait, None, int]:
        """The host that takes the task: they take turns, as the broker's queue gives to those that have room."""
        host = number % len(self._hosts)
        yield self._hosts[host].holds.take()
        return host

    def _dispatched(self) -> Generator[Wait, None, None]:
        yield from self._coordinator.work(self._costs.worker["task"] / 2)
        yield from self._nodes[0].machine.work(self._costs.node["task"])
        yield self._sim.sleep(2 * self._cluster.round_trip)  # to the queue, and from it

    def _done(self, host: _Host) -> Generator[Wait, None, None]:
        """`Done` and the ack: the worker's and the client's part of a task's fixed cost."""
        yield from host.worker.work(self._costs.worker["task"] / 2)
        yield self._sim.sleep(self._cluster.round_trip)
        self._sim.start(self._client.worker.work(self._costs.client["task"]))

    def _send(
        self, host: _Host, at: int, mib: float, blocks: int, stream: int, to_client: bool = False
    ) -> Generator[Wait, None, None]:
        """Blocks from a worker to the broker, all confirmed; those of the last stage go on to the client."""
        yield from host.worker.work(blocks / 2 * self._costs.worker["block"])
        yield from self._nodes[at % len(self._nodes)].machine.work(blocks * self._costs.node["block"])
        if self._task.blocks_by_reference and not to_client:
            yield from self._store.carry(mib)
            yield from host.out.carry(mib)
            return
        confirmed = Tokens(0)
        grains = _grains(mib)
        for number, grain in enumerate(grains):
            self._sim.start(self._block(host, at, grain, stream + number, confirmed, to_client))
        for _ in grains:
            yield confirmed.take()

    def _block(
        self, host: _Host, at: int, mib: float, stream: int, confirmed: Tokens, to_client: bool
    ) -> Process:
        yield from host.worker.work(mib * self._costs.worker["moved MiB"] / 2)
        yield from self._write(host, at, mib, stream)
        confirmed.give()
        if to_client:
            yield from self._read(self._client, 0, mib)
            yield from self._client.worker.work(mib * self._costs.client["output MiB"])
            self._collected.give()

    def _fetch(
        self, host: _Host, at: int, mib: float, stream: int, source: _Wire | None
    ) -> Generator[Wait, None, None]:
        """Input or a partition to a worker, from the broker or from where it lies."""
        there = Tokens(0)
        grains = _grains(mib)
        window = Tokens(max(1, int(WINDOW_MIB / GRAIN_MIB)))
        for grain in grains:
            yield window.take()
            self._sim.start(self._grain_in(host, at, grain, source, window, there))
        for _ in grains:
            yield there.take()

    def _grain_in(
        self, host: _Host, at: int, mib: float, source: _Wire | None, window: Tokens, there: Tokens
    ) -> Process:
        if source is not None:
            yield from source.carry(mib)
            yield from host.into.carry(mib)
        else:
            yield from self._read(host, at, mib)
            yield from host.worker.work(mib * self._costs.worker["moved MiB"] / 2)
        window.give()
        there.give()

    # ------------------------------------------------------------ the broker

    def _write(self, host: _Host, at: int, mib: float, stream: int) -> Generator[Wait, None, None]:
        """Over the node that the writer is connected to, to the stream's leader, and from there to the replicas."""
        near = self._nodes[at % len(self._nodes)]
        leader = stream % len(self._nodes) if self._cluster.balanced else 0
        far = self._nodes[leader]
        work = mib * self._costs.node["moved MiB"] * WRITE_SHARE
        yield from host.out.carry(mib)
        yield from near.into.carry(mib)
        if near is not far:
            yield from near.machine.work(work / 2)
            yield from near.out.carry(mib)
            yield from far.into.carry(mib)
        yield from far.machine.work(work)
        copies = [self._nodes[(leader + n) % len(self._nodes)] for n in range(1, self._cluster.replicas)]
        for copy in copies:
            yield from far.out.carry(mib)
            yield from copy.into.carry(mib)
            yield from copy.machine.work(
                work
            )  # `bench.cluster`: three nodes need three times one's processor
        yield self._sim.sleep(self._cluster.round_trip * (2 if copies else 1))

    def _read(self, host: _Host, at: int, mib: float) -> Generator[Wait, None, None]:
        """From the replica on the node that the reader is connected to; if there is none, over that node."""
        near = self._nodes[at % len(self._nodes)]
        yield from near.machine.work(mib * self._costs.node["moved MiB"] * (1 - WRITE_SHARE))
        yield from near.out.carry(mib)
        yield from host.into.carry(mib)


#: of what moving a MiB into a stream and out again costs a node (`broker_limits`: 1 MiB messages)
WRITE_SHARE = 0.65


def _grains(mib: float) -> list[float]:
    count = max(1, math.ceil(mib / GRAIN_MIB))
    return [mib / count] * count


def simulate(cluster: Cluster, task: Task, work: Work, costs: Costs, seed: int = 1) -> Outcome:
    """One job."""
    return JobSimulation(cluster, task, work, costs, seed).run()
