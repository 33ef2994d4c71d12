"""What the commands share that wait for a job that is there already, and write its output."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Optional

from mapreduce.census import find_job
from mapreduce.commands import naming, options
from mapreduce.commands.ending import AtEnd, at_end_options
from mapreduce.display.base import Display
from mapreduce.run import JobRun
from mapreduce.write import open_sink


class Fetching(NamedTuple):
    """Of one job, as the command's options say."""

    url: str
    job: str  #: its whole id
    output: Optional[str]
    output_format: str  #: "": whichever it was submitted for
    display: Display
    at_end: AtEnd

    def fetch(self, attach: Callable[..., JobRun]) -> bool:
        """Wait for the output, and write it. False: the job brings none.

        ``attach``, one of those of `JobRun`, is called once it is known that there is a place for the output.
        """
        with open_sink(self.output) as sink, self._attached(attach) as run:
            self.at_end.follow(run)
            result = run.collect()
            if not run.brings_output:
                return False
            sink.write(result.parts, result.tasks, run.output_format)
            run.deliver()
        options.tell_left_out(result, run.display)
        return True

    def _attached(self, attach: Callable[..., JobRun]) -> JobRun:
        return attach(self.job, self.url, output_format=self.output_format, display=self.display)


def fetching(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a command that gets a `Fetching` and what else it has asked for; adds the argument and options."""

    @naming.job
    @options.broker
    @options.output
    @options.output_format
    @at_end_options
    @options.display
    @functools.wraps(command)
    def with_options(
        job_id: str,
        broker: Optional[str],
        output: Optional[str],
        output_format: Optional[str],
        notify: tuple[str, ...],
        on_done: tuple[str, ...],
        quiet: bool,
        as_json: bool,
        summary: Optional[bool],
        **others: Any,
    ) -> None:
        with options.telling_errors(as_json), AtEnd(notify, on_done) as at_end:
            url = options.required_broker_url(broker)
            with options.choose_display(quiet, as_json, summary) as display:
                job = find_job(url, job_id)
                command(Fetching(url, job, output, output_format or "", display, at_end), **others)

    return with_options
