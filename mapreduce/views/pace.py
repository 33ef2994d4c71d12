"""How fast a job goes, and for how long it goes on: both from what its attempts took that are over."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

from mapreduce.state import Stage
from mapreduce.views.shown import AttemptView

#: rates are means over at least, and at most, so much time
MIN_WINDOW_SECS = 5.0
MAX_WINDOW_SECS = 60.0
#: an attempt that runs counts as done to this part at most
ALMOST = 0.95


class Pace:
    """Takes each win of a job; memory does not grow with their number."""

    def __init__(self) -> None:
        self._began_at = 0.0
        self._wins = 0
        self._secs = 0.0  #: of all wins
        self._by_second: dict[int, list[int]] = {}  #: records and bytes read by those that ended in it
        #: wins and their seconds, since when its tasks have been running
        self._stages: dict[int, list[float]] = {}

    def began(self, stage: int, at: float) -> None:
        """An attempt has started."""
        self._began_at = self._began_at or at
        if stage not in self._stages:
            self._stages[stage] = [0, 0.0, at]

    def go_on(self, stood_secs: float, at: float) -> None:
        """The job had failed, nothing has run for so long."""
        self._began_at = at
        for known in self._stages.values():
            known[2] += stood_secs

    def begin_anew(self, stages: Collection[int]) -> None:
        """What tasks of these stages have read is void."""
        for stage in stages:
            self._stages.pop(stage, None)

    def won(self, attempt: AttemptView) -> None:
        """An attempt has won its task."""
        at, secs = attempt.ended_at or 0.0, attempt.secs or 0.0
        self.began(attempt.stage, attempt.began_at)
        stage = self._stages[attempt.stage]
        stage[0] += 1
        stage[1] += secs
        self._wins += 1
        self._secs += secs
        bucket = self._by_second.get(int(at))
        if bucket is None:
            bucket = self._by_second[int(at)] = [0, 0]
            if len(self._by_second) > 2 * MAX_WINDOW_SECS:
                del self._by_second[next(iter(self._by_second))]
        bucket[0] += attempt.records_in
        bucket[1] += attempt.bytes_in

    def per_sec(self, now: float) -> tuple[float, float]:
        """Records and bytes a second that tasks have read lately. What runs counts when it is over, so the time looked
        at is that of a few tasks. What a host with a wrong clock says lies elsewhere."""
        mean = self._secs / self._wins if self._wins else 0.0
        window = min(max(MIN_WINDOW_SECS, 3 * mean), MAX_WINDOW_SECS)
        begin = max(now - window, self._began_at)
        recent = [b for second, b in self._by_second.items() if int(begin) <= second <= now + MIN_WINDOW_SECS]
        secs = max(now - begin, 1.0)
        return sum(b[0] for b in recent) / secs, sum(b[1] for b in recent) / secs

    def secs_left(self, stages: list[Stage], running: Collection[AttemptView], now: float) -> Optional[float]:
        """None: nobody can know yet. The stage at work goes on as it went; those to come take as long for each byte
        that it read, or wrote if that is more: what little some tasks read tells nothing of the rest."""
        current = next((n for n, stage in enumerate(stages) if not stage.complete), None)
        if current is None:
            return 0.0
        stage, known = stages[current], self._stages.get(current)
        if stage.total is None or known is None or not stage.done:
            return self._before_the_first(stages, current, now)
        wins, secs, since = known
        mean = secs / wins if wins else 0.0
        begun = sum(
            min(ALMOST, each.ran_secs(now) / mean) if mean else 0.0
            for each in running
            if each.stage == current and not each.copy
        )
        work = stage.done + begun
        pace = work / max(now - since, 0.001)
        left = max(0.0, stage.total - work) / pace
        bytes_a_sec = max(stage.bytes_in, stage.bytes_out) / stage.done * pace
        if not bytes_a_sec:
            return left
        to_come = stage.bytes_out / stage.done * stage.total
        return left + to_come * (len(stages) - 1 - current) / bytes_a_sec

    def _before_the_first(self, stages: list[Stage], current: int, now: float) -> Optional[float]:
        """Of a stage none of whose tasks is done: as fast as the one before."""
        known = self._stages.get(current - 1)
        before = stages[current - 1] if current else None
        if known is None or before is None or not max(before.bytes_in, before.bytes_out):
            return None
        since = self._stages[current][2] if current in self._stages else now
        took = since - known[2]
        share = before.bytes_out / max(before.bytes_in, before.bytes_out)
        whole = took * share * (len(stages) - current)
        return max(0.0, whole - (now - since))
