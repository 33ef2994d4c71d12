"""Numbers, times and tasks as people read them; the same words in every display."""

from __future__ import annotations

import re
from typing import Optional

from mapreduce.shown import CONTROLS

#: sequences that move a terminal's cursor, colour it or talk to it: user code may print them, a display may not
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]"
)

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNTS = ("", " k", " M", " G", " T")


def secs(value: float) -> str:
    """``0.4 s``, ``12.3 s``, ``2 min 05 s``, ``3 h 07 min``, ``2 d 4 h``."""
    if value < 59.95:
        return f"{max(0.0, value):.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def clock(value: float) -> str:
    """``0:07``, ``12:34``, ``3:07:09``: where it changes under the reader's eyes."""
    minutes, rest = divmod(int(max(0.0, value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(value: float) -> str:
    """``17 B``, ``1.5 KiB``, ``12.0 MiB``."""
    return _scaled(value, 1024.0, _BYTES, " ")


def rate(value: float) -> str:
    """A count that need not be exact: ``17``, ``1.5 k``, ``12.0 M``."""
    return _scaled(value, 1000.0, _COUNTS, "")


def _scaled(value: float, step: float, units: tuple[str, ...], blank: str) -> str:
    for unit in units[:-1]:
        digits = 0 if unit == units[0] else 1
        if round(value, digits) < step:
            return f"{value:.{digits}f}{blank}{unit}"
        value /= step
    return f"{value:.1f}{blank}{units[-1]}"


def count(number: int, one: str, many: Optional[str] = None) -> str:
    """``1 task``, ``1,234 tasks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def printed(name: str, text: str, dropped: int) -> list[str]:
    """Lines of what user code has printed, each marked with its task, without what would steer a terminal."""
    mark = f"[{name}]"
    lines = [f"{mark} ({count(dropped, 'byte')} left out here)"] if dropped else []
    if text:
        lines += [f"{mark} {clean(line)}".rstrip() for line in text.removesuffix("\n").split("\n")]
    return lines


def clean(line: str) -> str:
    """One line without control characters. What was overwritten, as progress bars do, is left out."""
    return CONTROLS.sub("", _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2])


def waiting(leases: int) -> str:
    """That they wait. A job may have two, right after its submission."""
    waits = "waits for a worker to take it" if leases == 1 else "wait for a worker to take them"
    return f"{count(leases, 'lease')} of jobs {waits}"
