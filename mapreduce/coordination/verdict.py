"""When a job must end, and with what: cancelled, failed for good, or nobody is there to take its results."""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.coordination import tries
from mapreduce.refs import Failure
from mapreduce.shown import input_name
from mapreduce.state import JobState, Task, Terminal

#: how long a worker that lost its connection has to come back before its silence counts as its death
GRACE_SECS = 15.0
#: how often a task may run again because the broker does not hold what it wrote
MAX_VOIDS = 8
#: different counters that a job may have in all: everybody who reads the log holds them
MAX_JOB_COUNTERS = 1000
#: how long after its log's beginning a job is submitted: thousands of streams may be declared in between
SUBMISSION_SECS = 300.0

_CLIENT_EVENTS = (
    ev.Submitted, ev.Splits, ev.InputComplete, ev.Present, ev.Resumed, ev.CancelRequested, ev.Delivered, ev.Retried
)  # fmt: skip


class Judge:
    """Knows what is suspicious about one job, and since when. All times are the log's."""

    def __init__(self, job: str, state: JobState) -> None:
        self._job = job
        self._state = state
        self._idle_since = self._ended_at = 0.0
        self._listens_since = 0.0  #: since when we coordinate
        self._news = (False, False)
        self._suspects: dict[tuple[int, int], float] = {}

    def note(self, entry: Any, at: float) -> None:
        """An entry of the log, already folded."""
        news = (self._state.ready, self._state.terminal is not None)
        if news[1] and not self._news[1]:
            self._ended_at = at
        if isinstance(entry, _CLIENT_EVENTS) or news != self._news:
            self._idle_since, self._news = at, news
        if isinstance(entry, (ev.AttemptFailed, ev.Lost)):
            self._suspects[entry.stage, entry.index] = at

    def caught_up(self, at: float) -> None:
        """All that was said before is known now."""
        self._listens_since = at

    def idle(self, at: float) -> float:
        """How long the job has waited for its client, in seconds: since that was heard, or got something to do."""
        return at - self._idle_since

    def ended(self, at: float) -> float:
        """How long ago the job has ended, in seconds."""
        return at - self._ended_at

    def verdict(self, at: float, heard: float) -> Optional[Terminal]:
        """How the job must end now, if it must. ``heard``: until when all that was logged has been read."""
        state = self._state
        if state.spec is None:  # its client died while it submitted, or is about to
            return ev.Abandoned("it was never submitted") if at > SUBMISSION_SECS else None
        if state.cancel_reason is not None:
            return ev.Cancelled(state.cancel_reason)
        return (
            self._lost_splits() or self._worn_out() or self._too_many_left_out() or self._tasks(at)
            or self._too_many_counters() or self._forsaken(heard)
        )  # fmt: skip

    def _lost_splits(self) -> Optional[ev.Failed]:
        """The log is ordered: all splits stand before their number."""
        splits = self._state.stages[0]
        if splits.total is None or len(splits.tasks) >= splits.total:
            return None
        index = next(i for i in range(splits.total) if i not in splits.tasks)
        text = "the broker lost a part of the list of splits that it had confirmed"
        return ev.Failed(Failure("lost", text), 0, index, 0)

    def _worn_out(self) -> Optional[ev.Failed]:
        """A broker that keeps losing what it has confirmed ends a job, instead of keeping it busy for ever."""
        worst = self._state.most_voided
        if worst is None or worst.times <= MAX_VOIDS:
            return None
        stages = len(self._state.stages) - 1
        stream = ev.reads_from(self._job, worst.stage + 1, worst.partition, stages)
        shared_dir = self._state.spec.shared_dir if self._state.spec is not None else ""
        loser = f"the broker, or {shared_dir}," if shared_dir else "the broker"
        text = f"{loser} has lost {worst.times} times what the same task had written; the last time from {stream}"
        return ev.Failed(Failure("lost", text), worst.stage, worst.task, 0)

    def _too_many_left_out(self) -> Optional[ev.Failed]:
        """Attempts side by side may each have left out as many as the job was still allowed."""
        state, spec = self._state, self._state.spec
        assert spec is not None
        if state.left_out <= spec.skip_bad:
            return None
        noted = [
            (number, index, record)
            for number, stage in enumerate(state.stages)
            for index, task in stage.tasks.items()
            if task.winner is None
            for record in task.skips.values()
        ]
        stage, index, record = [*state.skipped(), *noted][spec.skip_bad]
        text = f"{record.reason}; {state.left_out} records fail, and only {spec.skip_bad} may be left out"
        failure = Failure(
            "raised", text, "", record.source, record.offset, record.record, position=record.position
        )
        return ev.Failed(failure, stage, index, 0)

    def _too_many_counters(self) -> Optional[ev.Failed]:
        """Names that grow with the input, as those made of its keys, would fill everybody's memory."""
        count = len(self._state.counters)
        if count <= MAX_JOB_COUNTERS:
            return None
        last = next(reversed(self._state.counters))
        text = f"{count} different counters in one job, and at most {MAX_JOB_COUNTERS} may be; one of them is {last!r}"
        return ev.Failed(Failure("counters", text), *self._counts(last), 1)

    def _counts(self, counter: str) -> tuple[int, int]:
        """Stage and index of a task that has counted this."""
        return next(
            (number, index)
            for number, stage in enumerate(self._state.stages)
            for index, task in stage.tasks.items()
            if task.winner is not None and counter in task.winner.counters
        )

    def _tasks(self, at: float) -> Optional[ev.Failed]:
        for (stage, index), since in list(self._suspects.items()):
            task = self._state.task(stage, index)
            if task is None or task.winner is not None:
                del self._suspects[stage, index]
            elif task.failure is not None and tries.is_given_up(self._state, stage, task):
                return ev.Failed(task.failure, stage, index, max(task.failures, len(task.troubles)))
            elif len(task.losses) >= tries.MAX_LOSSES and at - since > GRACE_SECS:
                return ev.Failed(self._deadly(stage, index, task), stage, index, len(task.losses))
            elif len(task.losses) < tries.MAX_LOSSES and not task.troubles:
                del self._suspects[stage, index]
        return None

    def _deadly(self, stage: int, index: int, task: Task) -> Failure:
        """A task that ends every host it comes to; what it reads is all that is known."""
        text = f"{len(task.losses)} workers died while they ran it"
        if stage > 0:
            return Failure("died", text)
        first = self._state.splits[index].split.segments[0]
        name = input_name(first.name)
        stretch = f"bytes {first.origin} to {first.origin + first.end - first.start} of {name}"
        return Failure("died", f"{text}: {stretch}", source=name, offset=first.origin)

    def _forsaken(self, at: float) -> Optional[ev.Abandoned]:
        spec, idle = self._state.spec, self.idle(at)
        assert spec is not None
        if spec.detached and self._state.stages[0].total is not None:
            if self._state.ready and idle > spec.expiry_secs:
                return ev.Abandoned(f"nobody collected its results for {idle:.0f} seconds")
        elif idle > spec.client_timeout_secs + self._not_heard_yet(at):
            return ev.Abandoned(f"nothing was heard of its client for {idle:.0f} seconds")
        return None

    def _not_heard_yet(self, at: float) -> float:
        """More patience, for so long as a client that lives has not had the time to say so to us."""
        assert self._state.spec is not None
        pause = self._state.spec.present_every_secs
        return pause if at - self._listens_since < pause else 0.0
