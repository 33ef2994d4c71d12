"""What only a broker over a network has: alarms, crashes, silence, refused rights, TLS."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mapreduce.brokers import base, consumer, open_broker, publisher, wire
from mapreduce.brokers.base import Kind
from mapreduce.brokers.url import parse
from mapreduce.errors import BrokerError, BrokerRefused, BrokerUnsuitable
from mapreduce.node import PrivateNode
from tests.contract.harness import Session
from tests.contract.proxy import Proxy


def begin(url: str) -> Session:
    session = Session(open_broker(url))
    session.broker.connect()
    return session


@pytest.fixture
def proxy(rabbit_url: str) -> Iterator[Proxy]:
    with Proxy(parse(rabbit_url).port) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(rabbit_url: str, proxy: Proxy) -> str:
    return through(rabbit_url, proxy)


def through(url: str, proxy: Proxy, scheme: str = "amqp", host: str = "127.0.0.1", query: str = "") -> str:
    parts = urlsplit(url)
    netloc = f"{parts.username}:{parts.password}@{host}:{proxy.port}"
    return parts._replace(scheme=scheme, netloc=netloc, query=query).geturl()


@pytest.fixture
def name(rabbit_url: str) -> Iterator[str]:
    name = f"mr.test.{uuid.uuid4().hex}"
    yield name
    session = begin(rabbit_url)
    session.do(base.Delete(name))
    session.wait(base.Deleted)
    session.broker.close(1.0)


# ---------------------------------------------------------------- crashes


def test_no_confirmed_message_is_lost_when_the_node_is_killed(own_node: PrivateNode) -> None:
    session = begin(own_node.url)
    session.declare("q", Kind.QUEUE)
    session.declare("s", Kind.STREAM)
    session.do(*(base.Publish("qs"[n % 2], b"%d" % n + b"." * 2000, str(n)) for n in range(20_000)))
    session.wait_for(2000, base.Confirmed)
    own_node.kill9()
    session.wait(base.Disconnected)
    confirmed = {int(e.token) for e in session.all(base.Confirmed)}
    assert confirmed

    own_node.start()
    session.broker.connect()
    session.do(base.Consume("q", "q", 100), base.Consume("s", "s", 100, "first"))
    found: set[int] = set()
    while not confirmed <= found:
        session.seen.clear()
        session.until(lambda: bool(session.all(base.Delivered)))
        session.ack(*session.all(base.Delivered))
        found.update(int(e.body.rstrip(b".")) for e in session.all(base.Delivered))
    session.broker.close(1.0)


def test_a_restarted_node_is_not_taken_for_an_empty_one(own_node: PrivateNode) -> None:
    """For a moment after its start RabbitMQ returns what is sent to a stream, and says 404 of it."""
    session = begin(own_node.url)
    session.declare("s", Kind.STREAM)
    session.publish("s", b"before")
    own_node.kill9()
    session.wait(base.Disconnected)
    own_node.start()
    session.seen.clear()
    while not session.all(base.Confirmed):
        session.broker.connect()
        session.do(base.Consume("c", "s", 10, "first"), base.Publish("s", b"after", "t"))
        session.until(lambda: bool(session.all(base.Confirmed) or session.all(base.Disconnected)))
        assert session.all(base.Unroutable) == [], "the stream is there"
        if not session.all(base.Confirmed):
            session.seen.clear()
    session.wait_for(2, base.Delivered)
    assert session.bodies("c")[:2] == [b"before", b"after"]
    assert session.all(base.Gone) == []
    session.broker.close(1.0)


def test_a_node_that_stops_in_order_says_why(own_node: PrivateNode) -> None:
    session = begin(own_node.url)
    own_node.stop()
    ended = session.wait(base.Disconnected)
    assert not ended.denied
    assert "CONNECTION_FORCED" in ended.reason or "lost" in ended.reason or "closed" in ended.reason
    with pytest.raises(BrokerError, match=r"connection refused; is it running\? `mr broker`"):
        session.broker.connect()


def test_a_cut_line_ends_the_session_with_one_event(proxy: Proxy, proxied_url: str) -> None:
    session = begin(proxied_url)
    proxy.cut()
    session.wait(base.Disconnected)
    session.glance(0.2)
    assert len(session.seen) == 1
    session.broker.connect()  # and a new one can begin
    session.broker.close(1.0)


# ---------------------------------------------------------------- silence


def test_a_silent_broker_is_taken_for_dead(proxy: Proxy, proxied_url: str) -> None:
    session = begin(f"{proxied_url}?heartbeat=1")
    proxy.silence()
    ended = session.wait(base.Disconnected)
    assert "heartbeat" in ended.reason


def test_a_message_that_is_never_confirmed_ends_the_session(
    proxy: Proxy, proxied_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "CONFIRM_SECS", 0.5)
    session = begin(proxied_url)
    session.declare(name, Kind.QUEUE)
    proxy.downstream.clear()
    session.do(base.Publish(name, b"x", "t"))
    assert "did not confirm a message" in session.wait(base.Disconnected).reason


def test_replies_that_nobody_fetches_go_by_themselves(
    rabbit_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(publisher.ARGUMENTS[Kind.REPLIES], "x-expires", 200)
    session = begin(rabbit_url)
    session.declare(name, Kind.REPLIES)
    session.publish(name, b"x")
    while session.depth(name).ready >= 0:
        time.sleep(0.5)  # to ask for it is to use it: then it stays for longer
    session.do(base.Publish(name, b"y", "late"))
    session.wait(base.Unroutable, token="late")
    session.broker.close(1.0)


def test_an_idle_session_is_kept_alive(rabbit_url: str, name: str) -> None:
    session = begin(f"{rabbit_url}?heartbeat=3")  # with less, a machine that is busy for two seconds ends it
    select.select([], [], [], 8.0)  # its host is held up for longer than two heartbeats, but for the watchdog
    assert session.broker.poll() == []
    session.declare(name, Kind.QUEUE)
    assert session.depth(name).ready == 0
    session.broker.close(1.0)


def test_closing_drains_for_as_long_as_it_may(proxy: Proxy, proxied_url: str, name: str) -> None:
    session = begin(proxied_url)
    session.declare(name, Kind.QUEUE)
    proxy.downstream.clear()
    session.do(base.Publish(name, b"x", "t"))
    threading.Timer(3.5, proxy.downstream.set).start()  # longer than a watchdog needs to look, twice
    session.broker.close(30.0)
    session.seen += session.broker.poll()
    assert session.all(base.Confirmed, token="t")


@pytest.mark.parametrize("commands", [0, 100])
def test_close_never_hangs(proxy: Proxy, proxied_url: str, name: str, commands: int) -> None:
    session = begin(proxied_url)
    session.declare(name, Kind.QUEUE)
    proxy.silence()
    session.do(*(base.Publish(name, bytes(1 << 20), str(n)) for n in range(commands)))
    began = time.monotonic()
    session.broker.close(0.3)
    assert time.monotonic() - began < 3.0


def test_connecting_to_the_silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT_SECS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = open_broker(f"amqp://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(BrokerError, match="no answer within"):
            broker.connect()


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x01\x00\x00"])
def test_connecting_to_what_is_no_broker(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT_SECS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(words)
                client.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    client.recv(8)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(BrokerError, match=r"RabbitMQ at 127\.0\.0\.1"):
            open_broker(f"amqp://127.0.0.1:{server.getsockname()[1]}/").connect()


# ---------------------------------------------------------------- alarms and bounds


@pytest.fixture
def alarm(shared_node: PrivateNode) -> Iterator[None]:
    """Raises a memory alarm; use it by `request.getfixturevalue`, when the test is ready."""
    shared_node.control("set_vm_memory_high_watermark", "absolute", "1MB")
    yield
    shared_node.control("set_vm_memory_high_watermark", "0.4")


def test_an_alarm_stops_publishing_but_not_acks_and_deletes(
    shared_node: PrivateNode, request: pytest.FixtureRequest
) -> None:
    session = begin(shared_node.url)
    session.declare("work", Kind.QUEUE)
    session.declare("doomed", Kind.STREAM)
    session.publish("work", b"1", b"2")
    session.do(base.Consume("c", "work", 1))
    first = session.wait(base.Delivered)

    request.getfixturevalue("alarm")
    # The broker tells at the first message that it would have taken; what we send until then, it holds.
    session.do(*(base.Publish("work", bytes(1 << 20), f"waits{n}") for n in range(40)))
    assert session.wait(base.Blocked).reason
    session.ack(first)
    session.wait_for(2, base.Delivered)
    session.do(base.Delete("doomed"))
    session.wait(base.Deleted, name="doomed")
    waiting = [e for e in session.all(base.Confirmed) if e.token.startswith("waits")]
    assert len(waiting) < 40

    shared_node.control("set_vm_memory_high_watermark", "0.4")
    session.wait(base.Unblocked)
    session.wait_for(42, base.Confirmed)
    session.do(base.Delete("work"))
    session.wait(base.Deleted, name="work")
    session.broker.close(1.0)


def test_close_does_not_wait_for_the_end_of_an_alarm(
    shared_node: PrivateNode, request: pytest.FixtureRequest
) -> None:
    session = begin(shared_node.url)
    session.declare("never", Kind.QUEUE)
    request.getfixturevalue("alarm")
    session.do(*(base.Publish("never", bytes(1 << 20), f"waits{n}") for n in range(40)))
    session.wait(base.Blocked)
    began = time.monotonic()
    session.broker.close(0.3)
    assert time.monotonic() - began < 3.0


def test_bytes_in_flight_are_bounded(proxy: Proxy, proxied_url: str, name: str) -> None:
    session = begin(proxied_url)
    session.declare(name, Kind.STREAM)
    before = proxy.sent_upstream
    proxy.downstream.clear()  # the broker takes all, but no confirmation comes
    session.do(*(base.Publish(name, bytes(1 << 20), str(n)) for n in range(64)))
    session.glance(1.0)
    assert proxy.sent_upstream - before < publisher.MAX_IN_FLIGHT_BYTES + (64 << 10)
    assert session.all(base.Confirmed) == []
    proxy.downstream.set()
    session.wait_for(64, base.Confirmed)
    session.broker.close(1.0)


def test_a_message_larger_than_the_bound_passes_alone(rabbit_url: str, name: str) -> None:
    session = begin(rabbit_url)
    session.declare(name, Kind.QUEUE)
    large = bytes(2 * publisher.MAX_IN_FLIGHT_BYTES)
    session.publish(name, b"before", large, b"after")
    session.do(base.Consume("c", name, 3))
    session.wait_for(3, base.Delivered)
    assert session.bodies("c") == [b"before", large, b"after"]
    session.broker.close(1.0)


class Acks:
    """A wire, its channel, and what is acked on that."""

    def __init__(self) -> None:
        self.said: list[tuple[int, bool]] = []
        self.listener: Any = None

    def open_channel(self, listener: Any) -> Any:
        self.listener = listener
        return self

    def consume(self, queue: str, arguments: object, prefetch: int) -> None:
        """All that is delivered the test delivers."""

    def ack(self, tag: int, multiple: bool = False) -> None:
        self.said.append((tag, multiple))


def test_acks_of_a_stream_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Acks()
    events: list[Any] = []
    duty = consumer.Consumer(channel, events.append)  # type: ignore[arg-type]
    duty.take(consumer.Start(1, base.Consume("tag", "stream", 8, "first")))

    def deliver(tag: int) -> base.Ack:
        channel.listener.on_delivery(tag, b"", tag, False, 0.0)
        return base.Ack(events[-1].receipt)

    acks = {tag: deliver(tag) for tag in range(1, 7)}
    duty.take(acks[1])
    assert not channel.said
    duty.take(acks[2])
    assert channel.said == [(2, True)]
    duty.take(acks[4])
    duty.take(acks[5])
    assert channel.said == [(2, True)], "3 is not acked yet"
    duty.take(acks[3])
    assert channel.said == [(2, True), (5, True)]
    duty.take(acks[6])
    monkeypatch.setattr(consumer, "_ACK_SECS", 0.0)
    duty.advance()
    assert channel.said[2:] == [(6, True)], "it does not wait for company for ever"
    duty.advance()
    assert len(channel.said) == 3


def test_acks_of_a_queue_go_at_once() -> None:
    channel = Acks()
    events: list[Any] = []
    duty = consumer.Consumer(channel, events.append)  # type: ignore[arg-type]
    duty.take(consumer.Start(1, base.Consume("tag", "queue", 500)))
    for tag in (1, 2):
        channel.listener.on_delivery(tag, b"", None, False, 0.0)
    duty.take(base.Ack(events[1].receipt))
    duty.take(base.Ack(events[0].receipt))
    assert channel.said == [(2, False), (1, False)]


@contextlib.contextmanager
def setting(node: PrivateNode, **values: int) -> Iterator[None]:
    """Change settings of a node, for channels that are opened meanwhile."""

    def evaluate(values: dict[str, int]) -> None:
        terms = (f"application:set_env(rabbit, {name}, {value})" for name, value in values.items())
        node.control("eval", ", ".join(terms) + ".")

    before = {"channel_tick_interval": 60_000, "consumer_timeout": 1_800_000, "max_message_size": 1 << 27}
    evaluate(values)
    try:
        yield
    finally:
        evaluate({name: before[name] for name in values})


def test_a_session_that_an_overdue_ack_has_ended_says_after_how_long(shared_node: PrivateNode) -> None:
    with setting(shared_node, channel_tick_interval=200, consumer_timeout=600):
        session = begin(shared_node.url)
        session.declare("overdue", Kind.QUEUE)
        session.publish("overdue", b"x")
        session.do(base.Consume("c", "overdue", 1))
        ended = session.wait(base.Disconnected)
    assert ended.ack_timeout_secs == 0.6
    assert not ended.denied and not ended.unsuitable


def test_what_the_broker_takes_as_one_message_is_learned_once(shared_node: PrivateNode) -> None:
    with setting(shared_node, max_message_size=100_000):
        session = begin(shared_node.url)
        session.declare("small", Kind.QUEUE)
        session.do(base.Publish("small", bytes(100_001), "first"))
        assert "larger than" in session.wait(base.Disconnected).reason
        session.broker.connect()
        session.do(base.Publish("small", bytes(100_001), "again"))
        assert "0.1 MiB, max_message_size" in session.wait(base.Unroutable, token="again").reason
        session.publish("small", bytes(100_000))
        session.broker.close(1.0)


# ---------------------------------------------------------------- refusals


def test_a_wrong_password_is_refused(rabbit_url: str) -> None:
    parts = urlsplit(rabbit_url)
    wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
    with pytest.raises(BrokerRefused, match=f"refuses user '{parts.username}'") as caught:
        open_broker(wrong).connect()
    assert "wrong" not in str(caught.value)


def test_an_absent_virtual_host_is_refused(rabbit_url: str) -> None:
    with pytest.raises(BrokerRefused, match="absent"):
        open_broker(urlsplit(rabbit_url)._replace(path="/absent").geturl()).connect()


def test_nobody_there(rabbit_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{port}: connection refused; is it running"):
        open_broker(f"amqp://127.0.0.1:{port}/").connect()
    with pytest.raises(BrokerError, match="no such host"):
        open_broker("amqp://no-such-host.invalid/").connect()


def test_a_denied_right_ends_the_session_and_says_so(shared_node: PrivateNode) -> None:
    shared_node.control("add_user", "reader", "secret")
    shared_node.control("set_permissions", "reader", "^mr\\.1\\.control.*", ".*", ".*")
    session = begin(f"amqp://reader:secret@127.0.0.1:{shared_node.port}/")
    session.do(base.Declare("forbidden", Kind.QUEUE))
    ended = session.wait(base.Disconnected)
    assert ended.denied
    assert "forbidden" in ended.reason
    shared_node.control("delete_user", "reader")


@pytest.mark.parametrize(
    ("there", "wanted"), [(Kind.QUEUE, Kind.STREAM), (Kind.STREAM, Kind.QUEUE), (Kind.STREAM, Kind.PRIORITY)]
)
def test_a_place_of_another_kind_ends_the_session_for_good(
    rabbit_url: str, name: str, there: Kind, wanted: Kind
) -> None:
    session = begin(rabbit_url)
    session.declare(name, there)
    session.do(base.Declare(name, wanted))
    ended = session.wait(base.Disconnected)
    assert ended.unsuitable and not ended.denied
    assert name in ended.reason and "x-queue-type" in ended.reason


def test_a_work_queue_that_is_there_with_other_arguments_is_used_as_it_is(rabbit_url: str, name: str) -> None:
    session = begin(rabbit_url)
    session.declare(name, Kind.QUEUE)
    session.do(base.Declare(name, Kind.PRIORITY), base.Publish(name, b"task", "t", priority=3))
    session.wait(base.Declared)
    session.wait(base.Confirmed)
    session.do(base.Delete(name))
    session.wait(base.Deleted)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"product": "RabbitMQ", "version": "3.8.34"}, "3.9 or newer"),
        ({"product": "Qpid", "version": "9.1"}, "not RabbitMQ"),
        ({}, "not RabbitMQ"),
    ],
)
def test_an_unsuitable_broker(properties: dict[str, str], message: str) -> None:
    with pytest.raises(BrokerUnsuitable, match=message):
        wire.check_server(parse("amqp://host"), properties)


@pytest.mark.parametrize("version", ["3.9.0", "3.10.8", "3.13.0-rc.1", "4.1.2"])
def test_suitable_versions(version: str) -> None:
    wire.check_server(parse("amqp://host"), {"product": "RabbitMQ", "version": version})


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for "localhost", with its key in the same file, that vouches for itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
        + ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def tls_proxy(rabbit_url: str, certificate: Path) -> Iterator[Proxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Proxy(parse(rabbit_url).port, context) as proxy:
        yield proxy


@pytest.mark.parametrize("query", ["cacertfile={}", "verify=none"])
def test_messages_of_all_sizes_pass_tls(
    rabbit_url: str, tls_proxy: Proxy, certificate: Path, name: str, query: str
) -> None:
    query = query.format(certificate)
    session = begin(through(rabbit_url, tls_proxy, "amqps", "localhost", query))
    session.declare(name, Kind.STREAM)
    bodies = [bytes([n % 251]) * (n * n * 1000) for n in range(50)]
    session.do(base.Consume("c", name, 5, "first"))
    session.publish(name, *bodies)
    for number in range(len(bodies)):
        session.ack(session.wait_for(number + 1, base.Delivered)[number])
    assert session.bodies("c") == bodies
    about = session.broker.about
    assert about is not None and about.product == "RabbitMQ" and about.tls is not None
    assert about.tls.version.startswith("TLSv1") and about.tls.verified == ("cacertfile" in query)
    if about.tls.verified:  # else Python does not tell
        assert about.tls.ends_at is not None and 0 < about.tls.ends_at - time.time() < 2 * 86400
    session.broker.close(1.0)
    assert session.broker.about is None


def test_a_stranger_is_not_trusted(rabbit_url: str, tls_proxy: Proxy, certificate: Path) -> None:
    with pytest.raises(BrokerError, match="cannot trust RabbitMQ at localhost"):
        open_broker(through(rabbit_url, tls_proxy, "amqps", "localhost")).connect()
    query = f"cacertfile={certificate}"
    with pytest.raises(BrokerError, match=r"cannot trust RabbitMQ at 127\.0\.0\.1"):  # the name is another
        open_broker(through(rabbit_url, tls_proxy, "amqps", "127.0.0.1", query)).connect()


def test_tls_with_a_port_that_speaks_none(rabbit_url: str) -> None:
    with pytest.raises(BrokerError, match="cannot speak TLS with RabbitMQ at 127"):
        open_broker(rabbit_url.replace("amqp:", "amqps:")).connect()


def test_an_absent_file_of_authorities(rabbit_url: str, tls_proxy: Proxy) -> None:
    with pytest.raises(BrokerError, match="cannot read /absent"):
        open_broker(through(rabbit_url, tls_proxy, "amqps", "localhost", "cacertfile=/absent")).connect()


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password", "vhost"),
    [
        ("amqp://h", "h", 5672, "guest", "guest", "/"),
        ("AMQP://h/", "h", 5672, "guest", "guest", "/"),
        ("amqps://h", "h", 5671, "guest", "guest", "/"),
        ("amqp://u:p@h:1/v", "h", 1, "u", "p", "v"),
        ("amqp://u@h", "h", 5672, "u", "guest", "/"),
        ("amqp://u:@h", "h", 5672, "u", "", "/"),
        ("amqp://a%40b:p%2F%3A%25@h/%2Fv%2fw", "h", 5672, "a@b", "p/:%", "/v/w"),
        ("amqp://[::1]:7/", "::1", 7, "guest", "guest", "/"),
    ],
)
def test_urls(url: str, host: str, port: int, user: str, password: str, vhost: str) -> None:
    address = parse(url)
    assert (address.host, address.port, address.user) == (host, port, user)
    assert (address.password, address.vhost) == (password, vhost)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://u:hidden@h/",
        "amqp://",
        "amqp://u:hidden@",
        "amqp://u:hidden@h:port",
        "amqp://u:hidden@h:99999999",
        "amqp://u:hid/den@h/",
        "amqp://u:hid#den@h/",
        "amqp://u:hidden@h/a/b",
        "amqp://u:hidden@h/?verify=none",
        "amqps://u:hidden@h/?verify=maybe",
        "amqps://u:hidden@h/?cafile=x",
        "amqp://u:hidden@[::1/",
    ],
)
def test_nonsense_urls_are_explained_without_the_password(url: str) -> None:
    with pytest.raises(BrokerError) as caught:
        open_broker(url)
    assert "amqp" in str(caught.value) or "broker URL" in str(caught.value)
    assert "hid" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_address_hides_its_password() -> None:
    assert "hidden" not in repr(parse("amqp://u:hidden@h"))
