"""The server around the routes: its socket, its limits, its end."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType
from typing import Callable, Optional

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mapreduce.dashboard.app import make_app
from mapreduce.dashboard.watcher import Watcher
from mapreduce.errors import UsageError

#: connections at a time, how long one may take to send its first request, and how long an idle one is kept
MAX_CONNECTIONS = 256
REQUEST_SECS = 10.0
IDLE_SECS = 30
#: for answers that are under way when it ends
CLOSE_SECS = 2
ANYWHERE = ("0.0.0.0", "::")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any that is free. Raises `UsageError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host[:100]}: there is no such address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        text = (
            f"cannot listen on {host} port {port}: {error.strerror or error}; --port 0 takes any that is free"
        )
        raise UsageError(text) from error
    return listener


def link(listener: socket.socket, host: str, token: str) -> str:
    """What to open. The token stands behind the #: browsers keep that to themselves, and so do proxies' logs."""
    name = socket.gethostname() if host in ANYWHERE else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{listener.getsockname()[1]}/#token={token}"


def serve(
    watcher: Watcher, listener: socket.socket, host: str, token: str, ready: Callable[[], None]
) -> Optional[BaseException]:
    """Until SIGINT or SIGTERM, or until the watcher ends by itself: then why."""
    problems: list[BaseException] = []
    config = uvicorn.Config(
        make_app(watcher, token, host),
        log_config=None,  # uvicorn's own asks standard output whether it is a terminal, and it may be closed
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http=Connection,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECS,
        timeout_graceful_shutdown=CLOSE_SECS,
    )
    server = _Server(config, watcher, ready)

    def end(error: BaseException) -> None:
        problems.append(error)
        watcher.feed.end()
        server.should_exit = True

    watcher.on_error = end
    server.run(sockets=[listener])
    return problems[0] if problems else None


class Connection(H11Protocol):
    """Closes itself if it does not get to its first request: whoever is silent takes the place of somebody."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._late = self.loop.call_later(REQUEST_SECS, self._give_up)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None or self.conn.their_state is h11.SEND_BODY:
            self.transport.close()


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for all answers to end."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._watcher = watcher
        self._ready = ready

    async def startup(self, sockets: Optional[list[socket.socket]] = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:
        self._watcher.feed.end()
        super().handle_exit(sig, frame)
