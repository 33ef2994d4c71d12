"""What a worker says on standard error: lines for people, or one JSON object a line for programs that collect logs.

    {"at": "2026-11-21T18:40:01.123Z", "level": "warning", "event": "task_failed", "worker": "…", "job": "…",
     "stage": 0, "task": 17, "text": "…"}

Job, stage and task are left out where there are none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, Callable, Protocol

from mapreduce import shown
from mapreduce.effects import Report

LEVELS = ("debug", "info", "warning", "error")


class Stream(Protocol):
    """As much of a text file as is needed."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class Log:
    """Writes reports to a stream."""

    def __init__(
        self, stream: Stream, worker: str, form: str, level: str, clock: Callable[[], float] = time.time
    ) -> None:
        """``form``: one of `FORMATS`; ``level``: one of `LEVELS`, the least that is written. ``clock``: seconds since
        the epoch.
        """
        self._stream = stream
        self._worker = worker
        self._line = FORMATS[form]
        self._least = LEVELS.index(level)
        self._clock = clock

    def says(self, level: str) -> bool:
        """Whether reports of this level are written."""
        return LEVELS.index(level) >= self._least

    def __call__(self, report: Report) -> None:
        if not self.says(report.level):
            return
        try:
            self._stream.write(self._line(report, self._worker, self._clock()) + "\n")
            self._stream.flush()
        except OSError:
            pass  # the terminal is gone, the log is full: work goes on


def as_text(report: Report, worker: str, at: float) -> str:
    return f"mr: {report.text}"


def as_json(report: Report, worker: str, at: float) -> str:
    """One line, whatever stands in the text."""
    when = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    fields: Iterable[tuple[str, Any]] = (
        ("at", when.replace("+00:00", "Z")),
        ("level", report.level),
        ("event", report.event or "note"),
        ("worker", worker),
        ("job", report.job or None),
        ("stage", report.stage),
        ("task", report.task),
        ("text", report.text),
    )
    return shown.as_json({name: value for name, value in fields if value is not None})


FORMATS: dict[str, Callable[[Report, str, float], str]] = {"text": as_text, "json": as_json}
