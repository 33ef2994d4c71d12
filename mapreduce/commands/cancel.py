"""`mr cancel`: end a job that was submitted before."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.run import JobRun


@click.command(name="cancel")
@naming.job
@options.broker
def command(job_id: str, broker: Optional[str]) -> None:
    """End the job JOB, whoever submitted it, and wait until it has ended; a client that waits for it ends too.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr cancel $JOB
    """
    url = options.required_broker_url(broker)
    with JobRun.to_cancel(find_job(url, job_id), url) as run:
        run.collect()
