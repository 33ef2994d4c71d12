"""A view as plain data, for JSON: `mr status --json`, the dashboard."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Optional

from mapreduce.refs import Failure
from mapreduce.views.job import JobView
from mapreduce.views.profile import to_plain as profile_to_plain
from mapreduce.views.shown import AttemptView, Summary


def to_plain(view: JobView, now: Optional[float] = None) -> dict[str, Any]:
    """All that the view shows. Rates and the time left are null without ``now``, in seconds since the epoch."""
    failed = view.failure
    return {
        "job": view.job,
        "name": view.name,
        "phase": view.phase,
        "cause": view.cause,
        "failure": None
        if failed is None
        else {
            "stage": failed.stage,
            "index": failed.index,
            "tries": failed.tries,
            **failure_to_plain(failed.failure),
        },
        "submitted_at": view.submitted_at,
        "ended_at": view.ended_at,
        "latest_at": view.latest_at,
        "records_per_sec": None if now is None else view.records_per_sec(now),
        "bytes_per_sec": None if now is None else view.bytes_per_sec(now),
        "secs_left": None if now is None else view.secs_left(now),
        "workers": view.workers,
        "stages": [asdict(stage) for stage in view.stages],
        "attempts": [attempt_to_plain(each) for each in view.attempts.values()],
        "notices": [notice._asdict() for notice in view.notices],
        "notices_seen": view.notices_seen,
        "printed": [{**asdict(text), "attempt": number(text.attempt)} for text in view.printed],
        "printed_seen": view.printed_seen,
        "summary": summary_to_plain(view.summary()),
    }


def summary_to_plain(summary: Summary) -> dict[str, Any]:
    return {
        "secs": summary.secs,
        "tasks": summary.tasks,
        "tries": summary.tries,
        "failed": summary.failed,
        "lost": summary.lost,
        "copies": summary.copies,
        "stages": [asdict(stage) for stage in summary.stages],
        "bytes_moved": summary.bytes_moved,
        "counters": summary.counters,
        "slowest": [attempt_to_plain(each) for each in summary.slowest],
        "skews": {str(stage): skew._asdict() for stage, skew in summary.skews.items()},
        "left_out": summary.left_out,
        "profile": profile_to_plain(summary.profile),
    }


def attempt_to_plain(view: AttemptView) -> dict[str, Any]:
    return {
        "stage": view.stage,
        "index": view.index,
        "attempt": number(view.attempt),
        "worker": view.worker,
        "slot": view.slot,
        "began_at": view.began_at,
        "ended_at": view.ended_at,
        "secs": view.secs,
        "outcome": view.outcome,
        "copy": view.copy,
        "failure": None if view.failure is None else failure_to_plain(view.failure),
        "records_in": view.records_in,
        "records_out": view.records_out,
        "bytes_in": view.bytes_in,
        "bytes_out": view.bytes_out,
    }


def failure_to_plain(failure: Failure) -> dict[str, Any]:
    return asdict(failure)


def number(attempt: int) -> str:
    """Numbers of attempts are text in JSON: they have 63 bits, and JavaScript's numbers 53."""
    return f"{attempt:016x}"
