"""Work that may block for long, one piece after the other in a thread of its own."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

Work = Callable[[], None]


class Background:
    """The thread begins with the first work, and is a daemon: a server that does not answer keeps no process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._works: queue.SimpleQueue[Optional[Work]] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def do(self, work: Work) -> None:
        """Do it after what was asked for before; here and now if the system has no thread for it."""
        if self._thread is None or not self._thread.is_alive():  # of an error that nobody has foreseen
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                work()
                return
            self._thread = thread
        self._works.put(work)

    def close(self, patience_secs: float) -> bool:
        """Begin nothing more after so many seconds; whether all was done by then."""
        self._works.put(None)
        if self._thread is not None:
            self._thread.join(patience_secs)
        self._closed = True
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        for work in iter(self._works.get, None):
            if self._closed:
                return
            work()
