"""The connection that consumes, acks, deletes and inspects. It never publishes: alarms do not touch it.

Each consumer has a channel of its own, because the broker answers an error by closing the channel: a stream
that is not there must not disturb the reader of another. Deleting and inspecting have one channel each.

Which consumer a delivery belongs to is told by a serial number, not by the tag: a tag may be used again, and
what is on its way for the old consumer must not reach the new one. A receipt's number holds both.
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from mapreduce.brokers import base
from mapreduce.brokers.base import Receipt
from mapreduce.brokers.publisher import CONTROL_EXCHANGE, Emit
from mapreduce.brokers.pyamqp import Channel, Listener, Wire, WireClosed

_NOT_FOUND = 404
_RESOURCE_ERROR = 506
_TAG_BITS = 40  #: a channel that delivers a million messages a second fills them in two weeks
_TAG_MASK = (1 << _TAG_BITS) - 1

#: Broadcasts are advice: whoever does not listen for a while misses the oldest.
_CONTROL_QUEUE = {"x-queue-type": "classic", "x-max-length": 1000}


def serial_of(receipt: Receipt) -> int:
    """Which consumer, of all that this process has ever had, a delivery was for."""
    return receipt.number >> _TAG_BITS


@dataclass(frozen=True)
class Start:
    """Start a consumer or listener under a serial number."""

    serial: int
    command: Union[base.Consume, base.Listen]


@dataclass(frozen=True)
class Stop:
    """Stop one; what it delivers from now on goes back."""

    serial: int


@dataclass(frozen=True)
class PutBack:
    """A delivery that arrived too late for its consumer."""

    receipt: Receipt


@dataclass(frozen=True)
class Ended:
    """Event: the place of a consumer is gone. The host's side turns it into `base.Gone`."""

    serial: int
    tag: str


class _Consumer(Listener):
    """One consumer and its channel."""

    def __init__(self, start: Start, wire: Wire, emit: Callable[[Any], None]) -> None:
        self._command = start.command
        self._serial = start.serial
        self._emit = emit
        self._unacked: set[int] = set()
        self._held: deque[base.Delivered] = deque()  # more than the prefetch that a stream has sent
        self._prefetch = 0
        self._stopped = False
        self._channel: Optional[Channel] = wire.open_channel(self)
        if isinstance(start.command, base.Listen):
            self._first_offset = 0
            self._is_stream = False
            self._listen(self._channel)
        else:
            self._first_offset = start.command.offset if isinstance(start.command.offset, int) else 0
            self._is_stream = start.command.offset is not None
            self._prefetch = start.command.prefetch
            arguments = {"x-stream-offset": start.command.offset} if self._is_stream else {}
            self._channel.consume(start.command.name, arguments, start.command.prefetch)

    def _listen(self, channel: Channel) -> None:
        queue = f"{CONTROL_EXCHANGE}.{uuid.uuid4().hex}"
        channel.declare_fanout(CONTROL_EXCHANGE)
        channel.declare(queue, dict(_CONTROL_QUEUE), durable=False, exclusive=True, auto_delete=True)
        channel.bind(queue, CONTROL_EXCHANGE)
        channel.consume(queue, {}, prefetch=0)

    # ---- commands

    def stop(self) -> None:
        self._stopped = True
        if self._channel and self._unacked and not self._is_stream:
            self._channel.cancel()  # what was delivered may still be acked
        else:
            self._end()

    def ack(self, tag: int) -> None:
        if self._channel and tag in self._unacked:
            self._unacked.discard(tag)
            self._channel.ack(tag)
            self._deliver_held()
            self._end_if_done()

    def put_back(self, tag: int) -> None:
        if self._channel and tag in self._unacked:
            self._unacked.discard(tag)
            self._channel.put_back(tag)
            self._end_if_done()

    @property
    def ended(self) -> bool:
        return self._channel is None

    def _end_if_done(self) -> None:
        if self._stopped and not self._unacked:
            self._end()

    def _end(self) -> None:
        """Close the channel; what is unacked or on its way returns to its queue."""
        if self._channel:
            self._channel.end()
            self._channel = None

    # ---- hearing

    def on_delivery(self, tag: int, body: bytes, offset: Optional[int], redelivered: bool) -> None:
        if self._channel is None:
            return
        if self._stopped:
            self._channel.put_back(tag)
        elif offset is not None and offset < self._first_offset:
            # The broker moves an offset beyond the end back to the end.
            self._channel.ack(tag)
        else:
            receipt = Receipt(self._command.tag, self._serial << _TAG_BITS | tag)
            self._held.append(base.Delivered(self._command.tag, receipt, body, offset, redelivered))
            self._deliver_held()

    def _deliver_held(self) -> None:
        """A stream sends whole chunks, however small the prefetch: the rest of one waits here."""
        while self._held and (not self._prefetch or len(self._unacked) < self._prefetch):
            delivery = self._held.popleft()
            if self._prefetch:
                self._unacked.add(delivery.receipt.number & _TAG_MASK)
            self._emit(delivery)

    def on_cancelled(self) -> None:
        self._end()  # what is held is lost with its place
        self._emit(Ended(self._serial, self._command.tag))

    def on_closed(self, code: int, text: str) -> None:
        self._channel = None
        # A stream that is being deleted is still a queue by name, but no process any more.
        if code != _NOT_FOUND and not (code == _RESOURCE_ERROR and "not found" in text):
            raise WireClosed(text, denied=code == 403)
        self._emit(Ended(self._serial, self._command.tag))


class _Asker(Listener):
    """Questions about places, each with one answer, in order. 404 is an answer, but costs the channel."""

    def __init__(
        self, wire: Wire, ask: Callable[[Channel, str], None], absent: Callable[[str], None]
    ) -> None:
        self._wire = wire
        self._ask = ask
        self._absent = absent
        self._channel: Optional[Channel] = None
        self.asked: deque[str] = deque()

    def ask(self, name: str) -> None:
        if self._channel is None:
            self._channel = self._wire.open_channel(self)
        self.asked.append(name)
        self._ask(self._channel, name)

    def on_closed(self, code: int, text: str) -> None:
        if code != _NOT_FOUND:
            raise WireClosed(text, denied=code == 403)
        self._channel = None
        self._absent(self.asked.popleft())
        again, self.asked = self.asked, deque()  # the broker has dropped all that followed
        for name in again:
            self.ask(name)


class _Inspector(_Asker):
    def __init__(self, wire: Wire, emit: Emit) -> None:
        super().__init__(wire, Channel.inspect, lambda name: emit(base.Depth(name, -1, 0)))
        self._emit = emit

    def on_declared(self, name: str, messages: int, consumers: int) -> None:
        self._emit(base.Depth(self.asked.popleft(), messages, consumers))


class _Deleter(_Asker):
    def __init__(self, wire: Wire, emit: Emit) -> None:
        super().__init__(wire, Channel.delete, lambda name: emit(base.Deleted(name)))
        self._emit = emit

    def on_deleted(self) -> None:
        self._emit(base.Deleted(self.asked.popleft()))


class Consumer:
    """A `link.Duty`. All in the link's thread."""

    def __init__(self, wire: Wire, emit: Callable[[Any], None]) -> None:
        self._wire = wire
        self._emit = emit
        self._consumers: dict[int, _Consumer] = {}
        self._inspector = _Inspector(wire, emit)
        self._deleter = _Deleter(wire, emit)

    def start(self) -> None:
        """Channels are opened when they are needed."""

    def take(self, command: Any) -> None:
        if isinstance(command, base.Ack):
            self._settle(command.receipt, _Consumer.ack)
        elif isinstance(command, PutBack):
            self._settle(command.receipt, _Consumer.put_back)
        elif isinstance(command, Start):
            self._consumers[command.serial] = _Consumer(command, self._wire, self._emit)
        elif isinstance(command, Stop):
            consumer = self._consumers.get(command.serial)
            if consumer:
                consumer.stop()
                self._forget(command.serial, consumer)
        elif isinstance(command, base.Inspect):
            self._inspector.ask(command.name)
        elif isinstance(command, base.Delete):
            self._deleter.ask(command.name)
        else:
            raise TypeError(f"not a command of this connection: {command!r}")

    def advance(self) -> None:
        """Everything is sent as it is taken."""

    @property
    def idle(self) -> bool:
        return not (self._inspector.asked or self._deleter.asked)

    def _settle(self, receipt: Receipt, how: Callable[[_Consumer, int], None]) -> None:
        serial = serial_of(receipt)
        consumer = self._consumers.get(serial)
        if consumer:
            how(consumer, receipt.number & _TAG_MASK)
            self._forget(serial, consumer)

    def _forget(self, serial: int, consumer: _Consumer) -> None:
        if consumer.ended:
            del self._consumers[serial]
