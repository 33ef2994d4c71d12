"""A link and its watchdog without a broker: turns, ends in order and at once, what a host that is held up misses."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from mapreduce.brokers import link as links
from mapreduce.brokers.link import Link, Watchdog
from mapreduce.brokers.pyamqp import WireClosed

PATIENCE_SECS = 20.0


class Bench:
    """A link that is its own wire, duty and report."""

    def __init__(self) -> None:
        self.backlog = 0
        self.idle = True
        self.pause_secs = float("inf")
        self.farewell_heard = False
        self.taken: list[Any] = []
        self.failures: list[str] = []
        self.said_goodbye = self.dropped = False
        self.more = False
        self.trouble: BaseException | None = None
        self.turns = 0
        self.dropping = threading.Event()
        wire: Any = self
        self.link = Link(wire, self, self)

    # the wire

    def fileno(self) -> int:
        return -1

    def receive(self) -> bool:
        return self.more

    def flush(self) -> None: ...

    def tick(self) -> None: ...

    def say_goodbye(self) -> None:
        self.said_goodbye = True

    def drop(self) -> None:
        self.dropped = True
        self.dropping.set()

    # the duty

    def start(self) -> None: ...

    def take(self, command: Any) -> None:
        self.taken.append(command)

    def advance(self) -> None:
        self.turns += 1
        if self.trouble is not None:
            raise self.trouble

    # the report

    def hand_over(self) -> None: ...

    def fail(self, closed: WireClosed) -> None:
        self.failures.append(str(closed))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_submitted_goes_out_with_the_next_turn_which_cannot_wait(bench: Bench) -> None:
    bench.link.pump(ready=False)
    assert bench.link.wait_secs() > 0.5
    bench.link.submit("one")
    bench.link.submit("two")
    assert bench.link.wait_secs() == 0.0 and bench.taken == []
    bench.link.pump(ready=False)
    assert bench.taken == ["one", "two"] and bench.link.wait_secs() > 0.5


def test_there_is_no_turn_for_nothing(bench: Bench) -> None:
    for _ in range(5):
        bench.link.pump(ready=False)
    assert bench.turns == 1
    bench.link.pump(ready=True)
    assert bench.turns == 2


def test_what_was_not_read_is_read_though_the_descriptor_says_nothing(bench: Bench) -> None:
    bench.more = True
    bench.link.pump(ready=True)
    assert bench.link.has_more
    bench.more = False
    bench.link.pump(ready=False)
    assert not bench.link.has_more


def test_it_ends_in_order_when_all_is_drained_and_the_broker_has_answered(bench: Bench) -> None:
    bench.idle = False
    bench.link.close(time.monotonic() + 60.0)
    bench.link.pump(ready=True)
    assert not bench.said_goodbye
    bench.idle = True
    bench.link.pump(ready=True)
    assert bench.said_goodbye and not bench.link.ended
    bench.pause_secs = 0.0  # what it would do now it does not do any more
    assert bench.link.wait_secs() > 0.1
    bench.farewell_heard = True
    bench.link.pump(ready=True)
    assert bench.link.ended and bench.dropped and bench.failures == []


def test_it_waits_for_no_more_than_it_was_told_to(bench: Bench) -> None:
    bench.idle = False
    bench.link.close(time.monotonic())
    bench.link.pump(ready=True)
    assert bench.said_goodbye and 0.0 < bench.link.wait_secs() <= links.FAREWELL_SECS


def test_a_connection_that_is_lost_is_reported_once(bench: Bench) -> None:
    bench.trouble = WireClosed("cut")
    bench.link.pump(ready=True)
    bench.link.pump(ready=True)
    assert bench.failures == ["cut"] and bench.link.failed and bench.dropped


def test_ctrl_c_in_the_middle_of_a_turn_ends_the_session_and_goes_on(bench: Bench) -> None:
    bench.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.link.pump(ready=True)
    assert bench.link.ended and "KeyboardInterrupt" in bench.failures[0]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "TICK_SECS", 0.01)
    monkeypatch.setattr(links, "NEGLECTED_SECS", 0.02)


@pytest.mark.usefixtures("impatient")
def test_a_link_that_nobody_gives_turns_has_them_from_the_watchdog(bench: Bench) -> None:
    roused = threading.Event()
    bench.link.submit("one")
    watchdog = Watchdog([bench.link], roused.set)
    assert roused.wait(PATIENCE_SECS) and bench.taken == ["one"]
    watchdog.stop()


@pytest.mark.usefixtures("impatient")
def test_when_one_has_failed_the_other_ends_though_nobody_looks(bench: Bench) -> None:
    other = Bench()
    bench.trouble = WireClosed("cut")
    watchdog = Watchdog([bench.link, other.link], lambda: None)
    assert other.dropping.wait(PATIENCE_SECS) and other.failures == []
    watchdog.stop()


@pytest.mark.usefixtures("impatient")
def test_one_that_has_said_goodbye_does_not_end_the_other_that_drains(bench: Bench) -> None:
    slow, turns = Bench(), threading.Event()
    slow.idle = False
    until = time.monotonic() + 60.0
    for each in (bench, slow):
        each.link.close(until)
        each.farewell_heard = True
        each.link.pump(ready=True)
        each.link.pump(ready=True)
    assert bench.link.ended
    watchdog = Watchdog([bench.link, slow.link], turns.set)
    for _ in range(3):
        turns.clear()
        assert turns.wait(PATIENCE_SECS)
    assert not slow.link.ended
    watchdog.stop()
