"""What nobody should have sent: on any queue or stream it is left out with a reason, and no role falls over it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce import codec, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import Client
from mapreduce.effects import Connected, Report, Tick
from mapreduce.leases import LeaseKeeper
from mapreduce.refs import Block, Failure, Segment, Skipped, Split
from mapreduce.spec import JobSpec
from mapreduce.worker import Worker
from tests import strategies  # noqa: F401  # its profile

SPEC = JobSpec("j", {}, {}, 2, 2)
SPLIT = Split((Segment("f", "f", 0, 1, 0, True),))
RANK = ev.Rank(5, 5)
FAILURE = Failure("raised", "ValueError: x", "map words")

#: one of each, as its sender would have sent it
VALID: list[tuple[Any, bytes]] = [
    (ev.Lease("job", RANK, 0, 2, 2), b""),
    (ev.Dispatch("job", 7, 0, 0, 0, ev.SplitInput(SPLIT, 0, 1)), b""),
    (ev.Dispatch("job", 8, 1, 0, 0, None), b""),
    (ev.Aside("q", "x"), b"y"),
    (ev.Piece(0), b"bytes"),
    (ev.EndOfInput(1), b""),
    (ev.BlockHead(0, 5, 0, 1, 0, "", None, 0, 2), b"chunk"),
    (ev.BlockHead(0, 5, 0, 1, 0, "", Block("/x", 0, 1, 1, 0, "")), b""),
    (ev.Seal(0, 0, 1, (ev.SealEntry(0, 5, 1),)), b""),
    (ev.StopJob("job"), b""),
    (ev.StopAttempt(5), b""),
    (ev.Submitted("job", SPEC, "0", 0.0), b""),
    (ev.Splits(0, (ev.SplitInput(SPLIT),)), b""),
    (ev.InputComplete(1), b""),
    (ev.Took(RANK, "w"), b""),
    (ev.Dispatched((ev.DispatchRef(7, 0, 0),)), b""),
    (ev.Started(7, 0, 0, 0, 5, "w"), b""),
    (ev.Done(7, 0, 0, 0, 5, "w", {0: 1}, {"c": 1}, {}, (Skipped(0, "f", 0, "r", "x"),)), b""),
    (ev.AttemptFailed(7, 0, 0, 0, 5, "w", FAILURE), b""),
    (ev.Lost(7, 0, 0), b""),
    (ev.Returned(7, 0, 0), b""),
    (ev.Missing(0, 1, 0, 0, (5,)), b""),
    (ev.Long(7, 0, 0, 5, "w"), b""),
    (ev.Alive(7, 0, 0, 5, "w"), b""),
    (ev.Back("w"), b""),
    (ev.StageSealed(1, 0), b""),
    (ev.Passed(1.0), b""),
    (ev.Present(), b""),
    (ev.CancelRequested("x"), b""),
    (ev.Delivered(0), b""),
    (ev.Failed(FAILURE, 0, 0, 1), b""),
    (ev.Cancelled("x"), b""),
    (ev.Abandoned("x"), b""),
]

SUBMITTED, STAGE_SEALED = (
    next(n for n, (message, _) in enumerate(VALID) if isinstance(message, kind))
    for kind in (ev.Submitted, ev.StageSealed)
)

#: what a field may hold in place of what it should
ODD: list[Any] = [-1, 0, 1, 10_001, 2**31, 2**64, -(2**70), 10**5000]
ODD += [None, True, 0.5, float("nan"), "", "job", "../..", "x" * 300, b"x", [], {}]
odd_values = st.sampled_from(ODD)


def paths(plain: Any, above: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The place of each field, and of what is in it."""
    if isinstance(plain, list):
        for at, item in enumerate(plain):
            yield (*above, at)
            yield from paths(item, (*above, at))


def put(plain: Any, path: tuple[int, ...], value: Any) -> Any:
    """``plain`` with what is at the path replaced."""
    if not path:
        return value
    at = path[0]
    return [*plain[:at], put(plain[at], path[1:], value), *plain[at + 1 :]]


def encode(tag: Any, fields: Any, body: bytes, version: int = wire.PROTOCOL) -> bytes:
    head = codec.pack([tag, fields, None])
    return struct.pack(">BI", version, len(head)) + head + body


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Garbage, and messages that were damaged."""
    how = draw(st.sampled_from(["garbage", "bytes", "cut", "version", "length", "tag", "fields"]))
    if how == "garbage":
        return draw(st.binary(max_size=40))
    message, body = draw(st.sampled_from(VALID))
    whole = wire.encode(message, body)
    fields = wire.to_plain(message)
    if how == "bytes":
        at = draw(st.integers(0, len(whole) - 1))
        return whole[:at] + draw(st.binary(min_size=1, max_size=4)) + whole[at + 1 :]
    if how == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if how == "version":
        return encode(type(message).__name__, fields, body, draw(st.integers(0, 255)))
    if how == "length":
        return whole[:1] + struct.pack(">I", draw(st.sampled_from([0, 1, 2**31, 2**32 - 1]))) + whole[5:]
    if how == "tag":
        return encode(draw(odd_values), fields, body)
    return encode(type(message).__name__, draw(odd_values), body)


class Ear:
    """A role that hears of everything, in any order, and whatever it asks for is done at once."""

    def __init__(self, role: Any, tags: list[str]) -> None:
        self.role = role
        self.now = 0.0
        self.commands: list[Any] = []
        self._numbers = 0
        self._offsets: dict[str, int] = {}
        self._tags = tags

    def tell(self, event: Any) -> list[Any]:
        commands: list[Any] = self.role.handle(event, self.now)
        self.commands += commands
        return commands

    def settle(self, commands: list[Any]) -> None:
        """What the broker answers, and what follows from that, a few rounds long."""
        for _ in range(4):
            answers: list[Any] = []
            for command in commands:
                if isinstance(command, base.Publish):
                    answers.append(base.Confirmed(command.token))
                elif isinstance(command, base.Consume):
                    self._tags.append(command.tag)
                elif isinstance(command, base.Declare):
                    answers.append(base.Declared(command.name))
                elif isinstance(command, base.Delete):
                    answers.append(base.Deleted(command.name))
            commands = [command for answer in answers for command in self.tell(answer)]

    def deliver(self, tag: str, body: bytes, redelivered: bool = False) -> list[Any]:
        self._numbers += 1
        offset = self._offsets[tag] = self._offsets.get(tag, -1) + 1
        return self.tell(base.Delivered(tag, base.Receipt(tag, self._numbers), body, offset, redelivered))

    def tags(self) -> list[str]:
        return sorted(set(self._tags))


def worker() -> Ear:
    role = Worker("w", 1, ("tasks",), "/d", False, random.Random(1))
    return Ear(role, ["worker/tasks0", "worker/control"])


def keeper() -> Ear:
    return Ear(LeaseKeeper("w", random.Random(1)), ["leases/jobs", "leases/control"])


def client() -> Ear:
    return Ear(Client("job", None, "/d", "0", random.Random(1)), ["client/log", "client/out"])


ROLES = {"worker": worker, "keeper": keeper, "client": client}


@pytest.mark.parametrize("name", ROLES)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_comes_no_role_falls_over_it(name: str, data: st.DataObject) -> None:
    ear = ROLES[name]()
    ear.settle(ear.tell(Connected()))
    for _ in range(data.draw(st.integers(1, 12))):
        valid = data.draw(st.booleans())
        body = wire.encode(*data.draw(st.sampled_from(VALID))) if valid else data.draw(bodies())
        ear.settle(ear.deliver(data.draw(st.sampled_from(ear.tags())), body, data.draw(st.booleans())))
        ear.now += data.draw(st.sampled_from([0.1, 5.0, 400.0]))
        ear.settle(ear.tell(Tick()))


@pytest.mark.parametrize("name", ROLES)
def test_messages_with_a_field_of_nonsense_harm_no_role(name: str) -> None:
    """Each field of each message, with each odd value, on all that the role reads in the middle of a job."""
    understood = 0
    for message, body in VALID:
        ear = ROLES[name]()
        in_the_middle_of_a_job(ear)
        fields = wire.to_plain(message)
        for path in paths(fields):
            for odd in ODD:
                data = encode(type(message).__name__, put(fields, path, odd), body)
                understood += readable(data)
                for tag in ear.tags()[:6]:
                    ear.settle(ear.deliver(tag, data))
                ear.now += 0.5
                ear.settle(ear.tell(Tick()))
    assert understood > 1000, "else nothing was tried"


def readable(data: bytes) -> bool:
    try:
        wire.decode(data)
    except wire.BadMessage:
        return False
    return True


def in_the_middle_of_a_job(ear: Ear) -> None:
    ear.settle(ear.tell(Connected()))
    for number, (message, body) in enumerate(VALID):
        for tag in ear.tags():
            wanted = isinstance(message, (ev.Lease, ev.Dispatch)) and tag in ("worker/tasks0", "leases/jobs")
            if wanted or (SUBMITTED <= number < STAGE_SEALED and tag.endswith(("log", "job:job"))):
                ear.settle(ear.deliver(tag, wire.encode(message, body)))


@pytest.mark.parametrize("tag", ["worker/tasks0", "leases/jobs"])
@given(body=st.binary(max_size=30))
def test_what_nobody_can_read_is_set_aside_before_its_ack(tag: str, body: bytes) -> None:
    ear = worker() if tag.startswith("worker") else keeper()
    ear.tell(Connected())
    commands = ear.deliver(tag, body)
    assert [type(command) for command in commands] == [base.Publish, base.Ack, Report]
    aside, kept = wire.decode(commands[0].head)
    assert commands[0].to == ev.ASIDE and bytes(kept) == body and aside.reason


@pytest.mark.parametrize(
    "message",
    [
        ev.Dispatch("job", 7, 0, 0, 0, None),
        ev.Dispatch("job", 7, -1, 0, 0, ev.SplitInput(SPLIT)),
        ev.Dispatch("job", 7, 1, 10**5000, 0, None),
        ev.Lease("job", RANK, 0, 2, 2**60),
        ev.Lease("job", RANK, 0, 2**60, 1),
        ev.Lease("job", RANK, 0, 0, 2),
    ],
    ids=lambda message: type(message).__name__,
)
def test_tasks_and_jobs_that_cannot_be_are_set_aside(message: Any) -> None:
    ear, tag = (worker(), "worker/tasks0") if isinstance(message, ev.Dispatch) else (keeper(), "leases/jobs")
    ear.tell(Connected())
    commands = ear.deliver(tag, wire.encode(message))
    assert [type(command) for command in commands] == [base.Publish, base.Ack, Report]
    assert "cannot be" in commands[-1].text or "partitions" in commands[-1].text
