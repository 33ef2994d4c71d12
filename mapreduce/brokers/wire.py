"""One connection to RabbitMQ on a non-blocking socket. After the handshake nothing in it blocks.

py-amqp does the handshake; from then on it only encodes and decodes. Bytes are moved here: its own reading
spins when a frame is cut in the middle, and its own writing hangs when the broker stops reading (an alarm).

Everything that ends a connection is raised as `WireClosed`; errors of connecting as `BrokerError`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any, Callable, Optional

from mapreduce.brokers.base import About, Tls
from mapreduce.brokers.outbox import Outbox, send_plain, send_tls
from mapreduce.brokers.pyamqp import AmqpError, Channel, Connection, Listener, WireClosed
from mapreduce.brokers.url import Address
from mapreduce.errors import BrokerError, BrokerRefused, BrokerUnsuitable

CONNECT_TIMEOUT_SECS = 10.0
OLDEST_VERSION = (3, 9)  # streams
#: what RabbitMQ takes as one message, before 4.0 and since; a larger one ends the channel
MAX_MESSAGE_BYTES_3 = 128 << 20
MAX_MESSAGE_BYTES_4 = 16 << 20

#: py-amqp's default of one second would take a short stall for a dead peer. 0 is the kernel's own rule: any
#: other value ends a connection whose peer has stopped reading for so long, which is what an alarm is. Dead
#: peers are found by heartbeats.
_SOCKET_SETTINGS = {socket.TCP_USER_TIMEOUT: 0} if hasattr(socket, "TCP_USER_TIMEOUT") else {}

_RECEIVE_BYTES = 4 << 20  #: at most so much at once, then the owner looks after its other business
_FRAME_END = b"\xce"
_HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"


class Wire:
    """One connection. After `connect` one thread at a time may use it, and nothing in it blocks."""

    def __init__(
        self,
        address: Address,
        on_blocked: Optional[Callable[[str], None]] = None,
        on_unblocked: Optional[Callable[[], None]] = None,
    ) -> None:
        self._address = address
        self._outbox = Outbox()
        self._handshaking = True
        self.max_message_bytes = MAX_MESSAGE_BYTES_4  #: known once connected
        self._connection = Connection(
            host=address.endpoint,
            userid=address.user,
            password=address.password,
            login_method="PLAIN",
            virtual_host=address.vhost,
            ssl=_tls_options(address),
            connect_timeout=CONNECT_TIMEOUT_SECS,
            heartbeat=address.heartbeat_secs,
            socket_settings=_SOCKET_SETTINGS,
            frame_writer=self._make_writer,
            on_blocked=on_blocked or (lambda reason: None),
            on_unblocked=on_unblocked or (lambda: None),
        )

    def connect(self) -> None:
        """Blocks, with a limit. Raises `BrokerError` and its children."""
        try:
            self._connection.connect()
            self.max_message_bytes = check_server(self._address, self._connection.server_properties)
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
            send_tls(self._socket) if isinstance(self._socket, ssl.SSLSocket) else send_plain(self._socket)
        )
        self._input = bytearray(2 * (self._connection.frame_max + 8))
        early = transport._read_buffer
        self._input[: len(early)] = early
        self._filled = len(early)

    def about(self) -> About:
        """What is known once it is connected."""
        said = {name: str(value) for name, value in self._connection.server_properties.items()}
        return About(
            product=said.get("product", "?"),
            version=said.get("version", "?"),
            cluster=said.get("cluster_name", ""),
            platform=said.get("platform", ""),
            frame_bytes=self._connection.frame_max,
            channels=self._connection.channel_max,
            heartbeat_secs=int(self._connection.heartbeat or 0),
            message_bytes=self.max_message_bytes,
            tls=_tls_of(self._socket),
        )

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
            self._connection.ask_to_close()

    @property
    def farewell_heard(self) -> bool:
        return bool(self._connection.farewell_heard)

    def drop(self) -> None:
        """Throw the connection away. Harmless if it is gone."""
        self._connection.collect()
        self._input, self._outbox = bytearray(), Outbox()  # the rest may stay until garbage is collected

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
        except AmqpError as error:
            raise WireClosed(error.reply_text or str(error), error.reply_code or 0) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise WireClosed(f"connection to RabbitMQ at {self._address.endpoint} lost: {reason}") from error


_FRAME_HEAD = struct.Struct(">BHI")


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME_HEAD.pack(kind, channel, len(payload)) + payload + _FRAME_END


def _tls_of(sock: socket.socket) -> Optional[Tls]:
    if not isinstance(sock, ssl.SSLSocket):
        return None
    # of a certificate that nobody has verified Python tells nothing
    certificate, cipher = sock.getpeercert() or {}, sock.cipher()
    ends = certificate.get("notAfter")
    return Tls(
        sock.version() or "?",
        cipher[0] if cipher else "?",
        bool(certificate),
        ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None,
    )


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


def check_server(address: Address, properties: dict[str, Any]) -> int:
    """Its limit for one message, in bytes. Raises `BrokerUnsuitable` for anything but a RabbitMQ with streams."""
    product, version = str(properties.get("product", "?")), str(properties.get("version", "?"))
    if product != "RabbitMQ":
        raise BrokerUnsuitable(f"the broker at {address.endpoint} is {product} {version}, not RabbitMQ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_VERSION:
        raise BrokerUnsuitable(
            f"RabbitMQ at {address.endpoint} is {version}; the engine needs 3.9 or newer, for streams"
        )
    return MAX_MESSAGE_BYTES_4 if numbers >= (4,) else MAX_MESSAGE_BYTES_3


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
    if isinstance(error, ssl.SSLError):
        return BrokerError(
            f"cannot speak TLS with {where} ({error.reason or error}); is that its port for TLS? amqp:// goes without"
        )
    if isinstance(error, socket.timeout):
        return BrokerError(f"cannot reach {where}: no answer within {CONNECT_TIMEOUT_SECS:.0f} seconds")
    if isinstance(error, FileNotFoundError) and address.cacertfile:
        return BrokerError(
            f"cannot read {address.cacertfile} (cacertfile of the broker URL): {error.strerror}"
        )
    if isinstance(error, OSError):
        return BrokerError(f"cannot reach {where}: {error.strerror or error}")
    if isinstance(error, AmqpError):
        if error.reply_code in (403, 530):
            return BrokerRefused(f"{where} refuses user {address.user!r}: {error.reply_text}")
        return BrokerError(f"cannot talk to {where}: {error.reply_text or error}")
    return None
