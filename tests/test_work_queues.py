"""A work queue that cannot be declared holds up nothing but what goes there. Without a broker or a clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mapreduce.brokers import base
from mapreduce.brokers.asking import RETRY_SECS
from mapreduce.brokers.publisher import CONFIRM_SECS
from mapreduce.brokers.pyamqp import WireClosed
from tests import test_pace

DOWN = "NOT_FOUND - home node 'rabbit@one' of durable queue 'work' in vhost '/' is down or inaccessible"
OTHER = (
    "PRECONDITION_FAILED - inequivalent arg '{}' for queue 'work' in vhost '/': received {} but current is {}"
)


class Bench(test_pace.Bench):
    """Its broker answers declarations when it is told how."""

    def __init__(self) -> None:
        self.declared: list[str] = []
        super().__init__()

    def declare(self, name: str, arguments: dict[str, Any]) -> None:
        self.declared.append(name)

    def do(self, *commands: Any) -> None:
        for command in commands:
            self.it.take(command)
        self.it.advance()

    def refuse(self, code: int, text: str) -> None:
        self.it._work_queues.on_closed(code, text)
        self.it.advance()

    def there(self) -> None:
        self.it._work_queues.on_declared("work", 0, 0)
        self.it.advance()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    it = Bench()
    monkeypatch.setattr(time, "monotonic", it.monotonic)
    it.do(base.Declare("work", base.Kind.PRIORITY))
    return it


def task(body: bytes) -> base.Publish:
    return base.Publish("work", body, body.decode())


def test_what_goes_elsewhere_is_sent_while_a_work_queue_is_not_available(bench: Bench) -> None:
    bench.do(task(b"first"))
    bench.refuse(404, DOWN)
    bench.do(task(b"second"), base.Declare("work", base.Kind.PRIORITY))
    bench.put(1)
    assert bench.sent == [("log", 1)] and not bench.it.idle
    bench.confirm()
    bench.wait(RETRY_SECS)
    assert bench.declared == ["work"] * 3
    bench.do(task(b"third"))
    bench.there()
    bench.there()
    bench.confirm()
    bench.confirm()
    assert bench.sent == [("log", 1)] + [("work", 1)] * 3 and bench.it.idle
    assert bench.events == [
        base.Confirmed("t"), *[base.Declared("work")] * 2, *map(base.Confirmed, ["first", "second", "third"])
    ]  # fmt: skip


def test_a_work_queue_that_stays_unavailable_is_named_once_a_minute(bench: Bench) -> None:
    bench.refuse(404, DOWN)
    bench.wait(CONFIRM_SECS)
    assert bench.events == []
    bench.wait(1.0)
    bench.wait(1.0)
    assert bench.events == [base.Unavailable("work")]
    bench.it.on_blocked("memory")
    bench.wait(2 * CONFIRM_SECS)
    bench.it.on_unblocked()
    bench.wait(1.0)
    assert bench.events[1:] == [base.Blocked("memory"), base.Unblocked()]
    bench.wait(CONFIRM_SECS)
    assert bench.events[3:] == [base.Unavailable("work")]


def test_one_with_other_arguments_is_used_and_a_stream_is_none(bench: Bench) -> None:
    bench.refuse(406, OTHER.format("x-max-priority", "'4'", "none"))
    assert bench.events == [base.Declared("work")]
    bench.do(base.Declare("work", base.Kind.PRIORITY))
    kinds = [f"the value {kind!r} of type 'longstr'" for kind in ("classic", "stream")]
    with pytest.raises(WireClosed, match="x-queue-type"):
        bench.refuse(406, OTHER.format("x-queue-type", *kinds))
