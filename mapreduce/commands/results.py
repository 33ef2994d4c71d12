"""`mr results`: the output of a job that was submitted with --detach."""

from __future__ import annotations

import click

from mapreduce.commands.fetching import Fetching, fetching
from mapreduce.run import JobRun


@click.command(name="results")
@fetching
def command(of: Fetching) -> None:
    """Wait until the job JOB is done and write its output; then the job is forgotten.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr results $JOB -o counts
    mr results $JOB -o counts --notify https://hooks.example.org/jobs
    """
    of.fetch(JobRun.attach)
