"""The routes of the dashboard.

| | |
| --- | --- |
| `GET /` | the page |
| `GET /api/events?job=ID` | Server-Sent Events: `overview` and `job`, each a whole snapshot, when there is news |
| `GET /api/overview`, `GET /api/jobs/ID` | the same snapshots, once |
| `POST /api/jobs/ID/cancel` | end a job; 202 once its log has the request |
| `GET /metrics` | for Prometheus |
| `POST /login` | where reading needs the token, too: a cookie for it |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Optional, Protocol
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from mapreduce import __version__, metrics
from mapreduce.dashboard.feed import OVERVIEW, Feed, Reader
from mapreduce.dashboard.security import MAX_BODY_BYTES, Guard, cookie, same
from mapreduce.dashboard.watching import MAX_FOLLOWED
from mapreduce.errors import MapReduceError
from mapreduce.events import is_name

STATIC = Path(__file__).parent / "static"
#: readers at a time; streams of events, which may stay for ever, leave some to those who ask once
MAX_READERS = 128
MAX_STREAMS = 64
#: a quiet stream says that it is there, so that the page knows a dead one
PING_SECS = 10.0
#: how long a snapshot of a job that nobody follows yet may take
SNAPSHOT_SECS = 10.0
#: all jobs and workers are asked rarely while nobody looks: if their last answers are older than the one, new ones are
#: waited for, but no longer than the other
FRESH_SECS = 4.0
STALE_SECS = 3.0
#: how long a job's log may take to have the request to cancel it
CANCEL_SECS = 15.0


class Source(Protocol):
    """What the routes need of the watcher."""

    feed: Feed

    async def cancel(self, job: str) -> None:
        """Returns when the job's log has the request. Raises `MapReduceError` if it will not."""


def make_app(source: Source, token: str, host: str) -> ASGIApp:
    """The application; ``host``: the address that it is served on."""
    routes = Routes(source, token)
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/login", routes.login, methods=["GET", "POST"]),
            Route("/api/events", routes.events),
            Route("/api/overview", routes.overview),
            Route("/api/token", routes.token, methods=["POST"]),
            Route("/api/jobs/{job}", routes.job),
            Route("/api/jobs/{job}/cancel", routes.cancel, methods=["POST"]),
            Route("/metrics", routes.metrics),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
    )
    return Guard(app, token, host)  # around all of it: what Starlette says of an error gets its headers, too


class Routes:
    """Each method is a route; `Guard` has let the request through."""

    def __init__(self, source: Source, token: str) -> None:
        self._source = source
        self._token = token

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def login(self, request: Request) -> Response:
        if request.method == "GET":
            return FileResponse(STATIC / "login.html")
        form = parse_qs((await request.body())[:MAX_BODY_BYTES].decode("utf-8", "replace"))
        if not same(form.get("token", [""])[0].strip(), self._token):
            return RedirectResponse("/login?wrong", 303)
        response = RedirectResponse("/", 303)
        name, value = cookie(request.scope, self._token)
        response.set_cookie(name, value, httponly=True, samesite="strict")
        return response

    async def token(self, request: Request) -> Response:
        """Nothing, but for whoever sends the right token."""
        return Response(status_code=204)

    async def overview(self, request: Request) -> Response:
        return await self._snapshot(OVERVIEW)

    async def job(self, request: Request) -> Response:
        job = request.path_params["job"]
        if not is_name(job):
            return _error(404, "that is no id of a job")
        return await self._snapshot(job)

    async def _snapshot(self, topic: str) -> Response:
        reader = self._open(MAX_READERS, topic)
        if reader is None:
            return _error(503, "too many readers")
        try:
            old = topic == OVERVIEW and self._source.feed.age(topic) > FRESH_SECS
            news = await reader.next(SNAPSHOT_SECS)
            if not news or old:
                news = await reader.next(STALE_SECS if news else SNAPSHOT_SECS) or news
            crowded = len(self._source.feed.topics() - {OVERVIEW}) > MAX_FOLLOWED
        finally:
            reader.close()
        if not news:
            text = f"more than {MAX_FOLLOWED} jobs are looked at" if crowded else "the broker does not answer"
            return _error(503, text)
        return Response(news[0][1], media_type="application/json")

    async def events(self, request: Request) -> Response:
        job = request.query_params.get("job", "")
        if job and not is_name(job):
            return _error(404, "that is no id of a job")
        reader = self._open(MAX_STREAMS, *([OVERVIEW, job] if job else [OVERVIEW]))
        if reader is None:
            return _error(503, "too many readers")

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield (
                    b"retry: 1000\nevent: hello\ndata: "
                    + JSONResponse({"version": __version__}).body
                    + b"\n\n"
                )
                while not self._source.feed.ended:
                    news = await reader.next(PING_SECS)
                    for topic, data in news:
                        name = b"overview" if topic == OVERVIEW else b"job"
                        yield b"event: " + name + b"\ndata: " + data + b"\n\n"
                    if not (news or self._source.feed.ended):
                        yield b"event: ping\ndata: {}\n\n"
            finally:
                reader.close()

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)

    def _open(self, most: int, *topics: str) -> Optional[Reader]:
        feed = self._source.feed
        return feed.open(*topics) if feed.readers() < most else None

    async def cancel(self, request: Request) -> Response:
        job = request.path_params["job"]
        if not is_name(job):
            return _error(404, "that is no id of a job")
        try:
            await asyncio.wait_for(self._source.cancel(job), CANCEL_SECS)
        except asyncio.TimeoutError:
            return _error(504, f"the broker has not confirmed within {CANCEL_SECS:.0f} s; it may still do so")
        except MapReduceError as error:
            return _error(409, str(error))
        return JSONResponse({"asked": True}, 202)

    async def metrics(self, request: Request) -> Response:
        latest = self._source.feed.latest(OVERVIEW)
        body, content_type = metrics.of_overview(latest[1] if latest is not None else b"{}")
        return Response(body, headers={"Content-Type": content_type})


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
