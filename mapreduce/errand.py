"""Short business with a broker, step by step: do this, wait for the answer, then do that.

    def script():
        answer = yield Wait([base.Inspect(name)], lambda event: isinstance(event, base.Depth), 2.0)
        return answer.ready if answer is not None else None

    run(url, script)

A script is a generator, and as pure as a role: what it yields is performed, and the event that it waits for is what
`yield` gives; None when that did not come in time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar

from mapreduce.brokers import base, open_broker
from mapreduce.effects import Command, Connected, Role
from mapreduce.host import Host

#: for so long a broker that goes away meanwhile may come back
RECONNECT_SECS = 5.0
CLOSE_SECS = 1.0

T = TypeVar("T")


class Wait(NamedTuple):
    """One step."""

    commands: Sequence[Command]
    answer: Callable[[Any], bool]  #: whether an event is what is waited for
    patience_secs: float


Script = Generator[Wait, Any, T]

PREFIX = "errand/"
TAG = f"{PREFIX}tag"
TOKEN = f"{PREFIX}token"


class Errand(Generic[T]):
    """A role: follows a script. When a session is lost the next one begins it anew."""

    def __init__(self, make: Callable[[], Script[T]]) -> None:
        self.prefix = PREFIX
        self.finished = False
        self.result: Optional[T] = None
        #: why the broker takes no messages; "": it does
        self.blocked = ""
        self._make = make
        self._script: Optional[Script[T]] = None
        self._wait: Optional[Wait] = None
        self._until = 0.0

    def handle(self, event: Any, now: float) -> list[Command]:
        if isinstance(event, base.Blocked):
            self.blocked = event.reason or "an alarm"
        if isinstance(event, Connected):
            self._script = self._make()
            return self._go_on(None, now)
        if self._wait is None:
            return []
        if self._wait.answer(event):
            return self._go_on(event, now)
        return self._go_on(None, now) if now >= self._until else []

    def _go_on(self, answer: Any, now: float) -> list[Command]:
        assert self._script is not None
        try:
            self._wait = self._script.send(answer)
        except StopIteration as end:
            self._wait, self.finished, self.result = None, True, end.value
            return []
        self._until = now + self._wait.patience_secs
        return list(self._wait.commands)


@contextlib.contextmanager
def session(
    url: str, *roles: Role, reconnect_secs: float = RECONNECT_SECS
) -> Iterator[tuple[base.Broker, Host]]:
    """A connected host around roles that are soon done. Raises `BrokerError`.

    ``reconnect_secs``: for so long a broker that goes away meanwhile may come back.
    """
    broker = open_broker(url)
    host = Host(broker, roles, lambda report: None, reconnect_secs=reconnect_secs)
    try:
        host.connect()
        yield broker, host
    finally:
        host.close()
        broker.close(CLOSE_SECS)


def run(url: str, make: Callable[[], Script[T]]) -> T:
    """What the script returns. Raises `BrokerError`."""
    errand = Errand(make)
    with session(url, errand) as (_, host):
        host.run(lambda: errand.finished)
    result: Any = errand.result
    return result  # type: ignore[no-any-return]


def depth(name: str, patience_secs: float) -> Script[Optional[base.Depth]]:
    """How much waits in a place; None: the broker is still bringing it up."""
    answer: Optional[base.Depth] = yield Wait(
        [base.Inspect(name)], lambda e: isinstance(e, base.Depth) and e.name == name, patience_secs
    )
    return answer
