"""Workers on hosts of their own, behind firewalls, over lines that break: network namespaces on this machine."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import pytest

from mapreduce.node import PrivateNode
from tests import netns
from tests.gates import Gates
from tests.netns import Cable, Host
from tests.support import JOBS, Process, count_words, make_text

WORDCOUNT = JOBS / "wordcount.py"
_NUMBERS = count(1)


class Net:
    """A broker's host, behind address translation, and hosts that reach it through a cable each."""

    def __init__(self, host: Host, node: PrivateNode) -> None:
        self.host = host
        self.node = node
        self.jobs: list[Process] = []

    @contextlib.contextmanager
    def remote(self) -> Iterator[Remote]:
        """One more host. At the end nothing may run on it any more."""
        with Host() as host, Cable(self.host, host, next(_NUMBERS)) as cable:
            remote = Remote(host, cable, self.node)
            try:
                yield remote
            finally:
                remote.stop()
            assert host.processes() == []

    def run(self, *args: Any) -> Process:
        """`mr run` on the broker's own host."""
        with self.host.inside():
            self.jobs.append(Process("run", *args, "--broker", self.node.url))
        return self.jobs[-1]

    def close_connections_of(self, remote: Remote) -> None:
        """The broker ends them, whether or not the other side hears of it."""
        address = remote.cable.far_address.replace(".", ",")
        with self.host.inside():
            self.node.control(
                "eval",
                '[rabbit_networking:close_connection(P, "test") || '
                "[{pid, P}, {peer_host, H}] <- rabbit_networking:connection_info_all([pid, peer_host]), "
                f"H =:= {{{address}}}].",
            )


class Remote:
    """A host with the cable that connects it, and what runs there."""

    def __init__(self, host: Host, cable: Cable, node: PrivateNode) -> None:
        self.host = host
        self.cable = cable
        self._node = node
        self._processes: list[Process] = []

    def url(self, heartbeat_secs: Optional[int] = None) -> str:
        parts = urlsplit(self._node.url)
        place = f"{parts.username}:{parts.password}@{self.cable.near_address}:{parts.port}"
        query = f"heartbeat={heartbeat_secs}" if heartbeat_secs else ""
        return parts._replace(netloc=place, query=query).geturl()

    def start(self, *args: Any, heartbeat_secs: Optional[int] = None) -> Process:
        with self.host.inside():
            process = Process(*args, "--broker", self.url(heartbeat_secs))
        self._processes.append(process)
        return process

    def worker(self, pool: str, heartbeat_secs: Optional[int] = None) -> Process:
        worker = self.start("worker", "-c", 1, "--pool", pool, heartbeat_secs=heartbeat_secs)
        worker.wait_for("ready")
        return worker

    def stop(self) -> None:
        self.cable.heal()
        for process in self._processes:
            process.stop()


@pytest.fixture(scope="module")
def shared_net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    node = PrivateNode(tmp_path_factory.mktemp("broker"))
    with Host() as host:
        try:
            with host.inside():
                node.start()
            host.forward_to_loopback(node.port)
            yield Net(host, node)
        finally:
            node.stop()
        assert host.processes() == []


@pytest.fixture
def net(shared_net: Net) -> Iterator[Net]:
    yield shared_net
    while shared_net.jobs:
        shared_net.jobs.pop().stop()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 300_000, seed=3)


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path / "gates")


def lost_its_session(process: Process) -> bool:
    return any("lost the connection" in line for line in process.errors)


def test_workers_work_behind_a_firewall_that_lets_nothing_in(net: Net, text: Path) -> None:
    with net.remote() as one, net.remote() as two:
        with one.host.inside(), socket.create_server(("0.0.0.0", 0)) as listener:
            address = (one.cable.far_address, listener.getsockname()[1])
            with net.host.inside(), socket.create_connection(address, timeout=10):
                pass  # before there is a firewall, one can come in
            one.host.firewall()
            two.host.firewall()
            with net.host.inside(), pytest.raises(socket.timeout):
                socket.create_connection(address, timeout=0.5)
            assert one.host.dropped() > 0
        one.worker("walled")
        two.worker("walled")
        job = net.run(WORDCOUNT, text, "--pool", "walled", "--split-size", "32K")
        assert job.output() == count_words(text)
        assert not one.host.listens() and not two.host.listens()


def test_a_line_that_is_dead_for_two_seconds_costs_no_session(net: Net, text: Path, gates: Gates) -> None:
    with net.remote() as one, net.remote() as two:
        pair = [one.worker("short"), two.worker("short")]
        job = net.run(gates.job, text, "--pool", "short", "--split-size", "32K")
        for worker in pair:
            worker.wait_for("at map")
        one.cable.cut()
        gates.open("map", "reduce")
        pair[0].wait_for("through map")
        time.sleep(2.0)  # so long is the line dead: it is what is tested
        one.cable.heal()
        assert job.output() == count_words(text)
        assert not any(lost_its_session(process) for process in [*pair, job])


@pytest.mark.parametrize("direction", ["both", "to the broker", "from the broker"])
def test_a_line_that_is_dead_for_longer_than_heartbeats_allow(
    net: Net, text: Path, gates: Gates, direction: str
) -> None:
    pool = f"long-{direction.replace(' ', '-')}"
    with net.remote() as one, net.remote() as two:
        cut_off = one.worker(pool, heartbeat_secs=1)
        other = two.worker(pool)
        job = net.run(gates.job, text, "--pool", pool, "--split-size", "32K")
        for worker in (cut_off, other):
            worker.wait_for("at map")
        one.cable.to_near = direction == "from the broker"
        one.cable.to_far = direction == "to the broker"
        since = len(cut_off.errors)  # with so short a heartbeat a busy machine may have lost a session before
        cut_off.wait_for("lost the connection", since=since)
        gates.open("map", "reduce")
        assert job.output() == count_words(text)
        assert not any("connected again" in line for line in cut_off.errors[since:])
        one.cable.heal()
        cut_off.wait_for("connected again", since=since)
        other.stop()
        job = net.run(WORDCOUNT, text, "--pool", pool)
        assert job.output() == count_words(text)  # by the one that was cut off, alone


def test_what_a_zombie_writes_is_ignored(net: Net, text: Path, gates: Gates) -> None:
    """The broker has given it up, the worker does not know: it works on, and publishes into a dead line."""
    with net.remote() as one, net.remote() as two:
        zombie, other = one.worker("zombie"), two.worker("zombie")
        job = net.run(gates.job, text, "--pool", "zombie", "--split-size", "32K")
        for worker in (zombie, other):
            worker.wait_for("at map")
        one.cable.cut()
        net.close_connections_of(one)
        gates.open("map", "reduce")
        zombie.wait_for("through map")
        assert job.output() == count_words(text)
        assert not lost_its_session(zombie)
        one.cable.heal()
        zombie.wait_for("connected again")


def test_slow_lines_that_lose_packets(net: Net, tmp_path: Path) -> None:
    """A tenth of a second there and back, every twentieth packet lost, 250 kB/s: for workers and for the client."""
    text = make_text(tmp_path / "text.txt", 100_000, seed=5)
    with net.remote() as one, net.remote() as two, net.remote() as home:
        for remote in (one, two, home):
            remote.cable.delay_secs = 0.05
            remote.cable.loss = 0.05
            remote.cable.bytes_per_sec = 250_000
        workers = [one.worker("slow"), two.worker("slow")]
        job = home.start("run", WORDCOUNT, text, "--pool", "slow", "--split-size", "32K", "--partitions", 2)
        assert job.output() == count_words(text, partitions=2)
        assert not any(lost_its_session(process) for process in [*workers, job])
