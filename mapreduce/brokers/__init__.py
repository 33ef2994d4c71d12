"""Brokers: where messages travel. `base` is the contract, `memory` and `amqp` fulfil it.

base        commands, events, `Broker`
memory      all in this process
amqp        RabbitMQ: a session of two links
├── link        a connection and its thread: the loop
├── publisher   what the one connection does
├── consumer    what the other does
├── asking      questions that both may ask
├── replies     what RabbitMQ means when it closes something
├── wire        the bytes of a connection (`outbox`: those that wait)
├── pyamqp      the border to py-amqp
└── url         where the broker is
"""

from __future__ import annotations

from importlib import import_module

from mapreduce.brokers.base import Broker
from mapreduce.errors import BrokerUrlWrong


def open_broker(url: str) -> Broker:
    """A broker for the URL, not yet connected. Raises `BrokerUrlWrong` for what is no broker URL.

    ``amqp://`` and ``amqps://`` are the schemes; what the rest may say is in `mapreduce.brokers.url`.
    """
    if url.partition(":")[0].lower() not in ("amqp", "amqps"):
        # Never the URL itself: it may hold a password.
        raise BrokerUrlWrong("a broker URL begins with amqp:// or amqps://")
    # Late, because py-amqp costs 70 ms that a run without a broker must not pay.
    broker: Broker = import_module("mapreduce.brokers.amqp").AmqpBroker(url)
    return broker
