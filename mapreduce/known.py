"""A worker's cache of jobs: those whose code it has, or is fetching, from their logs; with the attempts that wait for
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Attempt
from mapreduce.brokers import base
from mapreduce.legible import ADVICE, Legibility, build
from mapreduce.spec import JobSpec

#: jobs without an attempt here whose code is kept, for the next dispatch
REMEMBERED_JOBS = 16


class KnownJob:
    """A job that was retried with other code is known once for each."""

    def __init__(self, job: str, code: Optional[ev.CodeRef]) -> None:
        self.job = job
        self.code = code
        self.spec: Optional[JobSpec] = None
        self.waiting: list[Attempt] = []
        self._submitted: Optional[JobSpec] = None
        self._unreadable: Optional[wire.BadMessage] = None  #: the `Retried` that has brought the code
        self._legibility = Legibility()

    def fetch(self, tag: str) -> base.Consume:
        """The next that is to be read: the job, then its code if that is not the job's first."""
        first: Any = "first" if self._submitted is None or self.code is None else self.code.offset
        return base.Consume(tag, ev.log_stream(self.job), 1, first)

    @property
    def trouble(self) -> str:
        """Why the job cannot be run here; "": it can, or is not known yet."""
        why = self._legibility.why_unknown()
        if self._unreadable is not None:
            by = "another build of mapreduce retried it, or the broker has damaged that"
            why = f"{by} ({self._unreadable}); {ADVICE}"
        return f"this worker ({build()}) cannot read the job: {why}" if why else ""

    def take(self, entry: Any) -> bool:
        """The next entry of the log; whether this reading has brought what it was for."""
        self._legibility.note(entry)
        if self._submitted is None:
            if not isinstance(entry, ev.Submitted):
                return False  # what is unreadable the coordinator reports; the next entry may be the one
            self._submitted = entry.spec
            self.spec = entry.spec if self.code is None else None
            return True
        if isinstance(entry, wire.BadMessage) and entry.tag == ev.Retried.__name__:
            self._unreadable = entry  # what is read now begins with the one that has brought the code
        if isinstance(entry, ev.Retried) and self.code is not None and entry.number == self.code.number:
            bundle = self._submitted.bundle if entry.bundle is None else entry.bundle
            self.spec = replace(self._submitted, bundle=bundle)
        return self.spec is not None


class KnownJobs(Mapping[str, KnownJob]):
    """By the name of their code, as in `Attempt.code`; the one that was used last stands last."""

    def __init__(self) -> None:
        self._jobs: dict[str, KnownJob] = {}

    def __getitem__(self, code: str) -> KnownJob:
        return self._jobs[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def use(self, attempt: Attempt) -> tuple[KnownJob, bool]:
        """What this attempt runs; whether it was unknown, so that it is to be fetched."""
        known = self._jobs.pop(attempt.code, None)
        is_new = known is None
        if known is None:
            known = KnownJob(attempt.job, attempt.dispatch.code)
        self._jobs[attempt.code] = known
        return known, is_new

    def forget(self, code: str) -> Optional[KnownJob]:
        """Let go of it; what was known, None: nothing."""
        return self._jobs.pop(code, None)

    def codes_of(self, job: str) -> list[str]:
        """The names of all code that is known of the job: its first, and what retries have brought."""
        return [code for code, known in self._jobs.items() if known.job == job]

    def needless(self, busy: set[str]) -> list[str]:
        """Advice that a job has ended can be lost: of those that are not ``busy`` here only the latest are kept."""
        if len(self._jobs) <= REMEMBERED_JOBS:
            return []
        return [code for code, known in self._jobs.items() if known.job not in busy][:-REMEMBERED_JOBS]

    def disconnected(self) -> None:
        """What was being fetched comes no more."""
        self._jobs = {code: known for code, known in self._jobs.items() if known.spec is not None}
