"""A display that is redrawn in place, on a terminal.

Frames come with the host's ticks, four a second. rich, which styles them, is imported with the first one: most short
jobs are over before.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from mapreduce.display.base import Display
from mapreduce.display.region import Line, Region
from mapreduce.views import JobView

if TYPE_CHECKING:
    from rich.text import Text

#: jobs that are over sooner need no display
FIRST_SECS = 0.5
#: where a frame takes so long that they would need more than this share of the time, fewer come
MOST_SHARE = 0.05
#: for terminals that have ASCII alone
_ASCII = str.maketrans({"━": "#", "╸": "#", "─": "-", "…": "~"})


class LiveDisplay(Display):
    """On a terminal that can move its cursor."""

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(stream, attended=True, **options)
        self._region = Region(stream.fileno(), stream.encoding)
        self._painter = _Painter(stream)
        self._frame: Sequence[Line] = ()
        self._next_secs = FIRST_SECS
        self._before: Any = None  #: what was done on SIGCONT

    def begin(self, view: JobView, local: bool) -> None:
        super().begin(view, local)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGCONT, self._on_continued)

    def refresh(self) -> None:
        super().refresh()
        if self.view is None or self.stopped or self.passed() < self._next_secs:
            return
        self._painter.prepare()
        began = self.passed()
        before = time.thread_time()
        columns, rows = self._region.size()
        self._frame = self._painter.paint(self.view, self.local, self.age(), columns, rows)
        self.write(())
        self._next_secs = began + (time.thread_time() - before) / MOST_SHARE

    def write(self, lines: Sequence[str]) -> None:
        """Let them scroll by, above the frame."""
        if not self._region.in_foreground:  # what is on the terminal now is not ours
            self._frame = ()
            self._region.forget()
        with contextlib.suppress(OSError):  # the terminal is gone
            if self.stopped:
                self._region.clear(lines)
            else:
                self._region.draw(self._frame, lines)

    def stop(self) -> None:
        super().stop()
        self._frame = ()
        self.write(())
        if self._before is not None:
            signal.signal(signal.SIGCONT, self._before)
            self._before = None

    def _on_continued(self, number: int, frame: object) -> None:
        """After Ctrl-Z and `fg` the shell has written where our frame was."""
        self._region.forget()


class _Painter:
    """Makes frames, in the colours that the terminal has and NO_COLOR allows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console: Any = None

    def prepare(self) -> None:
        """Import rich: that takes as long as many frames."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream, force_terminal=True, highlight=False)

    def paint(self, view: JobView, local: bool, passed_secs: float, columns: int, rows: int) -> list[Line]:
        from mapreduce.display.frame import frame  # with it comes rich

        lines = frame(view, local, passed_secs, columns, rows)
        return [Line(self._styled(line), line.cell_len) for line in lines]

    def _styled(self, text: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(text, end="", soft_wrap=True)
        styled: str = captured.get()
        return styled if self._stream.encoding.lower().startswith("utf") else styled.translate(_ASCII)
