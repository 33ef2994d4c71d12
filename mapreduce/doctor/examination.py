"""One look at everything, in order: what follows from a broker that cannot be used is not looked at."""

from __future__ import annotations

from collections import Counter
from typing import Optional

import mapreduce
from mapreduce import events as ev
from mapreduce import loops, versions
from mapreduce.census import Census, take_census
from mapreduce.code import interpreter_tag
from mapreduce.display import texts
from mapreduce.doctor.broker import check_broker, describe_ack_timeout
from mapreduce.doctor.finding import NOTE, OK, Finding
from mapreduce.doctor.folders import check_folders, find_folders
from mapreduce.doctor.leftovers import alive, check_leftovers, find_owned, is_unsure
from mapreduce.doctor.workers import check_clocks, check_versions, check_workers
from mapreduce.errors import BrokerError, JobLost


def examine(
    url: str, jobs: tuple[str, ...] = (), clean: bool = False, shared_dir: Optional[str] = None
) -> tuple[list[Finding], Optional[BrokerError]]:
    """All that was found out, and what keeps jobs from running, if anything does.

    ``jobs``: whole ids; all that there is of them is looked for. ``clean``: leftovers are removed. ``shared_dir``:
    where jobs share folders. Raises `JobLost` for what can be no id, `BrokerUrlWrong`, `UsageError` for what is no
    folder.
    """
    for job in jobs:
        if not ev.is_name(job):
            raise JobLost(f"there is no job {job[:70]!r}: no job can have such a name")
    # before anybody is asked for jobs: a job's folder is made when its lease is out
    folders = None if shared_dir is None else find_folders(shared_dir)
    findings, error = check_broker(url)
    if error is not None:
        return findings, error
    findings.append(_describe_loops())
    try:
        census = take_census(url, "jobs")
        taught = [each.ack_timeout_secs for each in census.workers if each.ack_timeout_secs]
        tag = interpreter_tag()
        findings.append(describe_ack_timeout(taught))
        findings += check_workers(census)
        findings += check_clocks(census)
        findings += check_versions(census, mapreduce.__version__, tag, versions.libraries())
        findings += _check_jobs(census)
        sharing = [folder.job for folder in folders or ()]
        owned = find_owned(url, census)
        findings += check_leftovers(url, census, tag, jobs, clean, owned, sharing)
        if folders is not None:
            findings += check_folders(folders, alive(url, owned, sharing), is_unsure(census), jobs, clean)
    except BrokerError as lost:  # it was there a moment ago
        findings.append(Finding("broker", "failed", str(lost)))
        return findings, lost
    return findings, None


def _describe_loops() -> Finding:
    """Those of this installation; each worker has its own."""
    if loops.IS_IN_C:
        return Finding("loops", OK, "the innermost loops were compiled when mapreduce was installed here")
    return Finding(
        "loops",
        NOTE,
        "the innermost loops run in Python here: jobs that count or hash words take up to half as long again",
        "install a C compiler and Python's headers (Debian, Ubuntu: gcc python3-dev), then mapreduce once more",
    )


def _check_jobs(census: Census) -> list[Finding]:
    phases = Counter(report.phase for report in census.jobs)
    if not phases:
        return []
    text = ", ".join(f"{number} {phase}" for phase, number in sorted(phases.items()))
    return [
        Finding(
            "jobs", OK if not phases["reading"] else NOTE, f"{texts.count(len(census.jobs), 'job')}: {text}"
        )
    ]
