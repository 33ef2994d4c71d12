"""`mr retry`: let a job that has failed go on."""

from __future__ import annotations

from functools import partial
from typing import Optional

import click

from mapreduce import code
from mapreduce.commands import options
from mapreduce.commands.fetching import Fetching, fetching
from mapreduce.run import JobRun


@click.command(name="retry")
@fetching
@click.argument("job_file", metavar="[FILE]", required=False)
def command(of: Fetching, job_file: Optional[str]) -> None:
    """Run the failed tasks of the job JOB again, and all that is not done yet; then write its output, as mr run does.

    What is done is not done again. With FILE, the corrected job file, the rest runs its code: it needs the same number
    of stages, and what it makes of a record must go together with what was made of others before. Tries, limits and
    the input's format stay those of the first file. A job can be retried until what is kept of it goes: see mr run
    --keep.

    \b
    mr retry @
    mr retry wordcount-1f2e3d4c wordcount.py -o counts
    """
    with options.output_elsewhere():  # the file is imported here, and what it prints is no output
        corrected = code.from_file(job_file) if job_file is not None else None
    of.fetch(partial(JobRun.retry, corrected=corrected))
