"""The border to py-amqp, the only module that imports it. What leaves here is typed.

Only its encoding and decoding are used here; `wire` moves the bytes. py-amqp's own ways of waiting for a
reply, reading and writing can all block or spin, so no reply is waited for: each comes to the channel's
`Listener`.
"""

from __future__ import annotations

import struct
import time
from typing import Any, ClassVar, Optional

import amqp
from amqp import spec

from mapreduce.brokers.outbox import Buffer

#: Everything that py-amqp raises by itself.
AmqpError = amqp.exceptions.AMQPError


class WireClosed(Exception):
    """The connection has ended, or must. ``code``: RabbitMQ's, with its own words; 0: it has said nothing."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Listener:
    """What a channel's owner hears. The default is that a closed channel ends the connection."""

    def on_delivery(
        self, tag: int, body: bytes, offset: Optional[int], redelivered: bool, at: float, priority: int = 0
    ) -> None:
        """A message of the channel's consumer; ``at``: when it was sent, in seconds since the epoch, 0.0: unknown."""

    def on_cancelled(self) -> None:
        """The broker has ended the channel's consumer: its queue was deleted."""

    def on_declared(self, name: str, messages: int, consumers: int) -> None:
        """A (passive) declaration succeeded."""

    def on_deleted(self) -> None:
        """A deletion succeeded."""

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """The broker has taken charge of a publication (of all up to it), or refuses to."""

    def on_returned(self, message_id: str) -> None:
        """A mandatory message had no queue to go to; its confirmation follows."""

    def on_closed(self, code: int, text: str) -> None:
        """The broker has closed the channel, because of an error."""
        raise WireClosed(text, code)


#: header: when the message was sent, in milliseconds since the epoch by its sender's clock
_SENT = "at_ms"
#: which properties follow; headers, which are one, a 64-bit number; delivery mode
_PROPERTIES = struct.Struct(f">HI{len(_SENT) + 1}pcqB")
_HEADERS_AND_MODE, _PRIORITY, _MESSAGE_ID = 1 << 13 | 1 << 12, 1 << 11, 1 << 7
_HEADERS_BYTES = 1 + len(_SENT) + 1 + 8


class _Content:
    """What `wire` sends of a publication. py-amqp's own message takes five times as long over its properties."""

    __slots__ = ("_properties", "body")

    def __init__(self, body: Buffer, message_id: str, priority: int) -> None:
        self.body = body
        self._properties = _properties(message_id.encode(), priority)

    def _serialize_properties(self) -> bytes:
        return self._properties


def _properties(message_id: bytes, priority: int) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    which, mode, rest = _HEADERS_AND_MODE, 1, b""
    if priority:
        which, rest = which | _PRIORITY, bytes((priority,))
    if message_id:
        which, mode, rest = which | _MESSAGE_ID, 2, rest + bytes((len(message_id),)) + message_id
    return _PROPERTIES.pack(which, _HEADERS_BYTES, _SENT.encode(), b"l", now_ms, mode) + rest


class Channel(amqp.Channel):  # type: ignore[misc]
    """A channel that waits for nothing. Made by `Wire.open_channel`."""

    def __init__(self, connection: Any, listener: Listener) -> None:
        super().__init__(connection, auto_decode=False)
        self.listener = listener
        self.send_method(spec.Channel.Open, "s", ("",))

    # ---- commands

    def declare(self, name: str, arguments: dict[str, Any], **flags: bool) -> None:
        """Heard: `Listener.on_declared`."""
        options = {"passive": False, "durable": True, "exclusive": False, "auto_delete": False, **flags}
        self.send_method(spec.Queue.Declare, "BsbbbbbF", (0, name, *options.values(), False, arguments))

    def inspect(self, name: str) -> None:
        """Heard: `Listener.on_declared`, or `on_closed` with 404."""
        self.declare(name, {}, passive=True)

    def delete(self, name: str) -> None:
        """Heard: `Listener.on_deleted`."""
        self.send_method(spec.Queue.Delete, "Bsbbb", (0, name, False, False, False))

    def declare_fanout(self, exchange: str) -> None:
        self.exchange_declare(exchange, "fanout", durable=True, auto_delete=False, nowait=True)

    def bind(self, queue: str, exchange: str) -> None:
        self.queue_bind(queue, exchange, nowait=True)

    def consume(self, queue: str, arguments: dict[str, Any], prefetch: int) -> None:
        """Begin this channel's one consumer. ``prefetch`` 0 means without acks."""
        if prefetch:
            self.send_method(spec.Basic.Qos, "lBb", (0, prefetch, False))
        self.basic_consume(queue, _CONSUMER, no_ack=not prefetch, nowait=True, arguments=arguments)

    def cancel(self) -> None:
        """Stop this channel's consumer; what it has delivered can still be acked."""
        self.basic_cancel(_CONSUMER, nowait=True)

    def ack(self, tag: int, multiple: bool = False) -> None:
        """One delivery; ``multiple``: and all before it."""
        self.basic_ack(tag, multiple)

    def put_back(self, tag: int) -> None:
        self.basic_reject(tag, requeue=True)

    def with_confirms(self) -> None:
        self.confirm_select(nowait=True)

    def publish(self, exchange: str, key: str, body: Buffer, message_id: str = "", priority: int = 0) -> None:
        """With a ``message_id`` persistent and mandatory, without transient and as it may."""
        content = _Content(body, message_id, priority)
        # Not basic_publish: that reads from the socket first.
        self.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, key, bool(message_id), False), content)

    def end(self) -> None:
        """Close the channel; nothing more is heard of it."""
        self.listener = Listener()
        self.is_closing = True
        self.send_method(spec.Channel.Close, "BsBB", (0, "", 0, 0))

    # ---- what py-amqp calls

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        self._callbacks[spec.Queue.DeclareOk] = self._on_declare_ok
        self._callbacks[spec.Queue.DeleteOk] = self._on_delete_ok

    def dispatch_method(self, method_sig: Any, payload: Any, content: Any) -> None:
        if self.is_closing and method_sig not in (spec.Channel.Close, spec.Channel.CloseOk):
            return  # on its way when we closed; py-amqp would log a warning for each
        super().dispatch_method(method_sig, payload, content)

    def _on_declare_ok(self, name: str, messages: int, consumers: int) -> None:
        self.listener.on_declared(name, messages, consumers)

    def _on_delete_ok(self, _messages: int) -> None:
        self.listener.on_deleted()

    def _on_basic_deliver(self, _c: str, tag: int, redelivered: bool, _e: str, _k: str, message: Any) -> None:
        headers = message.properties.get("application_headers") or {}
        body, sent_ms = message.body, headers.get(_SENT)
        self.listener.on_delivery(
            tag,
            body if isinstance(body, bytes) else b"",
            headers.get("x-stream-offset"),
            redelivered,
            sent_ms / 1000 if isinstance(sent_ms, int) else 0.0,
            message.properties.get("priority", 0),
        )

    def _on_basic_return(self, _code: int, _text: str, _exchange: str, _key: str, message: Any) -> None:
        self.listener.on_returned(message.properties.get("message_id", ""))

    def _on_basic_ack(self, tag: int, multiple: bool) -> None:
        self.listener.on_confirm(tag, multiple, True)

    def _on_basic_nack(self, tag: int, multiple: bool) -> None:
        self.listener.on_confirm(tag, multiple, False)

    def _on_basic_cancel(self, _consumer: str) -> None:
        self.listener.on_cancelled()

    def _on_close(self, code: int, text: str, _class: int, _method: int) -> None:
        self.send_method(spec.Channel.CloseOk)
        if self.is_closing:
            return  # our own close has crossed the broker's; its answer is still to come
        # py-amqp would open it again, without its consumer and confirms.
        listener, self.listener = self.listener, Listener()
        self.collect()
        listener.on_closed(code, text)


#: Each consumer has a channel of its own, so all can have the same tag.
_CONSUMER = "c"


class Connection(amqp.Connection):  # type: ignore[misc]
    """py-amqp's, with the reason of `connection.blocked` and a close that can be heard."""

    _METHODS: ClassVar[Any] = {
        **amqp.Connection._METHODS,
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s"),
    }

    #: the answer to `ask_to_close` has come
    farewell_heard = False

    def ask_to_close(self) -> None:
        """Answered by `farewell_heard`, after all that was sent before."""
        self.send_method(spec.Connection.Close, "BsBB", (0, "", 0, 0))

    def _on_blocked(self, reason: str) -> None:
        self.on_blocked(reason)

    def _on_close_ok(self) -> None:
        self.farewell_heard = True

    def on_inbound_method(self, channel_id: int, method_sig: Any, payload: Any, content: Any) -> None:
        if channel_id in self.channels:  # else it has just been closed
            super().on_inbound_method(channel_id, method_sig, payload, content)
