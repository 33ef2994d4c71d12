"""Who works on a broker, and which jobs there are: all workers are asked, and what they answer is all that is known.

    take_census(url, "jobs")    ask once, for commands
    find_job(url, "word")       which job a person means by a prefix, or by @

There is no list of jobs but this: a job is known by its coordinator, as long as its log is kept. How many workers must
answer is the number of consumers of ``mr.1.jobs``; those that leave consume it no more, and answer all the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import secrets
import time
from typing import Any, Callable, NamedTuple, Optional

from mapreduce import errand, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.display import texts
from mapreduce.effects import Command, Connected
from mapreduce.errors import BrokerError, JobLost, MapReduceError, UsageError
from mapreduce.frozen import frozen
from mapreduce.views.phase import READING

#: a worker that lives answers in milliseconds; one that has not in so long is silent
PATIENCE_SECS = 2.0
#: when all have answered that must, for those that are about to leave
LINGER_SECS = 0.1
_PREFETCH = 1000
#: of ids among which a prefix does not decide
_NAMED = 5
#: what every id ends with, see `submission.new_job_id`
_WHOLE = re.compile(r".+-[0-9a-f]{8}")


class Skew(NamedTuple):
    """How far a worker's clock is ahead of ours."""

    secs: float  #: behind: negative
    within_secs: float  #: how far off this may be


@frozen
class Census:
    """What was answered."""

    question: str
    workers: tuple[ev.WorkerReport, ...]  #: in order of name
    jobs: tuple[ev.JobReport, ...]  #: in the order of their submission; none if the question was another one
    skews: dict[str, Skew]  #: by worker
    #: workers that have not answered; those that are not waited for because they leave are not among them
    silent: int
    #: leases that no worker has taken yet: jobs wait for one
    waiting_leases: int
    #: why the broker takes no messages, so that nobody can answer; "": it does
    blocked: str = ""

    @property
    def reports(self) -> tuple[Any, ...]:
        """What was asked for."""
        return self.jobs if self.question == "jobs" else self.workers

    def check(self) -> None:
        """Raises `BrokerError` if nobody could answer."""
        if self.blocked:
            raise BrokerError(f"the broker takes no messages ({self.blocked}): nobody can answer")

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            self.question: [to_plain(report) for report in self.reports],
            "silent_workers": self.silent,
            "waiting_leases": self.waiting_leases,
            "blocked": self.blocked,
        }


class Asker:
    """A role: asks all workers once, and is finished when all have answered, or it has waited long enough."""

    def __init__(
        self,
        question: str,
        rng: random.Random,
        patience_secs: float = PATIENCE_SECS,
        clock: Callable[[], float] = time.time,
        first: tuple[Any, ...] = (),
    ) -> None:
        """``clock``: seconds since the epoch. ``first``: what is to be broadcast before the question."""
        self.prefix = "census/"
        self.finished = False
        self._question = question
        self._rng = rng
        self._patience_secs = patience_secs
        self._clock = clock
        self._first = first
        self._queue = ""
        self._number = 0
        self._asked: Optional[tuple[float, float]] = None  #: when, by the host's clock and by ``clock``
        self._depth: Optional[base.Depth] = None  #: of the queue of leases
        self._answered_at: Optional[float] = None  #: when all had answered that must
        self._workers: dict[str, ev.WorkerReport] = {}
        self._jobs: dict[str, ev.JobReport] = {}
        self._skews: dict[str, Skew] = {}
        self._blocked = ""

    def census(self) -> Census:
        """What is known so far."""
        depth = self._depth
        there = sum(not report.draining for report in self._workers.values())
        return Census(
            self._question,
            tuple(self._workers[name] for name in sorted(self._workers)),
            tuple(sorted(self._jobs.values(), key=lambda report: (report.submitted_at, report.job))),
            dict(self._skews),
            max(0, depth.consumers - there) if depth is not None else 0,
            max(0, depth.ready) if depth is not None else 0,
            self._blocked,
        )

    def handle(self, event: Any, now: float) -> list[Command]:
        if isinstance(event, Connected):
            return self._begin()
        if isinstance(event, base.Declared) and event.name == self._queue:
            return self._ask(now)
        if isinstance(event, base.Delivered):
            return [base.Ack(event.receipt), *self._on_answer(event, now)]
        if isinstance(event, base.Depth) and event.name == ev.JOBS:
            self._depth = event
        elif isinstance(event, base.Blocked):
            self._blocked = event.reason or "an alarm"
        elif isinstance(event, base.Unblocked):
            self._blocked = ""
        return self._look(now)

    def _begin(self) -> list[Command]:
        """Each session anew: what was asked in the last one may never be answered."""
        self._number = self._rng.getrandbits(63)
        self._queue = ev.replies_queue(f"{self._number:016x}")
        self._asked = self._depth = self._answered_at = None
        return [base.Declare(self._queue, base.Kind.REPLIES)]

    def _ask(self, now: float) -> list[Command]:
        self._asked = (now, self._clock())
        ask = ev.Ask(self._question, self._queue, self._number)
        return [
            base.Consume(f"{self.prefix}answers", self._queue, _PREFETCH),
            base.Inspect(ev.JOBS),
            *(base.Broadcast(wire.encode(message)) for message in (*self._first, ask)),
        ]

    def _on_answer(self, event: base.Delivered, now: float) -> list[Command]:
        with contextlib.suppress(wire.BadMessage):  # of another version, say: it counts as silent
            report, _ = wire.decode(event.body)
            if getattr(report, "number", None) == self._number:
                self._take(report)
        return self._look(now)

    def _take(self, report: Any) -> None:
        if isinstance(report, ev.WorkerReport):
            self._workers[report.worker] = report
            assert self._asked is not None
            asked, heard = self._asked[1], self._clock()
            self._skews[report.worker] = Skew(report.now - (asked + heard) / 2, abs(heard - asked) / 2)
        elif isinstance(report, ev.JobReport):
            known = self._jobs.get(report.job)
            if known is None or _better(report) > _better(known):
                self._jobs[report.job] = report

    def _look(self, now: float) -> list[Command]:
        """Whether there is still something to wait for."""
        if self._asked is None or self.finished:
            return []
        if self._answered_at is None and self._depth is not None and not self.census().silent:
            self._answered_at = now
        over = now - self._asked[0] >= self._patience_secs
        if over or (self._answered_at is not None and now - self._answered_at >= LINGER_SECS):
            self.finished = True
            return [base.Cancel(f"{self.prefix}answers"), base.Delete(self._queue)]
        return []


def _better(report: ev.JobReport) -> tuple[bool, ev.Rank]:
    """Of two who think that they coordinate a job, one knows more, or has the higher lease."""
    return report.phase != READING, report.rank


# ---------------------------------------------------------------- for commands


def take_census(
    url: str, question: str, patience_secs: float = PATIENCE_SECS, first: tuple[Any, ...] = ()
) -> Census:
    """Ask all workers of a broker: "workers" or "jobs". Raises `BrokerError`.

    ``first``: messages to broadcast before: whoever answers has heard them.
    """
    asker = Asker(question, random.Random(secrets.randbits(64)), patience_secs, first=first)
    with errand.session(url, asker) as (_, host):
        host.run(lambda: asker.finished)
    return asker.census()


def find_job(url: str, text: str, patience_secs: float = PATIENCE_SECS) -> str:
    """The id of the job that a person means: by its id, by a beginning of that, or by @, the job submitted last.

    A whole id is found without any worker. Raises `JobLost` if there is no such job, `UsageError` if several begin so,
    `BrokerError` if nobody can say.
    """
    if text != "@" and not ev.is_name(text):
        raise JobLost(f"there is no job {text[:70]!r}: no job can have such a name")
    if text != "@" and _has_log(url, text, patience_secs):
        return text
    return choose_job(take_census(url, "jobs", patience_secs), text)


def choose_job(census: Census, text: str) -> str:
    """The same, of the jobs that are known."""
    if text == "@":
        known = [report for report in census.jobs if report.submitted_at]
        if not known:
            census.check()
            raise _no_job("there is no job on this broker", census)
        return known[-1].job
    fitting = [report for report in census.jobs if report.job.startswith(text)]
    if not fitting:
        census.check()
        raise _no_job(f"there is no job {text} on this broker (any more)", census)
    if len(fitting) > 1 and text not in [report.job for report in fitting]:
        names = [f"{report.job} ({report.phase})" for report in fitting[-_NAMED:]]
        more = f" and {len(fitting) - _NAMED} more" if len(fitting) > _NAMED else ""
        raise UsageError(f"{text} may be {', '.join(names)}{more}: say more of its id")
    return text if text in [report.job for report in fitting] else fitting[0].job


def choose_worker(census: Census, text: str) -> ev.WorkerReport:
    """The worker that a person means: by its name, by a beginning of that or of its last part.

    Raises `UsageError` if it is none or several, `BrokerError` if nobody can say.
    """
    fitting = [
        report
        for report in census.workers
        if text and (report.worker.startswith(text) or report.worker.rpartition(":")[2].startswith(text))
    ]
    whole = [report for report in fitting if report.worker == text]
    if len(fitting) == 1 or whole:
        return (whole or fitting)[0]
    if not fitting:
        census.check()
        raise UsageError(f"there is no worker {text!r} on this broker{_why_unknown(census)}")
    names = [report.worker for report in fitting[:_NAMED]]
    more = f" and {len(fitting) - _NAMED} more" if len(fitting) > _NAMED else ""
    raise UsageError(f"{text!r} may be {', '.join(names)}{more}: say more of its name")


def _no_job(text: str, census: Census) -> MapReduceError:
    if census.workers or census.silent:
        return JobLost(text + _why_unknown(census))
    return JobLost(f"{text}; no worker is there to ask, and without one only a whole id finds a job")


def _why_unknown(census: Census) -> str:
    """What keeps the answers from being complete."""
    return f"; but {texts.count(census.silent, 'worker')} did not answer" if census.silent else ""


def _has_log(url: str, job: str, patience_secs: float) -> bool:
    """Whether there is such a job; what only looks like an id is given the benefit of the doubt."""
    depth = errand.run(url, lambda: errand.depth(ev.log_stream(job), patience_secs))
    if depth is None:  # a stream that the broker is still bringing up
        return _WHOLE.fullmatch(job) is not None
    return depth.ready >= 0


def to_plain(value: Any) -> Any:
    """A report as plain data with names, for JSON. Numbers that name an attempt go as text: they have 63 bits."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: to_plain(each) for name, each in fields.items() if name not in ("number", "rank")}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {
            name: f"{each:016x}" if name == "attempt" else to_plain(each)
            for name, each in value._asdict().items()
        }
    if isinstance(value, (tuple, list)):
        return [to_plain(each) for each in value]
    return value
