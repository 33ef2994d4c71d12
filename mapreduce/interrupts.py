"""Ctrl-C and its like while a job runs: the first one cancels the job in an orderly way, the second leaves at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Callable

from mapreduce.client import Client
from mapreduce.frozen import frozen

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@frozen
class CancelJob:
    """Posted by a signal handler."""

    number: int


class Canceller:
    """A role that turns `CancelJob` into the client's request."""

    def __init__(self, client: Client) -> None:
        self.prefix = "cancel/"
        self.finished = False
        self._client = client
        #: the signal that asked for it; 0: none yet
        self.signal = 0

    def handle(self, event: Any, now: float) -> list[Any]:
        if not isinstance(event, CancelJob) or self._client.finished:
            return []
        self.signal = event.number
        return self._client.cancel(signal.Signals(event.number).name, now)


@contextlib.contextmanager
def cancelling(post: Callable[[CancelJob], None]) -> Iterator[None]:
    """Post `CancelJob` for the first signal; then signals do again what they did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # what is ignored (under nohup, or in the background of a script) stays so; None is not Python's to put back
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def cancel(number: int, frame: object) -> None:
        restore()
        post(CancelJob(number))

    for number in before:
        signal.signal(number, cancel)
    try:
        yield
    finally:
        restore()
