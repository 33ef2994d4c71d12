"""The arguments that name a job or a worker, and how the shell completes them."""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional, TypeVar

import click
from click.shell_completion import CompletionItem

from mapreduce import config

F = TypeVar("F", bound=Callable[..., Any])

#: the tab key waits no longer than this for a broker, and half of it for workers
COMPLETION_SECS = 1.0


def complete_job(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the broker's jobs, the latest first."""
    census = _quick_census(context, "jobs")
    return [
        CompletionItem(report.job, help=report.phase)
        for report in reversed(census.jobs if census is not None else ())
        if report.job.startswith(incomplete)
    ]


def complete_worker(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Last parts of workers' names: shells split words at the colons between the parts."""
    census = _quick_census(context, "workers")
    ends = [
        (report.worker.rpartition(":")[2], report)
        for report in (census.workers if census is not None else ())
    ]
    return [
        CompletionItem(end, help=f"{report.host}, process {report.pid}")
        for end, report in ends
        if end.startswith(incomplete) and not report.draining
    ]


def _quick_census(context: click.Context, question: str) -> Any:
    """None if there is no broker, or it does not answer at once: the tab key does not complain."""
    url: Optional[str] = context.params.get("broker") or config.broker_url()
    if not url:
        return None
    from mapreduce.census import take_census
    from mapreduce.errors import MapReduceError

    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(take_census(url, question, COMPLETION_SECS / 2))
        except MapReduceError:
            answers.append(None)

    # a broker behind a firewall that swallows packets is not known as such before long
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(COMPLETION_SECS)
    return answers[0] if answers else None


job: Callable[[F], F] = click.argument("job_id", metavar="JOB", shell_complete=complete_job)
worker: Callable[[F], F] = click.argument("worker", metavar="WORKER", shell_complete=complete_worker)
as_json: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
