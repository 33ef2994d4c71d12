"""`mr jobs`: all jobs of a broker that are known, running or kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional

import click

from mapreduce.commands import naming, options, tables

if TYPE_CHECKING:
    from mapreduce.events import JobReport

_HEADS = ("JOB", "PHASE", "TASKS", "RUNNING", "SUBMITTED", "POOL", "NOTE")


@click.command(name="jobs")
@options.broker
@naming.as_json
def command(broker: Optional[str], as_json: bool) -> None:
    """The jobs of a broker: those that run, and those that have ended as long as they are kept.

    TASKS is how many are done and how many there are, of each stage. The job that was submitted last stands last; it is
    the one that @ stands for.

    \b
    mr jobs
    mr jobs --json | jq -r '.jobs[] | select(.phase == "failed") | .job'
    """
    from mapreduce.census import take_census  # half of the engine

    census = take_census(options.required_broker_url(broker), "jobs")
    if as_json:
        tables.show_json(census.to_plain())
        census.check()
        return
    if census.jobs:
        now = time.time()
        tables.show_table(_HEADS, [_row(report, now) for report in census.jobs])
    elif not census.workers and not census.silent:
        tables.note("no worker is there, and without one nobody knows of a job (mr worker)")
    elif not (census.silent or census.waiting_leases):
        tables.note("there is no job")
    tables.note_who_is_missing(census)


def _row(report: JobReport, now: float) -> tuple[str, ...]:
    from mapreduce.display import texts

    done = " ".join(f"{stage.done}/{'?' if stage.total is None else stage.total}" for stage in report.stages)
    running = sum(stage.running for stage in report.stages)
    ago = f"{texts.secs(now - report.submitted_at)} ago" if report.submitted_at else ""
    why = report.cause
    if report.kept_until:
        left = f"kept for {texts.secs(report.kept_until - now)}"
        why = f"{why} ({left})" if why else left
    return (report.job, report.phase, done, str(running or ""), ago, report.pool, why)
