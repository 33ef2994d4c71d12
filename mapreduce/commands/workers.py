"""`mr workers`: who works on a broker's jobs, and what each is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import click

from mapreduce.commands import naming, options, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mapreduce.events import WorkerReport

_HEADS = ("WORKER", "VERSION", "PYTHON", "POOL", "BUSY", "UP", "MEMORY", "JOBS", "DOING")


@click.command(name="workers")
@options.broker
@naming.as_json
def command(broker: Optional[str], as_json: bool) -> None:
    """The workers of a broker: version, executors, since when they are up, memory, and what each executor is doing.

    A worker's name is its host, its process and a random number. PYTHON is what its executors run on, JOBS how many
    jobs it coordinates. Workers that do not answer within two seconds are counted.

    \b
    mr workers
    mr workers --json | jq '.workers[] | {worker, memory_bytes}'
    """
    from mapreduce.census import take_census  # half of the engine

    census = take_census(options.required_broker_url(broker), "workers")
    if as_json:
        tables.show_json(census.to_plain())
        census.check()
        return
    if census.workers:
        tables.show_table(_HEADS, [row for report in census.workers for row in _rows(report)])
    elif not census.silent:
        tables.note("no worker is there (mr worker)")
    tables.note_who_is_missing(census)


def _rows(report: WorkerReport) -> Iterator[tuple[str, ...]]:
    """One for each executor at work, at least one."""
    from mapreduce.display import texts

    doing = [
        f"{task.job} stage {task.stage} task {task.task}, {texts.secs(task.secs)}" for task in report.running
    ]
    if report.draining:
        doing.append("leaves when that is done" if doing or report.held else "leaves")
    first, *rest = doing or ["-"]
    yield (
        report.worker,
        report.version,
        report.tag,
        report.pool,
        f"{len(report.running)}/{report.slots}",
        texts.secs(max(0.0, report.now - report.since)),
        texts.size(report.memory_bytes) if report.memory_bytes else "?",
        str(len(report.coordinates)),
        first,
    )
    for text in rest:
        yield ("",) * (len(_HEADS) - 1) + (text,)
