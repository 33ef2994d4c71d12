"""How far a worker works ahead: not at all, unless its tasks are so short that the ways between them take longer.

A task that is over in milliseconds waits longer for its dispatch to come and for its `Started` to be confirmed than it
runs. So while tasks are short a worker holds more dispatches than it has executors, and has more of them logged as
started; the shortest it gives to an executor by the dozen. At the first one that takes long it hands back what others
could do meanwhile.
"""

from __future__ import annotations

#: the mean below which tasks are short, and how long one may run before they no longer are
SHORT_SECS = 0.05
LONG_SECS = 1.0
#: what was on its way to a worker when its haste ended has come by then
CALMING_SECS = 5.0
#: attempts for each slot that may be started and wait for it, no more than are done in so long, and messages
#: with dispatches that are held for these. That `Started` is confirmed takes as long as 64 tasks of 0.3 ms, as a log
#: that busy gets messages some 20 ms apart (`brokers.publisher`); twice as many, or executors wait now and then
AHEAD = 128
AHEAD_SECS = 0.4
MESSAGES_AHEAD = 24
#: of these an executor may have so many behind the one that it is at, and no more than are done in so long
BEHIND = 32
BEHIND_SECS = 0.02
#: how much of the mean is the last task's
SHARE = 0.1
#: after so many tasks that were all short the next may be taken for short, where little depends on it
FEW = 2


class Haste:
    """What a worker's tasks have taken of late."""

    def __init__(self) -> None:
        self._mean = LONG_SECS
        self._count, self._longest = 0, 0.0

    @property
    def short(self) -> bool:
        """Tasks are so short that it pays to work ahead."""
        return self._mean < SHORT_SECS

    @property
    def seems_short(self) -> bool:
        """The same, or all tasks so far were."""
        return self.short or (self._count >= FEW and self._longest < SHORT_SECS)

    @property
    def ahead(self) -> int:
        """How many attempts may be started and wait for each slot."""
        return min(AHEAD, int(AHEAD_SECS / max(self._mean, 1e-6)))

    @property
    def behind(self) -> int:
        """How many attempts an executor may be given behind the one that it is at."""
        return min(BEHIND, int(BEHIND_SECS / max(self._mean, 1e-6)))

    def took(self, secs: float) -> None:
        """A task has run for so long."""
        self._count, self._longest = self._count + 1, max(self._longest, secs)
        self._mean += SHARE * (min(secs, LONG_SECS) - self._mean)

    def hear(self) -> None:
        """Others say that tasks are short; who has had one that was not knows better."""
        if self._longest < SHORT_SECS:
            self._mean = min(self._mean, SHORT_SECS / 2)

    def stop(self) -> None:
        """One takes long."""
        self._mean = self._longest = LONG_SECS
