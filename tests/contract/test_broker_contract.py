"""What `mapreduce.brokers.base` promises, checked for every implementation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import pytest

from mapreduce.brokers import base, open_broker
from mapreduce.brokers.base import Kind
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from tests.contract.harness import Session

Connect = Callable[[], Session]


@pytest.fixture(params=["memory", "amqp"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Begins sessions with one broker; all end with the test."""
    make: Callable[[], base.Broker]
    if request.param == "memory":
        make = partial(MemoryBroker, MemoryServer())
    else:
        make = partial(open_broker, request.getfixturevalue("rabbit_url"))
    sessions: list[Session] = []

    def begin() -> Session:
        session = Session(make())
        session.broker.connect()
        sessions.append(session)
        return session

    yield begin
    for session in sessions:
        session.broker.close(1.0)


@pytest.fixture
def session(connect: Connect) -> Session:
    return connect()


@pytest.fixture
def name(connect: Connect) -> Iterator[str]:
    """Names one place of the test; deleted after it."""
    name = f"mr.test.{uuid.uuid4().hex}"
    yield name
    last = connect()
    last.do(base.Delete(name))
    last.wait(base.Deleted, name=name)


@pytest.fixture
def queue(session: Session, name: str) -> str:
    return session.declare(name, Kind.QUEUE)


@pytest.fixture
def stream(session: Session, name: str) -> str:
    return session.declare(name, Kind.STREAM)


class Place(NamedTuple):
    name: str
    start: Optional[str]  #: the offset that `Consume` wants, to read it from its beginning


@pytest.fixture(params=[Kind.QUEUE, Kind.STREAM], ids=lambda kind: kind.value)
def place(request: pytest.FixtureRequest, session: Session, name: str) -> Place:
    return Place(session.declare(name, request.param), "first" if request.param is Kind.STREAM else None)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# ---------------------------------------------------------------- declare, delete, inspect


@pytest.mark.parametrize("kind", list(Kind))
def test_declaring_again_keeps_what_is_there(session: Session, name: str, kind: Kind) -> None:
    session.declare(name, kind)
    session.publish(name, b"kept")
    session.do(base.Declare(name, kind))
    session.wait_for(2, base.Declared, name=name)
    session.do(base.Consume("c", name, 10, "first" if kind is Kind.STREAM else None))
    assert session.wait(base.Delivered).body == b"kept"


def test_many_declarations_are_answered_in_order(session: Session, name: str) -> None:
    names = [f"{name}.{number}" for number in range(20)]
    session.do(*(base.Declare(n, Kind.STREAM) for n in names))
    declared = session.wait_for(len(names), base.Declared)
    assert [event.name for event in declared] == names
    session.do(*(base.Delete(n) for n in names))
    deleted = session.wait_for(len(names), base.Deleted)
    assert sorted(event.name for event in deleted) == sorted(names)


def test_a_publication_may_follow_the_declaration_at_once(session: Session, name: str) -> None:
    session.do(base.Declare(name, Kind.QUEUE), base.Publish(name, b"body", "t"))
    session.wait(base.Confirmed, token="t")


def test_declaring_with_another_kind_ends_the_session(session: Session, queue: str) -> None:
    session.do(base.Declare(queue, Kind.STREAM))
    assert not session.wait(base.Disconnected).denied


def test_deleting_what_is_not_there_is_answered(session: Session, name: str) -> None:
    session.do(base.Delete(name))
    assert session.wait(base.Deleted).name == name


def test_inspect_counts_messages_and_consumers(session: Session, connect: Connect, queue: str) -> None:
    session.publish(queue, *numbered(5))
    assert session.depth(queue) == base.Depth(queue, 5, 0)
    other = connect()
    other.do(base.Consume("c", queue, 2))
    other.wait_for(2, base.Delivered)
    assert session.depth(queue) == base.Depth(queue, 3, 1)


def test_inspecting_what_is_not_there(session: Session, queue: str) -> None:
    absent = f"{queue}.absent"
    session.do(base.Inspect(absent), base.Inspect(queue), base.Inspect(absent))
    session.wait_for(3, base.Depth)
    assert [e.ready for e in session.all(base.Depth, name=absent)] == [-1, -1]
    assert session.wait(base.Depth, name=queue).ready == 0


# ---------------------------------------------------------------- publish


def test_each_publication_is_confirmed_once(session: Session, place: Place) -> None:
    tokens = [f"t{number}" for number in range(300)]
    session.do(*(base.Publish(place.name, b"x", token) for token in tokens))
    session.wait_for(300, base.Confirmed)
    assert sorted(e.token for e in session.all(base.Confirmed)) == sorted(tokens)
    assert session.all(base.Unroutable) == []


def test_a_message_to_nowhere_is_unroutable_and_no_other_is(session: Session, queue: str) -> None:
    absent = f"{queue}.absent"
    commands = [
        base.Publish(absent if number % 3 == 0 else queue, b"x", f"t{number}") for number in range(99)
    ]
    session.do(*commands)
    session.until(lambda: len(session.all(base.Confirmed)) + len(session.all(base.Unroutable)) == 99)
    assert {e.token for e in session.all(base.Unroutable)} == {f"t{n}" for n in range(0, 99, 3)}
    assert {e.token for e in session.all(base.Confirmed)} == {f"t{n}" for n in range(99) if n % 3}


def test_a_deleted_place_is_unroutable(session: Session, place: Place) -> None:
    session.publish(place.name, b"x")
    session.do(base.Delete(place.name))
    session.wait(base.Deleted)
    session.do(base.Publish(place.name, b"y", "late"))
    session.wait(base.Unroutable, token="late")


@pytest.mark.parametrize("size", [0, 1, 4096, 131064 - 40, 131064, 131065, 400_000, 3_000_000])
def test_bodies_of_all_sizes_come_whole(session: Session, place: Place, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    session.publish(place.name, body[:size])
    session.do(base.Consume("c", place.name, 1, place.start))
    assert session.wait(base.Delivered).body == body[:size]


def test_a_slice_of_a_file_follows_the_head(session: Session, queue: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789" * 100_000)
    pieces = [base.FileSlice(str(tmp_path / "data"), offset, 333_333) for offset in (0, 1, 600_000)]
    session.do(*(base.Publish(queue, b"head", f"t{n}", piece) for n, piece in enumerate(pieces)))
    session.wait_for(3, base.Confirmed)
    session.do(base.Consume("c", queue, 10))
    session.wait_for(3, base.Delivered)
    whole = b"0123456789" * 100_000
    assert session.bodies("c") == [b"head" + whole[p.offset : p.offset + p.length] for p in pieces]


def test_a_slice_that_is_not_there_is_unroutable(session: Session, queue: str, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"12345")
    session.do(
        base.Publish(queue, b"", "absent", base.FileSlice(str(tmp_path / "absent"), 0, 1)),
        base.Publish(queue, b"", "short", base.FileSlice(str(tmp_path / "short"), 3, 3)),
        base.Publish(queue, b"", "good", base.FileSlice(str(tmp_path / "short"), 3, 2)),
    )
    session.wait(base.Confirmed, token="good")
    session.until(lambda: {e.token for e in session.all(base.Unroutable)} == {"absent", "short"})
    absent, short = session.all(base.Unroutable)
    assert (
        absent.unreadable and absent.reason == f"cannot read {tmp_path / 'absent'}: No such file or directory"
    )
    assert short.unreadable and f"{tmp_path / 'short'}: the file is shorter" in short.reason


@pytest.mark.parametrize("bad", ["n" * 300, "two\nlines", "é" * 200])
def test_a_name_that_no_place_can_have_harms_nobody(session: Session, queue: str, bad: str) -> None:
    session.do(
        base.Publish(bad, b"x", "nowhere"),
        base.Consume("c", bad, 1),
        base.Inspect(bad),
        base.Delete(bad),
        base.Publish(queue, b"x", "good"),
    )
    session.wait(base.Unroutable, token="nowhere")
    session.wait(base.Gone, tag="c")
    session.wait(base.Deleted, name=bad)
    session.wait(base.Confirmed, token="good")


def test_a_delivery_says_when_its_message_was_sent(session: Session, connect: Connect, place: Place) -> None:
    before = time.time()
    session.publish(place.name, b"x")
    after = time.time()
    first = connect()
    first.do(base.Consume("c", place.name, 1, place.start))
    at = first.wait(base.Delivered).at
    assert before - 0.001 <= at <= after, "in milliseconds"
    first.broker.close(5.0)
    session.do(base.Consume("c", place.name, 1, place.start))
    assert session.wait(base.Delivered).at == at, "not when it is delivered"


def test_messages_keep_the_order_of_their_commands(session: Session, place: Place) -> None:
    bodies = [b"%d" % n + b"." * (n % 7 * 40_000) for n in range(60)]
    session.do(base.Consume("c", place.name, 100, place.start))
    session.publish(place.name, *bodies)
    session.wait_for(60, base.Delivered)
    assert session.bodies("c") == bodies


# ---------------------------------------------------------------- queues


def test_a_queue_gives_each_message_to_one_consumer(session: Session, connect: Connect, queue: str) -> None:
    one, two = connect(), connect()
    one.do(base.Consume("one", queue, 5))
    two.do(base.Consume("two", queue, 5))
    session.until_depth(queue, consumers=2)
    session.publish(queue, *numbered(10))
    one.wait_for(5, base.Delivered)
    two.wait_for(5, base.Delivered)
    assert sorted(one.bodies("one") + two.bodies("two")) == numbered(10)
    assert all(e.offset is None and not e.redelivered for e in one.all(base.Delivered))


def test_of_what_waits_the_highest_priority_goes_first(session: Session, name: str) -> None:
    session.declare(name, Kind.PRIORITY)
    priorities = (0, 2, base.MAX_PRIORITY, 2, 0, base.MAX_PRIORITY)
    for number, priority in enumerate(priorities):
        session.do(base.Publish(name, b"%d" % number, f"p{number}", priority=priority))
    session.wait_for(len(priorities), base.Confirmed)
    session.do(base.Consume("c", name, 1))
    for count in range(1, len(priorities) + 1):
        session.ack(session.wait_for(count, base.Delivered)[-1])
    assert session.bodies("c") == [b"2", b"5", b"1", b"3", b"0", b"4"]
    assert [e.priority for e in session.all(base.Delivered)] == sorted(priorities, reverse=True)


def test_what_is_delivered_is_not_overtaken_and_what_returns_is_not_either(
    session: Session, connect: Connect, name: str
) -> None:
    session.declare(name, Kind.PRIORITY)
    session.do(base.Publish(name, b"high", "h", priority=2), base.Publish(name, b"low", "l", priority=1))
    session.wait_for(2, base.Confirmed)
    other = connect()
    other.do(base.Consume("c", name, 2))
    other.wait_for(2, base.Delivered)
    session.publish(name, b"none")
    other.broker.close(5.0)
    session.until_depth(name, ready=3)
    session.do(base.Consume("c", name, 10))
    back = session.wait_for(3, base.Delivered)
    assert [(e.body, e.redelivered) for e in back] == [(b"high", True), (b"low", True), (b"none", False)]


def test_in_other_places_priorities_change_nothing(session: Session, place: Place) -> None:
    for number in range(3):
        session.do(base.Publish(place.name, b"%d" % number, f"p{number}", priority=number))
    session.wait_for(3, base.Confirmed)
    session.do(base.Consume("c", place.name, 10, place.start))
    session.wait_for(3, base.Delivered)
    assert session.bodies("c") == numbered(3)


def test_prefetch_bounds_what_is_unacked(session: Session, queue: str) -> None:
    session.publish(queue, *numbered(10))
    session.do(base.Consume("c", queue, 3))
    deliveries = session.wait_for(3, base.Delivered)
    session.until_depth(queue, ready=7)
    assert session.bodies("c") == numbered(3)
    session.ack(*deliveries[:2])
    session.wait_for(5, base.Delivered)
    session.until_depth(queue, ready=5)
    assert session.bodies("c") == numbered(5)


def test_an_acked_message_is_gone(session: Session, connect: Connect, queue: str) -> None:
    session.publish(queue, b"acked")
    other = connect()
    other.do(base.Consume("c", queue, 1))
    other.ack(other.wait(base.Delivered))
    other.broker.close(5.0)
    session.until_depth(queue, consumers=0)
    assert session.depth(queue).ready == 0


def test_unacked_messages_return_when_their_session_ends(
    session: Session, connect: Connect, queue: str
) -> None:
    session.publish(queue, *numbered(3))
    other = connect()
    other.do(base.Consume("c", queue, 3))
    deliveries = other.wait_for(3, base.Delivered)
    other.ack(deliveries[1])
    other.broker.close(5.0)
    session.do(base.Consume("c", queue, 10))
    back = session.wait_for(2, base.Delivered)
    assert [(e.body, e.redelivered) for e in back] == [(b"0", True), (b"2", True)]


def test_cancel_stops_deliveries_and_gives_back_what_was_not_seen(
    session: Session, connect: Connect, queue: str
) -> None:
    session.publish(queue, *numbered(4))
    session.do(base.Consume("c", queue, 2))
    session.until_depth(queue, ready=2)
    seen = len(session.bodies("c"))  # on their way: none, one or both
    session.do(base.Cancel("c"))
    session.until_depth(queue, ready=4 - seen, consumers=0)
    assert len(session.bodies("c")) == seen, "nothing is delivered after Cancel"


def test_what_was_delivered_before_cancel_may_still_be_acked(
    session: Session, connect: Connect, queue: str
) -> None:
    session.publish(queue, *numbered(3))
    session.do(base.Consume("c", queue, 2))
    first, _ = session.wait_for(2, base.Delivered)
    session.do(base.Cancel("c"))
    session.until_depth(queue, consumers=0)
    assert session.depth(queue).ready == 1
    session.ack(first)
    session.broker.close(5.0)
    other = connect()
    other.do(base.Consume("c", queue, 10))
    other.wait_for(2, base.Delivered)
    assert sorted((e.body, e.redelivered) for e in other.all(base.Delivered)) == [
        (b"1", True),
        (b"2", False),
    ]


def test_a_tag_can_be_used_again_after_cancel(session: Session, queue: str) -> None:
    session.publish(queue, *numbered(2))
    session.do(base.Consume("c", queue, 1))
    old = session.wait(base.Delivered)
    session.do(base.Cancel("c"), base.Consume("c", queue, 1))
    new = session.wait_for(2, base.Delivered)[1]
    assert (old.body, new.body) == (b"0", b"1")
    session.ack(old, old, new)  # acking twice is harmless
    session.until_depth(queue, ready=0, consumers=1)


def test_acks_of_what_is_unknown_are_ignored(session: Session, queue: str) -> None:
    session.do(base.Ack(base.Receipt("nobody", 1)))
    session.do(base.Consume("c", queue, 1), base.Ack(base.Receipt("c", 12345)))
    session.publish(queue, b"x")
    session.ack(session.wait(base.Delivered))
    session.until_depth(queue, ready=0, consumers=1)


def test_replies_come_through_a_queue_of_their_own_kind(session: Session, name: str) -> None:
    session.declare(name, Kind.REPLIES)
    session.publish(name, *numbered(2))
    session.do(base.Consume("c", name, 10))
    session.ack(*session.wait_for(2, base.Delivered))
    session.until_depth(name, ready=0, consumers=1)
    session.do(base.Declare(name, Kind.QUEUE))
    session.wait(base.Disconnected)


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize(("offset", "begins"), [("first", 0), (0, 0), (1, 1), (57, 57), (99, 99)])
def test_a_stream_is_read_from_any_offset(
    session: Session, stream: str, offset: Union[int, str], begins: int
) -> None:
    session.publish(stream, *numbered(100))
    session.do(base.Consume("c", stream, 200, offset))
    session.wait_for(100 - begins, base.Delivered)
    assert [(e.body, e.offset) for e in session.all(base.Delivered)] == [
        (b"%d" % n, n) for n in range(begins, 100)
    ]


def test_next_sees_only_what_comes_later(session: Session, stream: str) -> None:
    session.publish(stream, b"before")
    session.do(base.Consume("c", stream, 10, "next"))
    while not session.all(base.Delivered):
        session.publish(stream, b"after")  # the first of these may come before the consumer has begun
    assert session.all(base.Delivered)[0].body == b"after"


def test_deliveries_never_start_below_the_offset_asked_for(session: Session, stream: str) -> None:
    session.publish(stream, *numbered(3))
    session.do(base.Consume("c", stream, 2, 6))
    acked = 0
    for number in range(3, 1000):
        session.publish(stream, b"%d" % number)
        deliveries = session.all(base.Delivered)
        session.ack(*deliveries[acked:])
        acked = len(deliveries)
        if acked >= 4:
            break
    assert session.bodies("c")[:4] == numbered(10)[6:]


@pytest.mark.parametrize("there", [0, 1, 3])
def test_a_reader_that_goes_on_at_the_end_misses_nothing(
    session: Session, connect: Connect, stream: str, there: int
) -> None:
    writer = connect()
    for round in range(20):
        session.publish(stream, *numbered(there if round == 0 else 0))
        end = there + round
        session.do(base.Consume(f"c{round}", stream, 5, end))
        writer.do(base.Publish(stream, b"new", f"t{round}"))  # at the same moment
        assert session.wait(base.Delivered, tag=f"c{round}").offset == end
        session.do(base.Cancel(f"c{round}"))


def test_a_stream_is_read_by_many_and_again(session: Session, connect: Connect, stream: str) -> None:
    session.publish(stream, *numbered(20))
    for reader in (session, connect(), connect()):
        reader.do(base.Consume("one", stream, 50, "first"), base.Consume("two", stream, 50, 10))
        reader.wait_for(20, base.Delivered, tag="one")
        reader.wait_for(10, base.Delivered, tag="two")
        assert reader.bodies("one") == numbered(20)
        assert reader.bodies("two") == numbered(20)[10:]


def test_acks_are_the_credit_of_a_stream(session: Session, stream: str) -> None:
    session.publish(stream, *numbered(50))
    session.do(base.Consume("c", stream, 4, "first"))
    acked = 0
    while acked < 50:
        deliveries = session.wait_for(acked + 1, base.Delivered)
        assert len(deliveries) - acked <= 4
        session.ack(deliveries[acked])
        acked += 1
    assert session.bodies("c") == numbered(50)


# ---------------------------------------------------------------- gone


@pytest.mark.parametrize("offset", [None, "first"])
def test_consuming_what_is_not_there_is_gone(session: Session, queue: str, offset: Optional[str]) -> None:
    session.do(base.Consume("here", queue, 1))
    session.do(base.Consume("nowhere", f"{queue}.absent", 1, offset))
    assert session.wait(base.Gone).tag == "nowhere"
    session.publish(queue, b"x")
    session.wait(base.Delivered, tag="here")


def test_deleting_under_consumers_is_gone_for_each(session: Session, connect: Connect, place: Place) -> None:
    other = connect()
    session.do(base.Consume("a", place.name, 1, place.start))
    other.do(base.Consume("b", place.name, 1, place.start))
    session.publish(place.name, b"x", b"y")
    session.wait(base.Delivered)
    other.wait(base.Delivered)
    session.do(base.Delete(place.name))
    session.wait(base.Deleted)
    session.wait(base.Gone, tag="a")
    other.wait(base.Gone, tag="b")
    session.declare(place.name, Kind.QUEUE)  # the session goes on
    session.publish(place.name, b"x")


def test_deleting_a_queue_with_unacked_deliveries(session: Session, queue: str) -> None:
    session.publish(queue, b"x")
    session.do(base.Consume("c", queue, 1))
    delivery = session.wait(base.Delivered)
    session.do(base.Delete(queue))
    session.wait(base.Gone, tag="c")
    session.ack(delivery)
    session.wait(base.Deleted)
    assert session.depth(queue).ready == -1


# ---------------------------------------------------------------- broadcasts


def test_broadcasts_reach_every_listener(session: Session, connect: Connect) -> None:
    other = connect()
    for listener in (session, other):
        listener.do(base.Listen("control"))
    marker = uuid.uuid4().bytes  # other sessions of the same broker may broadcast too

    def heard() -> bool:
        return all(marker in listener.bodies("control") for listener in (session, other))

    # Listening is not answered, so it may begin later than the first broadcast.
    for _ in range(100):
        session.do(base.Broadcast(marker))
        session.glance(0.2)
        other.glance(0.2)
        if heard():
            break
    assert heard()
    assert all(e.offset is None and abs(e.at - time.time()) < 60 for e in other.all(base.Delivered))


def test_broadcasting_to_nobody_harms_nothing(session: Session, queue: str) -> None:
    session.do(base.Broadcast(b"anyone?"))
    session.publish(queue, b"x")


# ---------------------------------------------------------------- sessions


def test_commands_taken_before_close_reach_the_broker(session: Session, connect: Connect, queue: str) -> None:
    other = connect()
    other.do(*(base.Publish(queue, b"x" * 10_000, f"t{n}") for n in range(500)))
    other.broker.close(20.0)
    assert session.depth(queue).ready == 500


def test_after_close_commands_are_ignored_and_connect_begins_anew(session: Session, queue: str) -> None:
    session.do(base.Consume("c", queue, 10))
    session.until_depth(queue, consumers=1)
    session.broker.close(5.0)
    session.broker.poll()
    session.do(base.Publish(queue, b"lost", "t"), base.Inspect(queue))
    assert session.broker.poll() == []
    session.broker.connect()
    session.seen.clear()
    session.until_depth(queue, ready=0, consumers=0)
    session.publish(queue, b"x")
    assert session.depth(queue) == base.Depth(queue, 1, 0)
    session.do(base.Consume("c", queue, 10))
    assert session.wait(base.Delivered).body == b"x"


def test_after_disconnected_the_session_is_dead_until_connect(session: Session, queue: str) -> None:
    session.publish(queue, *numbered(3))
    session.do(base.Consume("c", queue, 2))
    first = session.wait_for(2, base.Delivered)[0]
    session.do(base.Declare(queue, Kind.STREAM))  # a conflict: ends the session
    session.wait(base.Disconnected)
    assert isinstance(session.seen[-1], base.Disconnected), "it is the last event of its session"
    session.do(base.Inspect(queue), base.Publish(queue, b"lost", "t"))
    assert session.broker.poll() == []
    session.broker.connect()
    session.seen.clear()
    session.ack(first)  # of the old session: names nothing any more
    session.do(base.Consume("c", queue, 10))
    back = session.wait_for(3, base.Delivered)
    assert sorted((e.body, e.redelivered) for e in back) == [(b"0", True), (b"1", True), (b"2", False)]


def test_closing_twice_is_harmless(session: Session) -> None:
    session.broker.close(1.0)
    session.broker.close(1.0)
