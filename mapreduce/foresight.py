"""When to prefetch: when executors of a worker will be free, by what tasks of the same stage have taken here.

A dispatch that comes long before there is an executor for it is taken from whoever has one sooner, and one of a higher
priority that is published meanwhile stands behind it. So a worker asks for the next dispatch shortly before it is
wanted: as long before as it takes for the dispatch to come and its input to be read. It may be one of another job, so
the inputs of all stages count of which some came lately, each by what is usual there: a cheap one is not asked for as
if it were slow because one message was late. While tasks are shorter than that, it asks at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mapreduce.attempt import Attempt

#: the way of an ack to the broker and of a dispatch back, on a host whose cores are busy; longer where a `Started` and
#: its confirm, which go the same way, take longer. These cannot be had earlier by asking earlier: `Started` is sent
#: when an executor is free
WAYS_SECS = 0.05
#: of how many tasks of a stage it is known what they took, and of how many of all what their confirms took
REMEMBERED = 4
#: of how many tasks of all stages it is known what their inputs took to come
REMEMBERED_INPUTS = 8


class _Stage:
    def __init__(self) -> None:
        self.ran: deque[float] = deque(maxlen=REMEMBERED)
        #: from the first block of what they wrote to their end; not of those that wrote none
        self.wrote: deque[float] = deque(maxlen=REMEMBERED)

    def ends_at(self, attempt: Attempt) -> float:
        """Rather too early than too late. But many tasks write only in the end: then that tells of it in time, and
        until it does the usual will do."""
        if not self.ran:
            return attempt.began
        if attempt.wrote_at is not None and self.wrote:
            return attempt.wrote_at + min(self.wrote)
        tells = self.wrote and _usual(self.wrote) >= WAYS_SECS
        return attempt.began + (_usual(self.ran) if tells else min(self.ran))


class Foresight:
    """What is known of the stages of the jobs that this worker runs. All times are in seconds."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, int], _Stage] = {}  #: by (code, stage): as `Attempt.code`
        self._read: deque[tuple[tuple[str, int], float]] = deque(maxlen=REMEMBERED_INPUTS)
        self._heard: deque[float] = deque(maxlen=REMEMBERED)

    def has_read(self, attempt: Attempt, secs: float) -> None:
        """Its input is here so long after its dispatch."""
        self._read.append((_stage_of(attempt), secs))

    def has_heard(self, secs: float) -> None:
        """The broker has confirmed a `Started` after so long."""
        self._heard.append(secs)

    def has_run(self, attempt: Attempt, now: float) -> None:
        """An executor is done with it."""
        key = _stage_of(attempt)
        stage = self._stages.get(key)
        if stage is None:
            stage = self._stages[key] = _Stage()
        stage.ran.append(now - attempt.began)
        if attempt.wrote_at is not None:
            stage.wrote.append(now - attempt.wrote_at)

    def asks_at(self, attempt: Attempt) -> float:
        """When the dispatch after one that runs is to be asked for: not before it runs; at once if nothing is known."""
        stage = self._stages.get(_stage_of(attempt))
        return attempt.began if stage is None else max(attempt.began, stage.ends_at(attempt) - self._lead())

    def _lead(self) -> float:
        inputs: dict[tuple[str, int], list[float]] = {}
        for stage, secs in self._read:
            inputs.setdefault(stage, []).append(secs)
        way = max(WAYS_SECS, _usual(self._heard)) if self._heard else WAYS_SECS
        return way + max(map(_usual, inputs.values()), default=0.0)

    def forget(self, code: str) -> None:
        """Nothing of it will run here."""
        for key in [key for key in self._stages if key[0] == code]:
            del self._stages[key]
        left = [each for each in self._read if each[0][0] != code]
        self._read = deque(left, maxlen=REMEMBERED_INPUTS)


def _stage_of(attempt: Attempt) -> tuple[str, int]:
    return attempt.code, attempt.dispatch.stage


def _usual(secs: Sequence[float]) -> float:
    """The median, the lower one of two."""
    return sorted(secs)[(len(secs) - 1) // 2]
