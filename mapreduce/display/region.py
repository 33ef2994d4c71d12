"""The last lines of a terminal, redrawn in place, below what scrolls by.

Nothing of the terminal's state is changed: no cursor is hidden, no mode set, no other screen used, and after each write
the cursor stands at the start of the line below. So whatever ends this process, `kill -9` included, leaves a terminal
that is as it was, and the shell's prompt comes below the last frame.

A write is one system call, so that half a frame is never seen. Where the terminal takes nothing (Ctrl-S, a connection
that hangs), frames are left out instead of waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Sequence
from typing import NamedTuple

_UP = "\x1b[{}A"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_DEFAULT_SIZE = (80, 24)
#: lines that wait for a terminal that takes nothing; older ones are lost
_MOST_WAITING = 10_000


class Line(NamedTuple):
    """One line as it is written, and how many columns it takes."""

    text: str
    columns: int


class Region:
    """A terminal's last lines. ``fd``: that of a terminal."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._fd = fd
        self._encoding = encoding
        self._drawn: list[int] = []  #: columns of the lines that stand there
        self._waiting: list[str] = []  #: lines that are to scroll by, and could not be written yet

    def size(self) -> os.terminal_size:
        """Columns and rows; never 0, as terminals that do not know say."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._fd)
            return os.terminal_size((columns or _DEFAULT_SIZE[0], rows or _DEFAULT_SIZE[1]))
        return os.terminal_size(_DEFAULT_SIZE)

    @property
    def in_foreground(self) -> bool:
        """Whether the terminal is ours to draw on: not while the shell has put us into the background."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it is not our controlling terminal, so nobody else draws on it
            return True

    def draw(self, frame: Sequence[Line], above: Sequence[str] = ()) -> None:
        """Show ``frame`` in place of what was drawn before, and let the lines ``above`` scroll by. Or do it later."""
        self._waiting = [*self._waiting, *above][-_MOST_WAITING:]
        if not select.select([], [self._fd], [], 0)[1]:
            return
        self._write(frame)

    def clear(self, above: Sequence[str] = ()) -> None:
        """Remove what was drawn; waits until the terminal takes that."""
        self._waiting += above
        if self._drawn or self._waiting:
            self._write(())

    def forget(self) -> None:
        """Something else has written below: what was drawn stays, the next frame begins where the cursor is."""
        self._drawn = []

    def _write(self, frame: Sequence[Line]) -> None:
        parts = []
        if self._drawn:
            parts.append(f"\r{_UP.format(self._rows())}")
            if (
                self._waiting
            ):  # they may take several rows, or all of one: there is no clearing up behind them
                parts.append(_CLEAR_BELOW)
        parts += [f"{line}\n" for line in self._waiting]
        parts += [f"{line.text}{_CLEAR_LINE}\n" for line in frame]
        if self._drawn:
            parts.append(_CLEAR_BELOW)
        self._waiting, self._drawn = [], [line.columns for line in frame]
        data = "".join(parts).encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._fd, data) :]

    def _rows(self) -> int:
        """What the frame takes by now: a terminal that became narrower has wrapped its lines."""
        columns = self.size().columns
        return sum(max(1, -(-line // columns)) for line in self._drawn)
