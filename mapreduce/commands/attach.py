"""`mr attach`: a job that was started elsewhere, as if it had been started here."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.commands.ending import AtEnd, at_end_options
from mapreduce.commands.results import fetch
from mapreduce.run import JobRun


@click.command(name="attach")
@naming.job
@options.broker
@options.output
@options.output_format
@at_end_options
@options.display
def command(
    job_id: str,
    broker: Optional[str],
    output: Optional[str],
    output_format: Optional[str],
    notify: tuple[str, ...],
    on_done: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    summary: Optional[bool],
) -> None:
    """Show the job JOB from its first task on, until it ends; exit as it does.

    The output of a job that was submitted with --detach is written then, as by mr results. Any other job has a client
    that waits for its output, and gets it. Ctrl-C leaves the job alone.

    \b
    mr attach @
    mr attach wordcount-1f2e3d4c -o counts
    """
    with options.telling_errors(as_json), AtEnd(notify, on_done) as at_end:
        url = options.required_broker_url(broker)
        with options.choose_display(quiet, as_json, summary) as display:
            job = find_job(url, job_id)
            if not fetch(lambda: JobRun.watch(job, url, output_format or "", display), output, at_end):
                display.report("info", f"job {job} is done; its output went to the client that submitted it")
