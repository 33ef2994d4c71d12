"""A job as one JSON object a line, for programs. What the events and their fields are stands in docs/commands.md.

Most come from the job's log: `EventView` is a view that tells of what it is fed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Callable

from mapreduce import events as ev
from mapreduce.display.base import Display
from mapreduce.display.summary import end_of
from mapreduce.shown import as_json
from mapreduce.views import JobView, summary_to_plain
from mapreduce.views.plain import failure_to_plain, number

#: the pause between two events on progress
PROGRESS_SECS = 1.0

_Fields = dict[str, Any]


class EventView(JobView):
    """Calls ``tell(event, at, fields)`` for each entry of the log that programs may want to know of, once `shown`."""

    def __init__(self, tell: Callable[[str, float, _Fields], None]) -> None:
        super().__init__(keep_attempts=False)
        self.shown = False
        self._tell = tell
        self._read = 0  #: entries, in this reading of the log
        self._told = 0  #: entries, of all readings

    def note(self, entry: Any, at: float) -> None:
        # what a worker had not acked when it died comes redelivered, though it may have ended long before
        means_nothing = isinstance(entry, ev.Lost) and self.state.has_ended(entry.dispatch)
        super().note(entry, at)
        self._read += 1
        if self._read <= self._told:
            return
        self._told = self._read
        found = _EVENTS.get(type(entry))
        if found is not None and self.shown and not means_nothing:
            self._tell(found[0], at, {"job": self.job, **found[1](entry)})

    def restart(self) -> None:
        super().restart()
        self._read = 0


class JsonDisplay(Display):
    """Each event as it comes, progress once a second, the summary at the end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next_secs = PROGRESS_SECS

    def new_view(self) -> EventView:
        return EventView(self._tell)

    def begin(self, view: JobView, local: bool) -> None:
        super().begin(view, local)
        assert isinstance(view, EventView)
        view.shown = True

    def report(self, level: str, text: str) -> None:
        self._tell("report", time.time(), {"level": level, "text": text})

    def remark(self, lines: Sequence[str]) -> None:
        """The events have said it."""

    def refresh(self) -> None:
        passed = self.passed()
        if self.view is None or self.stopped or passed < self._next_secs:
            return
        self._next_secs = passed + PROGRESS_SECS
        now = time.time()
        self._tell(
            "progress",
            now,
            {
                "phase": self.view.phase,
                "stages": [asdict(stage) for stage in self.view.stages],
                "workers": len({each.worker for each in self.view.running}),
                "records_per_sec": self.view.records_per_sec(now),
                "bytes_per_sec": self.view.bytes_per_sec(now),
                "secs_left": self.view.secs_left(now),
            },
        )

    def stop(self) -> None:
        self.stopped = True

    def finish(self) -> None:
        self.stop()
        if self.view is not None and self.view.submitted_at and self._summary is not False:
            fields = {"phase": end_of(self.view), "cause": self.view.cause}
            self._tell("summary", time.time(), {**fields, **summary_to_plain(self.view.summary())})

    def _tell(self, event: str, at: float, fields: _Fields) -> None:
        job = self.view.job if self.view is not None else ""
        self.write([as_line(event, at, {"job": job, **fields})])


def as_line(event: str, at: float, fields: _Fields) -> str:
    """One event."""
    return as_json({"event": event, "at": at, **fields})


def _task(entry: Any) -> _Fields:
    return {"stage": entry.stage, "index": entry.index}


def _attempt(entry: Any) -> _Fields:
    return {**_task(entry), "attempt": number(entry.attempt), "worker": entry.worker}


def _ran(entry: Any) -> _Fields:
    return {**_attempt(entry), "secs": entry.secs, "slot": entry.slot}


def _done(entry: ev.Done) -> _Fields:
    skipped = [record._asdict() for record in entry.skipped]
    return {**_ran(entry), "counters": entry.counters, "stats": entry.stats, "left_out": skipped}


def _dispatch(entry: Any) -> _Fields:
    return {**_task(entry), "dispatch": number(entry.dispatch)}


def _reason(entry: Any) -> _Fields:
    return {"reason": entry.reason}


_EVENTS: dict[type, tuple[str, Callable[[Any], _Fields]]] = {
    ev.Submitted: (
        "submitted",
        lambda entry: {"name": entry.spec.name, "stages": entry.spec.stages, "version": entry.version},
    ),
    ev.InputComplete: ("input_complete", lambda entry: {"tasks": entry.count}),
    ev.Took: ("coordinated", lambda entry: {"worker": entry.worker}),
    ev.Started: ("started", _attempt),
    ev.Done: ("done", _done),
    ev.AttemptFailed: (
        "failed",
        lambda entry: {**_ran(entry), "failure": failure_to_plain(entry.failure)},
    ),
    ev.Lost: ("lost", _dispatch),
    ev.Returned: ("returned", _dispatch),
    ev.Missing: ("missing", _task),
    ev.StageSealed: ("sealed", lambda entry: {"stage": entry.stage}),
    ev.Printed: (
        "printed",
        lambda entry: {**_attempt(entry), "text": entry.text, "dropped": entry.dropped, "part": entry.part},
    ),
    ev.CancelRequested: ("cancel_requested", _reason),
    ev.Failed: (
        "job_failed",
        lambda entry: {**_task(entry), "tries": entry.tries, "failure": failure_to_plain(entry.failure)},
    ),
    ev.Cancelled: ("job_cancelled", _reason),
    ev.Abandoned: ("job_abandoned", _reason),
    ev.Delivered: ("job_delivered", lambda entry: {}),
    ev.Retried: ("retried", lambda entry: {"corrected": entry.bundle is not None}),
    ev.Expired: ("expired", lambda entry: {}),
}
