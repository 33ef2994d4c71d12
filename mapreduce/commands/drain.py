"""`mr drain`: tell a worker to finish and leave, from any host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import click

from mapreduce.commands import naming, options, tables
from mapreduce.errors import BrokerError

if TYPE_CHECKING:
    from mapreduce.events import WorkerReport


@click.command(name="drain")
@naming.worker
@options.broker
@naming.as_json
def command(worker: str, broker: Optional[str], as_json: bool) -> None:
    """Tell the worker WORKER to finish what it has begun, however long that takes, hand back the rest, and leave.

    WORKER is its name as `mr workers` shows it, a beginning of that, or the random number at its end; if several fit,
    nothing is done. The jobs that it coordinates go over to others. On its own host SIGTERM does the same, but waits no
    longer than its --grace; sent to a worker that is told to leave already, it sets that limit.

    \b
    mr drain 5f3a9c01
    mr drain build-host-7: --broker amqp://user:password@host/
    """
    from mapreduce import events  # half of the engine
    from mapreduce.census import choose_worker, take_census

    url = options.required_broker_url(broker)
    name = choose_worker(take_census(url, "workers"), worker).worker
    census = take_census(url, "workers", first=(events.Drain(name),))
    report = next((each for each in census.workers if each.worker == name), None)
    if report is not None and not report.draining:
        raise BrokerError(f"worker {name} has not heard that it is to leave: the message is lost; try again")
    if report is None and (census.silent or census.blocked):
        raise BrokerError(f"worker {name} is told to leave, but does not answer any more")
    if as_json:
        held = 0 if report is None else len(report.running) + report.held
        tables.show_json({"worker": name, "gone": report is None, "tasks": held})
    elif report is None:
        tables.note(f"worker {name} has left")
    else:
        tables.note(f"worker {name} takes nothing new, and leaves{_then(report)}")


def _then(report: WorkerReport) -> str:
    from mapreduce.display import texts

    tasks = len(report.running) + report.held
    return (
        f" when {texts.count(tasks, 'task')} more {'is' if tasks == 1 else 'are'} done or handed back"
        if tasks
        else ""
    )
