"""Who may do what at the dashboard's server, and what its answers allow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from mapreduce.dashboard import app, security, server, snapshot
from mapreduce.dashboard.app import MAX_READERS, MAX_STREAMS, make_app
from mapreduce.dashboard.feed import OVERVIEW, Feed
from mapreduce.dashboard.watching import MAX_FOLLOWED
from mapreduce.errors import JobLost, UsageError

TOKEN = "right"
OTHER_HOST = "192.0.2.7"
HEAD = {security.TOKEN_HEADER: TOKEN}


class Source:
    """What the watcher is to the routes."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.cancelled: list[str] = []
        overview = {"at": 0, "jobs": [], "workers": [], "silent": 0, "waiting_leases": 2, "rates": {}}
        self.feed.put(OVERVIEW, snapshot.to_json({**overview, "broker": {"connected": True, "blocked": ""}}))
        self.feed.put("job-1", b'{"id":"job-1"}')

    async def cancel(self, job: str) -> None:
        if job == "over":
            raise JobLost("the job is over already")
        self.cancelled.append(job)


@pytest.fixture
def source() -> Source:
    return Source()


class Client:
    """Asks the application without a socket; keeps cookies, as a browser does."""

    def __init__(self, source: Source, host: str, address: str) -> None:
        self._app = make_app(source, TOKEN, host)
        self._address = address
        self._cookies = httpx.Cookies()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, path, options))

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url=self._address, cookies=self._cookies
        ) as client:
            answer = await client.request(method, path, **options)
            self._cookies = client.cookies
            return answer


@pytest.fixture
def here(source: Source) -> Client:
    """On loopback."""
    return Client(source, "127.0.0.1", "http://127.0.0.1:8990")


@pytest.fixture
def there(source: Source) -> Client:
    """On an address that others reach."""
    return Client(source, OTHER_HOST, f"http://{OTHER_HOST}:8990")


def test_reading_on_loopback_is_open_and_acting_needs_the_token(here: Client, source: Source) -> None:
    assert here.get("/").status_code == 200
    assert here.get("/static/main.js").headers["content-type"].startswith("text/javascript")
    assert here.get("/api/overview").json()["waiting_leases"] == 2
    assert here.get("/api/jobs/job-1").json() == {"id": "job-1"}
    assert "mapreduce_leases_waiting 2.0" in here.get("/metrics").text
    for headers in (
        {},
        {security.TOKEN_HEADER: "wrong"},
        {security.TOKEN_HEADER: ""},
        {"Cookie": "mr_session=right"},
    ):
        assert here.post("/api/jobs/job-1/cancel", headers=headers).status_code == 401
    assert source.cancelled == []
    assert here.post("/api/jobs/job-1/cancel", headers=HEAD).status_code == 202
    assert source.cancelled == ["job-1"]
    refused = here.post("/api/jobs/over/cancel", headers=HEAD)
    assert (refused.status_code, refused.json()) == (409, {"error": "the job is over already"})
    assert here.get("/api/jobs/job-1/cancel").status_code == 405


def test_on_other_addresses_everything_needs_the_token(there: Client) -> None:
    page = there.get("/")
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert there.get("/login").status_code == 200
    assert there.get("/static/login.js").status_code == 200
    for path in ("/api/overview", "/api/jobs/job-1", "/api/events", "/metrics"):
        assert there.get(path).status_code == 401
    assert there.get("/metrics", headers=HEAD).status_code == 200
    assert there.post("/login", data={"token": "wrong"}).headers["location"] == "/login?wrong"
    signed_in = there.post("/login", data={"token": TOKEN})
    assert signed_in.headers["location"] == "/"
    cookie = signed_in.headers["set-cookie"].lower()
    assert cookie.startswith("mr_session_8990=")  # browsers send it to other ports of this host, too
    assert TOKEN not in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert there.get("/").status_code == 200  # with the cookie
    assert there.get("/api/overview").status_code == 200
    assert there.post("/api/jobs/job-1/cancel").status_code == 401  # which is not enough to act
    value = cookie.partition("=")[2].partition(";")[0]
    as_token = {security.TOKEN_HEADER: value}
    assert there.post("/api/jobs/job-1/cancel", headers=as_token).status_code == 401  # nor as the token
    assert there.post("/api/jobs/job-1/cancel", headers=HEAD).status_code == 202


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8990", "127.0.0.1.evil.example", "", "192.0.2.1"]
)
def test_a_name_that_points_to_loopback_is_not_served(here: Client, host: str) -> None:
    for path in ("/", "/api/overview", "/metrics", "/static/main.js"):
        assert here.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8990", "127.0.0.9:80", "LOCALHOST"])
def test_names_of_loopback_are_served_through_any_port(here: Client, host: str) -> None:
    assert here.get("/api/overview", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_no_other_site_acts_even_with_the_token(
    here: Client, source: Source, headers: dict[str, str]
) -> None:
    assert here.post("/api/jobs/job-1/cancel", headers={**HEAD, **headers}).status_code == 403
    assert source.cancelled == []


def test_no_other_site_makes_us_look_at_jobs(here: Client) -> None:
    for path in ("/api/overview", "/api/jobs/job-1", "/api/events", "/metrics"):
        assert here.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert here.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link leads here
    assert here.get("/api/overview", headers={"Sec-Fetch-Site": "none"}).status_code == 200  # typed


def test_no_other_site_may_read(here: Client) -> None:
    for answer in (
        here.get("/api/overview", headers={"Origin": "https://evil.example"}),
        here.ask("OPTIONS", "/api/overview", headers={"Origin": "https://evil.example"}),
        here.get("/api/jobs/no%20name"),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_an_error_of_ours_says_no_more_than_that_and_allows_no_more(
    here: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(source, "feed")
    answer = here.get("/api/overview")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_nothing_large_and_nothing_odd_is_read(here: Client) -> None:
    large = b"x" * (security.MAX_BODY_BYTES + 1)
    assert here.post("/login", content=large).status_code == 413

    async def parts() -> AsyncIterator[bytes]:
        yield b"x"

    assert here.post("/login", content=parts()).status_code == 413  # of a length that it does not tell
    assert here.get("/api/jobs/..%2f..%2fetc").status_code == 404
    assert here.get("/static/../app.py").status_code == 404
    assert here.get("/static/%2e%2e/app.py").status_code == 404
    assert here.get("/api/events?job=a%20b").status_code == 404


def test_readers_are_limited(here: Client, source: Source) -> None:
    async def fill(count: int) -> None:
        for _ in range(count):
            source.feed.open(OVERVIEW)

    asyncio.run(fill(MAX_STREAMS))
    assert here.get("/api/events").status_code == 503
    assert here.get("/api/overview").status_code == 200  # streams do not keep out those who ask once
    asyncio.run(fill(MAX_READERS - MAX_STREAMS))
    assert here.get("/api/overview").status_code == 503


def test_why_there_is_nothing_about_a_job_is_said(
    here: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SNAPSHOT_SECS", 0.01)
    assert here.get("/api/jobs/new").json() == {"error": "the broker does not answer"}

    async def look() -> None:
        for number in range(MAX_FOLLOWED):
            source.feed.open(f"job-{number}")

    asyncio.run(look())
    assert here.get("/api/jobs/new").json() == {"error": "more than 32 jobs are looked at"}


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: loc", b""),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nto", b""),
        (b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK"),
    ],
)
def test_a_connection_that_asks_for_nothing_is_closed(
    source: Source, monkeypatch: pytest.MonkeyPatch, sent: bytes, answered: bytes
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECS", 0.1)
    config = uvicorn.Config(make_app(source, TOKEN, "127.0.0.1"), lifespan="off", log_level="critical")

    async def play() -> bytes:
        served = await asyncio.get_running_loop().create_server(
            lambda: server.Connection(config, ServerState(), {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*served.sockets[0].getsockname())
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        served.close()
        return answer

    answer = asyncio.run(play())
    assert answer.startswith(answered) if answered else not answer


def test_events_are_snapshots(here: Client, source: Source) -> None:
    source.feed.end()  # what is known is still told
    text = here.get("/api/events?job=job-1").text
    events = [dict(line.split(": ", 1) for line in each.splitlines()) for each in text.strip().split("\n\n")]
    assert [each["event"] for each in events] in (["hello"], ["hello", "overview", "job"])
    source.feed.ended = False


def test_a_slow_reader_gets_the_last_news_of_each_topic() -> None:
    async def play() -> list[tuple[str, bytes]]:
        feed = Feed()
        told: list[frozenset[str]] = []
        feed.on_topics = told.append
        feed.put("a", b"1")
        reader = feed.open("a", "b")
        feed.put("a", b"2")
        feed.put("b", b"3")
        feed.put("c", b"4")
        found = await reader.next(1)
        assert await reader.next(0.01) == []
        feed.put("a", b"5")
        found += await reader.next(1)
        reader.close()
        assert told == [frozenset("ab"), frozenset()]
        return found

    assert asyncio.run(play()) == [("a", b"2"), ("b", b"3"), ("a", b"5")]


def test_where_it_listens_and_what_it_prints() -> None:
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert server.link(listener, "127.0.0.1", "t") == f"http://127.0.0.1:{port}/#token=t"
        assert server.link(listener, "0.0.0.0", "t") == f"http://{socket.gethostname()}:{port}/#token=t"
        with pytest.raises(UsageError, match=f"port {port}"):
            server.listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="no such address"):
        server.listen("no.such.host.invalid", 0)
    assert security.is_loopback("::1")
    assert not security.is_loopback("0.0.0.0")
    assert len(security.new_token()) >= 32
    assert json.loads(snapshot.to_json({"text": "\udc80"})) == {"text": "\ufffd"}


def test_it_serves_also_where_standard_output_is_closed(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ready(Exception):
        pass

    def ready() -> None:
        raise Ready

    monkeypatch.setattr(sys, "stdout", None)
    with contextlib.closing(server.listen("127.0.0.1", 0)) as listener, pytest.raises(Ready):
        server.serve(source, listener, "127.0.0.1", TOKEN, ready)  # type: ignore[arg-type]  # as much as is needed
