"""Questions about places over a channel of their own: is it there, how much waits in it, delete it, make it.

"Not found" is an answer (`replies`), but it costs the channel, and everything that followed on it is asked again.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Callable, Optional

from mapreduce.brokers.pyamqp import Channel, Listener, WireClosed
from mapreduce.brokers.replies import is_absent, is_different, is_stream_instead, is_unavailable
from mapreduce.brokers.wire import Wire

#: After this long what was unavailable is asked for again.
RETRY_SECS = 0.5

Answer = Callable[[str, int, int], None]  #: name, messages, consumers; -1 messages: there is no such place


class Asker(Listener):
    """Asks one kind of question. All in the link's turns; `answer` hears each name once, in any order."""

    def __init__(self, wire: Wire, question: Callable[[Channel, str], None], answer: Answer) -> None:
        self._wire = wire
        self._question = question
        self._answer = answer
        self._channel: Optional[Channel] = None
        self._asked: deque[str] = deque()
        self._unavailable: list[str] = []
        self._retry_at = 0.0

    @property
    def idle(self) -> bool:
        return not (self._asked or self._unavailable)

    def ask(self, name: str) -> None:
        if self._channel is None:
            self._channel = self._wire.open_channel(self)
        self._asked.append(name)
        self._question(self._channel, name)

    def advance(self) -> None:
        """Ask again what was unavailable, when it is time."""
        if self._unavailable and time.monotonic() >= self._retry_at:
            again, self._unavailable = self._unavailable, []
            for name in again:
                self.ask(name)

    def on_declared(self, name: str, messages: int, consumers: int) -> None:
        self._answer(self._asked.popleft(), messages, consumers)

    def on_deleted(self) -> None:
        self._answer(self._asked.popleft(), 0, 0)

    def on_closed(self, code: int, text: str) -> None:
        self._channel = None
        if is_absent(code, text):
            self._answer(self._asked.popleft(), -1, 0)
        elif is_different(code, text) and not is_stream_instead(code, text):
            self._answer(self._asked.popleft(), 0, 0)
        elif is_unavailable(code, text):
            self._unavailable.append(self._asked.popleft())
            self._retry_at = time.monotonic() + RETRY_SECS
        else:
            raise WireClosed(text, code)
        again, self._asked = self._asked, deque()
        for name in again:
            self.ask(name)
