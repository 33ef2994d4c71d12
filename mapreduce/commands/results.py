"""`mr results`: the output of a job that was submitted with --detach."""

from __future__ import annotations

from typing import Callable, Optional

import click

from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.commands.ending import AtEnd, at_end_options
from mapreduce.run import JobRun
from mapreduce.write import open_sink


@click.command(name="results")
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
    """Wait until the job JOB is done and write its output; then the job is forgotten.

    \b
    JOB=$(mr run jobs/wordcount.py data/ --detach)
    mr results $JOB -o counts
    mr results $JOB -o counts --notify https://hooks.example.org/jobs
    """
    with options.telling_errors(as_json), AtEnd(notify, on_done) as at_end:
        url = options.required_broker_url(broker)
        with options.choose_display(quiet, as_json, summary) as display:
            job = find_job(url, job_id)
            fetch(lambda: JobRun.attach(job, url, output_format or "", display), output, at_end)


def fetch(attach: Callable[[], JobRun], output: Optional[str], at_end: AtEnd) -> bool:
    """Wait for the output of a job that is there already, and write it. False: it brings none.

    ``attach`` is called once it is known that there is a place for the output.
    """
    with open_sink(output) as sink, attach() as run:
        at_end.follow(run)
        result = run.collect()
        if not run.brings_output:
            return False
        sink.write(result.parts, result.tasks, run.output_format)
        run.deliver()
    options.tell_left_out(result, run.display)
    return True
