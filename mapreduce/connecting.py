"""One attempt to begin a session, in a thread of its own: a network that swallows packets answers late."""

from __future__ import annotations

import threading
from typing import Callable, Optional

from mapreduce.brokers.base import Broker


class Connecting:
    """The broker is the thread's until `over`; ``wake`` is called from the thread when it is."""

    def __init__(self, broker: Broker, wake: Callable[[], None]) -> None:
        self._broker = broker
        self._wake = wake
        self._lock = threading.Lock()
        self._abandoned = False
        self._over = False
        #: why there is no session, once it is over; None: there is one
        self.error: Optional[BaseException] = None
        threading.Thread(target=self._run, name="mr-connect", daemon=True).start()

    @property
    def over(self) -> bool:
        """The thread has nothing left to do."""
        with self._lock:
            return self._over

    def abandon(self) -> None:
        """Nobody waits for it any more: should a session still begin, it ends at once."""
        with self._lock:
            self._abandoned = True

    def _run(self) -> None:
        try:
            self._broker.connect()
        except BaseException as error:  # noqa: BLE001  # the host's to raise, whatever it is
            self.error = error
        with self._lock:
            self._over = True
            if not self._abandoned:
                self._wake()
            elif self.error is None:
                self._broker.close(0.0)
