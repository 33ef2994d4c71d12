"""Whether the broker takes messages: told once when it stops, and once when it goes on."""

from __future__ import annotations

from mapreduce.brokers import base
from mapreduce.effects import Command, Report


class Alarm:
    """The broker's, in this session."""

    def __init__(self) -> None:
        self._on = False

    def forget(self) -> None:
        """The session is over."""
        self._on = False

    def blocked(self, event: base.Blocked) -> list[Command]:
        if self._on:
            return []
        self._on = True
        text = f"the broker takes no messages for now ({event.reason}); the job goes on when it does"
        return [Report("warning", text)]

    def unblocked(self) -> list[Command]:
        was, self._on = self._on, False
        return [Report("info", "the broker takes messages again")] if was else []
