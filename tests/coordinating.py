"""A coordinator on a bench: the log it reads, what it says, and a clock that ticks."""

from __future__ import annotations

import random
from typing import Any, Optional

from mapreduce import coordinator as rules
from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordinator import Coordinator
from mapreduce.effects import Command, Tick
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import JobSpec

SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))
SPEC = JobSpec("j", {}, {}, 2, 2)
RANK = ev.Rank(1, 1)
QUEUE = ev.tasks_queue(SPEC.pool, SPEC.interpreter)


class Bench:
    """A coordinator, its log, and a clock that ticks."""

    def __init__(
        self,
        entries: tuple[Any, ...] = (),
        takeovers: int = 0,
        spec: JobSpec = SPEC,
        hold_secs: float = rules.RENEW_SECS,
        submitted: bool = True,
        took: bool = True,
        unread: int = 0,
    ) -> None:
        """``took``: the log brings its `Took` back."""
        self.now = 0.0
        self.offset = 0
        self.entries: list[Any] = []  #: the log so far
        self.said: list[Command] = []
        lease = ev.Lease("job", RANK, takeovers, spec.stages, spec.partitions, unread)
        receipt = base.Receipt("leases/jobs", 1)
        self.it = Coordinator(lease, receipt, "me", random.Random(1), "leases/1/", hold_secs)
        self.take(self.it.start(0.0))
        if submitted:
            self.log(ev.Submitted("job", spec, "0", 0.0))
        self.log(*entries, *([ev.Took(RANK, "me")] if took else []))

    def take(self, commands: list[Command]) -> list[Command]:
        self.said += commands
        return commands

    def log(self, *entries: Any) -> list[Command]:
        """The log holds these too; what the coordinator says to the last of them."""
        commands: list[Command] = []
        for entry in entries:
            self.entries.append(entry)
            commands = self.log_bytes(wire.encode(entry))
        return commands

    def log_bytes(self, body: bytes) -> list[Command]:
        """The same of an entry as it travels."""
        receipt = base.Receipt("leases/1/log", self.offset)
        self.offset += 1
        return self.tell(base.Delivered("leases/1/log", receipt, body, self.offset - 1, False))

    def tell(self, event: Any) -> list[Command]:
        return self.take(self.it.handle(event, self.now))

    def echo(self, commands: list[Command]) -> None:
        """The broker takes what was said, and the log brings back what was said to it, until no more is said."""
        todo = list(commands)
        while todo:
            command = todo.pop(0)
            if isinstance(command, base.Publish):
                todo += self.tell(base.Confirmed(command.token))
                if command.to == ev.log_stream("job"):
                    todo += self.log(wire.decode(command.head)[0])

    def wait(self, secs: float, deaf: bool = False) -> list[Command]:
        """Time passes; what the coordinator says meanwhile. ``deaf``: it does not get to read its own `Passed`."""
        commands: list[Command] = []
        for _ in range(round(secs * 4)):
            self.now += 0.25
            said = self.tell(Tick())
            commands += said
            for entry in of_type(said, ev.Passed) if not deaf else ():
                commands += self.log(entry)
        return commands


def published(commands: list[Command], to: Optional[str] = None) -> list[Any]:
    """The messages among the commands."""
    return [
        wire.decode(c.head)[0] for c in commands if isinstance(c, base.Publish) and (to is None or c.to == to)
    ]


def of_type(commands: list[Command], kind: type) -> list[Any]:
    return [msg for msg in published(commands) if isinstance(msg, kind)]


def publications(commands: list[Command], kind: type) -> list[base.Publish]:
    """The publications of such messages."""
    found = [c for c in commands if isinstance(c, base.Publish)]
    return [c for c in found if isinstance(wire.decode(c.head)[0], kind)]


def splits(count: int) -> tuple[Any, ...]:
    return ev.Splits(0, (SPLIT,) * count), ev.InputComplete(count)


def started(dispatch: int, index: int = 0, worker: str = "w") -> ev.Started:
    return ev.Started(dispatch, 0, index, 0, dispatch, worker)


def done(dispatch: int, index: int = 0, stage: int = 0, seconds: Optional[float] = None) -> ev.Done:
    stats = {} if seconds is None else {"seconds": seconds}
    return ev.Done(dispatch, stage, index, 0, dispatch, "w", {0: 1, 1: 1}, {}, stats)


def failed(
    dispatch: int,
    index: int = 0,
    kind: str = "raised",
    position: int = -1,
    worker: str = "w",
    plain: bool = False,
) -> Any:
    failure = Failure(kind, "no", position=position)
    return ev.AttemptFailed(dispatch, 0, index, 0, dispatch, worker, failure, plain)


def dispatched(*dispatches: int) -> ev.Dispatched:
    return ev.Dispatched(tuple(ev.DispatchRef(d, 0, d) for d in dispatches))
