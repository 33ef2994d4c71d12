"""Messages of queues: read them, or put them where people can look at them, and go on."""

from __future__ import annotations

from typing import Any, Optional, Union

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.effects import Command, Report
from mapreduce.spec import MAX_PARTITIONS

_ENDLESS = 1 << 64
#: a lease that names more would keep its holder busy with nothing else
_MAX_STREAMS = 1_000_000


def read_or_set_aside(
    event: base.Delivered, expected: type, queue: str, token: str
) -> tuple[Optional[Any], list[Command]]:
    """The message of the class ``expected``, which names a job; or None and what puts it on ``mr.1.aside``."""
    message, commands = _read(event.body, expected, queue, token)
    return message, _with_ack(commands, event) if message is None else []


def read_all_or_set_aside(
    event: base.Delivered, expected: type, queue: str, token: str
) -> tuple[list[Any], list[Command]]:
    """The same of a delivery that may be several messages; it is acked here only if none of them can be read."""
    messages = _readable(event.body, expected)
    if messages:
        return messages, []
    try:
        bodies = wire.split(event.body)
    except wire.BadMessage:
        bodies = [event.body]
    commands: list[Command] = []
    for body in bodies:
        message, more = _read(body, expected, queue, token)
        messages += [message] if message is not None else []
        commands += more
    return messages, commands if messages else _with_ack(commands, event)


def _readable(body: bytes, expected: type) -> list[Any]:
    """All of them; none if there is one that cannot be read."""
    messages = [message for message, _ in wire.decode_all(body)]
    try:
        for message in messages:
            _check(message, expected)
    except wire.BadMessage:
        return []
    return messages


def _with_ack(commands: list[Command], event: base.Delivered) -> list[Command]:
    """What is set aside is on its way before its ack is."""
    return [*commands[:-1], base.Ack(event.receipt), commands[-1]]


def _read(
    body: Union[bytes, memoryview], expected: type, queue: str, token: str
) -> tuple[Optional[Any], list[Command]]:
    try:
        message, _ = wire.decode(body)
        _check(message, expected)
    except wire.BadMessage as error:
        return None, [
            base.Publish(ev.ASIDE, wire.encode(ev.Aside(queue, str(error)), bytes(body)), token),
            Report("warning", f"a message on {queue} is set aside on {ev.ASIDE}: {error}", "set_aside"),
        ]
    return message, []


def _check(message: Any, expected: Any) -> None:
    """Raises `BadMessage` for another message, and for a task or a job that there cannot be."""
    kind = type(message).__name__
    if not isinstance(message, expected):
        raise wire.BadMessage(f"a {kind} in place of a {expected.__name__}")
    if not ev.is_name(message.job):
        raise wire.BadMessage(f"a {kind} of a job that cannot have such a name")
    if isinstance(message, ev.Dispatch):
        split = message.input
        numbers = [message.dispatch, message.stage, message.index, message.generation]
        numbers += [split.first_piece, split.pieces] if split is not None else []
        is_first = message.stage == 0
        if min(numbers) < 0 or max(numbers) >= _ENDLESS or is_first != (split is not None):
            raise wire.BadMessage(f"a {kind} of a task that cannot be")
    elif isinstance(message, ev.Lease):
        streams = message.stages * message.partitions
        if not (message.stages > 0 and 0 < message.partitions <= MAX_PARTITIONS and streams < _MAX_STREAMS):
            raise wire.BadMessage(
                f"a {kind} of a job of {message.stages} stages and {message.partitions} partitions"
            )
