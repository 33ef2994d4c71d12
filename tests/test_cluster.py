"""What a cluster of RabbitMQ nodes says that a single one never does; `bench.cluster` runs jobs on a real one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mapreduce.brokers import consumer
from mapreduce.brokers.base import Consume, Delivered
from mapreduce.brokers.pyamqp import WireClosed

NO_REPLICA = "PRECONDITION_FAILED - queue 'queue 's' in vhost '/'' does not have a replica on the local node"


class Channel:
    def __init__(self, consumed: list[Any]) -> None:
        self._consumed = consumed

    def consume(self, queue: str, arguments: dict[str, Any], prefetch: int) -> None:
        self._consumed.append(arguments["x-stream-offset"])


class Wire:
    """Opens channels that only note what is asked of them."""

    def __init__(self) -> None:
        self.consumed: list[Any] = []

    def open_channel(self, listener: Any) -> Channel:
        return Channel(self.consumed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds; a list of one."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_stream_whose_replica_is_still_being_made_is_asked_for_again(clock: list[float]) -> None:
    wire = Wire()
    events: list[Any] = []
    reader: Any = consumer._Consumer(consumer.Start(1, Consume("out", "s", 8, 5)), wire, events.append)  # type: ignore[arg-type]
    for _ in range(3):
        reader.on_closed(406, NO_REPLICA)
        clock[0] += 1.0
        reader.begin_if_due(clock[0])
    assert wire.consumed == [5, 5, 5, 5]
    reader.on_delivery(1, b"body", 5, False, 0.0)
    assert [type(event) for event in events] == [Delivered]


def test_a_node_that_never_gets_a_replica_ends_the_session(clock: list[float]) -> None:
    wire = Wire()
    reader: Any = consumer._Consumer(consumer.Start(1, Consume("out", "s", 8, "first")), wire, print)  # type: ignore[arg-type]
    with pytest.raises(WireClosed, match="does not have a replica"):
        for _ in range(consumer._MOST_ELSEWHERE + 2):
            reader.on_closed(406, NO_REPLICA)
            clock[0] += 1.0
            reader.begin_if_due(clock[0])
    assert clock[0] - 100.0 >= 5.0


def test_another_precondition_that_fails_is_not_tried_again(clock: list[float]) -> None:
    reader: Any = consumer._Consumer(consumer.Start(1, Consume("out", "s", 8, "first")), Wire(), print)  # type: ignore[arg-type]
    with pytest.raises(WireClosed, match="inequivalent"):
        reader.on_closed(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'")
