"""`--notify` and `--on-done`: what happens at a job's end, however it ends."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import click

from mapreduce.errors import BrokerError, Cancelled, JobError, JobLost, MapReduceError, UsageError

if TYPE_CHECKING:
    from mapreduce.run import JobRun

F = TypeVar("F", bound=Callable[..., Any])


def at_end_options(command: F) -> F:
    """`notify` and `on_done`, for `AtEnd`."""
    for option in (
        click.option(
            "--on-done",
            metavar="COMMAND",
            multiple=True,
            help="Run by the shell at the job's end; has MR_JOB, MR_OUTCOME, MR_EXIT_CODE and MR_SECS.  Repeatable.",
        ),
        click.option(
            "--notify", metavar="URL", multiple=True, help="POST JSON there at the job's end.  Repeatable."
        ),
    ):
        command = option(command)
    return command


class AtEnd:
    """A context manager around all that a command does with a job. Leaving it tells how that has ended, if there is a
    job by then (`follow`), and it has ended: not if whoever waits for another's job is stopped, nor after a second
    Ctrl-C.
    """

    def __init__(self, notify: Sequence[str], on_done: Sequence[str], detach: bool = False) -> None:
        """Raises `UsageError` for what cannot be."""
        if detach and (notify or on_done):
            text = (
                "--detach leaves before the job ends; give --notify and --on-done to mr results or mr attach"
            )
            raise UsageError(text)
        if not all(map(str.strip, on_done)):
            raise UsageError("--on-done: there is no command in it")
        self._urls = notify
        if notify:
            from mapreduce.notify import check_url  # few need it

            self._urls = [check_url(url) for url in notify]
        self._commands = on_done
        self._began = time.monotonic()
        self._run: Optional[JobRun] = None

    def follow(self, run: JobRun) -> None:
        """The job that it is about."""
        self._run = run
        if self._urls:
            run.display.wanted = True  # the summary goes there

    def __enter__(self) -> AtEnd:
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        run = self._run
        if run is None or not (self._urls or self._commands):
            return
        if error is not None and not isinstance(error, Exception):
            return
        if isinstance(error, (UsageError, JobError)):
            return  # nothing was begun
        from mapreduce.client import RetryingClient

        client = run.client
        if isinstance(client, RetryingClient) and not client.retried:
            return  # the job is as it was
        if client.detached or (error is not None and client.attached and client.state.terminal is None):
            if client.state.spec is not None:
                text = f"job {client.job} has not ended: --notify and --on-done are left out"
                run.display.trouble(text)
            return
        self._tell(run, error)

    def _tell(self, run: JobRun, error: Optional[Exception]) -> None:
        from mapreduce import notify
        from mapreduce.views import summary_to_plain

        view = run.display.view
        summary = view.summary() if view is not None and view.submitted_at else None
        spec = run.client.state.spec
        ended = notify.Ended(
            job=run.client.job,
            name=spec.name if spec is not None else "",
            outcome=_outcome(error),
            cause=" ".join(str(error).split()) if error is not None else "",
            exit_code=_exit_code(error),
            secs=summary.secs if summary is not None and summary.secs else time.monotonic() - self._began,
            summary=summary_to_plain(summary) if summary is not None else None,
        )
        troubles: list[Optional[str]] = [*notify.post(self._urls, ended)]
        tell = functools.partial(run.display.report, "info")
        troubles += [notify.run_command(command, ended, tell) for command in self._commands]
        for trouble in troubles:
            if trouble is not None:
                run.display.trouble(trouble)


def _outcome(error: Optional[Exception]) -> str:
    if error is None:
        return "done"
    if isinstance(error, Cancelled):
        return "cancelled"
    return "lost" if isinstance(error, (JobLost, BrokerError)) else "failed"


def _exit_code(error: Optional[Exception]) -> int:
    if error is None:
        return 0
    return error.exit_code if isinstance(error, MapReduceError) else 1
