"""Messages of queues: read them, or put them where people can look at them, and go on."""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.effects import Command, Report


def read_or_set_aside(
    event: base.Delivered, expected: type, queue: str, token: str
) -> tuple[Optional[Any], list[Command]]:
    """The message of the class ``expected``, which names a job; or None and what puts it on ``mr.1.aside``."""
    try:
        message, _ = wire.decode(event.body)
        if not isinstance(message, expected):
            raise wire.BadMessage(f"a {type(message).__name__} in place of a {expected.__name__}")
        if not ev.is_name(getattr(message, "job", "")):
            raise wire.BadMessage(f"a {expected.__name__} of a job that cannot have such a name")
    except wire.BadMessage as error:
        return None, [
            base.Publish(ev.ASIDE, wire.encode(ev.Aside(queue, str(error)), event.body), token),
            base.Ack(event.receipt),
            Report("warning", f"a message on {queue} is set aside on {ev.ASIDE}: {error}"),
        ]
    return message, []
