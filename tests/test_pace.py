"""Small messages to a busy place travel together, a moment apart; a single one at once. Without a broker or a clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base, publisher
from mapreduce.brokers.publisher import PACES, RATE_SECS, Publisher

(_, LONG_SECS), (PACED_RATE, PACE_SECS) = PACES
#: as many at once are not paced
BURST = int(PACED_RATE * RATE_SECS)
BUSY = BURST + 10


class Bench:
    """A publisher, what it has sent, and a clock; it is its own wire, channel and broker."""

    backlog = 0
    max_message_bytes = 16 << 20

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[tuple[str, int]] = []  #: place, and how many publications in one message
        self.events: list[Any] = []
        self.it = Publisher(self.events.append)
        self.it.attach(self)  # type: ignore[arg-type]
        self.it.start()
        self._published = self._confirmed = 0

    def monotonic(self) -> float:
        return self.now

    def open_channel(self, _listener: Any) -> Bench:
        return self

    def with_confirms(self) -> None: ...

    def declare_fanout(self, name: str) -> None: ...

    def publish(self, exchange: str, to: str, body: bytes, message_id: str, priority: int) -> None:
        self._published += 1
        self.sent.append((to, len(wire.split(body))))

    def put(self, count: int, to: str = "log", joins: bool = True) -> None:
        for _ in range(count):
            self.it.take(base.Publish(to, wire.encode(ev.Present()), "t", joins=joins))
        self.it.advance()

    def confirm(self) -> None:
        """All that was sent."""
        while self._confirmed < self._published:
            self._confirmed += 1
            self.it.on_confirm(self._confirmed, False, True)
        self.it.advance()

    def wait(self, secs: float) -> None:
        self.now += secs
        self.it.advance()

    def make_busy(self, count: int = BUSY) -> None:
        """More than may come without being paced; all of it is sent and confirmed, and the next may go."""
        for _ in range(count):
            self.put(1)
            self.confirm()
        for _ in range(2):
            self.wait(LONG_SECS)
            self.confirm()
        self.sent.clear()
        self.events.clear()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    it = Bench()
    monkeypatch.setattr(time, "monotonic", it.monotonic)
    return it


def test_a_single_message_is_sent_at_once_and_so_are_a_few_one_after_the_other(bench: Bench) -> None:
    for _ in range(BURST - 1):
        bench.put(1)
        bench.confirm()
    assert bench.sent == [("log", 1)] * (BURST - 1)


def test_what_comes_while_one_is_on_its_way_goes_with_its_confirm(bench: Bench) -> None:
    bench.put(1)
    bench.put(5)
    assert bench.sent == [("log", 1)] and not bench.it.idle
    bench.confirm()
    assert bench.sent == [("log", 1), ("log", 5)]


def test_a_busy_place_gets_one_message_each_few_milliseconds(bench: Bench) -> None:
    bench.make_busy()
    bench.put(1)
    bench.confirm()
    bench.put(3)
    bench.put(4)
    assert bench.sent == [("log", 1)] and not bench.it.idle
    assert 0 < bench.it.pause_secs <= PACE_SECS
    bench.wait(PACE_SECS / 2)
    assert bench.sent == [("log", 1)]
    bench.wait(PACE_SECS / 2)
    assert bench.sent == [("log", 1), ("log", 7)]
    assert bench.it.pause_secs == float("inf")
    bench.confirm()
    assert bench.it.idle and len(bench.events) == 8


def test_a_very_busy_place_gets_them_further_apart(bench: Bench) -> None:
    bench.make_busy(1000)
    bench.put(1)
    bench.confirm()
    bench.put(3)
    bench.wait(LONG_SECS / 2)
    assert bench.sent == [("log", 1)] and PACE_SECS < LONG_SECS / 2
    bench.wait(LONG_SECS / 2)
    assert bench.sent == [("log", 1), ("log", 3)]


def test_events_of_tasks_of_60_ms_on_16_executors_are_5_ms_apart(bench: Bench) -> None:
    """An executor waits for the confirm of its next task's `Started` meanwhile."""
    for _ in range(1000):
        bench.put(1)
        bench.confirm()
        bench.wait(0.060 / 16 / 2)
        bench.confirm()
    apart = 1000 * 0.060 / 16 / 2 / len(bench.sent)
    assert PACE_SECS <= apart < 1.5 * PACE_SECS


def test_a_slow_confirm_is_waited_for_and_not_the_pace_as_well(bench: Bench) -> None:
    bench.make_busy()
    bench.put(1)
    bench.put(3)
    bench.wait(3 * PACE_SECS)
    assert bench.sent == [("log", 1)]
    bench.confirm()
    assert bench.sent == [("log", 1), ("log", 3)]


def test_other_places_are_not_held_up(bench: Bench) -> None:
    bench.make_busy()
    bench.put(1)
    bench.put(1, to="out")
    assert bench.sent == [("log", 1), ("out", 1)]


def test_a_place_that_was_busy_is_none_after_a_while(bench: Bench) -> None:
    bench.make_busy()
    bench.wait(2 * RATE_SECS)
    for _ in range(5):
        bench.put(1)
        bench.confirm()
    assert bench.sent == [("log", 1)] * 5


def test_what_may_not_be_joined_is_sent_at_once_after_all_that_came_before_it(bench: Bench) -> None:
    bench.make_busy()
    bench.put(1)
    bench.confirm()
    bench.put(3)
    bench.put(1, joins=False)
    assert bench.sent == [("log", 1), ("log", 3), ("log", 1)]


def test_of_places_only_the_latest_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "MAX_FLOWS", 3)
    for number in range(10):
        bench.put(1, to=f"place {number}")
    assert len(bench.it._flows) == 3
    bench.confirm()
    assert bench.it.idle
