"""Tables and notes as the commands print them: columns wide enough for what stands in them, one row a line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mapreduce.display import texts
from mapreduce.shown import as_json

if TYPE_CHECKING:
    from mapreduce.census import Census

_GAP = "  "


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On standard output. What goes beyond a terminal's edge is cut; elsewhere nothing is."""
    lines = [[texts.clean(" ".join(cell.splitlines())) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    seen = sys.stdout is not None and sys.stdout.isatty()
    room = shutil.get_terminal_size().columns if seen else None
    for line in lines:
        text = _GAP.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        click.echo(text if room is None or len(text) <= room else text[: room - 1] + "…")


def show_json(data: Any) -> None:
    """One document on standard output."""
    click.echo(as_json(data, indent=2))


def note(text: str) -> None:
    """A line on standard error."""
    click.echo(f"mr: {texts.clean(text)}", err=True)


def note_who_is_missing(census: Census) -> None:
    """What keeps the answer from being complete. Raises `BrokerError` if nobody could answer."""
    if census.silent and not census.blocked:
        them = "it" if census.silent == 1 else "they"
        note(
            f"{texts.count(census.silent, 'worker')} did not answer: {them} may hang, be suspended, "
            "or have lost the network"
        )
    if census.waiting_leases:
        note(f"{texts.waiting(census.waiting_leases)} (mr worker)")
    census.check()
