"""What was done to whom, and when: the one record that all threads of a chaos run write."""

from __future__ import annotations

import threading
import time
from collections import Counter


class History:
    """Kills, stops and remarks, in order; and counts of each kind."""

    def __init__(self, verbose: bool) -> None:
        self.lines: list[str] = []
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self._killed: set[int] = set()
        self._verbose = verbose
        self._lock = threading.Lock()
        self._began = time.monotonic()
        #: when the broker was away: began and ended, on our clock; the last one may be open
        self._outages: list[tuple[float, float]] = []

    def kill(self, kind: str, what: str, pid: int = 0) -> None:
        """Something was ended by force; ``pid`` if it was a worker."""
        with self._lock:
            self._killed.add(pid)
            self.kills[kind] += 1
            self._write(f"kill {sum(self.kills.values()):4} {kind:20} {what}", self._verbose)

    def was_killed(self, pid: int) -> bool:
        """Whether a worker of this number was killed."""
        with self._lock:
            return pid in self._killed

    def stop(self, kind: str, what: str) -> None:
        """Something was suspended for a while."""
        with self._lock:
            self.stops[kind] += 1
            self._write(f"{'':9} {kind:20} {what}", self._verbose)

    def note(self, text: str) -> None:
        """Whatever helps to understand the rest."""
        with self._lock:
            self._write(text, False)

    def tell(self, text: str) -> None:
        """The same, also for whoever watches."""
        with self._lock:
            self._write(text, True)

    def broker_leaves(self) -> None:
        with self._lock:
            self._outages.append((time.monotonic(), float("inf")))

    def broker_is_back(self) -> None:
        with self._lock:
            self._outages[-1] = (self._outages[-1][0], time.monotonic())

    def outage_since(self, began: float) -> bool:
        """Whether the broker has been away at any time since then."""
        with self._lock:
            return any(ended >= began for _, ended in self._outages)

    def _write(self, text: str, aloud: bool) -> None:
        self.lines.append(f"{time.monotonic() - self._began:7.1f} {text}")
        if aloud:
            print(self.lines[-1], flush=True)
