"""When executors of a worker will be free, by what tasks of the same stage have taken here.

A dispatch that comes long before there is an executor for it is taken from whoever has one sooner, and one of a higher
priority that is published meanwhile stands behind it. So a worker asks for the next dispatch shortly before it is
wanted: as long before as it takes for the dispatch to come and its input to be read. While tasks are shorter than that,
it asks at once.
"""

from __future__ import annotations

from collections import deque

from mapreduce.attempt import Attempt

#: the way of a dispatch from the broker, and of its `Started` there and back, on a host whose cores are busy
WAYS_SECS = 0.05
#: of how many tasks of a stage it is known what they took; the shortest of them counts, and the slowest input
REMEMBERED = 4


class _Stage:
    def __init__(self) -> None:
        self.ran: deque[float] = deque(maxlen=REMEMBERED)
        self.read: deque[float] = deque(maxlen=REMEMBERED)


class Foresight:
    """What is known of the stages of the jobs that this worker runs. All times are in seconds."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, int], _Stage] = {}  #: (code, stage): as `Attempt.code`

    def has_read(self, attempt: Attempt, secs: float) -> None:
        """Its input is here so long after its dispatch."""
        self._stage(attempt).read.append(secs)

    def has_run(self, attempt: Attempt, secs: float) -> None:
        """An executor was at it for so long."""
        self._stage(attempt).ran.append(secs)

    def asks_at(self, attempt: Attempt) -> float:
        """When the dispatch after one that runs is to be asked for: not before it runs; at once if nothing is known."""
        stage = self._stage(attempt)
        lead = WAYS_SECS + max(stage.read, default=0.0)
        return attempt.began + max(0.0, min(stage.ran, default=0.0) - lead)

    def forget(self, code: str) -> None:
        """Nothing of it will run here."""
        for key in [key for key in self._stages if key[0] == code]:
            del self._stages[key]

    def _stage(self, attempt: Attempt) -> _Stage:
        key = attempt.code, attempt.dispatch.stage
        stage = self._stages.get(key)
        if stage is None:
            stage = self._stages[key] = _Stage()
        return stage
