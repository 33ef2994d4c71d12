"""A TCP proxy whose line can be cut, or fall silent; with a certificate it speaks TLS to its clients."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Optional


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to one other port there."""

    def __init__(self, target_port: int, tls: Optional[ssl.SSLContext] = None) -> None:
        self._target = ("127.0.0.1", target_port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        #: set while bytes flow; a cleared one holds that direction up without closing anything
        self.upstream, self.downstream = threading.Event(), threading.Event()
        self.upstream.set()
        self.downstream.set()
        self.sent_upstream = 0  #: bytes
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection, without a word."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._sockets.clear()
        self.upstream.set()
        self.downstream.set()

    def silence(self) -> None:
        """Forward nothing more, and close nothing."""
        self.upstream.clear()
        self.downstream.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            threading.Thread(
                target=self._forward, args=[server, client, self.downstream], daemon=True
            ).start()
            self._forward(client, server, self.upstream)

    def _forward(self, source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                data = source.recv(65536)
                flows.wait()
                if not data:
                    break
                if flows is self.upstream:
                    self.sent_upstream += len(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
