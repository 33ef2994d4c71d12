"""`mr cancel`: end a job that was submitted before."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce.commands import options
from mapreduce.run import JobRun


@click.command(name="cancel")
@click.argument("job_id", metavar="JOB")
@options.broker
def command(job_id: str, broker: Optional[str]) -> None:
    """End the job JOB, whoever submitted it, and wait until it has ended; a client that waits for it ends too.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr cancel $JOB
    """
    url = options.required_broker_url(broker)
    with JobRun.to_cancel(job_id, url) as run:
        run.collect()
