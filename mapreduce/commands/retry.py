"""`mr retry`: let a job that has failed go on."""

from __future__ import annotations

from typing import Optional

import click

from mapreduce import code
from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.commands.ending import AtEnd, at_end_options
from mapreduce.commands.results import fetch
from mapreduce.run import JobRun


@click.command(name="retry")
@naming.job
@click.argument("job_file", metavar="[FILE]", required=False)
@options.broker
@options.output
@options.output_format
@at_end_options
@options.display
def command(
    job_id: str,
    job_file: Optional[str],
    broker: Optional[str],
    output: Optional[str],
    output_format: Optional[str],
    notify: tuple[str, ...],
    on_done: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    summary: Optional[bool],
) -> None:
    """Run the failed tasks of the job JOB again, and all that is not done yet; then write its output, as mr run does.

    What is done is not done again. With FILE, the corrected job file, the rest runs its code: it needs the same number
    of stages, and what it makes of a record must go together with what was made of others before. Tries, limits and
    the input's format stay those of the first file. A job can be retried until what is kept of it goes: see mr run
    --keep.

    \b
    mr retry @
    mr retry wordcount-1f2e3d4c wordcount.py -o counts
    """
    with options.telling_errors(as_json), AtEnd(notify, on_done) as at_end:
        url = options.required_broker_url(broker)
        with options.choose_display(quiet, as_json, summary) as display:
            job = find_job(url, job_id)
            with options.output_elsewhere():  # the file is imported here, and what it prints is no output
                corrected = code.from_file(job_file) if job_file is not None else None
            fetch(lambda: JobRun.retry(job, url, corrected, output_format or "", display), output, at_end)
