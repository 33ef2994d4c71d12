"""Answers to what is asked on ``mr.1.control``: what a worker is and does, and how the jobs stand that it coordinates.

control ── Ask("workers") ──▶ WorkerReport
        ── Ask("jobs") ─────▶ JobReport for each job, WorkerReport      ──▶ the queue that the asker names
        ── Drain(this worker) ──▶ all roles of this process: Shutdown
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.coordinator import Coordinator
from mapreduce.effects import Command, Connected, Leave, Report, Shutdown
from mapreduce.frozen import frozen
from mapreduce.leases import LeaseKeeper
from mapreduce.state import JobState
from mapreduce.views.phase import READING, cause_of, phase_of
from mapreduce.worker import Worker

#: of a cause: enough to know what it is
CAUSE_CHARS = 300


@frozen
class Facts:
    """What a worker's roles do not know of their process. Functions are asked anew for each answer."""

    host: str
    pid: int
    version: str  #: of mapreduce
    python: str
    tag: str  #: of the executors' Python
    pool: str
    since: float  #: seconds since the epoch
    clock: Callable[[], float]  #: the same, now
    memory: Callable[[], int]  #: bytes that all processes of the worker use
    libraries: Mapping[str, str] = field(default_factory=dict)


class Respondent:
    """A role: speaks for a worker and its keeper of leases. It only reads what they know."""

    def __init__(self, worker: Worker, keeper: LeaseKeeper, facts: Facts) -> None:
        self.prefix = "respondent/"
        self.finished = False
        self._worker = worker
        self._keeper = keeper
        self._facts = facts
        self._tag = f"{self.prefix}control"
        self._draining = False

    def handle(self, event: Any, now: float) -> list[Command]:
        if isinstance(event, Connected):
            return [base.Listen(self._tag)]
        if isinstance(event, Shutdown):
            self._draining = True
        elif isinstance(event, base.Delivered) and event.tag == self._tag:
            return self._on_control(event, now)
        return []

    def _on_control(self, event: base.Delivered, now: float) -> list[Command]:
        try:
            message, _ = wire.decode(event.body)
        except wire.BadMessage:
            return []  # the worker reports it
        if isinstance(message, ev.Ask) and ev.is_replies_queue(message.reply_to):
            return [
                base.Publish(message.reply_to, wire.encode(answer), f"{self.prefix}answer")
                for answer in self._answers(message, now)
            ]
        if isinstance(message, ev.Drain) and message.worker == self._worker.name and not self._draining:
            self._draining = True
            text = "told to leave (mr drain): takes nothing new, and goes when what it has begun is done"
            return [Report("info", text, "draining"), Leave()]
        return []

    def _answers(self, ask: ev.Ask, now: float) -> list[Any]:
        """None if this version knows no such question."""
        if ask.question == "workers":
            return [self._worker_report(ask.number, now)]
        if ask.question == "jobs":
            jobs = [self._job_report(ask.number, each, now) for each in self._in_charge()]
            return [*jobs, self._worker_report(ask.number, now)]
        return []

    def _in_charge(self) -> list[Coordinator]:
        return [each for each in self._keeper.coordinators.values() if each.in_charge]

    def _worker_report(self, number: int, now: float) -> ev.WorkerReport:
        facts = self._facts
        return ev.WorkerReport(
            number,
            self._worker.name,
            facts.host,
            facts.pid,
            facts.version,
            facts.python,
            facts.tag,
            facts.pool,
            self._worker.slots,
            facts.since,
            facts.clock(),
            facts.memory(),
            self._draining,
            tuple(sorted(each.lease.job for each in self._in_charge())),
            self._worker.running(now),
            self._worker.held,
            dict(facts.libraries),
            self._keeper.ack_timeout_secs,
        )

    def _job_report(self, number: int, coordinator: Coordinator, now: float) -> ev.JobReport:
        state, spec = coordinator.state, coordinator.state.spec
        secs_left: Optional[float] = coordinator.secs_left(now)
        return ev.JobReport(
            number,
            coordinator.lease.job,
            coordinator.lease.rank,
            spec.name if spec is not None else "",
            spec.pool if spec is not None else "",
            state.submitted_at,
            phase_of(state) if coordinator.caught_up else READING,
            " ".join(cause_of(state).split())[:CAUSE_CHARS],
            _stages(state),
            self._worker.name,
            self._facts.clock() + secs_left if secs_left is not None else 0.0,
        )


def _stages(state: JobState) -> tuple[ev.StageReport, ...]:
    over = state.terminal is not None
    running = Counter(stage for stage, _ in set(state.running.values())) if not over else Counter[int]()
    return tuple(
        ev.StageReport(stage.total, stage.done, running[number])
        for number, stage in enumerate(state.stages[:-1])
    )
