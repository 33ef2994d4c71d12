"""A job as the page shows it: plain data for JSON, of a size that does not grow with the job.

Numbers that JavaScript cannot hold exactly (beyond 2**53) and those that JSON does not know go as text. Lists hold the
last entries, with a count of all; long texts are cut.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Optional

from mapreduce.dashboard import chart
from mapreduce.refs import Failure
from mapreduce.shown import as_json, without_secrets
from mapreduce.views import AttemptView, JobView

EXACT = 2**53
ERRORS = 50
NOTICES = 200
PRINTED = 300
#: of all that is shown of what user code printed, the last
PRINTED_CHARS = 64 * 1024
LINE_CHARS = 4000
COUNTERS = 500
SLOWEST = 10


def to_json(data: Any) -> bytes:
    return as_json(_safe(data), separators=(",", ":")).encode("ascii")


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _safe(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(each) for each in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def of_job(job: str, view: JobView, now: float) -> dict[str, Any]:
    """``now``: seconds since the epoch."""
    attempts = [attempt for attempt in view.attempts.values() if attempt.began_at]
    end = view.ended_at if view.ended_at is not None else now
    begin = min([view.submitted_at or end, *(attempt.began_at for attempt in attempts)])
    end = max([end, *(attempt.ended_at or 0.0 for attempt in attempts), begin + 0.001])
    drawn, hidden = chart.lanes(attempts, end)
    spec = view.spec
    shown = sum(len(lane.bars) for lane in drawn)
    return {
        "id": job,
        "at": now,
        "name": _cut(view.name),
        "phase": view.phase,
        "cause": _cut(view.cause),
        "submitted_at": view.submitted_at,
        "ended_at": view.ended_at,
        "can_cancel": view.state.terminal is None and bool(view.state.stages),
        "settings": {}
        if spec is None
        else {
            "pool": spec.pool,
            "interpreter": spec.interpreter,
            "partitions": spec.partitions,
            "tries": spec.tries,
            "split_bytes": spec.split_bytes,
            "input": _cut(", ".join(without_secrets(each) for each in spec.inputs)),
        },
        "stages": [dataclasses.asdict(stage) for stage in view.stages],
        "attempts": {
            "all": view.state.attempts,
            "failed": view.state.failures,
            "lost": view.state.losses,
            "copies": sum(attempt.copy for attempt in attempts),
        },
        "pace": {
            "records": view.records_per_sec(now),
            "bytes": view.bytes_per_sec(now),
            "secs_left": view.secs_left(now),
        },
        "timeline": {
            "begin": begin,
            "end": end,
            "hidden": hidden,
            "merged": shown < len(attempts),
            "attempts": len(attempts),
            "lanes": [
                {"worker": lane.worker, "slot": lane.slot, "bars": [_bar(bar, begin) for bar in lane.bars]}
                for lane in drawn
            ],
        },
        "throughput": chart.throughput(attempts, begin, end),
        "partitions": [_partitions(view, attempts, stage.number) for stage in view.stages[1:]],
        "errors": [_error(attempt) for attempt in _last(view.failures, ERRORS)],
        "failure": None if view.failure is None else _failure(view.failure.failure),
        "slowest": [_slow(attempt, now) for attempt in view.slowest(SLOWEST)],
        "counters": dict(sorted(view.state.counters.items())[:COUNTERS]),
        "notices": {
            "seen": view.notices_seen,
            "last": [[n.at, n.level, _cut(n.text)] for n in _last(view.notices, NOTICES)],
        },
        "printed": {"seen": view.printed_seen, "last": _printed(view)},
    }


def _bar(bar: chart.Bar, begin: float) -> list[Any]:
    """Milliseconds since ``begin``; an end of -1: it runs."""
    end = -1 if bar.end is None else round((bar.end - begin) * 1000)
    plain = [round((bar.begin - begin) * 1000), end, bar.stage, bar.index, bar.outcome, bar.count]
    return [*plain, int(bar.copy), bar.records, bar.bytes, bar.failed, bar.message]


def _partitions(view: JobView, attempts: list[AttemptView], stage: int) -> dict[str, Any]:
    skew = view.skew(stage)
    return {**chart.partitions(attempts, stage), "skew": None if skew is None else list(skew)}


def _error(attempt: AttemptView) -> dict[str, Any]:
    return {
        "at": attempt.ended_at,
        "stage": attempt.stage,
        "index": attempt.index,
        "worker": attempt.worker,
        **_failure(attempt.failure),
    }


def _failure(failure: Optional[Failure]) -> dict[str, Any]:
    if failure is None:
        return {}
    return {
        "kind": failure.kind,
        "message": _cut(failure.message),
        "function": _cut(failure.function),
        "source": _cut(without_secrets(failure.source)),
        "offset": failure.offset,
        "record": _cut(failure.record),
        "traceback": failure.traceback[-4 * LINE_CHARS :],
    }


def _slow(attempt: AttemptView, now: float) -> dict[str, Any]:
    return {
        "stage": attempt.stage,
        "index": attempt.index,
        "worker": attempt.worker,
        "outcome": attempt.outcome,
        "secs": attempt.ran_secs(now),
        "records": attempt.records_in,
        "bytes": attempt.bytes_in,
    }


def _printed(view: JobView) -> list[list[Any]]:
    lines: list[list[Any]] = []
    room = PRINTED_CHARS
    for text in reversed(view.printed):
        lines.append([text.at, text.stage, text.index, _cut(text.text), text.dropped])
        room -= len(text.text)
        if room < 0 or len(lines) >= PRINTED:
            break
    return lines[::-1]


def _last(items: Iterable[Any], count: int) -> list[Any]:
    return list(items)[-count:]


def _cut(text: str) -> str:
    return text if len(text) <= LINE_CHARS else f"{text[:LINE_CHARS]}…"
