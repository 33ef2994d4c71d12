"""What was found out, as plain data."""

from __future__ import annotations

from typing import NamedTuple

OK = "ok"
NOTE = "note"  #: to be known; nothing is wrong
WARNING = "warning"
FAILED = "failed"  #: jobs cannot run like this


class Finding(NamedTuple):
    """One line of the report."""

    check: str  #: what was looked at: "broker", "rights", …
    level: str
    text: str
    advice: str = ""  #: what to do about it
