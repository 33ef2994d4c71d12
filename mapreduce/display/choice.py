"""Which display there is to be."""

from __future__ import annotations

import sys
from typing import Optional

from mapreduce import config
from mapreduce.display.base import Display
from mapreduce.display.live import LiveDisplay
from mapreduce.display.plain import PlainDisplay
from mapreduce.display.quiet import QuietDisplay, Unwatched


def for_command(quiet: bool = False, as_json: bool = False, summary: Optional[bool] = None) -> Display:
    """For a command: by its options, and by what standard error is. ``summary``: as of `Display`."""
    if quiet:
        return QuietDisplay()
    if as_json:
        from mapreduce.display.jsonlines import JsonDisplay  # few want it

        return JsonDisplay(summary=summary)
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return PlainDisplay(summary=summary)
    if config.terminal_kind() in ("", "dumb", "unknown"):  # it cannot move its cursor
        return PlainDisplay(summary=summary, attended=True)
    return LiveDisplay(stream, summary=summary)


def for_python(progress: Optional[bool]) -> Display:
    """For `job.run`. ``progress``: None: in a notebook alone."""
    from mapreduce.display.notebook import NotebookDisplay, in_notebook

    if progress is not False and in_notebook():
        return NotebookDisplay()
    return for_command() if progress else Unwatched()
