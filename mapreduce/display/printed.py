"""What user code prints, as lines to show: each once, marked with its task, and not more than can be read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Callable, TypeVar

from mapreduce.display import texts
from mapreduce.views import JobView, task_name

T = TypeVar("T")

#: so many lines may come at once …
BURST_LINES = 1000
#: … and so many a second
LINES_PER_SEC = 200


class Unseen:
    """Of a deque that forgets its oldest, what has come since the last look."""

    def __init__(self) -> None:
        self._seen = 0

    def take(self, kept: Sequence[T], seen: int) -> tuple[list[T], int]:
        """What is new, and how many were forgotten before they were looked at. ``seen``: how many there were in all."""
        new, self._seen = seen - self._seen, seen
        return list(islice(kept, max(0, len(kept) - new), None)), max(0, new - len(kept))


class PrintedLines:
    """Lines of all that a job prints, as far as they may be shown."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock``: monotonic seconds."""
        self._unseen = Unseen()
        self._clock = clock
        self._left = float(BURST_LINES)
        self._at = clock()
        self._hidden = 0  #: lines that were too many
        self._forgotten = 0  #: texts that came and went between two looks

    def skip(self, view: JobView) -> None:
        """What was printed so far is not to be shown."""
        self._unseen.take(view.printed, view.printed_seen)

    def take(self, view: JobView, last: bool = False) -> list[str]:
        """Lines for what was printed since. ``last``: there will be no more, so say now what was left out."""
        found, forgotten = self._unseen.take(view.printed, view.printed_seen)
        self._forgotten += forgotten
        now = self._clock()
        self._left = min(BURST_LINES, self._left + (now - self._at) * LINES_PER_SEC)
        self._at = now
        lines: list[str] = []
        stages = len(view.stages)
        for each in found:
            name = task_name(each.stage, each.index, stages)
            lines += self._allowed(texts.printed(name, each.text, each.dropped))
        if last or self._left >= BURST_LINES / 2:
            lines += self._tell_hidden()
        return lines

    def _allowed(self, lines: list[str]) -> list[str]:
        shown = lines[: int(self._left)]
        self._left -= len(shown)
        self._hidden += len(lines) - len(shown)
        return shown

    def _tell_hidden(self) -> list[str]:
        if not self._hidden and not self._forgotten:
            return []
        more = " and more" if self._forgotten else ""
        text = f"mr: {texts.count(self._hidden, 'line')}{more} that tasks have printed are not shown"
        self._hidden = self._forgotten = 0
        return [text]
