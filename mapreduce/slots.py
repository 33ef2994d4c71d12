"""Which attempts a worker's executors have: one at work in each slot and, while tasks are short, some behind it.

An executor runs what it was given one after the other, and answers for each. It is given more when half of that is
done, not one for each that is: so it and its parent wake each other up once for a dozen short tasks. Nobody but the
first is at work: to the rest, nothing has happened that could be charged.
"""

from __future__ import annotations

from collections import deque
from typing import Optional

from mapreduce.attempt import Attempt, Phase
from mapreduce.haste import SHORT_SECS


class Slots:
    """So many executors. Pure book-keeping: what is given to them and taken away, the worker tells them."""

    def __init__(self, count: int) -> None:
        self._lanes: list[deque[Attempt]] = [deque() for _ in range(count)]
        self._full: set[int] = set()  #: slots that were filled, and have not done half of that

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def at_work(self) -> list[Attempt]:
        """What executors run now."""
        return [lane[0] for lane in self._lanes if lane]

    def stuck(self, now: float, secs: float) -> list[Attempt]:
        """What executors have not begun because they have been at another one for longer than that."""
        return [
            each for lane in self._lanes if lane and now - lane[0].began > secs for each in list(lane)[1:]
        ]

    def place_for(self, attempt: Attempt, most_behind: int, now: float) -> Optional[int]:
        """The slot that may have the attempt next: a free one, else one with less than ``most_behind`` behind the one
        at work, if that has just begun. An executor has one job's code; and what may end it, or has to be alone,
        stands in no line."""
        fitting = [
            slot
            for slot, lane in enumerate(self._lanes)
            if self._takes_more(slot, most_behind)
            and (not lane or (now - lane[0].began <= SHORT_SECS and _get_on(lane[0], attempt)))
        ]
        return min(fitting, key=lambda each: len(self._lanes[each]), default=None)

    def _takes_more(self, slot: int, most_behind: int) -> bool:
        length = len(self._lanes[slot])
        if length > most_behind:
            self._full.add(slot)
        elif length <= 1 + most_behind // 2:
            self._full.discard(slot)
        return slot not in self._full

    def enter(self, attempt: Attempt, slot: int, now: float) -> None:
        """An executor is given the attempt."""
        lane = self._lanes[slot]
        lane.append(attempt)
        attempt.slot, attempt.phase = slot, Phase.GIVEN
        if len(lane) == 1:
            _begin(attempt, now)

    def leave(self, attempt: Attempt, now: float) -> None:
        """It has it no longer; the next one begins if that was at work."""
        if attempt.slot < 0:
            return
        lane = self._lanes[attempt.slot]
        if attempt not in lane:
            return
        was_first = lane[0] is attempt
        lane.remove(attempt)
        if was_first and lane:
            _begin(lane[0], now)


def _begin(attempt: Attempt, now: float) -> None:
    attempt.phase, attempt.began = Phase.RUNNING, now


def _get_on(one: Attempt, other: Attempt) -> bool:
    return one.code == other.code and _is_sociable(one) and _is_sociable(other)


def _is_sociable(attempt: Attempt) -> bool:
    return not (attempt.dispatch.alone or attempt.dispatch.careful)
