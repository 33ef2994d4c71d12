"""A job's attempts as what is drawn: bars in lanes, throughput over time, sizes of partitions. Bounded, for any job.

A lane is one executor of one worker. As long as there are few attempts each has a bar of its own. Beyond `MAX_BARS`
neighbours of a lane and stage that end within one *grain* of time become one bar, which says how many it stands for and
how many of these failed; it looks like a failure if there is one among them, so that none is hidden, else like most of
them. What runs is merged with what runs, if it began within one grain. The grain grows until the bars are few enough.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from mapreduce.views import AttemptView

MAX_BARS = 1500
#: more executors than this share one lane for each worker, and of workers only so many are drawn
MAX_LANES = 48
#: what a merged bar looks like as soon as one of it is in it: the first of these
WORST_FIRST = ("failed", "lost")
#: points of the chart of throughput, and how near they may be
POINTS = 120
LEAST_STEP_SECS = 0.5
#: what the log's clock may tell too much: two attempts of one executor may seem to overlap by so much
OVERLAP_SECS = 0.25
#: columns of the chart of a stage's partitions
COLUMNS = 128
#: grains in the whole span, to begin with
GRAINS = 1024


@dataclass
class Bar:
    """One attempt, or several that lie too close together to be told apart. Times in seconds since the epoch."""

    begin: float
    end: Optional[float]  #: None: it runs
    stage: int
    index: int  #: of the first one's task
    outcome: str
    count: int = 1
    copy: bool = False
    records: int = 0  #: read
    bytes: int = 0  #: read
    failed: int = 0  #: attempts among them that failed or were lost
    message: str = ""  #: why the (last) one failed
    outcomes: dict[str, int] = field(default_factory=dict)  #: how many of each


@dataclass
class Lane:
    """An executor; -1: all executors of the worker."""

    worker: str
    slot: int
    bars: list[Bar] = field(default_factory=list)


def lanes(attempts: Iterable[AttemptView], now: float) -> tuple[list[Lane], int]:
    """Lanes in order of worker and slot, and how many lanes more there are that are not drawn."""
    placed = _placed(attempts)
    hidden = 0
    if len(placed) > MAX_LANES:
        merged: dict[str, Lane] = {}
        for lane in placed:
            merged.setdefault(lane.worker, Lane(lane.worker, -1)).bars.extend(lane.bars)
        placed = sorted(merged.values(), key=lambda lane: -len(lane.bars))
        hidden = max(0, len(placed) - MAX_LANES)
        placed = sorted(placed[:MAX_LANES], key=lambda lane: lane.worker)
        for lane in placed:
            lane.bars.sort(key=lambda bar: bar.begin)
    return _thinned(placed, now), hidden


def _placed(attempts: Iterable[AttemptView]) -> list[Lane]:
    """Each attempt in the lane of its executor; of one whose executor is not known, in a lane that is free."""
    known: dict[str, dict[int, list[AttemptView]]] = {}
    unknown: dict[str, list[AttemptView]] = {}
    for attempt in attempts:
        slots = known.setdefault(attempt.worker, {})
        if attempt.slot >= 0:
            slots.setdefault(attempt.slot, []).append(attempt)
        else:
            unknown.setdefault(attempt.worker, []).append(attempt)
    found = []
    for worker in sorted(known):
        slots = known[worker]
        for each in slots.values():
            each.sort(key=lambda attempt: attempt.began_at)
        for attempt in sorted(unknown.get(worker, ()), key=lambda attempt: attempt.began_at):
            _place(attempt, slots)
        slots = {slot: lane for slot, lane in slots.items() if lane}
        found += [Lane(worker, slot, _bars(slots[slot])) for slot in sorted(slots)]
    return found


def _place(attempt: AttemptView, slots: dict[int, list[AttemptView]]) -> None:
    """Into the first lane where nothing else ran at the time, as far as the log's times tell."""
    for slot in range(max(slots, default=-1) + 2):
        lane = slots.setdefault(slot, [])
        at = bisect.bisect_left(_Begins(lane), attempt.began_at)
        if (not at or _over(lane[at - 1], attempt)) and (at == len(lane) or _over(attempt, lane[at])):
            lane.insert(at, attempt)
            return


class _Begins(Sequence[float]):
    """When the attempts of a lane began, without a list of it."""

    def __init__(self, lane: list[AttemptView]) -> None:
        self._lane = lane

    def __len__(self) -> int:
        return len(self._lane)

    def __getitem__(self, at: Any) -> Any:
        return self._lane[at].began_at


def _over(earlier: AttemptView, later: AttemptView) -> bool:
    """Whether the one had ended when the other began."""
    return earlier.ended_at is not None and earlier.ended_at <= later.began_at + OVERLAP_SECS


def _bars(lane: list[AttemptView]) -> list[Bar]:
    """One after the other: where times that are a little off make two overlap, the end of the first is cut."""
    bars = [_bar(attempt) for attempt in lane]
    for earlier, later in zip(bars, bars[1:]):
        if earlier.end is not None:
            overlap = earlier.end - later.begin
            if 0 < overlap <= min(OVERLAP_SECS, (earlier.end - earlier.begin) / 2):
                earlier.end = later.begin
    return bars


def _bar(attempt: AttemptView) -> Bar:
    return Bar(
        begin=attempt.began_at,
        end=attempt.ended_at,
        stage=attempt.stage,
        index=attempt.index,
        outcome=attempt.outcome,
        copy=attempt.copy,
        records=attempt.records_in,
        bytes=attempt.bytes_in,
        failed=int(attempt.outcome in WORST_FIRST),
        message=attempt.failure.message[:200] if attempt.failure is not None else "",
        outcomes={attempt.outcome: 1},
    )


def _thinned(drawn: list[Lane], now: float) -> list[Lane]:
    bars = [bar for lane in drawn for bar in lane.bars]
    if len(bars) <= MAX_BARS:
        return drawn
    span = max(now if bar.end is None else bar.end for bar in bars) - min(bar.begin for bar in bars)
    grain = max(span, 1e-3) / GRAINS
    while sum(len(lane.bars) for lane in drawn) > MAX_BARS and grain <= 2 * span:
        for lane in drawn:
            lane.bars = _merged(lane.bars, grain)
        grain *= 2
    return drawn


def _merged(bars: Sequence[Bar], grain: float) -> list[Bar]:
    result: list[Bar] = []
    latest: dict[tuple[int, bool], Bar] = {}  # (stage, whether it runs) -> the last bar so far
    for bar in bars:
        kind = bar.stage, bar.end is None
        last = latest.get(kind)
        if last is not None and (bar.begin if bar.end is None else bar.end) - last.begin <= grain:
            _join(last, bar)
        else:
            latest[kind] = bar
            result.append(bar)
    return result


def _join(into: Bar, bar: Bar) -> None:
    if into.end is not None and bar.end is not None:
        into.end = max(into.end, bar.end)
    for outcome, count in bar.outcomes.items():
        into.outcomes[outcome] = into.outcomes.get(outcome, 0) + count
    worst = [outcome for outcome in WORST_FIRST if outcome in into.outcomes]
    into.outcome = worst[0] if worst else max(into.outcomes, key=lambda outcome: into.outcomes[outcome])
    into.count += bar.count
    into.copy = into.copy or bar.copy
    into.records += bar.records
    into.bytes += bar.bytes
    into.failed += bar.failed
    into.message = bar.message or into.message


def throughput(attempts: Iterable[AttemptView], begin: float, end: float) -> dict[str, Any]:
    """Records and bytes a second that tasks have read, by those that won; each spread over the time that it took."""
    points = max(4, min(POINTS, int((end - begin) / LEAST_STEP_SECS)))
    step = max(end - begin, 1e-3) / points
    records, size = [0.0] * points, [0.0] * points
    for attempt in attempts:
        if attempt.outcome != "won" or attempt.ended_at is None:
            continue
        first = min(max(int((attempt.began_at - begin) / step), 0), points - 1)
        last = min(max(int((attempt.ended_at - begin) / step), first), points - 1)
        share = step * (last - first + 1)
        for point in range(first, last + 1):
            records[point] += attempt.records_in / share
            size[point] += attempt.bytes_in / share
    return {
        "begin": begin,
        "step": step,
        "records": [round(n, 1) for n in records],
        "bytes": [round(n) for n in size],
    }


def partitions(attempts: Iterable[AttemptView], stage: int) -> dict[str, Any]:
    """What each partition of the stage had to read, in bytes; where they are many, the largest of each few."""
    sizes: dict[int, int] = {}
    for attempt in attempts:
        if attempt.stage == stage and attempt.outcome == "won":
            sizes[attempt.index] = attempt.bytes_in
    count = max(sizes, default=-1) + 1
    each = max(1, -(-count // COLUMNS))
    columns = [
        max((sizes.get(i, 0) for i in range(at, at + each)), default=0) for at in range(0, count, each)
    ]
    return {"stage": stage, "each": each, "count": count, "bytes": columns}
