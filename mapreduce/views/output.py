"""Of a job that nobody looks at, what is told all the same."""

from __future__ import annotations

from typing import Any

from mapreduce import events as ev
from mapreduce.views.job import JobView

_TOLD = (ev.Submitted, ev.Printed, ev.Profiled)


class OutputView(JobView):
    """What user code prints and where its time goes. The job is not folded a second time: of large ones that would be
    a good part of what the client costs.
    """

    folds = False

    def __init__(self) -> None:
        super().__init__(keep_attempts=False)

    def note(self, entry: Any, at: float) -> None:
        if isinstance(entry, _TOLD):
            super().note(entry, at)
