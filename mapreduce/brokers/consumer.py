"""The connection that consumes, acks, deletes and inspects. It never publishes: alarms do not touch it.

Each consumer has a channel of its own, because the broker answers an error by closing the channel: a stream
that is not there must not disturb the reader of another. Deleting and inspecting have one channel each.

Which consumer a delivery belongs to is told by a serial number, not by the tag: a tag may be used again, and
what is on its way for the old consumer must not reach the new one. A receipt's number holds both.

An ack of a stream's delivery only makes room for another one. So acks travel together: as many as `acked_together`
says, or what came in a second. An ack alone costs its reader and the broker as much as a message.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from typing import Any, Callable, Optional, Union

from mapreduce.brokers import base
from mapreduce.brokers.asking import RETRY_SECS, Asker
from mapreduce.brokers.base import Receipt
from mapreduce.brokers.publisher import CONTROL_EXCHANGE
from mapreduce.brokers.pyamqp import Channel, Listener, WireClosed
from mapreduce.brokers.replies import is_absent, is_elsewhere, is_unavailable
from mapreduce.brokers.wire import Wire
from mapreduce.frozen import frozen

#: A consumer's deliveries are numbered through all its channels.
_TAG_BITS = 64
_TAG_MASK = (1 << _TAG_BITS) - 1
_TAGS_PER_CHANNEL = 1 << 40
_NEVER = float("inf")

#: How long an ack of a stream's delivery may wait for others, about: as long as the link may sleep.
_ACK_SECS = 1.0

#: How often in a row a stream is looked for on a node that has no replica of it yet: ten seconds.
_MOST_ELSEWHERE = 20

#: Broadcasts are advice: whoever does not listen for a while misses the oldest.
_CONTROL_QUEUE = {"x-queue-type": "classic", "x-max-length": 1000}


def acked_together(consume: base.Consume) -> int:
    """Of how many deliveries acks travel together; far fewer than may be on their way, so that these do not dry up."""
    return 1 if consume.offset is None else max(1, consume.prefetch // 4)


def serial_of(receipt: Receipt) -> int:
    """Which consumer, of all that this process has ever had, a delivery was for."""
    return receipt.number >> _TAG_BITS


@frozen
class Start:
    """Start a consumer or listener under a serial number."""

    serial: int
    command: Union[base.Consume, base.Listen]


@frozen
class Stop:
    """Stop one; what it delivers from now on goes back."""

    serial: int


@frozen
class PutBack:
    """A delivery that arrived too late for its consumer."""

    receipt: Receipt


@frozen
class Ended:
    """Event: the place of a consumer is gone. The host's side turns it into `base.Gone`."""

    serial: int
    tag: str


class _Consumer(Listener):
    """One consumer and its channel.

    When the broker ends it (its place was deleted, but perhaps the place only moves or restarts) or calls the
    place unavailable, it begins again where it was, on a new channel. Only "no queue" is the end.
    """

    def __init__(self, start: Start, wire: Wire, emit: Callable[[Any], None]) -> None:
        self._command = start.command
        self._serial = start.serial
        self._wire = wire
        self._emit = emit
        consume = start.command if isinstance(start.command, base.Consume) else None
        self._prefetch = consume.prefetch if consume else 0
        self._offset = consume.offset if consume else None  # where to go on; None: no stream
        self._channel: Optional[Channel] = None
        self._heard = False  # anything, on this channel
        self._searched = False  # for messages that the broker had skipped
        self._begin_at = 0.0  # when there is no channel: when to begin again; endless: never
        self._fruitless = 0  # beginnings since the last delivery
        self._tags_before = 0  # delivery tags of earlier channels: ours go on counting
        self._unacked: set[int] = set()
        self._together = acked_together(consume) if consume else 1
        self._acked: set[int] = set()  # and the broker has not been told yet
        self._acked_since = 0.0  # monotonic seconds, the first of them
        self._held: deque[base.Delivered] = deque()  # more than the prefetch that a stream has sent
        self._stopped = False
        self.begin_if_due(time.monotonic())

    @property
    def ended(self) -> bool:
        return self._begin_at == _NEVER

    def begin_if_due(self, now: float) -> None:
        if self._channel is None and now >= self._begin_at:
            self._fruitless += 1
            self._heard = False
            self._channel = self._wire.open_channel(self)
            if isinstance(self._command, base.Listen):
                self._listen(self._channel)
            else:
                arguments = {} if self._offset is None else {"x-stream-offset": self._offset}
                self._channel.consume(self._command.name, arguments, self._prefetch)

    def _listen(self, channel: Channel) -> None:
        queue = f"{CONTROL_EXCHANGE}.{uuid.uuid4().hex}"
        channel.declare_fanout(CONTROL_EXCHANGE)
        channel.declare(queue, dict(_CONTROL_QUEUE), durable=False, exclusive=True, auto_delete=True)
        channel.bind(queue, CONTROL_EXCHANGE)
        channel.consume(queue, {}, prefetch=0)

    # ---- commands

    def stop(self) -> None:
        self._stopped = True
        if self._channel and self._unacked and self._offset is None:
            self._channel.cancel()  # what was delivered may still be acked
        else:
            self._end()

    def ack(self, tag: int) -> None:
        if self._channel and tag in self._unacked:
            self._unacked.discard(tag)
            if self._together > 1:
                self._acked_since = self._acked_since if self._acked else time.monotonic()
                self._acked.add(tag)
                if len(self._acked) >= self._together:
                    self._send_acks(self._channel)
            else:
                self._channel.ack(tag - self._tags_before)
            self._deliver_held()
            self._end_if_done()

    def send_acks_if_due(self, now: float) -> None:
        if self._acked and self._channel and now - self._acked_since >= _ACK_SECS:
            self._send_acks(self._channel)

    def _send_acks(self, channel: Channel) -> None:
        """All at once, but for those behind one that is not acked yet."""
        first = min(self._unacked, default=_NEVER)
        sent = {tag for tag in self._acked if tag < first}
        if sent:
            channel.ack(max(sent) - self._tags_before, multiple=True)
            self._acked -= sent
            self._acked_since = time.monotonic()

    def put_back(self, tag: int) -> None:
        if self._channel and tag in self._unacked:
            self._unacked.discard(tag)
            self._channel.put_back(tag - self._tags_before)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self._stopped and not self._unacked:
            self._end()

    def _end(self) -> None:
        """Close the channel; what is unacked or on its way returns to its queue."""
        if self._channel:
            self._channel.end()
        self._lose_channel(_NEVER)

    def _lose_channel(self, begin_at: float) -> None:
        self._channel = None
        self._begin_at = begin_at
        self._unacked.clear()
        self._acked.clear()
        self._held.clear()

    # ---- hearing

    def on_delivery(
        self, tag: int, body: bytes, offset: Optional[int], redelivered: bool, at: float, priority: int = 0
    ) -> None:
        if self._channel is None:
            return
        if self._stopped:
            self._channel.put_back(tag)
        elif offset is not None and self._is_too_early(offset):
            self._channel.ack(tag)
        elif offset is not None and self._has_skipped(offset):
            self._searched = True
            self._channel.end()
            self._begin_again()
        else:
            self._heard = True
            self._fruitless = 0
            number = self._serial << _TAG_BITS | self._tags_before + tag
            receipt = Receipt(self._command.tag, number)
            delivered = base.Delivered(self._command.tag, receipt, body, offset, redelivered, at, priority)
            self._held.append(delivered)
            self._deliver_held()

    def _is_too_early(self, offset: int) -> bool:
        """The broker takes an offset beyond the end for the end."""
        early = isinstance(self._offset, int) and offset < self._offset
        self._heard = self._heard or early
        return early

    def _has_skipped(self, offset: int) -> bool:
        """It began beyond what was asked for. Asked again it will not: that much is in the stream now.

        It happens when the offset lay beyond the end and something was being written at that moment. To go
        on exactly at the end is safe.
        """
        asked_for = self._offset
        return not self._heard and not self._searched and isinstance(asked_for, int) and offset > asked_for

    def _deliver_held(self) -> None:
        """A stream sends whole chunks, however small the prefetch: the rest of one waits here."""
        while self._held and (not self._prefetch or len(self._unacked) < self._prefetch):
            delivery = self._held.popleft()
            if self._prefetch:
                self._unacked.add(delivery.receipt.number & _TAG_MASK)
            if delivery.offset is not None:
                self._offset = delivery.offset + 1
            self._emit(delivery)

    def on_cancelled(self) -> None:
        """Deleted, or moving: to begin again tells which."""
        if self._channel:
            self._channel.end()
        self._begin_again()

    def on_closed(self, code: int, text: str) -> None:
        if is_absent(code, text):
            self._lose_channel(_NEVER)
            self._emit(Ended(self._serial, self._command.tag))
        elif is_unavailable(code, text) or (is_elsewhere(code, text) and self._fruitless <= _MOST_ELSEWHERE):
            self._begin_again()
        else:
            raise WireClosed(text, code)

    def _begin_again(self) -> None:
        """At once the first time, then patiently."""
        if self._stopped:
            self._lose_channel(_NEVER)
        else:
            self._tags_before += _TAGS_PER_CHANNEL
            self._lose_channel(time.monotonic() + (RETRY_SECS if self._fruitless > 1 else 0.0))


class Consumer:
    """A `link.Duty`."""

    def __init__(self, wire: Wire, emit: Callable[[Any], None]) -> None:
        self._wire = wire
        self._emit = emit
        self._consumers: dict[int, _Consumer] = {}
        self._inspector = Asker(wire, Channel.inspect, lambda *answer: emit(base.Depth(*answer)))
        self._deleter = Asker(wire, Channel.delete, lambda name, *_: emit(base.Deleted(name)))

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
        """Everything but streams' acks is sent as it is taken; what was unavailable is tried again."""
        self._inspector.advance()
        self._deleter.advance()
        now = time.monotonic()
        for serial, consumer in list(self._consumers.items()):
            consumer.begin_if_due(now)
            consumer.send_acks_if_due(now)
            self._forget(serial, consumer)

    @property
    def pause_secs(self) -> float:
        return _NEVER

    @property
    def idle(self) -> bool:
        return self._deleter.idle  # nobody waits at the end for answers, and some may never come (`asking`)

    def _settle(self, receipt: Receipt, how: Callable[[_Consumer, int], None]) -> None:
        serial = serial_of(receipt)
        consumer = self._consumers.get(serial)
        if consumer:
            how(consumer, receipt.number & _TAG_MASK)
            self._forget(serial, consumer)

    def _forget(self, serial: int, consumer: _Consumer) -> None:
        if consumer.ended:
            del self._consumers[serial]
