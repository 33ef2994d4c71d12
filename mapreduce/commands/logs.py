"""`mr logs`: what a job's code has printed, and what happened."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Optional

import click

from mapreduce.commands import naming, options
from mapreduce.errors import UsageError
from mapreduce.shown import as_json as to_json

if TYPE_CHECKING:
    from mapreduce.views.narrative import Told

#: who follows a job has as much patience with its broker as its client has
FOLLOW_SECS = 600.0
_TASK = re.compile(r"(?:(\d{1,9})/)?(\d{1,9})", re.ASCII)


class Task(click.ParamType):  # type: ignore[type-arg]  # as in `options`
    """N or STAGE/N, as (stage or None, N)."""

    name = "task"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Optional[int], int]:
        match = _TASK.fullmatch(value)
        if match is None:
            self.fail(f"{value[:70]!r} is neither N nor STAGE/N, as in 3 or 1/3")
        return int(match[1]) if match[1] else None, int(match[2])


@click.command(name="logs")
@naming.job
@options.broker
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option(
    "--task",
    type=Task(),
    metavar="N",
    help="Only of this task, with each of its tries; STAGE/N: of this stage, 0 is the map.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def command(
    job_id: str, broker: Optional[str], follow: bool, task: Optional[tuple[Optional[int], int]], as_json: bool
) -> None:
    """What the code of the job JOB has printed, each line marked with its task, and what happened, in order.

    JOB may be the beginning of its id, or @ for the job that was submitted last. What tasks print beyond 64 KiB each is
    left out. A job's log is kept as long as the job is, see mr jobs.

    \b
    mr logs @
    mr logs wordcount-1f2e3d4c --follow
    mr logs @ --task 1/3
    mr logs @ --json | jq -r 'select(.kind == "printed") | .text'
    """
    url = options.required_broker_url(broker)
    from mapreduce.census import find_job  # half of the engine, as what follows
    from mapreduce.errand import RECONNECT_SECS
    from mapreduce.observer import observe
    from mapreduce.views import describe_tasks
    from mapreduce.views.narrative import Narrative, TaskFilter

    wanted = TaskFilter(*task) if task is not None else None
    narrative = Narrative(tasks=wanted is not None)
    patience_secs = FOLLOW_SECS if follow else RECONNECT_SECS
    shown = 0
    with observe(url, find_job(url, job_id), narrative, patience_secs) as observing:

        def show() -> bool:
            nonlocal shown
            for told in narrative.take():
                if wanted is None or wanted.takes(told):
                    _show(told, as_json)
                    shown += 1
            state = narrative.view.state
            if wanted is not None and not shown and observing.caught_up and wanted.is_none(state):
                name = wanted.index if wanted.stage is None else f"{wanted.stage}/{wanted.index}"
                raise UsageError(f"job {state.job} has no task {name}; it has {describe_tasks(state)}")
            return observing.caught_up and (not follow or narrative.view.ended_at is not None)

        observing.run(show)
        show()


def _show(told: Told, as_json: bool) -> None:
    if as_json:
        fields = told._asdict()
        if told.stage < 0:
            fields["stage"] = fields["task"] = None
        click.echo(to_json(fields))
        return
    from mapreduce.display import texts

    at = time.strftime("%H:%M:%S", time.localtime(told.at)) if told.at else "        "
    if told.kind == "printed":
        lines = texts.printed(told.name, told.text, told.dropped)
    else:
        lines = [f"[{told.name}] {texts.clean(told.text)}" if told.name else f"mr: {texts.clean(told.text)}"]
    for line in lines:
        click.echo(f"{at} {line}")
