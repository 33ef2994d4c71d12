"""Time, as a coordinator reads it: one clock that its log keeps over any number of coordinators.

Each coordinator logs how much time has gone by under its lease (`Passed`); the leases' sum is the log's clock. It says
how long anything has waited, whoever has coordinated meanwhile, and needs no two hosts' clocks to agree. Time without
a coordinator does not count. Two leases at once make it run fast; then something runs twice, and the first `Done` wins.
"""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev

#: longer between two events than this: the process was suspended, and such time does not count
SUSPENDED_SECS = 5.0
#: the first `Passed` of a coordinator; each of the next comes after twice the time, so that one that dies early has
#: logged half of its life at least
FIRST_SECS = 1.0
#: the most between two of them, while tasks are out
BUSY_SECS = 5.0
#: and while nothing is waited for but a client that is not there yet; else as often as that says that it is there: what
#: was heard of it between two `Passed` seems to be as old as the first of them, to those who read the log later
IDLE_SECS = 60.0


class AwakeClock:
    """The host's clock without the times at which this process was suspended, and could not listen."""

    def __init__(self, now: float, held: bool = False) -> None:
        self.held = held  #: stands still, for nobody can be heard of
        self._last = now
        self._slept = 0.0

    def read(self, now: float) -> float:
        if self.held or now - self._last > SUSPENDED_SECS:
            self._slept += now - self._last
        self._last = now
        return now - self._slept


class LogClock:
    """Seconds since the log's beginning. Until it is started it shows the time of the entry that is read."""

    def __init__(self, salt: int = 0) -> None:
        self._salt = salt  #: of our lease: marks our own `Passed`
        self._totals: dict[int, float] = {}  #: by salt, as far as they were read
        self._before = 0.0  #: their sum when we started
        self._inherited = 0.0  #: what was logged under our lease by others, who held it before us
        self._logged = 0.0  #: of our own time
        self._since: Optional[float] = None

    def note(self, entry: Any) -> None:
        """An entry of the log. Once this clock runs by itself no `Passed` moves it: it is our own, or a rival's."""
        if not isinstance(entry, ev.Passed):
            return
        known = self._totals.get(entry.salt, 0.0)
        if not entry.total_secs > known:
            return  # an older one, or the same again
        self._totals[entry.salt] = entry.total_secs
        if self._since is None:
            self._before += entry.total_secs - known

    def start(self, since: float) -> None:
        """Go on from here with our own time; ``since``: when our `Took` was confirmed, or read."""
        self._since = since
        self._inherited = self._totals.get(self._salt, 0.0)

    def read(self, now: float) -> float:
        return self._before + self._own(now)

    @property
    def heard(self) -> float:
        """All that was logged until then has been read: deliveries may be late, and nobody silent because of that."""
        read_back = self._totals.get(self._salt, 0.0) - self._inherited
        return self._before + min(
            read_back, self._logged
        )  # more than that another holder of our lease has logged

    def due(self, now: float, most: float) -> bool:
        """Whether it is time to log what has passed; ``most``: it must be logged after so long."""
        pause = max(FIRST_SECS, min(self._logged, most))
        return self._own(now) - self._logged >= pause

    def passed(self, now: float) -> ev.Passed:
        """What has passed until now, to be logged."""
        self._logged = self._own(now)
        return ev.Passed(self._inherited + self._logged, self._salt)

    def _own(self, now: float) -> float:
        return now - self._since if self._since is not None else 0.0
