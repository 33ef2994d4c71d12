"""Brokers: where messages travel. `base` is the contract, `memory` and `amqp` fulfil it."""

from __future__ import annotations

from mapreduce.brokers.base import Broker
from mapreduce.errors import UsageError


def open_broker(url: str) -> Broker:
    """A broker for the URL, not yet connected. Raises `UsageError` for an unknown scheme.

    ``amqp://`` and ``amqps://`` are the schemes; what the rest may say is in `mapreduce.brokers.url`.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in ("amqp", "amqps"):
        # Late, because py-amqp costs 70 ms that a run without a broker must not pay.
        from mapreduce.brokers.amqp import AmqpBroker

        return AmqpBroker(url)
    # Never the URL itself: it may hold a password.
    raise UsageError("a broker URL begins with amqp:// or amqps://")
