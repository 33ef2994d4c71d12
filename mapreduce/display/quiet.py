"""Less than a job shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from mapreduce.display.base import Display
from mapreduce.shown import escaped
from mapreduce.views import JobView, OutputView


class Unwatched(Display):
    """What user code prints and what the engine has to say: `job.run` without `progress`."""

    def __init__(self) -> None:
        super().__init__(summary=False)

    def new_view(self) -> JobView:
        return JobView(keep_attempts=False) if self.wanted else OutputView()


class Reports(Display):
    """The engine's own lines alone: the job is not looked at."""

    def new_view(self) -> Optional[JobView]:
        return super().new_view() if self.wanted else None


class QuietDisplay(Reports):
    """Nothing but trouble, and errors, which are told elsewhere."""

    def trouble(self, text: str) -> None:
        super().write([f"mr: {escaped(text)}"])

    def write(self, lines: Sequence[str]) -> None:
        pass
