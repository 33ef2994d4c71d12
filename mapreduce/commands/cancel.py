"""`mr cancel`: end a job that was submitted before."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce.census import find_job
from mapreduce.commands import naming, options, tables
from mapreduce.run import JobRun


@click.command(name="cancel")
@naming.job
@options.broker
@naming.as_json
def command(job_id: str, broker: Optional[str], as_json: bool) -> None:
    """End the job JOB, whoever submitted it, and wait until it has ended; a client that waits for it ends too.

    JOB may be the beginning of its id, or @ for the job that was submitted last.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr cancel $JOB
    """
    url = options.required_broker_url(broker)
    job = find_job(url, job_id)
    with JobRun.to_cancel(job, url) as run:
        run.collect()
    if as_json:
        tables.show_json({"job": job, "phase": "cancelled"})
