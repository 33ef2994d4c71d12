"""One look at everything, in order: what follows from a broker that cannot be used is not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Callable, Optional

import mapreduce
from mapreduce import events as ev
from mapreduce import loops, versions
from mapreduce.census import Census, take_census
from mapreduce.code import interpreter_tag
from mapreduce.display import texts
from mapreduce.doctor.broker import check_broker, describe_ack_timeout
from mapreduce.doctor.finding import FAILED, NOTE, OK, Finding
from mapreduce.doctor.folders import check_folders, list_folders, measure
from mapreduce.doctor.leftovers import alive, check_leftovers, find_owned, is_unsure
from mapreduce.doctor.workers import check_clocks, check_versions, check_workers
from mapreduce.errors import BrokerError, JobLost, UsageError


def examine(
    url: str,
    show: Callable[[Finding], object],
    jobs: tuple[str, ...] = (),
    clean: bool = False,
    shared_dir: Optional[str] = None,
    usual_dir: Optional[str] = None,
) -> Optional[BrokerError]:
    """What keeps jobs from running, if anything does; ``show`` gets each finding as soon as it is known.

    ``jobs``: whole ids; all that there is of them is looked for. ``clean``: leftovers are removed. ``shared_dir``:
    where jobs share folders; ``usual_dir``: the same, if the user has not said it; then it need not be there. Raises
    `JobLost` for what can be no id, `BrokerUrlWrong`, `UsageError` for a ``shared_dir`` that cannot be read.
    """
    for job in jobs:
        if not ev.is_name(job):
            raise JobLost(f"there is no job {job[:70]!r}: no job can have such a name")
    sharing = None if shared_dir is None else _list_given(shared_dir)
    findings, error = check_broker(url)
    _show_all(findings, show)
    if error is not None:
        return error
    show(_describe_loops())
    # before anybody is asked for jobs: a job's folder is made when its lease is out
    if sharing is None and usual_dir is not None:
        try:
            sharing = list_folders(usual_dir)
        except OSError as trouble:
            show(Finding("folders", NOTE, f"cannot look into {usual_dir} (MR_SHARED_DIR): {_why(trouble)}"))
    try:
        census = take_census(url, "jobs")
        taught = [each.ack_timeout_secs for each in census.workers if each.ack_timeout_secs]
        tag = interpreter_tag()
        show(describe_ack_timeout(taught))
        _show_all(check_workers(census), show)
        _show_all(check_clocks(census), show)
        _show_all(check_versions(census, mapreduce.__version__, tag, versions.libraries()), show)
        _show_all(_check_jobs(census), show)
        owned = find_owned(url, census)
        _show_all(check_leftovers(url, census, tag, jobs, clean, owned, sharing or ()), show)
        if sharing is not None:
            known = alive(url, owned, sharing)
            # last: a file server that does not answer holds up nothing else
            _show_all(check_folders(measure(sharing), known, is_unsure(census), jobs, clean), show)
    except BrokerError as lost:  # it was there a moment ago
        show(Finding("broker", FAILED, str(lost)))
        return lost
    return None


def _show_all(findings: Iterable[Finding], show: Callable[[Finding], object]) -> None:
    for finding in findings:
        show(finding)


def _list_given(shared_dir: str) -> dict[str, tuple[str, ...]]:
    try:
        return list_folders(shared_dir)
    except OSError as error:
        raise UsageError(f"cannot look into {shared_dir} (--shared-dir): {_why(error)}") from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _describe_loops() -> Finding:
    """Those of this installation; each worker has its own."""
    if not loops.NOT_IN_C:
        return Finding("loops", OK, "the innermost loops were compiled when mapreduce was installed here")
    return Finding(
        "loops",
        NOTE,
        f"the innermost loops run in Python here ({loops.NOT_IN_C}): jobs that count words take half as long again",
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
