"""The connection that publishes: declarations, publications and their confirmations, broadcasts.

    commands ─▶ parcels: waiting ─▶ (read the files) ─▶ sent, unconfirmed ─▶ Confirmed or Unroutable

What is sent and not confirmed is bounded: a stream packs all that its writers have in flight into one chunk,
and whoever attaches at an offset has to read that whole chunk. It also bounds our memory: what waits, waits
as references to files.

Small messages to one stream that may be joined wait while another is on its way there, and then travel together: the
broker, the network and whoever reads the stream have a price for each message, whatever its size. So events of busy
workers travel in dozens, and a single one at once. While a place gets hundreds of them a second, messages to it are
some milliseconds apart (`PACES`), so that dozens it is, however fast the broker confirms.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from typing import Any, Callable, Union

from mapreduce.brokers import base
from mapreduce.brokers.asking import Asker
from mapreduce.brokers.base import Kind
from mapreduce.brokers.pyamqp import Channel, Listener, WireClosed
from mapreduce.brokers.wire import Wire
from mapreduce.wire import join

CONTROL_EXCHANGE = "mr.1.control"

MAX_IN_FLIGHT_BYTES = 8 << 20
MAX_IN_FLIGHT = 1000
#: Up to here a message may be joined with others of its place.
MAX_SMALL_BYTES = 16 << 10
#: What they come to together, at most.
MAX_JOINED_BYTES = 128 << 10
MAX_JOINED = 500
#: A place that gets more than so many small messages a second gets them together, so many seconds apart. Twenty
#: milliseconds save most, and cost what an executor waits between tasks: little where those are short and done ahead.
PACES = ((1000.0, 0.02), (200.0, 0.005))
#: Messages a second are a mean over about so long.
RATE_SECS = 0.1
#: Bytes that may lie in our own buffer: enough to keep the socket busy, few enough for heartbeats to pass.
MAX_BACKLOG_BYTES = 2 << 20
#: A message that RabbitMQ has read and still not confirmed will not be: a stream whose writer moved, say. After as
#: long somebody should know of a work queue that is still not available.
CONFIRM_SECS = 60.0

#: On a single node; work queues of a cluster would be "quorum" (see `docs/protocol.md`).
ARGUMENTS: dict[Kind, dict[str, Any]] = {
    Kind.QUEUE: {"x-queue-type": "classic"},
    Kind.PRIORITY: {"x-queue-type": "classic", "x-max-priority": base.MAX_PRIORITY},
    Kind.STREAM: {"x-queue-type": "stream"},
    # Not an exclusive one: who declares it and who consumes from it are two connections.
    Kind.REPLIES: {"x-queue-type": "classic", "x-expires": 60_000},
}

#: Places of which is known how much goes there.
MAX_FLOWS = 1000

Emit = Callable[[base.BrokerEvent], None]


class _Parcel:
    """Publications to one place that travel as one message: one, or several small ones that may be joined."""

    __slots__ = ("at", "commands", "messages", "priority", "size", "to")

    def __init__(self, command: base.Publish, size: int) -> None:
        self.to = command.to
        self.commands = [command]
        self.priority = command.priority  # of the only one: what may be joined has none
        self.size = size  #: bytes, about
        self.messages = command.messages
        self.at = 0.0  #: monotonic seconds, when it was sent

    def add(self, command: base.Publish, size: int) -> None:
        self.commands.append(command)
        self.size += size
        self.messages += command.messages


class _Flow:
    """How many small messages a second go to a place: a mean, to which older ones add exponentially less."""

    __slots__ = ("_at", "_rate", "sent_at")

    def __init__(self) -> None:
        self._rate = self._at = 0.0
        self.sent_at = 0.0  #: monotonic seconds, the last parcel

    def add(self, now: float, messages: int) -> None:
        self._rate = self._rate * math.exp((self._at - now) / RATE_SECS) + messages / RATE_SECS
        self._at = now

    def pause(self, now: float) -> float:
        """Seconds until the next parcel; at most 0: now."""
        for rate, secs in PACES:
            if self._rate > rate:
                return self.sent_at + secs - now
        return 0.0


class _Undeclared:
    """What waits for a work queue that is being declared."""

    __slots__ = ("parcels", "since")

    def __init__(self) -> None:
        self.parcels: list[_Parcel] = []
        self.since = time.monotonic()  #: it was asked for, or last said to be unavailable


def _declare_work_queue(channel: Channel, name: str) -> None:
    channel.declare(name, dict(ARGUMENTS[Kind.PRIORITY]))


class Publisher(Listener):
    """A `link.Duty`."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        #: to be sent; for each place in the order of their commands
        self._waiting: deque[Union[base.Declare, _Parcel]] = deque()
        self._open: dict[str, _Parcel] = {}  # place → the parcel that takes what may be joined
        #: places whose open parcel waits for a confirm, or for a while, and is not in `_waiting`
        self._held: set[str] = set()
        self._flows: dict[str, _Flow] = {}  # of places that small messages go to, the latest
        self._busy: Counter[str] = Counter()  # place → parcels in flight
        self._advice: deque[bytes] = deque()
        self._declaring: deque[str] = deque()
        self._sequence = 0  # of the last publication sent: the broker counts the same way
        self._unconfirmed: dict[int, _Parcel] = {}  # by sequence, in order
        self._patient_since = 0.0  # monotonic seconds: nothing sent before can be late yet
        self._in_flight_bytes = 0
        self._returned: set[int] = set()
        self._doubtful: dict[str, list[str]] = {}  # place → tokens of what was returned from it
        self._blocked = False
        self._wire: Wire
        self._asker: Asker
        #: makes them over a channel of its own: one that is there with other arguments, made by another build say, is
        #: used as it is. On the channel that publishes it would end the session, and so each worker that holds a lease
        #: of one such job in turn
        self._work_queues: Asker
        self._undeclared: dict[str, _Undeclared] = {}  #: by the work queue's name: all else is sent meanwhile
        self._channel: Channel
        self._side_channel: Channel  # for what is not confirmed

    def attach(self, wire: Wire) -> None:
        """Give it its connection, before it starts."""
        self._wire = wire
        self._asker = Asker(wire, Channel.inspect, self._learn_whether_absent)
        self._work_queues = Asker(wire, _declare_work_queue, self._go_on_with)

    # -------------------------------------------------------- the duty

    def start(self) -> None:
        self._channel = self._wire.open_channel(self)
        self._channel.with_confirms()
        self._side_channel = self._wire.open_channel(Listener())
        self._side_channel.declare_fanout(CONTROL_EXCHANGE)

    def take(self, command: Union[base.Declare, base.Publish, base.Broadcast]) -> None:
        if isinstance(command, base.Broadcast):
            self._advice.append(command.body)
        elif isinstance(command, base.Declare):
            self._waiting.append(command)
        else:
            self._put(command)

    def _put(self, command: base.Publish) -> None:
        """To what waits: into the open parcel of its place, if it fits."""
        size = command.size
        small = command.joins and size <= MAX_SMALL_BYTES
        now = time.monotonic()
        if small:
            self._flow(command.to).add(now, command.messages)
        parcel = self._open.get(command.to)
        if parcel is not None:
            if small and parcel.size + size <= MAX_JOINED_BYTES and parcel.messages < MAX_JOINED:
                parcel.add(command, size)
                if command.hurries and command.to in self._held:
                    self._let_go(command.to)
                return
            self._close(parcel)
        parcel = _Parcel(command, size)
        if small:
            self._open[command.to] = parcel
            if not command.hurries and self._has_to_wait(command.to, now):  # and for company
                self._held.add(command.to)
                return
        self._waiting.append(parcel)

    def _flow(self, place: str) -> _Flow:
        flow = self._flows.get(place)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                del self._flows[next(iter(self._flows))]
            flow = self._flows[place] = _Flow()
        return flow

    def _has_to_wait(self, place: str, now: float) -> bool:
        """A small message to there; for a confirm, or a moment."""
        return self._busy[place] > 0 or self._flow(place).pause(now) > 0.0

    def _close(self, parcel: _Parcel) -> None:
        """It takes no more, and is sent next of what goes to its place."""
        del self._open[parcel.to]
        if parcel.to in self._held:
            self._held.discard(parcel.to)
            self._waiting.append(parcel)

    def advance(self) -> None:
        self._asker.advance()
        self._work_queues.advance()
        self._check_patience()
        self._name_unavailable()
        if self._held:
            now = time.monotonic()
            for place in [each for each in self._held if not self._has_to_wait(each, now)]:
                self._let_go(place)
        while self._advice and not self._blocked:
            self._side_channel.publish(CONTROL_EXCHANGE, "", self._advice.popleft())
        while self._waiting and self._has_room_for(self._waiting[0]):
            command = self._waiting.popleft()
            if isinstance(command, base.Declare):
                self._declare(command)
            elif command.to in self._undeclared:
                self._undeclared[command.to].parcels.append(command)
            else:
                if self._open.get(command.to) is command:
                    self._close(command)
                self._publish(command)

    def _declare(self, command: base.Declare) -> None:
        if command.kind is Kind.PRIORITY:
            self._undeclared.setdefault(command.name, _Undeclared())
            self._work_queues.ask(command.name)
        else:
            self._declaring.append(command.name)
            self._channel.declare(command.name, dict(ARGUMENTS[command.kind]))

    def _go_on_with(self, work_queue: str, messages: int, consumers: int) -> None:
        """It is there: what waits for it goes before what has come later."""
        known = self._undeclared.pop(work_queue, None)  # None: it was declared twice
        if known is not None:
            self._waiting.extendleft(reversed(known.parcels))
        self._emit(base.Declared(work_queue))

    @property
    def pause_secs(self) -> float:
        now = time.monotonic()
        pauses = [self._flow(place).pause(now) for place in self._held if not self._busy[place]]
        return max(0.0, min(pauses, default=float("inf")))

    @property
    def idle(self) -> bool:
        waits = self._waiting or self._held or self._advice or self._declaring or not self._work_queues.idle
        return not (waits or self._unconfirmed or self._doubtful)

    # -------------------------------------------------------- sending

    def _has_room_for(self, command: Union[base.Declare, _Parcel]) -> bool:
        if self._blocked or self._wire.backlog > MAX_BACKLOG_BYTES:
            return False
        if isinstance(command, base.Declare) or not self._unconfirmed:
            return True
        in_flight = self._in_flight_bytes + command.size
        return in_flight <= MAX_IN_FLIGHT_BYTES and len(self._unconfirmed) < MAX_IN_FLIGHT

    def _publish(self, parcel: _Parcel) -> None:
        bodies = self._bodies(parcel)
        if not bodies:
            return
        body = bodies[0] if len(bodies) == 1 else join(bodies)
        self._sequence += 1
        self._unconfirmed[self._sequence] = parcel
        parcel.size, parcel.at = len(body), time.monotonic()
        self._in_flight_bytes += parcel.size
        self._busy[parcel.to] += 1
        if parcel.to in self._flows:
            self._flows[parcel.to].sent_at = parcel.at
        self._channel.publish("", parcel.to, body, str(self._sequence), parcel.priority)

    def _bodies(self, parcel: _Parcel) -> list[Union[bytes, bytearray]]:
        """What can be sent of it; the rest is refused here. The session lives on: the broker would end it."""
        bodies, kept = [], []
        large = parcel.size > self._wire.max_message_bytes
        for command in parcel.commands:
            if large and command.size > self._wire.max_message_bytes:
                size, limit = command.size / 2**20, self._wire.max_message_bytes / 2**20
                text = f"a message of {size:.1f} MiB is more than the broker takes ({limit:.1f} MiB, max_message_size)"
                self._emit(base.Unroutable(command.token, text))
                continue
            try:
                bodies.append(command.whole())
            except OSError as error:
                self._emit(base.cannot_read(command, error))
                continue
            kept.append(command)
        parcel.commands = kept
        return bodies

    def _check_patience(self) -> None:
        """Raises `WireClosed` when the oldest unconfirmed message is overdue."""
        if not self._unconfirmed:
            return
        now = time.monotonic()
        if self._blocked or self._wire.backlog:
            self._patient_since = now  # it may not even have been read
        oldest = next(iter(self._unconfirmed.values()))
        if now - max(oldest.at, self._patient_since) > CONFIRM_SECS:
            raise WireClosed(f"RabbitMQ did not confirm a message to {oldest.to} for a minute")

    def _name_unavailable(self) -> None:
        """Once a minute. It is no reason to end the session, for other jobs have no need of that work queue."""
        now = time.monotonic()
        for name, known in self._undeclared.items():
            if self._blocked or self._wire.backlog:
                known.since = now
            elif now - known.since > CONFIRM_SECS:
                known.since = now
                self._emit(base.Unavailable(name))

    # -------------------------------------------------------- hearing

    def on_declared(self, name: str, messages: int, consumers: int) -> None:
        self._declaring.popleft()
        self._emit(base.Declared(name))

    def on_returned(self, message_id: str) -> None:
        self._returned.add(int(message_id))

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        if not accepted:
            raise WireClosed("RabbitMQ could not take charge of a message (negative confirmation)")
        if not multiple:
            self._settle(tag)
            return
        while self._unconfirmed:
            first = next(iter(self._unconfirmed))
            if first > tag:
                return
            self._settle(first)

    def _settle(self, sequence: int) -> None:
        parcel = self._unconfirmed.pop(sequence)
        self._in_flight_bytes -= parcel.size
        self._release(parcel.to)
        if sequence not in self._returned:
            for command in parcel.commands:
                self._emit(base.Confirmed(command.token))
            return
        # The confirmation of a returned message means only that the broker has done with it.
        self._returned.discard(sequence)
        if parcel.to not in self._doubtful:
            self._doubtful[parcel.to] = []
            self._asker.ask(parcel.to)
        self._doubtful[parcel.to] += [command.token for command in parcel.commands]

    def _release(self, place: str) -> None:
        """One message less is on its way there: what was held back for it goes now."""
        self._busy[place] -= 1
        if not self._busy[place]:
            del self._busy[place]
        if place in self._held and self._flow(place).pause(time.monotonic()) <= 0.0:
            self._let_go(place)

    def _let_go(self, place: str) -> None:
        self._held.discard(place)
        self._waiting.append(self._open[place])

    def _learn_whether_absent(self, name: str, messages: int, consumers: int) -> None:
        """A place that is only unavailable returns messages too (see `asking`)."""
        if messages >= 0:
            # Later messages may have reached it meanwhile: to send these again would break their order.
            raise WireClosed(f"{name} was not available for a moment")
        for token in self._doubtful.pop(name):
            self._emit(base.Unroutable(token))

    def on_blocked(self, reason: str) -> None:
        self._blocked = True
        self._emit(base.Blocked(reason))

    def on_unblocked(self) -> None:
        self._blocked = False
        self._emit(base.Unblocked())
