"""One job as people see it: the fold of its log, with times.

    view = JobView()
    for entry, at in log: view.note(entry, at)

What is true of the job the fold says (`state`); this remembers besides which attempts there were, when, and where, and
what its user should know of. Pure, total and indifferent to repeats, as the fold is. When the log is read again from
its start, `restart` comes first: what was shown before is not shown a second time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce.spec import JobSpec
from mapreduce.state import JobState, Task
from mapreduce.views.pace import Pace
from mapreduce.views.phase import cause_of, phase_of
from mapreduce.views.profile import ProfileView
from mapreduce.views.shown import (
    AttemptView,
    Notice,
    PrintedText,
    Skew,
    StageView,
    Summary,
    stage_name,
    task_name,
)
from mapreduce.views.tail import Tail

#: how many are kept: the last ones
NOTICES = 200
FAILURES = 100
PRINTED = 2000
PRINTED_CHARS = 1 << 20
#: of each stage's profile
HOT_LINES = 20
#: how many attempts are kept as the slowest
SLOWEST = 20


class JobView:
    """Read its attributes freely; only `note` and `restart` change them."""

    #: `state` is the fold of the whole log, so that whoever feeds the view needs none of his own
    folds = True

    def __init__(self, keep_attempts: bool = True) -> None:
        """``keep_attempts``: False: only those that run, and the slowest; for displays of large jobs."""
        self._keep = keep_attempts
        self._notices: Tail[Notice] = Tail(NOTICES)
        self._printed: Tail[PrintedText] = Tail(PRINTED, PRINTED_CHARS, lambda text: len(text.text))
        self._forget()

    def _forget(self) -> None:
        self.state = JobState()
        self.submitted_at = 0.0
        #: when its output was ready, or it ended without; None: not yet
        self.ended_at: Optional[float] = None
        self.latest_at = 0.0  #: of all entries
        self._stood_secs = 0.0  #: between its failures and the retries after them
        self._attempts: dict[int, AttemptView] = {}
        self._running: dict[int, AttemptView] = {}  #: by dispatch, as in the fold
        self._failures: Tail[AttemptView] = Tail(FAILURES)
        self._slowest: list[tuple[float, int, AttemptView]] = []  #: a heap
        self._wins = 0
        self._failing: dict[int, set[int]] = {}  #: by stage: tasks that are not done and have failed before
        self._copies = 0
        self._pace = Pace()
        self._profile = ProfileView()
        self._parts: dict[int, int] = {}  #: by attempt: the last one of what it has printed

    # ------------------------------------------------------------ folding

    def note(self, entry: Any, at: float) -> None:
        """Take the next entry of the log, sent ``at``; 0.0: unknown."""
        self.latest_at = max(self.latest_at, at)
        kind, state = type(entry), self.state
        handler = _HANDLERS.get(kind, JobView._apply)
        known = state.terminal is None and (state.stages or kind is ev.Submitted)
        if not known and kind not in _WHENEVER:
            handler = JobView._apply  # the fold takes no notice of most of it
        handler(self, entry, at)

    def _on_printed(self, entry: ev.Printed, at: float) -> None:
        if not self._came_before(entry):
            its = (entry.stage, entry.index, entry.attempt, entry.worker, entry.text, entry.dropped)
            self._printed.add(PrintedText(at, *its))

    def _on_profiled(self, entry: ev.Profiled, at: float) -> None:
        self._profile.note(entry)

    def restart(self) -> None:
        """The log is read again, from its start."""
        self._forget()
        self._notices.restart()
        self._printed.restart()

    def _came_before(self, entry: ev.Printed) -> bool:
        """A broker may store twice what it was told once; parts come in order."""
        if not entry.part:  # its worker is of before parts were numbered
            return False
        if entry.part <= self._parts.get(entry.attempt, 0):
            return True
        self._parts[entry.attempt] = entry.part
        return False

    def _apply(self, entry: Any, at: float) -> None:
        was_over = self.state.terminal is not None
        self.state.apply(entry)
        terminal = self.state.terminal
        if terminal is not None and not was_over:
            for attempt in self._running.values():
                attempt.end("returned", at)
            self._running.clear()
            if not isinstance(terminal, ev.Delivered):
                self.ended_at = None
        elif was_over and terminal is None:
            self._go_on(at)
        if terminal is None and not self.state.ready:
            self.ended_at = None
        elif self.ended_at is None:
            self.ended_at = at

    def _go_on(self, at: float) -> None:
        """After it had failed; the time in which it stood still does not count."""
        if at and self.ended_at:
            stood = max(0.0, at - self.ended_at)
            self._stood_secs += stood
            self._pace.go_on(stood, at)
        self._catch_up(at)

    def _submitted(self, entry: ev.Submitted, at: float) -> None:
        if self.state.spec is None:
            self.submitted_at = entry.at or at
        self._apply(entry, at)

    def _started(self, entry: ev.Started, at: float) -> None:
        self.state.apply(entry)  # which ends nothing, and has nothing be ready
        task = self.state.task(entry.stage, entry.index)
        now = task.live.get(entry.dispatch) if task is not None else None
        if task is None or now is None or now.attempt != entry.attempt:
            if self._keep and entry.attempt not in self._attempts:
                beaten = task is not None and task.winner is not None
                self._new(entry, at).end("beaten" if beaten else "lost", at)
            return
        before = self._running.get(entry.dispatch)
        if before is not None:
            if _is_same(before, entry):
                return
            before.end("lost", at)
        self._run(self._known(entry, at), task, entry.dispatch)
        self._pace.began(entry.stage, at)

    def _done(self, entry: ev.Done, at: float) -> None:
        before = self._winner(entry.stage, entry.index)
        self.state.apply(entry)  # as above
        task = self.state.task(entry.stage, entry.index)
        winner = task.winner if before is None and task is not None else None
        if winner is None or winner.attempt != entry.attempt:
            self._leave(entry.dispatch, "beaten", at)
            known = self._attempts.get(entry.attempt)
            if known is not None and known.outcome == "beaten":  # now it is known when it really ended
                known.slot = entry.slot
                known.end("beaten", at, entry.secs)
            return
        attempt = self._known(entry, at)
        if entry.dispatch not in self.state.running:  # else it is another task's
            other = self._running.pop(entry.dispatch, None)
            if other is not None and other is not attempt:
                other.end("beaten", at)
        if entry.stage in self._failing:
            self._failing[entry.stage].discard(entry.index)
        if len(self._running) > len(self.state.running):  # others were at it, too
            for dispatch in [d for d, each in self._running.items() if _same_task(each, entry)]:
                self._leave(dispatch, "beaten", at)
        attempt.slot = entry.slot
        attempt.end("won", at, entry.secs)
        stats = winner.stats
        attempt.records_in, attempt.records_out = stats.get("records_in", 0), stats.get("records_out", 0)
        attempt.bytes_in, attempt.bytes_out = stats.get("bytes_in", 0), stats.get("bytes_out", 0)
        self._pace.won(attempt)
        self._rank(attempt)
        for record in entry.skipped:
            text = f"{self._name(entry)} left out a record ({record.reason}): {record.record}"
            self._notice(at, "warning", text)

    def _attempt_failed(self, entry: ev.AttemptFailed, at: float) -> None:
        before = self.state.failures
        self._apply(entry, at)
        counts = self.state.failures > before
        attempt = self._leave(entry.dispatch, "failed", at)
        if attempt is None or attempt.attempt != entry.attempt:
            attempt = self._attempts.get(entry.attempt)
        if attempt is not None:
            attempt.failure, attempt.slot = entry.failure, entry.slot
            attempt.end("failed", at, entry.secs)
        if counts:
            self._failing.setdefault(entry.stage, set()).add(entry.index)
            if attempt is None:  # it failed before it was started: its input is lost, or its code
                attempt = self._known(entry, at)
                attempt.failure, attempt.slot = entry.failure, entry.slot
                attempt.end("failed", at, entry.secs)
            self._failures.add(attempt)
            named = entry.failure.function and entry.failure.function not in entry.failure.message
            text = f"{entry.failure.message} in {entry.failure.function}" if named else entry.failure.message
            self._notice(at, "warning", f"{self._name(entry)} failed on {entry.worker}: {text}")

    def _lost(self, entry: ev.Lost, at: float) -> None:
        self._apply(entry, at)
        attempt = self._leave(entry.dispatch, "lost", at)
        if attempt is not None:
            self._notice(at, "warning", f"{self._name(entry)} was lost with its worker, {attempt.worker}")

    def _returned(self, entry: ev.Returned, at: float) -> None:
        self._apply(entry, at)
        self._leave(entry.dispatch, "returned", at)

    def _missing(self, entry: ev.Missing, at: float) -> None:
        before = [stage.generation for stage in self.state.stages]
        self._apply(entry, at)
        void = [n for n, stage in enumerate(self.state.stages) if stage.generation != before[n]]
        if void:
            self._pace.begin_anew(void)
            self._catch_up(at)
            what = self._name(entry) if entry.stage <= self.state.last else "the output"
            loser = "the shared folder" if self.spec is not None and self.spec.shared_dir else "the broker"
            self._notice(at, "warning", f"{what} lacks blocks that {loser} has lost; they are made again")
        else:
            self._leave(entry.dispatch, "lost", at)

    def _cancel_requested(self, entry: ev.CancelRequested, at: float) -> None:
        first = self.state.cancel_reason is None
        self._apply(entry, at)
        if first:
            self._notice(at, "info", f"asked to end: {entry.reason}")

    # ------------------------------------------------------------ pieces of the above

    def _name(self, entry: Any) -> str:
        return task_name(entry.stage, entry.index, len(self.state.stages) - 1)

    def _notice(self, at: float, level: str, text: str) -> None:
        self._notices.add(Notice(at, level, text))

    def _winner(self, stage: int, index: int) -> Optional[int]:
        task = self.state.task(stage, index)
        return task.winner.attempt if task is not None and task.winner is not None else None

    def _new(self, entry: Any, at: float) -> AttemptView:
        view = AttemptView(entry.dispatch, entry.stage, entry.index, entry.attempt, entry.worker, at)
        if self._keep:
            self._attempts[entry.attempt] = view
        return view

    def _known(self, entry: Any, at: float) -> AttemptView:
        """The attempt that an event speaks of."""
        known = self._running.get(entry.dispatch)
        if known is not None and _is_same(known, entry):
            return known
        known = self._attempts.get(entry.attempt)
        return known if known is not None and _is_same(known, entry) else self._new(entry, at)

    def _run(self, attempt: AttemptView, task: Task, dispatch: int) -> None:
        attempt.outcome, attempt.ended_at, attempt.secs = "running", None, None
        attempt.copy = len(task.live) > 1 and sum(each is not None for each in task.live.values()) > 1
        self._copies += attempt.copy
        self._running[dispatch] = attempt

    def _leave(self, dispatch: int, outcome: str, at: float) -> Optional[AttemptView]:
        """The attempt of a dispatch that runs no more; None: none ran."""
        if dispatch in self.state.running and self.state.terminal is None:
            return None  # the event was no news of it
        attempt = self._running.pop(dispatch, None)
        if attempt is not None:
            attempt.end(outcome, at)
        return attempt

    def _catch_up(self, at: float) -> None:
        """Much has changed at once: what was read, or written, is void, or an end was taken back."""
        for dispatch in [d for d in self._running if d not in self.state.running]:
            self._leave(dispatch, "lost", at)
        for attempt in self._attempts.values():
            if attempt.outcome == "won" and self._winner(attempt.stage, attempt.index) != attempt.attempt:
                attempt.outcome = "lost"
        for dispatch, (stage, index) in self.state.running.items():
            task = self.state.task(stage, index)
            running = task.live.get(dispatch) if task is not None else None
            if dispatch not in self._running and task is not None and running is not None:
                entry = ev.Started(dispatch, stage, index, 0, running.attempt, running.worker)
                self._run(self._known(entry, at), task, dispatch)
        self._failing = {
            number: {i for i, task in stage.tasks.items() if task.failure is not None and task.winner is None}
            for number, stage in enumerate(self.state.stages)
        }

    def _rank(self, attempt: AttemptView) -> None:
        """Among the slowest, if it is."""
        self._wins += 1
        secs = attempt.secs or 0.0
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, (secs, -self._wins, attempt))
        elif secs > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (secs, -self._wins, attempt))

    # ------------------------------------------------------------ reading

    @property
    def job(self) -> str:
        return self.state.job

    @property
    def name(self) -> str:
        """As its user named it; "" until its first entry is read."""
        return self.state.spec.name if self.state.spec is not None else ""

    @property
    def spec(self) -> Optional[JobSpec]:
        return self.state.spec

    @property
    def phase(self) -> str:
        """See `phase_of`."""
        return phase_of(self.state)

    @property
    def failure(self) -> Optional[ev.Failed]:
        """What made it fail, if it has."""
        terminal = self.state.terminal
        return terminal if isinstance(terminal, ev.Failed) else None

    @property
    def cause(self) -> str:
        """See `cause_of`."""
        return cause_of(self.state)

    @property
    def stages(self) -> list[StageView]:
        """Those that run tasks, in order."""
        busy: dict[int, set[int]] = {}
        for stage, index in self.state.running.values() if self.state.terminal is None else ():
            busy.setdefault(stage, set()).add(index)
        count = len(self.state.stages) - 1
        return [
            StageView(
                number,
                stage_name(number, count),
                stage.total,
                stage.done,
                len(busy.get(number, ())),
                (len(stage.tasks) if stage.total is None else stage.total)
                - stage.done
                - len(busy.get(number, ())),
                len(self._failing.get(number, set()) - busy.get(number, set())),
                stage.records_in,
                stage.records_out,
                stage.bytes_in,
                stage.bytes_out,
                stage.sealed,
            )
            for number, stage in enumerate(self.state.stages[:-1])
        ]

    @property
    def attempts(self) -> Mapping[int, AttemptView]:
        """By their numbers; those that are kept, in order of their start."""
        if self._keep:
            return MappingProxyType(self._attempts)
        return {each.attempt: each for each in [*self.slowest(SLOWEST), *self._running.values()]}

    @property
    def running(self) -> list[AttemptView]:
        """Attempts that run, the oldest first."""
        return list(self._running.values())

    @property
    def workers(self) -> list[str]:
        """All that have said something, in the order in which they first did."""
        return list(self.state.workers)

    @property
    def notices(self) -> deque[Notice]:
        """The last ones, the oldest first."""
        return self._notices.kept

    @property
    def notices_seen(self) -> int:
        """How many there were in all."""
        return self._notices.seen

    @property
    def printed(self) -> deque[PrintedText]:
        """What user code has printed: the last of it."""
        return self._printed.kept

    @property
    def printed_seen(self) -> int:
        return self._printed.seen

    @property
    def failures(self) -> deque[AttemptView]:
        """Attempts that failed, the last ones."""
        return self._failures.kept

    def ran_secs(self, now: float) -> float:
        """From its submission to its end, or until now; the time between a failure and a retry does not count."""
        return max(0.0, (self.ended_at or now) - self.submitted_at - self._stood_secs)

    def records_per_sec(self, now: float) -> float:
        """Records that tasks read, of all stages: lately, or over the whole job once it has ended."""
        return self._rate(now)[0]

    def bytes_per_sec(self, now: float) -> float:
        return self._rate(now)[1]

    def _rate(self, now: float) -> tuple[float, float]:
        if self.ended_at is None:
            return self._pace.per_sec(now)
        secs = max(self.ran_secs(self.ended_at), 0.001)
        stages = self.state.stages
        return sum(s.records_in for s in stages) / secs, sum(s.bytes_in for s in stages) / secs

    def secs_left(self, now: float) -> Optional[float]:
        """An estimate; None: nobody can know yet, or it has ended."""
        if self.ended_at is not None or len(self.state.stages) < 2:
            return None
        return self._pace.secs_left(self.state.stages[:-1], self._running.values(), now)

    def skew(self, stage: int) -> Optional[Skew]:
        """Over the partitions that have been read; None: it reads none, or fewer than two yet."""
        spec = self.state.spec
        if spec is None or not 0 < stage <= self.state.last or not self.state.stages[stage].sealed:
            return None
        tasks = self.state.stages[stage].tasks
        sizes = {i: int(t.winner.stats.get("bytes_in", 0)) for i, t in tasks.items() if t.winner is not None}
        for partition in range(spec.partitions):
            if partition not in tasks:
                sizes[partition] = 0  # nothing was written to it
        if len(sizes) < 2 or not any(sizes.values()):
            return None
        largest = max(sizes, key=lambda partition: (sizes[partition], -partition))
        return Skew(_median(list(sizes.values())), sizes[largest], largest)

    def slowest(self, n: int) -> list[AttemptView]:
        """Those that won their tasks and took longest for it, the slowest first; at most `SLOWEST`."""
        ranked = sorted(self._slowest, key=lambda item: item[:2], reverse=True)
        return [attempt for _, _, attempt in ranked if attempt.outcome == "won"][:n]

    def summary(self) -> Summary:
        """The whole job from a distance, as far as it has come."""
        state = self.state
        end = self.ended_at or self.latest_at
        fed = sum(s.split.length for s in state.splits.values() if s.pieces or s.data is not None)
        skews = {number: self.skew(number) for number in range(1, len(state.stages) - 1)}
        return Summary(
            self.ran_secs(end) if end else 0.0,
            sum(stage.done for stage in state.stages),
            state.attempts,
            state.failures,
            state.losses,
            self._copies,
            self.stages,
            fed + sum(stage.bytes_out for stage in state.stages),
            dict(sorted(state.counters.items())),
            self.slowest(5),
            {number: skew for number, skew in skews.items() if skew is not None},
            state.left_out,
            self._profile.stages(state.spec.bundle if state.spec is not None else {}, HOT_LINES),
        )


def _median(numbers: list[int]) -> int:
    """To `statistics` it is worth 5 ms of imports, which each run of `mr run` would take longer."""
    ordered, middle = sorted(numbers), len(numbers) // 2
    return ordered[middle] if len(numbers) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _is_same(attempt: AttemptView, entry: Any) -> bool:
    """Whether the event speaks of this attempt: of its dispatch, on its worker."""
    its = (attempt.attempt, attempt.dispatch, attempt.worker)
    return its == (entry.attempt, entry.dispatch, entry.worker) and _same_task(attempt, entry)


def _same_task(attempt: AttemptView, other: Any) -> bool:
    return (attempt.stage, attempt.index) == (other.stage, other.index)


#: they count before the job is known, and after its end
_WHENEVER = frozenset([ev.Printed, ev.Profiled])
_HANDLERS: dict[type, Callable[[JobView, Any, float], None]] = {
    ev.Printed: JobView._on_printed,
    ev.Profiled: JobView._on_profiled,
    ev.Submitted: JobView._submitted,
    ev.Started: JobView._started,
    ev.Done: JobView._done,
    ev.AttemptFailed: JobView._attempt_failed,
    ev.Lost: JobView._lost,
    ev.Returned: JobView._returned,
    ev.Missing: JobView._missing,
    ev.CancelRequested: JobView._cancel_requested,
}
