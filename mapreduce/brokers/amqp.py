"""The broker over RabbitMQ. Two connections behind the one interface.

    perform ─┬─ Declare, Publish, Broadcast ─────────────────▶ Link + Publisher ─┐
             └─ Consume, Listen, Cancel, Ack, Delete, Inspect ▶ Link + Consumer ─┤
    poll ◀──────────────────────────── inbox ◀── events ─────────────────────────┘

Both move with each `poll`; a `Watchdog` sees to them when nobody polls for two seconds.

An alarm on the broker stops its reading from connections that publish, acks included; so one connection
publishes and declares, and the other never publishes. When either ends, the session ends: both are thrown
away, and `Disconnected` is the last event.

RabbitMQ takes messages of at most 128 MiB (3.x) or 16 MiB (4.x), or what its settings say; a larger one ends the
session, so none is sent once that is known.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from collections import deque
from functools import lru_cache
from itertools import count
from typing import Any, Optional, Union

from mapreduce.brokers import base
from mapreduce.brokers.consumer import (
    Consumer,
    Ended,
    PutBack,
    Start,
    Stop,
    serial_of,
)
from mapreduce.brokers.link import FAREWELL_SECS, Bell, Link, Watchdog
from mapreduce.brokers.publisher import Publisher
from mapreduce.brokers.pyamqp import WireClosed
from mapreduce.brokers.replies import end_of_session, message_limit
from mapreduce.brokers.url import parse
from mapreduce.brokers.wire import Wire
from mapreduce.errors import BrokerError


class _Inbox:
    """Events of both links for the host. After `seal`, or a `Disconnected`, it takes nothing more."""

    def __init__(self) -> None:
        self._events: deque[Any] = deque()
        self._lock = threading.Lock()
        self._sealed = False

    def put(self, events: list[Any]) -> None:
        with self._lock:
            if self._sealed:
                return
            self._events.extend(events)

    def put_last(self, event: base.Disconnected) -> None:
        """The end of the session; of two connections only the first to fail is heard."""
        with self._lock:
            if self._sealed:
                return
            self._sealed = True
            self._events.append(event)

    def seal(self) -> None:
        with self._lock:
            self._sealed = True

    def take(self) -> list[Any]:
        with self._lock:
            events = list(self._events)
            self._events.clear()
        return events


#: AMQP's short string
MAX_NAME_BYTES = 255


class _Limits:
    """What one session learns for those that follow it."""

    def __init__(self) -> None:
        self.message_bytes: Optional[int] = None

    def learn(self, closed: WireClosed) -> None:
        """RabbitMQ says what it takes only when it is too late; without this it would end every session."""
        self.message_bytes = message_limit(closed.code, closed.reason) or self.message_bytes

    def apply(self, wire: Wire) -> None:
        if self.message_bytes is not None:
            wire.max_message_bytes = min(wire.max_message_bytes, self.message_bytes)


class _Report:
    """One link's way to the inbox: collects events, hands them over together."""

    def __init__(self, inbox: _Inbox, limits: _Limits) -> None:
        self._inbox = inbox
        self._limits = limits
        self._events: list[Any] = []

    def emit(self, event: Any) -> None:
        self._events.append(event)

    def hand_over(self) -> None:
        if self._events:
            self._inbox.put(self._events)
            self._events = []

    def fail(self, closed: WireClosed) -> None:
        self._limits.learn(closed)
        self._inbox.put_last(end_of_session(closed.code, closed.reason))


class _Session:
    """Two links and their inbox, from `connect` to the end. ``selector``: what their descriptors are put in."""

    def __init__(self, url: str, bell: Bell, limits: _Limits, selector: selectors.BaseSelector) -> None:
        address = parse(url)
        self.inbox = _Inbox()
        self._bell = bell
        self._selector = selector
        reports = [_Report(self.inbox, limits), _Report(self.inbox, limits)]
        publisher = Publisher(reports[0].emit)
        wires = [Wire(address, publisher.on_blocked, publisher.on_unblocked), Wire(address)]
        publisher.attach(wires[0])
        consumer = Consumer(wires[1], reports[1].emit)
        _connect_all(wires)
        limits.apply(wires[0])
        self.about = wires[0].about()
        self.publishing = Link(wires[0], publisher, reports[0])
        self.consuming = Link(wires[1], consumer, reports[1])
        self._links = (self.publishing, self.consuming)
        self._events = dict.fromkeys(self._links, selectors.EVENT_READ)  #: that are waited for
        self._descriptors = {link: link.fileno() for link in self._links}
        self._watchdog = Watchdog(self._links, bell.ring)
        for link, events in self._events.items():
            selector.register(self._descriptors[link], events, link)

    def pump(self) -> None:
        """Let the links do what they can do now."""
        ready = {key.data for key, _ in self._selector.select(0)}
        for link in self._links:
            link.pump(link in ready)
            if link.has_more:
                self._bell.ring()
            self._wait_for(link)

    def _wait_for(self, link: Link) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.writes else 0)
        if events != self._events[link] and not link.ended:
            self._events[link] = events
            with contextlib.suppress(KeyError, OSError):  # the watchdog has dropped it just now
                self._selector.modify(self._descriptors[link], events, link)

    def wait_secs(self) -> float:
        """After so long there is something to do, whatever happens."""
        return min(link.wait_secs() for link in self._links)

    def close(self, drain_secs: float) -> None:
        """Returns soon after ``drain_secs`` at the latest."""
        until = time.monotonic() + drain_secs
        for link in self._links:
            link.close(until)
        self.pump()
        while not all(link.ended for link in self._links):
            left = until + 2 * FAREWELL_SECS - time.monotonic()
            if left <= 0:
                break
            self._selector.select(min(left, self.wait_secs()))
            self._bell.hush()
            self.pump()
        self.drop()
        self.inbox.seal()

    def drop(self) -> None:
        """End at once what has not ended."""
        self._watchdog.stop()
        for link in self._links:
            link.drop()
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._descriptors[link])


def _connect_all(wires: list[Wire]) -> None:
    try:
        for wire in wires:
            wire.connect()
    except BaseException:
        for wire in wires:
            wire.drop()
        raise


def _nameable(command: base.Command) -> bool:
    """Whether AMQP can carry the name of the command's place. If not, trying would end the session."""
    name = command.to if isinstance(command, base.Publish) else getattr(command, "name", "")
    return _is_name(name)


@lru_cache(maxsize=1000)
def _is_name(name: str) -> bool:
    return len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES and name.isprintable()


def _answer_for_nameless(command: Any) -> list[base.BrokerEvent]:
    """There is no place of such a name."""
    if isinstance(command, base.Publish):
        return [base.Unroutable(command.token)]
    if isinstance(command, base.Consume):
        return [base.Gone(command.tag)]
    if isinstance(command, base.Delete):
        return [base.Deleted(command.name)]
    return [base.Depth(command.name, -1, 0)] if isinstance(command, base.Inspect) else []


class AmqpBroker(base.Broker):
    """Sessions with one RabbitMQ, one after the other."""

    by_reference = False

    def __init__(self, url: str) -> None:
        parse(url)  # what is wrong with it should be said before anything is started
        self._url = url
        self._bell = Bell()
        self._limits = _Limits()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._session: Optional[_Session] = None
        self._last_inbox: Optional[_Inbox] = None
        self._serials = count(1)
        self._consumers: dict[str, int] = {}  # tag → serial of the consumer that it names now

    def connect(self) -> None:
        if self._session:
            raise BrokerError("this session has begun already")
        self._consumers.clear()
        self._session = _Session(self._url, self._bell, self._limits, self._selector)
        self._last_inbox = self._session.inbox

    @property
    def about(self) -> Optional[base.About]:
        return self._session.about if self._session is not None else None

    def perform(self, command: base.Command) -> None:
        if self._session is None:
            return
        if not _nameable(command):
            self._session.inbox.put(_answer_for_nameless(command))
            self._bell.ring()
        elif isinstance(command, (base.Publish, base.Declare, base.Broadcast)):
            self._session.publishing.submit(command)
        elif isinstance(command, (base.Consume, base.Listen)):
            self._start(self._session, command)
        elif isinstance(command, base.Cancel):
            self._stop(self._session, command.tag)
        else:
            self._session.consuming.submit(command)

    def poll(self) -> list[base.BrokerEvent]:
        self._bell.hush()
        if self._session is not None:
            self._session.pump()
        events: list[base.BrokerEvent] = []
        for event in self._last_inbox.take() if self._last_inbox else ():
            self._sift(event, events)
        return events

    def fileno(self) -> int:
        """Of a selector, which can itself be waited for: epoll's and kqueue's."""
        return self._selector.fileno()

    def wait_secs(self) -> Optional[float]:
        return self._session.wait_secs() if self._session is not None else None

    def close(self, drain_secs: float) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close(drain_secs)

    # -------------------------------------------------------- details

    def _start(self, session: _Session, command: Union[base.Consume, base.Listen]) -> None:
        self._stop(session, command.tag)  # a tag names one consumer: the newest
        serial = self._consumers[command.tag] = next(self._serials)
        session.consuming.submit(Start(serial, command))

    def _stop(self, session: _Session, tag: str) -> None:
        serial = self._consumers.pop(tag, None)
        if serial is not None:
            session.consuming.submit(Stop(serial))

    def _sift(self, event: Any, events: list[base.BrokerEvent]) -> None:
        """Pass an event on, unless its consumer was stopped while it was on its way."""
        if isinstance(event, base.Delivered):
            if self._consumers.get(event.tag) == serial_of(event.receipt):
                events.append(event)
            elif self._session:
                self._session.consuming.submit(PutBack(event.receipt))
        elif isinstance(event, Ended):
            if self._consumers.get(event.tag) == event.serial:
                del self._consumers[event.tag]
                events.append(base.Gone(event.tag))
        else:
            if isinstance(event, base.Disconnected) and self._session is not None:
                self._session.drop()
                self._session = None
            events.append(event)
