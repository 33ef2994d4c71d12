"""When executors of a worker will be free, by what tasks of the same stage have taken here.

A dispatch that comes long before there is an executor for it is taken from whoever has one sooner, and one of a higher
priority that is published meanwhile stands behind it. So a worker asks for the next dispatch shortly before it is
wanted: as long before as it takes for the dispatch to come and its input to be read. It may be one of another job, so
the inputs of all count. While tasks are shorter than that, it asks at once.
"""

from __future__ import annotations

from collections import deque

from mapreduce.attempt import Attempt

#: the way of an ack to the broker and of a dispatch back, on a host whose cores are busy; longer where a `Started` and
#: its confirm, which go the same way, take longer. These cannot be had earlier by asking earlier: `Started` is sent
#: when an executor is free
WAYS_SECS = 0.05
#: of how many tasks of a stage it is known what they took, of which the shortest counts; and of how many of all stages
#: what their input and confirms took to come, of which the longest does
REMEMBERED = 4


class Foresight:
    """What is known of the stages of the jobs that this worker runs. All times are in seconds."""

    def __init__(self) -> None:
        self._ran: dict[tuple[str, int], deque[float]] = {}  #: by (code, stage): as `Attempt.code`
        self._read: deque[float] = deque(maxlen=REMEMBERED)
        self._heard: deque[float] = deque(maxlen=REMEMBERED)

    def has_read(self, secs: float) -> None:
        """The input of one is here so long after its dispatch."""
        self._read.append(secs)

    def has_heard(self, secs: float) -> None:
        """The broker has confirmed a `Started` after so long."""
        self._heard.append(secs)

    def has_run(self, attempt: Attempt, secs: float) -> None:
        """An executor was at it for so long."""
        key = attempt.code, attempt.dispatch.stage
        self._ran.setdefault(key, deque(maxlen=REMEMBERED)).append(secs)

    def asks_at(self, attempt: Attempt) -> float:
        """When the dispatch after one that runs is to be asked for: not before it runs; at once if nothing is known."""
        ran = self._ran.get((attempt.code, attempt.dispatch.stage), (0.0,))
        lead = max((WAYS_SECS, *self._heard)) + max(self._read, default=0.0)
        return attempt.began + max(0.0, min(ran) - lead)

    def forget(self, code: str) -> None:
        """Nothing of it will run here."""
        for key in [key for key in self._ran if key[0] == code]:
            del self._ran[key]
