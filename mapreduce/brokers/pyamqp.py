"""The border to py-amqp, the only module that imports it. What leaves here is typed, and never blocks.

py-amqp does the handshake; from then on it only encodes and decodes. Bytes are moved here, on a non-blocking
socket: its own reading spins when a frame is cut in the middle, its own writing hangs when the broker stops
reading (memory alarm), and a wait for a reply would do either. So no reply is waited for: each comes to the
channel's `Listener`.

    Wire      one connection: receive() and flush() move bytes, tick() sends heartbeats
    Channel   one channel: methods send, the listener hears

Everything that ends a connection is raised as `WireClosed`; errors of connecting as `BrokerError`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, ClassVar, Optional, Union

import amqp
from amqp import spec

from mapreduce.brokers.url import Address
from mapreduce.errors import BrokerError, BrokerRefused, BrokerUnsuitable

CONNECT_TIMEOUT_SECS = 10.0
HEARTBEAT_SECS = 30
OLDEST_VERSION = (3, 9)  # streams

#: py-amqp's default of one second would take a short stall for a dead peer. 0 is the kernel's own rule: any
#: other value ends a connection whose peer has stopped reading for so long, which is what an alarm is. Dead
#: peers are found by heartbeats.
_SOCKET_SETTINGS = {socket.TCP_USER_TIMEOUT: 0} if hasattr(socket, "TCP_USER_TIMEOUT") else {}

_RECEIVE_BYTES = 4 << 20  #: at most so much at once, then the owner looks after its other business
_GATHER = 64  #: buffers handed to one sendmsg
_SMALL_BYTES = 8192  #: up to here copying is cheaper than a buffer of its own
_FRAME_END = b"\xce"
_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"

Buffer = Union[bytes, bytearray, memoryview]


class WireClosed(Exception):
    """The connection has ended, or must. ``denied``: the broker refuses a right."""

    def __init__(self, reason: str, denied: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.denied = denied


class Listener:
    """What a channel's owner hears. The default is that a closed channel ends the connection."""

    def on_delivery(self, tag: int, body: bytes, offset: Optional[int], redelivered: bool) -> None:
        """A message of the channel's consumer."""

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
        raise WireClosed(text, denied=code == 403)


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

    def ack(self, tag: int) -> None:
        self.basic_ack(tag)

    def put_back(self, tag: int) -> None:
        self.basic_reject(tag, requeue=True)

    def with_confirms(self) -> None:
        self.confirm_select(nowait=True)

    def publish(self, exchange: str, key: str, body: Buffer, message_id: str = "") -> None:
        """With a ``message_id`` persistent and mandatory, without transient and as it may."""
        if message_id:
            message = amqp.Message(body, delivery_mode=2, message_id=message_id)
        else:
            message = amqp.Message(body, delivery_mode=1)
        # Not basic_publish: that reads from the socket first.
        self.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, key, bool(message_id), False), message)

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
        body = message.body
        self.listener.on_delivery(
            tag, body if isinstance(body, bytes) else b"", headers.get("x-stream-offset"), redelivered
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


class _Connection(amqp.Connection):  # type: ignore[misc]
    """py-amqp's, with the reason of `connection.blocked` and a close that can be heard."""

    _METHODS: ClassVar[Any] = {
        **amqp.Connection._METHODS,
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s"),
    }

    #: set by `Wire.say_goodbye`; the answer to it has come
    farewell_heard = False

    def _on_blocked(self, reason: str) -> None:
        self.on_blocked(reason)

    def _on_close_ok(self) -> None:
        self.farewell_heard = True

    def on_inbound_method(self, channel_id: int, method_sig: Any, payload: Any, content: Any) -> None:
        if channel_id in self.channels:  # else it has just been closed
            super().on_inbound_method(channel_id, method_sig, payload, content)


class _Outbox:
    """Bytes on their way to a socket that takes what it likes."""

    def __init__(self) -> None:
        self._buffers: deque[Buffer] = deque()
        self.size = 0

    def append(self, data: Buffer) -> None:
        self.size += len(data)
        if len(data) > _SMALL_BYTES:
            self._buffers.append(memoryview(data))
        elif self._buffers and isinstance(self._buffers[-1], bytearray) and len(self._buffers[-1]) < 65536:
            self._buffers[-1] += data
        else:
            self._buffers.append(bytearray(data))

    def take(self) -> bytes:
        """Everything, in one piece."""
        data = b"".join(self._buffers)
        self._buffers.clear()
        self.size = 0
        return data

    def flush(self, send: Callable[[deque[Buffer]], int]) -> None:
        """Send until all is gone or the socket is full."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._buffers:
                self._forget(send(self._buffers))

    def _forget(self, sent: int) -> None:
        self.size -= sent
        while sent:
            first = self._buffers.popleft()
            if sent < len(first):
                self._buffers.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)


def _send_plain(sock: socket.socket) -> Callable[[deque[Buffer]], int]:
    def send(buffers: deque[Buffer]) -> int:
        return sock.sendmsg([buffers[index] for index in range(min(len(buffers), _GATHER))])

    return send


def _send_tls(sock: ssl.SSLSocket) -> Callable[[deque[Buffer]], int]:
    # One buffer at a time: after "want write" TLS insists on the same bytes again.
    return lambda buffers: sock.send(buffers[0])


class Wire:
    """One connection. After `connect` it belongs to one thread, and nothing in it blocks."""

    def __init__(
        self,
        address: Address,
        on_blocked: Optional[Callable[[str], None]] = None,
        on_unblocked: Optional[Callable[[], None]] = None,
    ) -> None:
        self._address = address
        self._outbox = _Outbox()
        self._handshaking = True
        self._connection = _Connection(
            host=address.endpoint,
            userid=address.user,
            password=address.password,
            login_method="PLAIN",
            virtual_host=address.vhost,
            ssl=_tls_options(address),
            connect_timeout=CONNECT_TIMEOUT_SECS,
            heartbeat=HEARTBEAT_SECS,
            socket_settings=_SOCKET_SETTINGS,
            frame_writer=self._make_writer,
            on_blocked=on_blocked or (lambda reason: None),
            on_unblocked=on_unblocked or (lambda: None),
        )

    def connect(self) -> None:
        """Blocks, with a limit. Raises `BrokerError` and its children."""
        try:
            self._connection.connect()
            _check_server(self._address, self._connection.server_properties)
        except BaseException as error:
            self._connection.collect()
            translated = _why_not_connected(self._address, error)
            if translated is None:
                raise
            raise translated from error
        self._take_over()

    def _take_over(self) -> None:
        """The handshake is done: from now on bytes are moved here."""
        transport = self._connection.transport
        self._handshaking = False
        self._socket: socket.socket = transport.sock
        self._socket.setblocking(False)
        self._send = (
            _send_tls(self._socket) if isinstance(self._socket, ssl.SSLSocket) else _send_plain(self._socket)
        )
        self._input = bytearray(2 * (self._connection.frame_max + 8))
        early = transport._read_buffer
        self._input[: len(early)] = early
        self._filled = len(early)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return self._outbox.size

    def open_channel(self, listener: Listener) -> Channel:
        with self._translated():
            return Channel(self._connection, listener)

    def receive(self) -> bool:
        """Read what is there and tell the listeners; True if there may be more. Raises `WireClosed`."""
        with self._translated():
            view, wanted = memoryview(self._input), _RECEIVE_BYTES
            while wanted > 0:
                try:
                    count = self._socket.recv_into(view[self._filled :])
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return False
                if count == 0:
                    raise WireClosed(f"RabbitMQ at {self._address.endpoint} closed the connection")
                wanted -= count
                self._filled += count
                self._dispatch(view)
        return True

    def flush(self) -> None:
        """Send what the socket takes. Raises `WireClosed`."""
        with self._translated():
            self._outbox.flush(self._send)

    def tick(self) -> None:
        """Call once a second: sends heartbeats, and raises `WireClosed` when the broker's stay out."""
        with self._translated():
            self._connection.heartbeat_tick()

    def say_goodbye(self) -> None:
        with self._translated():
            self._connection.send_method(spec.Connection.Close, "BsBB", (0, "", 0, 0))

    @property
    def farewell_heard(self) -> bool:
        return bool(self._connection.farewell_heard)

    def drop(self) -> None:
        """Throw the connection away. Harmless if it is gone."""
        self._connection.collect()

    # ---- details

    def _dispatch(self, view: memoryview) -> None:
        """Hand every whole frame in the input to py-amqp, and move the rest to the front."""
        start, filled, on_frame = 0, self._filled, self._connection.on_inbound_frame
        while filled - start >= 8:
            kind, channel, size = _FRAME_HEAD.unpack_from(view, start)
            end = start + 7 + size
            if end >= filled:
                if size > self._connection.frame_max:
                    raise WireClosed("RabbitMQ sent a frame that is too large")
                break
            on_frame((kind, channel, bytes(view[start + 7 : end])))
            start = end + 1
        view[: filled - start] = view[start:filled]
        self._filled = filled - start

    def _make_writer(self, connection: Any, transport: Any) -> Callable[..., None]:
        """What py-amqp calls to write a method (with a message), or a heartbeat."""

        def write(kind: int, channel: int, method: Any, arguments: Any, content: Any) -> None:
            connection.bytes_sent += 1
            if kind == 8:
                self._outbox.append(_HEARTBEAT_FRAME)
            else:
                self._write_method(channel, method, arguments, content, connection.frame_max - 8)
            if self._handshaking:
                transport.write(self._outbox.take())

        return write

    def _write_method(self, channel: int, method: Any, arguments: Any, content: Any, limit: int) -> None:
        arguments = arguments.encode() if isinstance(arguments, str) else arguments
        head = _frame(1, channel, struct.pack(">HH", *method) + arguments)
        if content is None:
            self._outbox.append(head)
            return
        body = memoryview(content.body)
        properties = content._serialize_properties()
        head += _frame(2, channel, struct.pack(">HHQ", method[0], 0, len(body)) + properties)
        for start in range(0, len(body), limit):
            piece = body[start : start + limit]
            self._outbox.append(head + _FRAME_HEAD.pack(3, channel, len(piece)))
            self._outbox.append(piece)
            head = _FRAME_END
        self._outbox.append(head)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """py-amqp's and the socket's errors, as `WireClosed`."""
        try:
            yield
        except amqp.exceptions.AMQPError as error:
            raise WireClosed(error.reply_text or str(error), denied=error.reply_code == 403) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise WireClosed(f"connection to RabbitMQ at {self._address.endpoint} lost: {reason}") from error


_FRAME_HEAD = struct.Struct(">BHI")


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME_HEAD.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _tls_options(address: Address) -> Any:
    """What py-amqp wants to hear about TLS. It checks the host's name only if it is told that."""
    if not address.tls:
        return False
    options: dict[str, Any] = {"server_hostname": address.host, "cert_reqs": ssl.CERT_REQUIRED}
    if address.cacertfile:
        options["ca_certs"] = address.cacertfile
    if not address.verify:
        options = {"cert_reqs": ssl.CERT_NONE}
    return options


def _check_server(address: Address, properties: dict[str, Any]) -> None:
    """Raises `BrokerUnsuitable` for anything but a RabbitMQ with streams."""
    product, version = str(properties.get("product", "?")), str(properties.get("version", "?"))
    if product != "RabbitMQ":
        raise BrokerUnsuitable(f"the broker at {address.endpoint} is {product} {version}, not RabbitMQ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_VERSION:
        raise BrokerUnsuitable(
            f"RabbitMQ at {address.endpoint} is {version}; the engine needs 3.9 or newer, for streams"
        )


def _why_not_connected(address: Address, error: BaseException) -> Optional[BrokerError]:
    """The error that a user reads; None for what is no trouble with the broker."""
    where = f"RabbitMQ at {address.endpoint}"
    if isinstance(error, ConnectionRefusedError):
        return BrokerError(
            f"cannot reach {where}: connection refused; is it running? `mr broker` starts a private one"
        )
    if isinstance(error, socket.gaierror):
        return BrokerError(f"cannot reach {where}: no such host ({error.strerror})")
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerError(f"cannot trust {where}: {error.verify_message}")
    if isinstance(error, socket.timeout):
        return BrokerError(f"cannot reach {where}: no answer within {CONNECT_TIMEOUT_SECS:.0f} seconds")
    if isinstance(error, FileNotFoundError) and address.cacertfile:
        return BrokerError(
            f"cannot read {address.cacertfile} (cacertfile of the broker URL): {error.strerror}"
        )
    if isinstance(error, OSError):
        return BrokerError(f"cannot reach {where}: {error.strerror or error}")
    if isinstance(error, amqp.exceptions.AMQPError):
        if error.reply_code in (403, 530):
            return BrokerRefused(f"{where} refuses user {address.user!r}: {error.reply_text}")
        return BrokerError(f"cannot talk to {where}: {error.reply_text or error}")
    return None
