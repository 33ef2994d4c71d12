"""What the contract's tests share: a session that can be asked to wait for an event, on any broker."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

from mapreduce.brokers import base

#: No test waits this long when all is well; a broker on a busy machine may need many seconds.
PATIENCE_SECS = 60.0

E = TypeVar("E", bound=base.BrokerEvent)


class Session:
    """A connected broker, all it has said so far, and the places it has made."""

    def __init__(self, broker: base.Broker) -> None:
        self.broker = broker
        self.seen: list[base.BrokerEvent] = []
        self._tokens = 0

    def do(self, *commands: base.Command) -> None:
        for command in commands:
            self.broker.perform(command)

    def until(self, condition: Callable[[], bool], patience_secs: float = PATIENCE_SECS) -> None:
        """Poll, waiting on the broker's descriptor, until the condition holds."""
        deadline = time.monotonic() + patience_secs
        while True:
            self.seen += self.broker.poll()
            if condition():
                return
            left = deadline - time.monotonic()
            assert left > 0, f"nothing came; so far {self.seen[-20:]}"
            if self.broker.fileno() >= 0:
                self.broker.wait(left)
            else:
                assert self.broker.poll() == [], "a broker without descriptor is never behind"
                raise AssertionError(f"will never come; so far {self.seen[-20:]}")

    def glance(self, patience_secs: float) -> None:
        """Take what comes within a little while."""
        until = time.monotonic() + patience_secs
        while True:
            self.seen += self.broker.poll()
            left = until - time.monotonic()
            if left <= 0 or self.broker.fileno() < 0:
                return
            self.broker.wait(left)

    def all(self, kind: type[E], **fields: object) -> list[E]:
        """What has been seen of a kind, with these fields."""
        return [
            event
            for event in self.seen
            if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items())
        ]

    def wait(self, kind: type[E], **fields: object) -> E:
        """The first event of a kind with these fields; waits for it."""
        return self.wait_for(1, kind, **fields)[0]

    def wait_for(self, number: int, kind: type[E], **fields: object) -> list[E]:
        """At least so many events of a kind; waits for them."""
        self.until(lambda: len(self.all(kind, **fields)) >= number)
        return self.all(kind, **fields)

    def declare(self, name: str, kind: base.Kind) -> str:
        self.do(base.Declare(name, kind))
        self.wait(base.Declared, name=name)
        return name

    def publish(self, to: str, *bodies: bytes) -> None:
        """Publish and wait until all are confirmed."""
        first = self._tokens
        self._tokens += len(bodies)
        tokens = [f"harness.{number}" for number in range(first, self._tokens)]
        self.do(*(base.Publish(to, body, token) for body, token in zip(bodies, tokens)))
        self.until(lambda: {e.token for e in self.all(base.Confirmed)}.issuperset(tokens))

    def depth(self, name: str) -> base.Depth:
        """Asks anew each time."""
        before = len(self.all(base.Depth, name=name))
        self.do(base.Inspect(name))
        return self.wait_for(before + 1, base.Depth, name=name)[-1]

    def until_depth(self, name: str, ready: Optional[int] = None, consumers: Optional[int] = None) -> None:
        """Ask until so many messages wait and so many consumers are there (None: any number)."""
        deadline = time.monotonic() + PATIENCE_SECS
        while True:
            depth = self.depth(name)
            if ready in (None, depth.ready) and consumers in (None, depth.consumers):
                return
            assert time.monotonic() < deadline, f"{ready} waiting, {consumers} consuming? It stays {depth}"
            time.sleep(0.02)  # nothing tells of it

    def bodies(self, tag: str) -> list[bytes]:
        return [event.body for event in self.all(base.Delivered, tag=tag)]

    def ack(self, *deliveries: base.Delivered) -> None:
        self.do(*(base.Ack(delivery.receipt) for delivery in deliveries))
