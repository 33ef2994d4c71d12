"""`mr debug`: a failed task in this process, in the debugger."""

from __future__ import annotations

from typing import Any, Optional

import click

from mapreduce import debugging
from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.errors import JobFailed
from mapreduce.observer import observe
from mapreduce.scratch import ScratchFolder
from mapreduce.state import JobState


class _Fold:
    """A job's log, folded."""

    def __init__(self) -> None:
        self.state = JobState()

    def note(self, entry: Any, at: float) -> None:
        self.state.apply(entry)

    def restart(self) -> None:
        self.state = JobState()


@click.command(name="debug")
@naming.job
@click.argument("task", metavar="[TASK]", required=False)
@options.broker
@click.option("--job", "job_file", metavar="FILE", help="Run this file's code, instead of what was sent.")
@click.option("--no-pdb", is_flag=True, help="Only print the traceback and the record.")
def command(
    job_id: str, task: Optional[str], broker: Optional[str], job_file: Optional[str], no_pdb: bool
) -> None:
    """Run a task of the job JOB in this process, on the records that it had, and stop in pdb where it fails.

    TASK is N or STAGE/N, by default the task that failed. In the debugger `record` is the record at work. The job is
    not changed by this, and is there for as long as mr run --keep says. Exits with 1 if the task fails, 0 if not.

    \b
    mr debug @
    mr debug wordcount-1f2e3d4c 1/3 --no-pdb
    mr debug @ --job wordcount.py                   does the corrected file do?
    """
    url = options.required_broker_url(broker)
    name = find_job(url, job_id)
    with ScratchFolder("mr-debug-") as scratch:
        with observe(url, name, _Fold()) as observing:
            observing.run(lambda: observing.caught_up)
            state = observing.view.state
            stage, index = debugging.find_task(state, task)
            fetched = debugging.fetch(observing.host, state, stage, index, scratch.path)
        assert state.spec is not None
        job = debugging.load_job(state.spec, job_file)
        if debugging.debug(state, stage, index, fetched, job, interactive=not no_pdb):
            raise click.exceptions.Exit(JobFailed.exit_code)
