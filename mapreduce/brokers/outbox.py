"""Bytes on their way to a non-blocking socket, plain or TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from typing import Callable, Union

_GATHER = 64  #: buffers handed to one sendmsg
_SMALL_BYTES = 8192  #: up to here copying is cheaper than a buffer of its own

Buffer = Union[bytes, bytearray, memoryview]


class Outbox:
    """Bytes on their way to a socket that takes what it likes."""

    def __init__(self) -> None:
        self._buffers: deque[Buffer] = deque()
        self.size = 0

    def append(self, data: Buffer) -> None:
        self.size += len(data)
        if len(data) > _SMALL_BYTES:
            self._buffers.append(memoryview(data))
        elif self._buffers and isinstance(self._buffers[-1], bytearray) and len(self._buffers[-1]) < 65536:
            self._buffers[-1] += data
        else:
            self._buffers.append(bytearray(data))

    def take(self) -> bytes:
        """Everything, in one piece."""
        data = b"".join(self._buffers)
        self._buffers.clear()
        self.size = 0
        return data

    def flush(self, send: Callable[[deque[Buffer]], int]) -> None:
        """Send until all is gone or the socket is full."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._buffers:
                self._forget(send(self._buffers))

    def _forget(self, sent: int) -> None:
        self.size -= sent
        while sent:
            first = self._buffers.popleft()
            if sent < len(first):
                self._buffers.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)


def send_plain(sock: socket.socket) -> Callable[[deque[Buffer]], int]:
    def send(buffers: deque[Buffer]) -> int:
        return sock.sendmsg([buffers[index] for index in range(min(len(buffers), _GATHER))])

    return send


def send_tls(sock: ssl.SSLSocket) -> Callable[[deque[Buffer]], int]:
    # One buffer at a time: after "want write" TLS insists on the same bytes again.
    return lambda buffers: sock.send(buffers[0])
