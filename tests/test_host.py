"""The loop around the roles: what goes on without a broker, and what a full disk does. The clock is ours."""

from __future__ import annotations

import functools
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from mapreduce import effects, host, shared
from mapreduce.brokers import base
from mapreduce.errors import BrokerError, BrokerRefused, BrokerUnsuitable
from mapreduce.host import RECONNECT_FIRST_SECS, RECONNECT_MOST_SECS, STEADY_SECS, TICK_SECS, Host
from mapreduce.leases import LeaseKeeper
from mapreduce.refs import Block, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.worker import Worker

SPEC = JobSpec("j", {}, {}, 1)


class Broker(base.Broker):
    """Can be reached or not; there is always something to read, so that nobody ever sleeps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.trouble: Optional[BrokerError] = None
        self.tried: list[float] = []
        self.performed: list[base.Command] = []
        self._clock = clock
        self._events: list[base.BrokerEvent] = []
        self._readable, self._writable = os.pipe()
        os.write(self._writable, b"\0")

    def connect(self) -> None:
        self.tried.append(self._clock())
        if self.trouble is not None:
            raise self.trouble

    def drop(self, denied: bool = False, unsuitable: bool = False) -> None:
        self._events.append(base.Disconnected("cut", denied, unsuitable=unsuitable))

    def perform(self, command: base.Command) -> None:
        self.performed.append(command)

    def poll(self) -> list[base.BrokerEvent]:
        events, self._events = self._events, []
        return events

    def fileno(self) -> int:
        return self._readable

    def close(self, drain_secs: float) -> None:
        os.close(self._readable)
        os.close(self._writable)


class Listener:
    prefix = "listener/"
    finished = False

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def handle(self, event: Any, now: float) -> list[Any]:
        self.heard.append(event)
        return []

    def heard_of(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.heard)


class Bench:
    def __init__(self, roles: Any = (), reconnect_secs: float = 600.0, pool: Any = None) -> None:
        self.now = 1000.0
        self.broker = Broker(lambda: self.now)
        self.listener = Listener()
        self.said: list[str] = []
        self.host = Host(
            self.broker, [self.listener, *roles], self._say, pool, reconnect_secs, lambda: self.now
        )
        self.host.connect()

    def _say(self, report: effects.Report) -> None:
        self.said.append(report.text)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + seconds

        def over() -> bool:
            self.now += 0.01
            return self.now >= end or until()

        self.host.run(over)

    def close(self) -> None:
        self.host.close()
        self.broker.close(0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.run(STEADY_SECS + 1)
    yield made
    made.close()


def test_a_work_queue_that_is_not_available_is_named_in_the_log(bench: Bench) -> None:
    bench.broker._events.append(base.Unavailable("mr.1.work.default.any"))
    bench.run(0.1)
    assert bench.said == [
        "the broker cannot use its queue mr.1.work.default.any for now; what is to go there waits"
    ]


# ---------------------------------------------------------------- without a session


def test_a_lost_session_is_followed_by_a_new_one_at_once(bench: Bench) -> None:
    bench.broker.drop()
    bench.run(0.1)
    assert [type(event) for event in bench.listener.heard if not isinstance(event, effects.Tick)] == [
        effects.Connected,
        base.Disconnected,
        effects.Connected,
    ]
    assert bench.said[-2:] == ["lost the connection to the broker (cut); trying again", "connected again"]


def test_without_a_broker_time_goes_on_and_what_is_posted_is_heard(bench: Bench) -> None:
    bench.broker.trouble = BrokerError("nobody there")
    bench.broker.drop()
    bench.run(0.1)
    bench.listener.heard.clear()
    bench.host.post(effects.Shutdown())
    bench.run(10.0)
    assert bench.listener.heard_of(effects.Shutdown) == 1
    assert bench.listener.heard_of(effects.Tick) == pytest.approx(10.0 / TICK_SECS, abs=2)
    assert bench.listener.heard_of(effects.Connected) == 0
    bench.broker.trouble = None
    bench.run(RECONNECT_MOST_SECS + 1)
    assert bench.listener.heard_of(effects.Connected) == 1


def test_without_a_broker_the_condition_is_looked_at(bench: Bench) -> None:
    bench.broker.trouble = BrokerError("nobody there")
    bench.broker.drop()
    before = bench.now
    bench.run(100.0, lambda: bench.now > before + 1.0)
    assert bench.now < before + 1.1


def test_without_a_broker_executors_are_listened_to(tmp_path: Path) -> None:
    pool = Pool()
    bench = Bench(pool=pool)
    task = TaskSpec("job", 0, 0, 1, str(tmp_path / "out"), None, ())
    bench.host.perform(bench.listener, [effects.Execute(0, "job", SPEC, task)])
    bench.broker.trouble = BrokerError("nobody there")
    bench.broker.drop()
    bench.run(0.1)
    pool.events.append(effects.ExecutorDone(0, 1, {}, {}))
    bench.run(0.1)
    assert bench.listener.heard_of(effects.ExecutorDone) == 1
    bench.close()


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_worker_stops_while_the_broker_is_down(asked_first: bool) -> None:
    rng = random.Random(1)
    worker, keeper = Worker("w", 1, ("tasks",), "/d", False, rng), LeaseKeeper("w", rng)
    bench = Bench([keeper, worker], reconnect_secs=float("inf"), pool=Pool())
    bench.broker.trouble = BrokerError("nobody there")
    for step in (bench.broker.drop, lambda: bench.host.post(effects.Shutdown()))[:: -1 if asked_first else 1]:
        step()
    before = bench.now
    bench.run(100.0, lambda: worker.finished and keeper.finished)
    assert bench.now < before + 1.0
    bench.close()


class Sleeper(Listener):
    """Asks again and again to be woken at two moments, in turn; of the later one alone when the first is over."""

    def __init__(self, *moments: float) -> None:
        super().__init__()
        self.moments = moments
        self.ticks: list[float] = []

    def handle(self, event: Any, now: float) -> list[Any]:
        self.ticks += [now] if isinstance(event, effects.Tick) else []
        return [effects.WakeAt(moment) for moment in self.moments if moment > now]


def test_who_asks_to_be_woken_is_told_then_once_and_nobody_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = Sleeper(1001.11, 1001.05)  # the last that is asked for counts
    bench = Bench([sleeper])
    began = bench.now

    def wait(secs: float) -> None:
        bench.now += secs

    monkeypatch.setattr(bench.host, "_wait", wait)
    bench.host.run(lambda: bench.now > began + 2.0)
    assert [tick - began for tick in sleeper.ticks] == pytest.approx(
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.05, 1.11, 1.25, 1.5, 1.75, 2.0]
    )
    assert bench.listener.heard_of(effects.Tick) == len(sleeper.ticks) - 2
    bench.close()


class Deferring(Listener):
    """Leaves something to do for later whenever a queue is declared."""

    def handle(self, event: Any, now: float) -> list[Any]:
        super().handle(event, now)
        return [effects.Defer()] if isinstance(event, base.Declared) else []


def test_what_is_deferred_is_asked_for_once_when_all_that_has_happened_is_told() -> None:
    role = Deferring()
    bench = Bench([role])
    bench.run(0.1)
    role.heard.clear()
    declared = [base.Declared(str(number)) for number in range(3)]
    bench.broker._events += declared
    bench.run(0.02)
    kinds = (base.Declared, effects.Deferred)
    assert [each for each in role.heard if isinstance(each, kinds)] == [*declared, effects.Deferred()]
    assert not bench.listener.heard_of(effects.Deferred)
    bench.close()


class SlowBroker(Broker):
    """A network that swallows packets: connecting takes until the gate is opened."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.gate = threading.Event()
        self.gate.set()
        self.closed = threading.Event()

    def connect(self) -> None:
        assert self.gate.wait(60.0)
        super().connect()

    def close(self, drain_secs: float) -> None:
        super().close(drain_secs)
        self.closed.set()


def test_while_a_session_is_long_in_coming_all_else_goes_on() -> None:
    broker, listener = SlowBroker(), Listener()
    host = Host(broker, [listener], lambda report: None)
    host.connect()
    broker.gate.clear()
    broker.drop()
    host.run(lambda: bool(listener.heard_of(base.Disconnected)))
    ticks = listener.heard_of(effects.Tick)
    host.post(effects.Shutdown())
    host.run(lambda: listener.heard_of(effects.Tick) > ticks + 1)
    assert listener.heard_of(effects.Shutdown) == 1 and listener.heard_of(effects.Connected) == 1
    host.perform(listener, [base.Inspect("nobody hears it")])
    broker.gate.set()
    host.run(lambda: listener.heard_of(effects.Connected) == 2)
    host.perform(listener, [base.Inspect("heard")])
    assert broker.performed == [base.Inspect("heard")]
    host.close()
    assert not broker.closed.is_set(), "it belongs to whoever made it"
    broker.close(0)


def test_a_session_that_begins_after_the_end_is_ended() -> None:
    broker = SlowBroker()
    host = Host(broker, [Listener()], lambda report: None)
    host.connect()
    broker.gate.clear()
    broker.drop()
    host.run(lambda: any(thread.name == "mr-connect" for thread in threading.enumerate()))
    host.close()
    broker.gate.set()
    assert broker.closed.wait(60.0)


# ---------------------------------------------------------------- the end, and work in the background


def test_what_is_posted_after_the_end_touches_no_file(tmp_path: Path) -> None:
    bench = Bench()
    bench.close()
    files = [open(tmp_path / str(number), "wb", buffering=0) for number in range(8)]  # noqa: SIM115
    bench.host.post(effects.Shutdown())
    for file in files:
        file.close()
    assert all(os.path.getsize(file.name) == 0 for file in files)


def held(gate: threading.Event) -> Callable[..., Any]:
    """In the place of what a file server does, which answers when the gate is opened."""

    def wait(*arguments: Any, **options: Any) -> list[Any]:
        assert gate.wait(60.0)
        return []

    return wait


def test_a_file_server_that_does_not_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    for name in ("remove_job_folder", "lost"):
        monkeypatch.setattr(shared, name, held(gate))
    monkeypatch.setattr(shutil, "rmtree", held(gate))
    monkeypatch.setattr(host, "REMOVING_SECS", 0.01)
    bench = Bench()
    checks = [effects.CheckBlocks(f"listener/{number}", "/", ()) for number in range(9)]
    before = threading.active_count()
    bench.host.perform(
        bench.listener,
        [effects.RemoveShared("/shared/mr-job"), effects.RemoveTree("/shared/mr-job/1", True), *checks],
    )
    assert threading.active_count() <= before + 2
    bench.run(1.0)
    assert bench.listener.heard_of(effects.Tick) > 2 and not bench.listener.heard_of(effects.BlocksChecked)
    bench.close()
    assert bench.said[-1].startswith("a folder that a job has shared is still being removed")
    gate.set()


def test_what_is_to_be_removed_goes_before_the_end(tmp_path: Path) -> None:
    folder = shared.folder_of(str(tmp_path), "job")
    os.makedirs(shared.attempt_folder(folder, 1))
    bench = Bench()
    bench.host.perform(bench.listener, [effects.RemoveShared(folder)])
    bench.close()
    assert not list(tmp_path.iterdir())


def test_each_check_is_answered_also_without_a_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(shared, "lost", functools.partial(shared.lost, patience_secs=0.0))
    bad = Block(f"{tmp_path}/{1:016x}/a\0b", 0, 1, 1, 0, "", crc=1)
    bench = Bench()
    for number, start in enumerate((threading.Thread.start, refuse)):
        monkeypatch.setattr(threading.Thread, "start", start)
        check = effects.CheckBlocks(f"listener/{number}", str(tmp_path), (bad,))
        other = Bench() if number else bench
        other.host.perform(other.listener, [check])
        other.host.run(lambda other=other: other.listener.heard_of(effects.BlocksChecked))  # type: ignore[misc]
        assert effects.BlocksChecked(f"listener/{number}", "", (1,)) in other.listener.heard
        other.close()


@pytest.mark.parametrize("ended", [False, True])
def test_a_folder_that_cannot_be_removed_is_told(tmp_path: Path, ended: bool) -> None:
    (tmp_path / "mr-job").mkdir()
    (tmp_path / "mr-job" / "other").write_text("not ours")
    bench = Bench()
    bench.host.perform(bench.listener, [effects.RemoveShared(str(tmp_path / "mr-job"))])
    if not ended:
        bench.host.run(lambda: len(bench.said) > 0)
    bench.close()
    assert bench.said == [
        f"cannot remove the folder {tmp_path / 'mr-job'}, which a job has shared: Directory not empty"
    ]


# ---------------------------------------------------------------- how often it tries, and for how long


def test_the_pauses_grow(bench: Bench) -> None:
    bench.broker.trouble = BrokerError("nobody there")
    bench.broker.drop()
    del bench.broker.tried[:]
    bench.run(30.0)
    tried = bench.broker.tried
    pauses = [later - sooner for sooner, later in zip(tried, tried[1:])]
    wanted = [min(RECONNECT_FIRST_SECS * 2**n, RECONNECT_MOST_SECS) for n in range(len(pauses))]
    assert pauses == pytest.approx(wanted, abs=0.03) and len(pauses) > 7


def test_sessions_that_die_as_soon_as_they_begin_are_not_begun_in_a_loop(bench: Bench) -> None:
    del bench.broker.tried[:]
    bench.broker.drop()
    before = bench.now
    while bench.now < before + 60.0:
        tries = len(bench.broker.tried)
        bench.run(60.0, lambda tries=tries: len(bench.broker.tried) > tries)  # type: ignore[misc]
        bench.broker.drop()
    assert len(bench.broker.tried) < 20
    # one that lasts makes up for it
    bench.run(RECONNECT_MOST_SECS + STEADY_SECS + 1)
    tries = len(bench.broker.tried)
    bench.broker.drop()
    bench.run(0.1)
    assert len(bench.broker.tried) == tries + 1


def test_it_gives_up_in_the_end() -> None:
    bench = Bench(reconnect_secs=20.0)
    bench.run(100.0)
    bench.broker.trouble = BrokerError("nobody there")
    bench.broker.drop()
    before = bench.now
    with pytest.raises(BrokerError, match="nobody there"):
        bench.run(100.0)
    assert 10.0 < bench.now - before <= 20.0
    bench.close()


def test_it_gives_up_too_when_sessions_begin_and_die() -> None:
    bench = Bench(reconnect_secs=20.0)

    def die() -> bool:
        if bench.listener.heard_of(effects.Connected):
            bench.listener.heard.clear()
            bench.broker.drop()
        return False

    with pytest.raises(BrokerError, match="cut"):
        bench.run(100.0, die)
    assert bench.now < 1000.0 + 21.0
    bench.close()


def test_a_refusal_ends_it_at_once(bench: Bench) -> None:
    bench.broker.trouble = BrokerRefused("no such user")
    bench.broker.drop()
    with pytest.raises(BrokerRefused, match="no such user"):
        bench.run(1.0)
    bench.broker.drop(denied=True)
    with pytest.raises(BrokerRefused, match="cut"):
        bench.run(1.0)


def test_a_place_of_another_kind_ends_it_at_once(bench: Bench) -> None:
    bench.broker.drop(unsuitable=True)
    with pytest.raises(BrokerUnsuitable, match=r"cut; delete what has that name"):
        bench.run(1.0)


# ---------------------------------------------------------------- a disk that cannot be written


class Pool:
    """Runs nothing."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.submitted: list[Any] = []

    def submit(self, *arguments: Any) -> None:
        self.submitted.append(arguments)

    def kill(self, slot: int) -> None:
        pass

    def poll(self) -> list[Any]:
        events, self.events = self.events, []
        return events

    def filenos(self) -> list[int]:
        return []

    def wait_secs(self) -> None:
        pass


@pytest.mark.parametrize("place", ["no folder/x/input", "folder", "full"])
def test_what_cannot_be_written_is_told_to_whom_it_concerns(tmp_path: Path, bench: Bench, place: str) -> None:
    (tmp_path / "no folder").write_text("a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").symlink_to("/dev/full")
    command = effects.Append("listener/spool:5", str(tmp_path / place), memoryview(b"x"))
    bench.host.perform(bench.listener, [command])
    failed = bench.listener.heard[-1]
    assert isinstance(failed, effects.AppendFailed) and failed.key == "listener/spool:5"
    assert failed.reason.startswith(f"cannot write {tmp_path}") and "\n" not in failed.reason
    bench.run(1.0)


def test_bytes_are_appended_in_folders_made_for_them(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "job" / "attempt" / "input"
    for body in (b"one ", b"two"):
        bench.host.perform(bench.listener, [effects.Append("listener/spool:5", str(path), memoryview(body))])
    assert path.read_bytes() == b"one two"


def test_a_folder_that_cannot_be_made_fails_the_try(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("a file")
    pool = Pool()
    bench = Bench(pool=pool)
    task = TaskSpec("job", 0, 0, 5, str(tmp_path / "job" / "5" / "out"), None, ())
    bench.host.perform(bench.listener, [effects.Execute(0, "job", SPEC, task)])
    failed = bench.listener.heard[-1]
    assert isinstance(failed, effects.ExecutorFailed)
    assert (failed.slot, failed.attempt, failed.failure.kind) == (0, 5, "disk")
    assert failed.failure.message.startswith("cannot make the folder ") and not pool.submitted
    bench.close()
