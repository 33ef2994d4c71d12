"""Acks of a stream travel together: the thread that sends them is woken by the last of some, not by each."""

from __future__ import annotations

import select
from types import SimpleNamespace
from typing import Any

from mapreduce.brokers import base
from mapreduce.brokers.amqp import AmqpBroker
from mapreduce.brokers.link import Link

LINK: Any = None


def test_only_the_last_of_those_that_travel_together_is_urgent() -> None:
    said: list[tuple[Any, bool]] = []
    link = SimpleNamespace(submit=lambda command, urgent=True: said.append((command, urgent)))
    broker = AmqpBroker("amqp://host")
    broker._session = SimpleNamespace(consuming=link)  # type: ignore[assignment]
    broker.perform(base.Consume("stream", "s", 16, "first"))
    broker.perform(base.Consume("queue", "q", 16))
    acks = [
        base.Ack(base.Receipt(start.command.tag, start.serial << 64 | number))
        for number in range(1, 9)
        for start, _ in said[:2]
    ]
    for ack in acks:
        broker.perform(ack)
    assert [command for command, _ in said[2:]] == acks
    urgent = {tag: [u for c, u in said[2:] if c.receipt.tag == tag] for tag in ("stream", "queue")}
    assert urgent == {"stream": [False, False, False, True] * 2, "queue": [True] * 8}


def test_a_link_is_woken_for_what_is_urgent_and_takes_the_rest_along() -> None:
    link = Link("link", LINK, LINK, LINK)

    def rung() -> bool:
        link.nudge()
        ready, _, _ = select.select([link._bell], [], [], 0)
        link._bell.hush()
        return bool(ready)

    link.submit("one", urgent=False)
    assert not rung()
    link.submit("two")
    link.submit("three", urgent=False)
    assert rung() and not rung()
    assert list(link._commands) == ["one", "two", "three"]
