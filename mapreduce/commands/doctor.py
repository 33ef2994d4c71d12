"""`mr doctor`: is the broker, and are its workers, as they should be?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import click

from mapreduce import config
from mapreduce.commands import naming, options, tables

if TYPE_CHECKING:
    from mapreduce.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": None, "warning": "yellow", "failed": "red"}
_WIDTH = len("ack timeout")  #: of what was looked at, at most


@click.command(name="doctor")
@click.argument("jobs", metavar="[JOB]…", nargs=-1)
@options.broker
@click.option("--clean", is_flag=True, help="Remove what dead jobs have left, as far as it can be seen.")
@click.option(
    "--shared-dir",
    metavar="DIR",
    help="Look also for what jobs have left in DIR, where they share folders.  [default: MR_SHARED_DIR, or none]",
)
@naming.as_json
def command(
    jobs: tuple[str, ...], broker: Optional[str], clean: bool, shared_dir: Optional[str], as_json: bool
) -> None:
    """Look whether a broker and its workers are as they should be, and say what to do where they are not.

    The broker: whether it can be reached, its version and limits, TLS, streams, the rights on all that is needed,
    alarms, for how long it lets messages be held. The workers: whether all answer, their clocks, their versions against
    the ones here. What dead jobs have left; of a JOB that is named (its whole id) all that there is. In DIR the folders
    of all jobs; --clean removes only those of JOBs that are named, and not there any more. The exit code is 0 unless
    something keeps jobs from running.

    \b
    mr doctor
    mr doctor --clean wordcount-1f2e3d4c
    mr doctor --shared-dir /nfs/scratch
    mr doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    from mapreduce.doctor.examination import examine  # half of the engine

    url = options.required_broker_url(broker)
    findings: list[Finding] = []
    show = findings.append if as_json else _show
    error = examine(url, show, jobs, clean, shared_dir or None, config.shared_dir())
    if as_json:
        tables.show_json({"ok": error is None, "findings": [each._asdict() for each in findings]})
    if error is not None:
        error.told = True
        raise error


def _show(finding: Finding) -> None:
    from mapreduce.display import texts

    level = click.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    click.echo(f"{level}{finding.check:<{_WIDTH}}  {texts.clean(' '.join(finding.text.split()))}")
    if finding.advice:
        click.echo(f"{'':<{8 + _WIDTH}}  → {finding.advice}")
