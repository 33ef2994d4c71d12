"""A broker on the virtual clock: what RabbitMQ may do, at its worst, within what AMQP promises.

    session ─publishing─▶ channel ─▶ place ─▶ consumers ─▶ session
            ─consuming──▶ acks, consumers, deletions

Each arrow is a *lane*: what goes along one lane keeps its order, different lanes overtake one another. There is a lane
for each channel, each place that one session publishes to, each place's confirms, and each consumer's deliveries. A
session has two connections, which die at different moments: what would arrive later is lost, whatever its sender
believes, and the broker may notice either end long after its client.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import Any, Callable, Optional, Union

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from tests.simulation.monitor import Monitor
from tests.simulation.world import World

#: what is said once, by a client that may have left when it turns out to be lost
ONLY_ONCE = (ev.Submitted, ev.InputComplete, ev.CancelRequested)
#: RabbitMQ ends a session that leaves a delivery unacked for so long
ACK_TIMEOUT_SECS = 1800.0
#: rule 9: nobody holds a delivery for longer
HELD_SECS = 600.0
_FOREVER = float("inf")
#: for so long a publication waits for others that may be joined with it
JOIN_SECS = 0.002


class Message:
    """Of a queue; ``priority`` and ``position`` order it, also when it comes back."""

    __slots__ = ("body", "confirmed_at", "position", "priority", "redelivered", "since")

    def __init__(self, priority: int, position: float, body: bytes) -> None:
        self.priority = priority
        self.position = position
        self.body = body
        self.redelivered = False
        self.since = 0.0  #: of its delivery
        self.confirmed_at = _FOREVER

    def __lt__(self, other: Message) -> bool:
        return (-self.priority, self.position) < (-other.priority, other.position)


class Consumer:
    """One consumer of one session, on a channel of its own."""

    def __init__(self, session: Session, tag: str, serial: int, place: Place, command: base.Consume) -> None:
        self.session = session
        self.tag = tag
        self.serial = serial
        self.place = place
        self.prefetch = command.prefetch
        self.next_offset = 0
        self.unacked: dict[int, Optional[Message]] = {}


class Queue:
    """Each message to one consumer, in turn; comes back if it is not acked."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.consumers: deque[Consumer] = deque()
        self.ready: list[Message] = []
        self._world = world
        self._positions = count()

    def append(self, body: bytes, priority: int = 0) -> Message:
        return self._put(Message(0, next(self._positions), body))

    def _put(self, message: Message) -> Message:
        heapq.heappush(self.ready, message)
        self.pump()
        return message

    def put_back(self, messages: list[Message]) -> None:
        """To their old places, or, as RabbitMQ may, wherever."""
        shuffled = self._world.chance(0.2)
        for message in messages:
            message.redelivered = True
            if shuffled:
                message.position += self._world.rng.randrange(3) + 0.5
            heapq.heappush(self.ready, message)
        self.pump()

    def pump(self) -> None:
        while self.ready:
            consumer = next((c for c in self.consumers if len(c.unacked) < c.prefetch), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            message = heapq.heappop(self.ready)
            message.since = self._world.now
            number = consumer.session.deliver(
                consumer, message.body, None, message.redelivered, message.priority
            )
            consumer.unacked[number] = message


class PriorityQueue(Queue):
    """Of what waits the highest priority goes first."""

    def append(self, body: bytes, priority: int = 0) -> Message:
        return self._put(Message(priority, next(self._positions), body))


class Stream:
    """Keeps everything; each consumer reads at its own place. A hole stands where an entry was lost."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.consumers: deque[Consumer] = deque()
        self.bodies: list[Optional[bytes]] = []
        #: entries below were sent to somebody
        self.read = 0

    def append(self, body: Optional[bytes]) -> None:
        self.bodies.append(body)
        self.pump()

    def pump(self) -> None:
        bodies = self.bodies
        for consumer in self.consumers:
            while consumer.next_offset < len(bodies) and len(consumer.unacked) < consumer.prefetch:
                offset = consumer.next_offset
                consumer.next_offset += 1
                body = bodies[offset]
                if body is not None:
                    self.read = max(self.read, offset + 1)
                    number = consumer.session.deliver(consumer, body, offset, False)
                    consumer.unacked[number] = None


Place = Union[Queue, Stream]
_KINDS: dict[base.Kind, Any] = {
    base.Kind.QUEUE: Queue,
    base.Kind.PRIORITY: PriorityQueue,
    base.Kind.STREAM: Stream,
}


class Node:
    """The broker: places, and the sessions that it believes in."""

    def __init__(self, world: World, ack_timeout: float = ACK_TIMEOUT_SECS) -> None:
        self.world = world
        self.places: dict[str, Place] = {}
        self.sessions: list[Session] = []
        self.ack_timeout = ack_timeout
        self.down_until = 0.0
        self.blocked = False
        #: how many publications dawdle between their channel and their place
        self.dawdling = 0.0
        #: how many entries of streams are written twice
        self.stutter = 0.0
        #: how many entries of streams are confirmed and not kept
        self.forgets = 0.0
        self.forgets_only = ""  #: places whose names end so
        #: seconds, at most, until a queue's message is confirmed that was delivered at once
        self.stores_late = 0.0
        #: how many broadcasts are lost
        self.deaf = 0.0
        self.serials = count(1)
        self.monitor = Monitor(world)
        world.after(10.0, self._inspect_held)

    def _inspect_held(self) -> None:
        now = self.world.now
        for session in list(self.sessions):
            for consumer in list(session.consumers.values()):
                if isinstance(consumer.place, Queue) and consumer.unacked:
                    oldest = next(iter(consumer.unacked.values()))
                    held = now - oldest.since if oldest is not None else 0.0
                    if held > HELD_SECS and not session.hampered:
                        self.monitor.breaches.append(
                            f"a message of {consumer.place.name} was held for {held:.0f} s"
                        )
                    if held > self.ack_timeout:
                        self.world.note("broker", f"ends a session: a delivery is unacked for {held:.0f} s")
                        self.world.tally("ack timeouts")
                        session.cut("an ack was overdue", ack_timeout=self.ack_timeout)
                        break
        self.world.after(5.0, self._inspect_held)

    def block(self, secs: float) -> None:
        """An alarm: publications wait."""
        if not self.blocked:
            self.blocked = True
            for session in self.sessions:
                session.tell(base.Blocked("simulated alarm"))
            self.world.after(secs, self._unblock)

    def _unblock(self) -> None:
        self.blocked = False
        for session in list(self.sessions):
            held, session.held = session.held, []
            for command in held:
                session.arrive_publication(*command)
            session.tell(base.Unblocked())

    def restart(self, secs: float) -> None:
        """All sessions end; what was not confirmed may be gone; much comes back marked as delivered before."""
        self.down_until = self.world.now + secs
        rng = self.world.rng
        for session in list(self.sessions):
            session.cut("the broker restarts", at_once=True)
        marked = rng.random() < 0.5
        for place in self.places.values():
            if isinstance(place, Queue):
                kept = [m for m in place.ready if m.confirmed_at <= self.world.now or rng.random() < 0.5]
                for message in place.ready:
                    if message not in kept:
                        self.monitor.goes(message.body)
                place.ready = kept
                heapq.heapify(place.ready)
                for message in place.ready:
                    message.redelivered = message.redelivered or marked


class Session:
    """One session of one process, from both sides.

    ``cut_at``: per connection, when it died: what would arrive later does not. ``ended``: the process knows.
    """

    def __init__(self, node: Node, name: str, hear: Callable[[Any], None]) -> None:
        self.node = node
        self.name = name
        self.ended = False
        self.hampered = False  #: its process was frozen, or the broker slow: nobody to blame for late acks
        self.consumers: dict[int, Consumer] = {}
        self.held: list[Any] = []
        #: by place, what has come and waits for company: bodies and tokens
        self._joining: dict[str, list[tuple[bytes, str]]] = {}
        self._world = node.world
        self._hear = hear
        self._gone = False  #: the broker has noticed its end
        self._tags: dict[str, int] = {}  #: which consumer a tag names, on the client's side
        self._listeners: dict[int, str] = {}
        self._publishing_until = _FOREVER
        self._consuming_until = _FOREVER
        self._lanes: dict[Any, float] = {}
        self._numbers = count(1)
        node.sessions.append(self)

    # ------------------------------------------------------------ the process's side

    def perform(self, command: Any, body: Optional[bytes] = None) -> None:
        """Send a command; ``body``: of a publication, read from its file; None: the file is not there."""
        if self.ended:
            return
        kind = type(command)
        if kind is base.Publish:
            if body is None:
                self._answer("confirms", base.Unroutable(command.token, "a block is gone", unreadable=True))
            else:
                self._send("publish", self.arrive_publication, command, body)
        elif kind is base.Declare:
            self._send("publish", self.arrive_publication, command)
        elif kind is base.Broadcast:
            self._send("side", self._arrive_broadcast, command.body)
        elif kind is base.Ack:
            serial = command.receipt.number >> 32
            self._send(serial, self._arrive_ack, serial, command.receipt.number)
        elif kind is base.Consume:
            self._cancel(command.tag)
            serial = self._tags[command.tag] = next(self.node.serials)
            self._send(serial, self._arrive_consume, serial, command)
        elif kind is base.Listen:
            serial = self._tags[command.tag] = next(self.node.serials)
            self._send(serial, self._arrive_listen, serial, command.tag)
        elif kind is base.Cancel:
            self._cancel(command.tag)
        elif kind is base.Delete:
            self._send("delete", self._arrive_delete, command.name)
        else:
            self._send("inspect", self._arrive_inspect, command.name)

    def _cancel(self, tag: str) -> None:
        serial = self._tags.pop(tag, None)
        if serial is not None:
            self._send(serial, self._arrive_cancel, serial)

    def tell(self, event: Any) -> None:
        """Something that is said to the process as such."""
        self._answer("publish", event)

    def _lane(self, lane: Any, later: float = 0.0) -> float:
        """When what is sent now, or so many seconds later, along this lane arrives."""
        when = self._world.now + self._world.delay() + later
        last = self._lanes.get(lane, 0.0)
        if when < last:
            when = last
        self._lanes[lane] = when
        return when

    def _send(self, lane: Any, action: Callable[..., None], *args: Any) -> None:
        when = self._lane(("to", lane))
        until = self._publishing_until if lane in ("publish", "side") else self._consuming_until
        if when <= until:
            self._world.at(when, self._arrive, lane in ("publish", "side"), action, args)

    def _arrive(self, publishing: bool, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        until = self._publishing_until if publishing else self._consuming_until
        if self._world.now <= until:
            action(*args)

    # ------------------------------------------------------------ the broker's side

    def _answer(self, lane: Any, event: Any) -> None:
        self._world.at(self._lane(("from", lane)), self._reach, event, lane)

    def _reach(self, event: Any, lane: Any) -> None:
        """An answer on the publishing connection."""
        if not self.ended and self._world.now <= self._publishing_until:
            self._hear(event)

    def _answer_consumer(self, lane: Any, event: Any) -> None:
        self._world.at(self._lane(("from", lane)), self._reach_consumer, event, lane)

    def _reach_consumer(self, event: Any, lane: Any) -> None:
        if self.ended or self._world.now > self._consuming_until:
            return
        if type(event) is base.Delivered and self._tags.get(event.tag) != lane:
            if lane in self.consumers:  # stopped while this was on its way
                self._send(lane, self._arrive_put_back, lane, event.receipt.number)
            return
        if type(event) is base.Gone:
            if self._tags.get(event.tag) != lane:
                return
            del self._tags[event.tag]
        self._hear(event)

    def arrive_publication(self, command: Any, body: bytes = b"") -> None:
        """``body``: of a publication."""
        if self.node.blocked:
            self.held.append((command, body))
            return
        node = self.node
        if type(command) is base.Declare:
            place = node.places.get(command.name)
            if place is None:
                node.monitor.declared(command.name)
                node.places[command.name] = place = _KINDS[command.kind](self._world, command.name)
            if type(place) is _KINDS[command.kind]:
                self._answer("publish", base.Declared(command.name))
            else:
                self.cut(f"{command.name} exists and is no {command.kind.value}")
            return
        if not command.joins:
            self._join(command.to)  # what came before it
            self._publish(command.to, body, [command.token], command.priority)
            return
        waiting = self._joining.setdefault(command.to, [])
        waiting.append((body, command.token))
        if len(waiting) == 1:
            self._world.after(JOIN_SECS, self._join, command.to)

    def _join(self, to: str) -> None:
        """What may be joined travels on, in one message."""
        waiting = self._joining.pop(to, [])
        if waiting:
            self._world.tally("joined messages", len(waiting) - 1)
            self._publish(to, wire.join([body for body, _ in waiting]), [token for _, token in waiting])

    def _publish(self, to: str, body: bytes, tokens: list[str], priority: int = 0) -> None:
        if to not in self.node.places:
            for token in tokens:
                self._answer(("confirms", to), base.Unroutable(token))
        elif ("at", to) in self._lanes or self._world.chance(self.node.dawdling):
            self._world.at(self._lane(("at", to)), self._append, to, body, tokens, priority)
        else:
            self._append(to, body, tokens, priority)

    def _append(self, to: str, body: bytes, tokens: list[str], priority: int) -> None:
        place = self.node.places.get(to)
        message = None
        self.node.monitor.comes(to, body)
        if place is not None:  # else it was deleted meanwhile, and this is confirmed all the same
            if isinstance(place, Queue):
                message = place.append(body, priority)
            else:
                place.append(None if self._is_forgotten(to, body) else body)
            if isinstance(place, Stream) and self._world.chance(self.node.stutter):
                self._world.tally("repeated stream entries")
                place.append(body)
        late = self.node.stores_late if message is not None else 0.0
        when = self._lane(("from", ("confirms", to)), self._world.rng.random() * late if late else 0.0)
        if message is not None:
            message.confirmed_at = when
        for token in tokens:
            self._world.at(when, self._reach, base.Confirmed(token), to)

    def _is_forgotten(self, place: str, body: bytes) -> bool:
        """Whether the broker loses what it is about to confirm."""
        fits = place.startswith("mr.1.job.") and place.endswith(self.node.forgets_only)
        forgotten = self._world.chance(self.node.forgets) and fits
        if not forgotten or any(isinstance(message, ONLY_ONCE) for message, _ in wire.decode_all(body)):
            return False
        self._world.tally("confirmed entries that are not there")
        self._world.note("trouble", f"an entry for {place} is confirmed and not kept")
        return True

    def _arrive_broadcast(self, body: bytes) -> None:
        for session in self.node.sessions:
            for serial, tag in session._listeners.items():
                if not self._world.chance(self.node.deaf):
                    receipt = base.Receipt(tag, serial << 32)
                    session._answer_consumer(serial, base.Delivered(tag, receipt, body, None, False))

    def _arrive_listen(self, serial: int, tag: str) -> None:
        self._listeners[serial] = tag

    def _arrive_consume(self, serial: int, command: base.Consume) -> None:
        place = self.node.places.get(command.name)
        if place is None:
            self._answer_consumer(serial, base.Gone(command.tag))
            return
        consumer = self.consumers[serial] = Consumer(self, command.tag, serial, place, command)
        if isinstance(place, Stream):
            first = 0 if command.offset == "first" else len(place.bodies)
            consumer.next_offset = command.offset if isinstance(command.offset, int) else first
        self.node.monitor.consumed(place.name, serial)
        place.consumers.append(consumer)
        place.pump()

    def deliver(
        self, consumer: Consumer, body: bytes, offset: Optional[int], redelivered: bool, priority: int = 0
    ) -> int:
        number = consumer.serial << 32 | next(self._numbers)
        receipt = base.Receipt(consumer.tag, number)
        event = base.Delivered(consumer.tag, receipt, body, offset, redelivered, priority=priority)
        self._answer_consumer(consumer.serial, event)
        return number

    def _arrive_cancel(self, serial: int) -> None:
        self._listeners.pop(serial, None)
        consumer = self.consumers.get(serial)
        if consumer is None:
            return
        if consumer in consumer.place.consumers:
            consumer.place.consumers.remove(consumer)
        if isinstance(consumer.place, Stream) or not consumer.unacked:
            del self.consumers[serial]

    def _arrive_ack(self, serial: int, number: int) -> None:
        consumer = self.consumers.get(serial)
        if consumer is not None and number in consumer.unacked:
            message = consumer.unacked.pop(number)
            if message is not None:
                self.node.monitor.acks(message.body, self.node.places)
            consumer.place.pump()

    def _arrive_put_back(self, serial: int, number: int) -> None:
        consumer = self.consumers.get(serial)
        message = consumer.unacked.pop(number, None) if consumer is not None else None
        if consumer is not None and message is not None and isinstance(consumer.place, Queue):
            consumer.place.put_back([message])

    def _arrive_delete(self, name: str) -> None:
        self.node.monitor.deletes(name)
        self.node_delete(name)
        self._answer_consumer("delete", base.Deleted(name))

    def node_delete(self, name: str) -> None:
        place = self.node.places.pop(name, None)
        if place is not None:
            for consumer in place.consumers:
                consumer.session.consumers.pop(consumer.serial, None)
                consumer.session._answer_consumer(consumer.serial, base.Gone(consumer.tag))

    def _arrive_inspect(self, name: str) -> None:
        place = self.node.places.get(name)
        if place is None:
            event = base.Depth(name, -1, 0)
        else:
            ready = place.ready if isinstance(place, Queue) else place.bodies
            event = base.Depth(name, len(ready), len(place.consumers))
        self._answer_consumer("inspect", event)

    # ------------------------------------------------------------ the end

    def cut(
        self, reason: str, *, at_once: bool = False, silent: bool = False, ack_timeout: float = 0.0
    ) -> None:
        """Break the connections: each dies within moments, the broker and the process notice in any order.

        ``at_once``: and the broker knows already; ``silent``: the process is dead itself, so nobody tells it.
        """
        world, rng = self._world, self._world.rng
        if self.ended or self._publishing_until < _FOREVER:
            return
        spread = 0.0 if at_once else rng.choice((0.0, 0.05, 1.0))
        self._publishing_until = world.now + rng.random() * spread
        self._consuming_until = world.now + rng.random() * spread
        dead_at = max(self._publishing_until, self._consuming_until)
        late = 0.0 if at_once else rng.choice((0.0, 0.05, 5.0, 70.0))
        noticed_at = dead_at + rng.random() * late
        if noticed_at <= world.now:
            self._notice()
        else:
            world.at(noticed_at, self._notice)
        told_at = dead_at + rng.random() * rng.choice((0.0, 0.05, 5.0))
        if silent:
            self.ended = True
        else:
            world.at(told_at, self._end, base.Disconnected(reason, ack_timeout_secs=ack_timeout))

    def farewell(self) -> None:
        """The process leaves in order: what it has sent arrives."""
        self.ended = True
        self._world.at(max([self._world.now, *self._lanes.values()]), self._notice)

    def _end(self, event: base.Disconnected) -> None:
        if not self.ended:
            self.ended = True
            self._hear(event)

    def _notice(self) -> None:
        """The broker finds it dead: what it held goes back."""
        if self._gone:
            return
        self._gone = True
        self.node.sessions.remove(self)
        self._publishing_until = min(self._publishing_until, self._world.now)
        self._consuming_until = min(self._consuming_until, self._world.now)
        owned = list(self.consumers.values())
        self.consumers.clear()
        self._listeners.clear()
        for consumer in owned:  # all leave before anything goes back
            if consumer in consumer.place.consumers:
                consumer.place.consumers.remove(consumer)
        for consumer in owned:
            if isinstance(consumer.place, Queue):
                consumer.place.put_back([m for m in consumer.unacked.values() if m is not None])
