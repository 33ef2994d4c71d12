"""What the dashboard does on the broker: one role that stands for several.

Look(jobs) ──▶ an Observer for each job that is looked at; it stays for a while when nobody looks any more
each few seconds: an Asker ──▶ all jobs and workers (`overview`)
CancelJob ──▶ the log ── confirmed ──▶ `answers`
"""

from __future__ import annotations

import random
from typing import Any, Callable, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.census import Asker, Census, to_plain
from mapreduce.effects import Command, Connected, Role, Tick
from mapreduce.frozen import frozen
from mapreduce.observer import Observer
from mapreduce.views import JobView

#: between the answers of all workers and the next question; while nobody looks, metrics may be that old
CENSUS_SECS = 2.0
IDLE_CENSUS_SECS = 15.0
#: a job that is looked at no more is followed on for so long: the page may only be reloaded
LINGER_SECS = 30.0
#: jobs that are followed at a time; one that nobody looks at makes room, else the one that was looked at last waits
MAX_FOLLOWED = 32
#: how long the end of a job that was cancelled from here is waited for
CANCELLING_SECS = 120.0

#: tokens of what is published from here
CANCEL = "watching/cancel:"
FAREWELL = "watching/farewell"

_OVER = ("done", "failed", "cancelled", "abandoned")


@frozen
class Look:
    """Posted: these jobs are looked at now, no others."""

    jobs: frozenset[str]
    anybody: bool  #: somebody looks, if only at the list


@frozen
class CancelJob:
    """Posted: end this job; ``number`` names the request in `Watching.answers`."""

    job: str
    number: int


class Followed:
    """A job whose log is read."""

    def __init__(self, job: str, rng: random.Random, now: float) -> None:
        self.view = JobView()
        self.observer = Observer(job, self.view, rng, f"observer/{job}/")
        self.began_at = now
        self.changed = True  #: since whoever shows it looked last
        self.wanted_until = now + LINGER_SECS
        self.cancelling = False

    @property
    def nothing_there(self) -> bool:
        """There is no such log, nor was there one since it is followed."""
        return self.observer.gone and not self.view.state.stages


class Watching:
    """A role. Whoever runs it reads `followed`, `census`, `answers` between two events."""

    def __init__(self, rng: random.Random, clock: Callable[[], float]) -> None:
        """``clock``: seconds since the epoch."""
        self.prefix = ""  #: every tag and token: it hands them on
        self.finished = False
        self.connected = False
        self.blocked = ""
        self.followed: dict[str, Followed] = {}
        self.census: Optional[Census] = None
        self.census_at = 0.0  #: by ``clock``
        #: what all jobs and workers do, or the session, since whoever shows it looked last
        self.changed = True
        #: requests to cancel that are through: "", or why not
        self.answers: dict[int, str] = {}
        self._rng = rng
        self._clock = clock
        self._looked_at: frozenset[str] = frozenset()
        self._asker: Optional[Asker] = None
        self._anybody = False
        self._asked_at = float("-inf")

    def handle(self, event: Any, now: float) -> list[Command]:
        if isinstance(event, Look):
            self._looked_at, self._anybody = event.jobs, event.anybody
            return self._follow(now)
        if isinstance(event, CancelJob):
            return self._cancel(event, now)
        if isinstance(event, Tick):
            return self._on_tick(event, now)
        address = getattr(event, "tag", None) or getattr(event, "token", None)
        if address is not None:
            return self._hand_on(address, event, now)
        if isinstance(event, Connected):
            self.connected, self.blocked, self.changed = True, "", True
            self._asker, self._asked_at = None, float("-inf")
        elif isinstance(event, base.Disconnected):
            self.connected, self.changed = False, True
            self._asker = None
        elif isinstance(event, (base.Blocked, base.Unblocked)):
            self.blocked = (event.reason or "an alarm") if isinstance(event, base.Blocked) else ""
            self.changed = True
        return [command for role in self._roles() for command in role.handle(event, now)]

    def _roles(self) -> list[Role]:
        asker: list[Role] = [self._asker] if self._asker is not None else []
        return [*asker, *(each.observer for each in self.followed.values())]

    def _hand_on(self, address: str, event: Any, now: float) -> list[Command]:
        if address.startswith(CANCEL):
            gone = isinstance(event, base.Unroutable)
            self.answers[int(address[len(CANCEL) :])] = "there is no such job (any more)" if gone else ""
            return []
        for each in self.followed.values():
            if address.startswith(each.observer.prefix):
                each.changed = True
                return each.observer.handle(event, now)
        if self._asker is not None and address.startswith(self._asker.prefix):
            return self._asker.handle(event, now)
        return [base.Ack(event.receipt)] if isinstance(event, base.Delivered) else []

    # ------------------------------------------------------------ jobs that are looked at

    def _follow(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for job in sorted(self._looked_at):
            if job in self.followed:
                self.followed[job].wanted_until = now + LINGER_SECS
            else:
                commands += self._make_room()
                if len(self.followed) < MAX_FOLLOWED:
                    commands += self._begin(job, now)
        return commands

    def _make_room(self) -> list[Command]:
        """The one that nobody has looked at for longest goes, if there is one and it has to."""
        if len(self.followed) < MAX_FOLLOWED:
            return []
        unseen = [
            job for job, each in self.followed.items() if job not in self._looked_at and not each.cancelling
        ]
        return self._leave(min(unseen, key=lambda job: self.followed[job].wanted_until)) if unseen else []

    def _leave(self, job: str) -> list[Command]:
        return self.followed.pop(job).observer.close()

    def _begin(self, job: str, now: float) -> list[Command]:
        followed = self.followed[job] = Followed(job, self._rng, now)
        return followed.observer.handle(Connected(), now) if self.connected else []

    def _on_tick(self, event: Tick, now: float) -> list[Command]:
        commands = [command for role in self._roles() for command in role.handle(event, now)]
        for job, each in list(self.followed.items()):
            commands += self._say_farewell(job, each)
            if job in self._looked_at:
                each.wanted_until = max(each.wanted_until, now + LINGER_SECS)
            elif now > each.wanted_until or each.nothing_there:
                commands += self._leave(job)
        return commands + self._follow(now) + self._ask(now)

    # ------------------------------------------------------------ all jobs and workers

    def _ask(self, now: float) -> list[Command]:
        if self._asker is not None and self._asker.finished:
            self.census, self.census_at, self.changed = self._asker.census(), self._clock(), True
            self._asker, self._asked_at = None, now
        pause = CENSUS_SECS if self._anybody else IDLE_CENSUS_SECS
        if self._asker is not None or not self.connected or now < self._asked_at + pause:
            return []
        self._asker = Asker("jobs", self._rng, clock=self._clock)
        return self._asker.handle(Connected(), now)

    def overview(self) -> dict[str, Any]:
        """All jobs and workers, the newest job first, as plain data for JSON."""
        census = self.census
        jobs = to_plain(census.jobs) if census is not None else []
        now = self._clock()
        return {
            "at": self.census_at or now,
            "asked": census is not None,
            "broker": {"connected": self.connected, "blocked": self.blocked},
            "jobs": [_job(job) for job in reversed(jobs)],
            "workers": to_plain(census.workers) if census is not None else [],
            "silent": census.silent if census is not None else 0,
            "waiting_leases": census.waiting_leases if census is not None else 0,
            "rates": {
                job: {"records": each.view.records_per_sec(now), "bytes": each.view.bytes_per_sec(now)}
                for job, each in self.followed.items()
                if each.view.state.stages
            },
        }

    # ------------------------------------------------------------ cancelling

    def _cancel(self, event: CancelJob, now: float) -> list[Command]:
        why_not = self._why_not(event.job)
        if why_not:
            self.answers[event.number] = why_not
            return []
        commands = [] if event.job in self.followed else self._begin(event.job, now)
        self.followed[event.job].cancelling = True
        self.followed[event.job].wanted_until = now + CANCELLING_SECS
        request = wire.encode(ev.CancelRequested("cancelled from the dashboard"))
        return [
            *commands,
            base.Publish(ev.log_stream(event.job), request, f"{CANCEL}{event.number}", joins=True),
        ]

    def _why_not(self, job: str) -> str:
        if not self.connected:
            return "the broker does not answer"
        phases = (
            [report.phase for report in self.census.jobs if report.job == job]
            if self.census is not None
            else []
        )
        followed = self.followed.get(job)
        if followed is not None and followed.observer.caught_up:
            phases = [followed.view.phase]
        return "the job is over already" if phases and phases[0] in _OVER else ""

    def _say_farewell(self, job: str, each: Followed) -> list[Command]:
        """Nobody else says of a detached job that its end is known, so that its log is kept no longer than others."""
        terminal, spec = each.view.state.terminal, each.view.spec
        if not each.cancelling or terminal is None or spec is None:
            return []
        each.cancelling = False
        if not spec.detached or not isinstance(terminal, ev.Cancelled) or each.view.state.delivered:
            return []
        return [base.Publish(ev.log_stream(job), wire.encode(ev.Delivered(-1)), FAREWELL, joins=True)]


def _job(report: dict[str, Any]) -> dict[str, Any]:
    return {"id": report.pop("job"), **report}
