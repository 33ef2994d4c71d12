"""The broker of one process: queues and streams as plain lists. What `base` promises, in its simplest form.

Single-threaded and deterministic: `perform` acts at once, on every session of the server, and what follows
from it waits in the sessions' inboxes for `poll`. Blocks and input travel as references to files.

    MemoryServer            what a RabbitMQ node is: places, who listens, a clock
    ├── _Queue, _Stream     messages and consumers
    └── MemoryBroker        one session: inbox, consumers, unacked deliveries
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Callable, Optional, Union

from mapreduce.brokers import base
from mapreduce.brokers.base import Kind, Receipt
from mapreduce.errors import BrokerError


class _Message:
    """A message of a queue. ``priority`` and ``position`` order it, also when it comes back."""

    __slots__ = ("at", "body", "position", "priority", "redelivered")

    def __init__(self, priority: int, position: int, body: bytes, at: float) -> None:
        self.priority = priority
        self.position = position
        self.body = body
        self.at = at
        self.redelivered = False

    def __lt__(self, other: _Message) -> bool:
        return (-self.priority, self.position) < (-other.priority, other.position)


@dataclass(eq=False)
class _Consumer:
    session: MemoryBroker
    tag: str
    prefetch: int
    next_offset: int = 0  #: streams only
    #: deliveries that wait for an ack: receipt number → the message, None in a stream
    unacked: dict[int, Optional[_Message]] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return len(self.unacked) < self.prefetch


class _Queue:
    """Each message to one consumer, in turn; comes back if it is not acked."""

    def __init__(self) -> None:
        self.consumers: deque[_Consumer] = deque()  # the next in turn stands first
        self.ready: list[_Message] = []  # a heap: what comes back takes its old place
        self._positions = count()

    def append(self, body: bytes, at: float, priority: int) -> None:
        self._put(_Message(0, next(self._positions), body, at))

    def _put(self, message: _Message) -> None:
        heapq.heappush(self.ready, message)
        self.pump()

    def put_back(self, messages: list[_Message]) -> None:
        for message in messages:
            message.redelivered = True
            heapq.heappush(self.ready, message)
        self.pump()

    def pump(self) -> None:
        """Hand out what waits, as far as consumers have room."""
        while self.ready:
            consumer = next((c for c in self.consumers if c.has_room), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            message = heapq.heappop(self.ready)
            number = consumer.session._deliver(
                consumer.tag, message.body, None, message.redelivered, message.at, message.priority
            )
            consumer.unacked[number] = message


class _PriorityQueue(_Queue):
    """Of what waits the highest priority goes first."""

    def append(self, body: bytes, at: float, priority: int) -> None:
        self._put(_Message(priority, next(self._positions), body, at))


class _Replies(_Queue):
    """Lives with the process, which is short enough."""


class _Stream:
    """Keeps everything; each consumer reads at its own place."""

    def __init__(self) -> None:
        self.consumers: deque[_Consumer] = deque()
        self.ready: list[tuple[bytes, float]] = []  # all of it, each with the time when it was sent

    def append(self, body: bytes, at: float, priority: int) -> None:
        self.ready.append((body, at))
        self.pump()

    def pump(self) -> None:
        for consumer in self.consumers:
            while consumer.has_room and consumer.next_offset < len(self.ready):
                offset = consumer.next_offset
                consumer.next_offset += 1
                body, at = self.ready[offset]
                number = consumer.session._deliver(consumer.tag, body, offset, False, at)
                consumer.unacked[number] = None

    def start(self, wanted: Union[None, int, str]) -> int:
        """The offset that a consumer begins at."""
        if wanted == "first":
            return 0
        if wanted == "next":
            return len(self.ready)
        if isinstance(wanted, int):
            return wanted
        raise ValueError(f"a stream is read from 'first', 'next' or a number, not {wanted!r}")


_Place = Union[_Queue, _Stream]
_KINDS: dict[Kind, Union[type[_Queue], type[_Stream]]] = {
    Kind.QUEUE: _Queue,
    Kind.PRIORITY: _PriorityQueue,
    Kind.STREAM: _Stream,
    Kind.REPLIES: _Replies,
}


class MemoryServer:
    """The places that the sessions of one process share. Lives as long as somebody refers to it.

    ``clock`` says when a message is sent, in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.places: dict[str, _Place] = {}
        self.sessions: list[MemoryBroker] = []

    def names(self) -> list[str]:
        """Names of all queues and streams there are, sorted; for tests that nothing is left behind."""
        return sorted(self.places)


class MemoryBroker(base.Broker):
    """One session with a `MemoryServer`."""

    by_reference = True

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._connected = False
        self._inbox: list[base.BrokerEvent] = []
        self._numbers = count(1)  # never reused, so that a receipt of an old session names nothing
        self._consumers: dict[str, tuple[_Consumer, _Place]] = {}
        #: cancelled, but with deliveries that may still be acked: receipt number → owner
        self._cancelled: dict[int, tuple[_Consumer, _Place]] = {}
        self._listening: list[str] = []

    # -------------------------------------------------------- the contract

    def connect(self) -> None:
        if self._connected:
            raise BrokerError("this session has begun already")
        self._connected = True
        self._inbox.clear()
        self._server.sessions.append(self)

    def perform(self, command: base.Command) -> None:
        if self._connected:
            _PERFORM[type(command)](self, command)

    def poll(self) -> list[base.BrokerEvent]:
        events, self._inbox = self._inbox, []
        return events

    def fileno(self) -> int:
        return -1

    def close(self, drain_secs: float) -> None:
        if self._connected:
            self._end()

    # -------------------------------------------------------- for simulations

    def drop(self, reason: str, denied: bool = False) -> None:
        """End the session as a broken connection would: `Disconnected`, and unacked deliveries go back."""
        if self._connected:
            self._end()
            self._inbox.append(base.Disconnected(reason, denied))

    # -------------------------------------------------------- commands

    def _declare(self, command: base.Declare) -> None:
        kind = _KINDS[command.kind]
        place = self._server.places.setdefault(command.name, kind())
        if type(place) is kind:
            self._inbox.append(base.Declared(command.name))
        else:
            self.drop(f"{command.name} exists and is no {command.kind.value}")

    def _publish(self, command: base.Publish) -> None:
        place = self._server.places.get(command.to)
        if place is None:
            self._inbox.append(base.Unroutable(command.token))
            return
        try:
            body = bytes(command.whole())
        except OSError as error:
            self._inbox.append(base.cannot_read(command, error))
            return
        self._inbox.append(base.Confirmed(command.token))
        place.append(body, self._server.clock(), command.priority)

    def _broadcast(self, command: base.Broadcast) -> None:
        at = self._server.clock()
        for session in self._server.sessions:
            for tag in session._listening:
                session._deliver(tag, command.body, None, False, at)

    def _listen(self, command: base.Listen) -> None:
        self._listening.append(command.tag)

    def _consume(self, command: base.Consume) -> None:
        self._stop(command.tag)  # a tag names one consumer: the newest
        place = self._server.places.get(command.name)
        if place is None:
            self._inbox.append(base.Gone(command.tag))
            return
        consumer = _Consumer(self, command.tag, command.prefetch)
        if isinstance(place, _Stream):
            consumer.next_offset = place.start(command.offset)
        self._consumers[command.tag] = (consumer, place)
        place.consumers.append(consumer)
        place.pump()

    def _cancel(self, command: base.Cancel) -> None:
        self._stop(command.tag)

    def _ack(self, command: base.Ack) -> None:
        number = command.receipt.number
        owner = self._cancelled.pop(number, None) or self._consumers.get(command.receipt.tag)
        if owner is not None and number in owner[0].unacked:
            del owner[0].unacked[number]
            owner[1].pump()

    def _delete(self, command: base.Delete) -> None:
        place = self._server.places.pop(command.name, None)
        if place is not None:
            for consumer in place.consumers:
                del consumer.session._consumers[consumer.tag]
                consumer.session._inbox.append(base.Gone(consumer.tag))
        self._inbox.append(base.Deleted(command.name))

    def _inspect(self, command: base.Inspect) -> None:
        place = self._server.places.get(command.name)
        if place is None:
            self._inbox.append(base.Depth(command.name, -1, 0))
        else:
            self._inbox.append(base.Depth(command.name, len(place.ready), len(place.consumers)))

    # -------------------------------------------------------- details

    def _deliver(
        self, tag: str, body: bytes, offset: Optional[int], redelivered: bool, at: float, priority: int = 0
    ) -> int:
        number = next(self._numbers)
        receipt = Receipt(tag, number)
        self._inbox.append(base.Delivered(tag, receipt, body, offset, redelivered, at, priority))
        return number

    def _stop(self, tag: str) -> None:
        """End a consumer or listener: what was not polled goes back, what was polled may still be acked."""
        unseen = {e.receipt.number for e in self._inbox if isinstance(e, base.Delivered) and e.tag == tag}
        self._inbox = [e for e in self._inbox if getattr(e, "tag", None) != tag]
        if tag in self._listening:
            self._listening.remove(tag)
        if tag in self._consumers:
            consumer, place = self._consumers.pop(tag)
            place.consumers.remove(consumer)
            back = [consumer.unacked.pop(number) for number in sorted(unseen)]
            self._cancelled.update(dict.fromkeys(consumer.unacked, (consumer, place)))
            _return(place, back)

    def _end(self) -> None:
        self._connected = False
        self._server.sessions.remove(self)
        self._listening.clear()
        owners = [*self._consumers.values(), *self._cancelled.values()]
        self._consumers.clear()
        self._cancelled.clear()
        for consumer, place in owners:
            # All leave before anything goes back: none of them may get it again.
            if consumer in place.consumers:
                place.consumers.remove(consumer)
        for consumer, place in owners:
            back = list(consumer.unacked.values())
            consumer.unacked.clear()
            _return(place, back)


def _return(place: _Place, messages: list[Optional[_Message]]) -> None:
    if isinstance(place, _Queue):
        place.put_back([message for message in messages if message is not None])


_PERFORM: dict[type, Callable[[MemoryBroker, Any], None]] = {
    base.Declare: MemoryBroker._declare,
    base.Publish: MemoryBroker._publish,
    base.Broadcast: MemoryBroker._broadcast,
    base.Consume: MemoryBroker._consume,
    base.Listen: MemoryBroker._listen,
    base.Cancel: MemoryBroker._cancel,
    base.Ack: MemoryBroker._ack,
    base.Delete: MemoryBroker._delete,
    base.Inspect: MemoryBroker._inspect,
}
