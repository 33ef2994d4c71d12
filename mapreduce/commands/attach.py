"""`mr attach`: a job that was started elsewhere, as if it had been started here."""

from __future__ import annotations

import click

from mapreduce.commands.fetching import Fetching, fetching
from mapreduce.run import JobRun


@click.command(name="attach")
@fetching
def command(of: Fetching) -> None:
    """Show the job JOB from its first task on, until it ends; exit as it does.

    The output of a job that was submitted with --detach is written then, as by mr results. Any other job has a client
    that waits for its output, and gets it. Ctrl-C leaves the job alone.

    \b
    mr attach @
    mr attach wordcount-1f2e3d4c -o counts
    """
    if not of.fetch(JobRun.watch):
        of.display.report("info", f"job {of.job} is done; its output went to the client that submitted it")
