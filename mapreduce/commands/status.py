"""`mr status`: how a job stands, at a glance or as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

import click

from mapreduce.commands import naming, options, tables

if TYPE_CHECKING:
    from mapreduce.views import AttemptView, JobView

_STAGE_HEADS = (
    "STAGE",
    "DONE",
    "TASKS",
    "RUNNING",
    "WAITING",
    "FAILED",
    "RECORDS IN",
    "OUT",
    "BYTES IN",
    "OUT",
)
_RUNNING_HEADS = ("RUNNING", "WORKER", "FOR", "NOTE")
#: more running tasks than these are only counted
_RUNNING = 20
_WARNINGS = 10
#: what it may be without the last lines of the traceback
_INDENT = "  "


@click.command(name="status")
@naming.job
@options.broker
@click.option("--profile", is_flag=True, help="Also the hottest lines, of a job that was run with --profile.")
@naming.as_json
def command(job_id: str, broker: Optional[str], profile: bool, as_json: bool) -> None:
    """How the job JOB stands: its stages, which tasks run and where, failures, warnings, counters.

    JOB may be the beginning of its id, or @ for the job that was submitted last. A job that has ended can be looked at
    as long as it is kept, see mr jobs.

    \b
    mr status @
    mr status wordcount-1f2e3d4c
    mr status @ --profile
    mr status @ --json | jq .stages
    """
    url = options.required_broker_url(broker)
    from mapreduce.census import find_job  # half of the engine, as what follows
    from mapreduce.observer import observe
    from mapreduce.views import JobView, to_plain

    with observe(url, find_job(url, job_id), JobView(keep_attempts=as_json)) as observing:
        observing.run(lambda: observing.caught_up)
        view = observing.view
    now = time.time()
    if as_json:
        tables.show_json(to_plain(view, now))
        return
    for line in _head(view, now):
        click.echo(line)
    _show_stages(view)
    _show_running(view, now)
    for line in [*_failure(view), *_warnings(view), *_counters(view), *(_profile(view) if profile else ())]:
        click.echo(line)


def _head(view: JobView, now: float) -> Iterator[str]:
    from mapreduce.display import texts

    how = view.phase
    if view.ended_at is None:
        how += f" for {texts.secs(view.ran_secs(now))}" if view.submitted_at else ""
        left = view.secs_left(now)
        how += f", about {texts.secs(left)} left" if left is not None else ""
    elif view.ended_at:
        how += f", after {texts.secs(view.ran_secs(now))}"
    yield f"{view.job or 'the job'}: {how}"
    if view.cause:
        yield f"{_INDENT}{texts.clean(view.cause)}"
    records, size = view.records_per_sec(now), view.bytes_per_sec(now)
    if records or size:
        count = len({each.worker for each in view.running})
        workers = f", {texts.count(count, 'worker')}" if count else ""
        yield f"{_INDENT}{texts.rate(records)} records/s, {texts.size(size)}/s{workers}"


def _show_stages(view: JobView) -> None:
    from mapreduce.display import texts

    if view.stages:
        click.echo()
        tables.show_table(
            _STAGE_HEADS,
            [
                (
                    stage.name,
                    str(stage.done),
                    "?" if stage.total is None else str(stage.total),
                    str(stage.running),
                    str(stage.waiting),
                    str(stage.failed),
                    f"{stage.records_in:,}",
                    f"{stage.records_out:,}",
                    texts.size(stage.bytes_in),
                    texts.size(stage.bytes_out),
                )
                for stage in view.stages
            ],
        )


def _show_running(view: JobView, now: float) -> None:
    running = view.running
    if not running:
        return
    click.echo()
    tables.show_table(_RUNNING_HEADS, [_running_row(view, each, now) for each in running[:_RUNNING]])
    if len(running) > _RUNNING:
        click.echo(f"… and {len(running) - _RUNNING} more")


def _running_row(view: JobView, attempt: AttemptView, now: float) -> tuple[str, ...]:
    from mapreduce.display import texts
    from mapreduce.views import task_name

    name = task_name(attempt.stage, attempt.index, len(view.stages))
    return name, attempt.worker, texts.secs(attempt.ran_secs(now)), "copy" if attempt.copy else ""


def _failure(view: JobView) -> Iterator[str]:
    """The one that ended it, or the last one, with its record and traceback."""
    from mapreduce.display import texts
    from mapreduce.views import task_name

    ended = view.failure
    last = view.failures[-1] if view.failures else None
    if ended is not None:
        failure, stage, index = ended.failure, ended.stage, ended.index
        where = f"{task_name(stage, index, len(view.stages))}, {texts.count(ended.tries, 'try', 'tries')}"
    elif last is not None and last.failure is not None:
        failure = last.failure
        where = f"{task_name(last.stage, last.index, len(view.stages))} on {texts.clean(last.worker)}"
    else:
        return
    yield ""
    yield f"{'failed' if ended is not None else 'last failure'}: {texts.clean(failure.message)}"
    function = f" in {texts.clean(failure.function)}" if failure.function else ""
    yield f"{_INDENT}{where}{function}"
    if failure.source:
        at = f", byte {failure.offset}" if failure.offset >= 0 else ""
        yield f"{_INDENT}at {texts.clean(failure.source)}{at}"
    if failure.record:
        yield f"{_INDENT}record: {texts.clean(failure.record)}"
    for line in failure.traceback.rstrip("\n").split("\n") if failure.traceback else ():
        yield f"{_INDENT}{texts.clean(line)}"


def _warnings(view: JobView) -> Iterator[str]:
    from mapreduce.display import texts

    notices = list(view.notices)[-_WARNINGS:]
    if notices:
        earlier = view.notices_seen - len(notices)
        yield ""
        yield "what happened" + (f" (and {earlier} before)" if earlier else "")
    for notice in notices:
        at = time.strftime("%H:%M:%S ", time.localtime(notice.at)) if notice.at else ""
        yield f"{_INDENT}{at}{texts.clean(notice.text)}"


def _profile(view: JobView) -> Iterator[str]:
    from mapreduce.display.profile import hottest_lines

    found = view.summary().profile
    yield ""
    if found:
        yield from hottest_lines(found, len(view.stages), most=None)
    elif view.spec is not None and view.spec.profile:
        yield "no profile yet: tasks tell where their time goes each ten seconds of it, and when they end"
    else:
        yield "no profile: the job was not run with --profile"


def _counters(view: JobView) -> Iterator[str]:
    from mapreduce.display import texts

    counters = view.state.counters
    if counters:
        yield ""
        yield "counters"
    for name in sorted(counters):
        yield f"{_INDENT}{texts.clean(name)}: {counters[name]:,}"
