"""What all displays have in common: when they are told of what.

    display.begin(view, local)      there is a job to look at, `view`
    display.report(level, text)     a line of the engine's own, any time; may come before `begin`
    display.refresh()               a few times a second while the job runs
    display.stop()                  results are next, perhaps on the same terminal: nothing is shown any more
    display.finish()                at the very end: the summary; errors are told by whoever comes after us

A context manager: leaving it finishes. All in one thread, that of the host. What cannot be written is lost, for a
terminal that is gone is no reason to end a job.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Callable, Optional, TextIO

from mapreduce.display.printed import PrintedLines
from mapreduce.display.profile import hottest_lines
from mapreduce.display.summary import one_line, paragraph
from mapreduce.shown import escaped
from mapreduce.views import JobView

#: what ran for so long deserves a line at its end even where nobody looks
LONG_SECS = 10.0
#: and where somebody looks, a summary
SHORT_SECS = 2.0


class Display:
    """Shows what user code prints and what the engine has to say; no more than that. Base of all that show more."""

    def __init__(
        self,
        stream: Optional[TextIO] = None,
        summary: Optional[bool] = None,
        attended: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``stream``: standard error, as it is when something is written, unless given.

        ``summary``: True: always all of it; False: never; None: of jobs that took long.
        ``attended``: somebody looks, so that this is sooner, and more than a line.
        """
        self.view: Optional[JobView] = None
        self.local = False  #: there is no broker
        self.began = 0.0  #: on the clock
        self.stopped = False
        self.wanted = False  #: the view is, at the end, also where nothing is shown of it
        self._own_stream = stream
        self._summary = summary
        self.attended = attended
        self._clock = clock
        self._printed = PrintedLines(clock)

    # ------------------------------------------------------------ told

    def new_view(self) -> Optional[JobView]:
        """What is to be shown of a job; None: nothing."""
        return JobView(keep_attempts=False)

    def begin(self, view: JobView, local: bool) -> None:
        """``local``: without a broker. What the view knows already is not shown."""
        self.view, self.local, self.began = view, local, self._clock()
        self._printed.skip(view)

    def report(self, level: str, text: str) -> None:
        self.write([f"mr: {escaped(text)}"])

    def trouble(self, text: str) -> None:
        """What has gone wrong, and is no error of the job's: it is told also where nothing else is."""
        self.report("warning", text)

    def remark(self, lines: Sequence[str]) -> None:
        """Lines on the job's end."""
        self.write(lines)

    def refresh(self) -> None:
        if self.view is not None and not self.stopped:
            self.write(self._printed.take(self.view))

    def stop(self) -> None:
        if self.view is not None and not self.stopped:
            self.write(self._printed.take(self.view, last=True))
        self.stopped = True

    def finish(self) -> None:
        self.stop()
        view = self.view
        if view is None or not view.submitted_at:
            return
        if self._summary is not False:
            self._summarize(view)
        self.write(self._hottest_lines(view))  # asked for, so also where there is no summary

    @staticmethod
    def _hottest_lines(view: JobView) -> list[str]:
        """None, unless the job was profiled."""
        if view.spec is None or not view.spec.profile:
            return []
        return list(hottest_lines(view.summary().profile, view.spec.stages))

    def _summarize(self, view: JobView) -> None:
        if view.ended_at is None and not self._summary:
            return  # it goes on without us
        took = max(self.passed(), view.summary().secs)  # we may have come to it late
        if self._summary or (self.attended and took >= SHORT_SECS):
            self.write(paragraph(view, self.local, took))
        elif took >= LONG_SECS:
            self.write([f"mr: {one_line(view, self.local, took)}"])

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.finish()

    # ------------------------------------------------------------ for those that show more

    def passed(self) -> float:
        """Seconds since `begin`."""
        return self._clock() - self.began

    def age(self) -> float:
        """Seconds since the job was submitted, which may have been elsewhere and before `begin`."""
        submitted = self.view.submitted_at if self.view is not None else 0.0
        return max(self.passed(), time.time() - submitted if submitted else 0.0)

    @property
    def stream(self) -> Optional[TextIO]:
        return self._own_stream or sys.stderr

    def write(self, lines: Sequence[str]) -> None:
        """Write lines, for good."""
        stream = self.stream
        if not lines or stream is None:
            return
        with contextlib.suppress(OSError, ValueError):  # gone, or closed
            stream.write("".join(f"{line}\n" for line in lines))
            stream.flush()
