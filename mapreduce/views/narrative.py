"""What happened in a job, as lines in the order of its log: what its code printed among them."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Optional

from mapreduce import events as ev
from mapreduce.frozen import frozen
from mapreduce.state import JobState
from mapreduce.views.job import JobView
from mapreduce.views.shown import stage_name, task_name


class Told(NamedTuple):
    """One thing that happened."""

    at: float  #: seconds since the epoch, 0.0: unknown
    #: "info", "warning", "printed" (by user code; may be several lines), "error" (why there is no output)
    kind: str
    stage: int  #: -1: of the job as a whole
    task: int  #: its index in that stage; -1: as above
    name: str  #: of the task, as people call it; "": the text names it, or it is of the job as a whole
    text: str
    dropped: int = 0  #: printed bytes that were left out before


class Narrative:
    """Fed with a log as a `JobView` is; `take` gives what it has told since."""

    def __init__(self, tasks: bool = False) -> None:
        """``tasks``: tell of each attempt's start and end, too."""
        self.view = JobView(keep_attempts=False)
        self._tasks = tasks
        self._told: deque[Told] = deque()
        self._coordinator = ""
        self._count = 0
        self._again = 0  #: what was told before, and comes again since the log is read from its start

    def take(self) -> list[Told]:
        """All that was not taken before, oldest first."""
        told = list(self._told)
        self._told.clear()
        return told

    def restart(self) -> None:
        self.view = JobView(keep_attempts=False)  # whose notices are counted from the first again
        self._coordinator = ""
        self._again, self._count = max(self._count, self._again), 0

    def note(self, entry: Any, at: float) -> None:
        view = self.view
        notices, was_over, phase = view.notices_seen, view.ended_at is not None, view.phase
        printed = view.printed_seen
        view.note(entry, at)
        if view.printed_seen > printed:
            self._tell(at, "printed", entry.text, entry.stage, entry.index, entry.dropped)
        elif isinstance(entry, ev.Submitted) and phase == "submitting" and view.spec is not None:
            self._tell(view.submitted_at or at, "info", f"job {view.job} is submitted")
        elif isinstance(entry, ev.InputComplete) and phase == "feeding" and view.phase != "feeding":
            self._tell(at, "info", f"the input is complete: {_tasks(entry.count)}")
        elif isinstance(entry, ev.StageSealed) and 0 < entry.stage <= view.state.last:
            name = stage_name(entry.stage, view.state.last + 1)
            if view.state.stages[entry.stage].generation == entry.generation:
                self._tell(at, "info", f"{name} begins: {_tasks(view.state.stages[entry.stage].total or 0)}")
        elif isinstance(entry, ev.Took) and entry.worker != self._coordinator:
            self._coordinator = entry.worker
            self._tell(at, "info", f"coordinated by {entry.worker}")
        elif isinstance(entry, ev.Retried) and phase == "failed" and view.phase != "failed":
            self._tell(at, "info", "goes on: what has failed is tried again")
        if view.notices_seen > notices:
            stage, index = getattr(entry, "stage", -1), getattr(entry, "index", -1)
            for notice in list(view.notices)[notices - view.notices_seen :]:
                self._tell(at, notice.level, notice.text, stage, index, named=False)
        elif self._tasks:
            self._tell_of_attempt(entry, at)
        if view.ended_at is not None and (not was_over or phase != view.phase):
            self._tell_end(at)

    def _tell_of_attempt(self, entry: Any, at: float) -> None:
        if isinstance(entry, ev.Started):
            self._tell(at, "info", f"begins on {entry.worker}", entry.stage, entry.index)
        elif isinstance(entry, ev.Done):
            took = f" after {entry.secs:.2f} s" if entry.secs else ""
            task = self.view.state.task(entry.stage, entry.index)
            won = task is not None and task.winner is not None and task.winner.attempt == entry.attempt
            how = "done" if won else "done, too late to count"
            self._tell(at, "info", f"{how} on {entry.worker}{took}", entry.stage, entry.index)
        elif isinstance(entry, ev.Returned):
            self._tell(at, "info", "handed back", entry.stage, entry.index)

    def _tell_end(self, at: float) -> None:
        view = self.view
        if view.phase == "ready":
            self._tell(at, "info", "its output is ready")
        elif view.phase == "done":
            self._tell(at, "info", "its output is delivered")
        elif view.phase == "failed":
            self._tell(at, "error", f"failed: {view.cause}")
        else:
            self._tell(at, "error", f"{view.phase}: {view.cause}")

    def _tell(
        self,
        at: float,
        kind: str,
        text: str,
        stage: int = -1,
        index: int = -1,
        dropped: int = 0,
        named: bool = True,
    ) -> None:
        self._count += 1
        if self._count > self._again:
            name = task_name(stage, index, self._stages()) if stage >= 0 and named else ""
            self._told.append(Told(at, kind, stage, index, name, text, dropped))

    def _stages(self) -> int:
        spec = self.view.spec
        return spec.stages if spec is not None else 2


@frozen
class TaskFilter:
    """Which tasks somebody wants to hear of: those with this number, in one stage or in all."""

    stage: Optional[int]
    index: int

    def takes(self, told: Told) -> bool:
        return told.task == self.index and self.stage in (None, told.stage)

    def is_none(self, state: JobState) -> bool:
        """Whether it is known that there is no such task."""
        stages = state.stages[:-1]  # the last one is the output
        if self.stage is not None:
            stages = stages[self.stage : self.stage + 1]
        return bool(state.stages) and all(
            each.total is not None and self.index not in each.tasks for each in stages
        )


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}"
