"""Lines at intervals, for logs and for terminals that cannot do more."""

from __future__ import annotations

import time
from typing import Any

from mapreduce.display import texts
from mapreduce.display.base import LONG_SECS, Display
from mapreduce.display.printed import Unseen
from mapreduce.views import JobView, StageView

#: the first line on progress, and the pause between two; until the first one nothing is said that need not be
FIRST_SECS = LONG_SECS
EVERY_SECS = 30.0
#: warnings shown between two lines on progress
MOST_WARNINGS = 20


class PlainDisplay(Display):
    """Progress now and then; warnings at once, from the first line on progress on: short runs are silent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next_secs = FIRST_SECS
        self._notices = Unseen()
        self._warned = 0
        self._hidden = 0

    def begin(self, view: JobView, local: bool) -> None:
        super().begin(view, local)
        self._notices.take(view.notices, view.notices_seen)

    def refresh(self) -> None:
        super().refresh()
        passed = self.passed()
        if self.view is None or self.stopped or passed < FIRST_SECS:
            return
        self._warn(self.view)
        if passed >= self._next_secs:
            self._next_secs = passed + EVERY_SECS
            self._tell(self.view, passed)

    def _warn(self, view: JobView) -> None:
        found, forgotten = self._notices.take(view.notices, view.notices_seen)
        warnings = [f"mr: {texts.clean(notice.text)}" for notice in found if notice.level == "warning"]
        shown = warnings[: MOST_WARNINGS - self._warned]
        self._warned += len(shown)
        self._hidden += len(warnings) - len(shown) + forgotten
        self.write(shown)

    def _tell(self, view: JobView, passed_secs: float) -> None:
        lines = [f"mr: {texts.count(self._hidden, 'more warning')}"] if self._hidden else []
        self._hidden = self._warned = 0
        if view.submitted_at:
            lines.append(f"mr: {progress_line(view, passed_secs)}")
        self.write(lines)


def progress_line(view: JobView, passed_secs: float) -> str:
    """How far a job has come, in one line."""
    now = time.time()
    parts = [", ".join(_stage(stage) for stage in view.stages), *rates(view, now)]
    left = view.secs_left(now)
    if left is not None:
        parts.append(f"about {texts.secs(left)} left")
    return f"job {view.job} after {texts.secs(passed_secs)}: {'; '.join(filter(None, parts))}"


def rates(view: JobView, now: float) -> list[str]:
    """Records and bytes a second; none where nothing is known."""
    records, sizes = view.records_per_sec(now), view.bytes_per_sec(now)
    if not records and not sizes:
        return []
    return [f"{texts.rate(records)} records/s, {texts.size(sizes)}/s"]


def _stage(stage: StageView) -> str:
    more = [
        f"{number:,} {what}"
        for number, what in ((stage.running, "running"), (stage.failed, "failed before"))
        if number
    ]
    total = "?" if stage.total is None else f"{stage.total:,}"
    return f"{stage.name} {stage.done:,}/{total}{' (' + ', '.join(more) + ')' if more else ''}"
