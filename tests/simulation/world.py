"""The virtual clock: what happens when, and a trace of it. Everything else in here happens at some moment of this."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import Any, Callable, Optional

Action = Callable[..., None]
#: of ticks while nothing else happens; shorter than what a role takes for a suspension
QUIET_TICK_SECS = 4.0


class World:
    """A clock that jumps from one thing that happens to the next. The seed decides everything."""

    def __init__(self, seed: int, latency: float = 0.02, spikes: float = 0.0) -> None:
        """``latency``: seconds that a message takes at most; ``spikes``: how many of them take far longer."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.latency = latency
        self.spikes = spikes
        #: lines of (time, who, what); None: nobody wants them
        self.trace: Optional[list[tuple[float, str, str]]] = None
        self.counts: dict[str, int] = {}
        #: when anything but a tick happened last
        self.busy_at = 0.0
        self._agenda: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._serial = count()

    def at(self, when: float, action: Action, *args: Any) -> None:
        """Do it then; what is due at one moment happens in the order of these calls."""
        heapq.heappush(self._agenda, (when, next(self._serial), action, args))

    def after(self, secs: float, action: Action, *args: Any) -> None:
        heapq.heappush(self._agenda, (self.now + secs, next(self._serial), action, args))

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, action, args = heapq.heappop(self._agenda)
        action(*args)

    def delay(self) -> float:
        """How long something is on its way."""
        draw = self.rng.random()
        if draw < self.spikes:
            return self.rng.random() * 20.0
        return draw * self.latency

    def chance(self, share: float) -> bool:
        return share > 0.0 and self.rng.random() < share

    def note(self, who: str, what: str) -> None:
        if self.trace is not None:
            self.trace.append((self.now, who, what))

    def tally(self, what: str, number: int = 1) -> None:
        """Count what was exercised."""
        self.counts[what] = self.counts.get(what, 0) + number
