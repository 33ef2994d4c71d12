"""What RabbitMQ means by the code and text with which it closes a channel or a connection.

It says 404 in two cases that must not be mixed up. "No queue" is the truth. "Home node … is down or inaccessible" is
said of a stream for a moment after every restart of the broker, until its writer runs again (and publications to it
are returned meanwhile): it exists, and whoever took it for deleted would give up a job that is alive. 506 with "not
found" is a stream that has a name but no process: while it is being deleted, for one. To ask again tells.

A node of a cluster says 406 of a stream that it has no replica of: for a moment after the stream was declared over
another node, while the replica is being made; for good if the node joined the cluster later than that.
"""

from __future__ import annotations

import re

from mapreduce.brokers import base

_DENIED = 403
_PRECONDITION_FAILED = 406
_ACK_TIMEOUT = re.compile(r"delivery acknowledgement on channel \d+ timed out.*?(\d+) ms")
_IS_STREAM = re.compile(r"'x-queue-type'.* current is .*'stream'")
_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


def is_absent(code: int, text: str) -> bool:
    """There is no such queue or stream."""
    return code == 404 and "no queue" in text


def is_unavailable(code: int, text: str) -> bool:
    """There is one, but it cannot be used at the moment."""
    return (code == 404 and not is_absent(code, text)) or (code == 506 and "not found" in text)


def is_elsewhere(code: int, text: str) -> bool:
    """The node of the cluster that we are connected to has no replica of the stream, or not yet."""
    return code == _PRECONDITION_FAILED and "does not have a replica on the local node" in text


def is_different(code: int, text: str) -> bool:
    """There is one of that name, declared with other arguments."""
    return code == _PRECONDITION_FAILED and "inequivalent arg" in text


def is_stream_instead(code: int, text: str) -> bool:
    """A queue was asked for, and what has that name is a stream: whoever consumed from it would be given everything."""
    return is_different(code, text) and _IS_STREAM.search(text) is not None


def end_of_session(code: int, text: str) -> base.Disconnected:
    """What to tell the host; ``code`` is 0 where RabbitMQ has not said why."""
    overdue = _ACK_TIMEOUT.search(text) if code == _PRECONDITION_FAILED else None
    return base.Disconnected(
        text,
        denied=code == _DENIED,
        ack_timeout_secs=int(overdue[1]) / 1000 if overdue else 0.0,
        unsuitable=is_different(code, text),
    )


def message_limit(code: int, text: str) -> int:
    """How many bytes the broker takes as one message, if that is what it says; else 0."""
    limit = _TOO_LARGE.search(text) if code == _PRECONDITION_FAILED else None
    return int(limit[1]) if limit else 0
