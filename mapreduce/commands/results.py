"""`mr results`: the output of a job that was submitted with --detach."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce.commands import options
from mapreduce.run import JobRun
from mapreduce.write import open_sink


@click.command(name="results")
@click.argument("job_id", metavar="JOB")
@options.broker
@options.output
@options.output_format
def command(job_id: str, broker: Optional[str], output: Optional[str], output_format: Optional[str]) -> None:
    """Wait until the job JOB is done and write its output; then the job is forgotten.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr results $JOB -o counts
    """
    url = options.required_broker_url(broker)
    with open_sink(output) as sink, JobRun.attach(job_id, url, output_format or "") as run:
        result = run.collect()
        sink.write(result.parts, result.tasks, run.output_format)
        run.deliver()
    options.tell_left_out(result)
