"""A display in a notebook: one output that is written anew in place, by nothing but IPython itself.

A front end that shows no HTML (a console) gets the same as text.
"""

from __future__ import annotations

import html
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any

from mapreduce.display import texts
from mapreduce.display.base import Display
from mapreduce.display.plain import progress_line, rates
from mapreduce.display.summary import paragraph
from mapreduce.views import JobView, StageView

#: jobs that are over sooner show nothing; then so long between two looks, as each is kept in a message
FIRST_SECS = 0.5
EVERY_SECS = 0.5
MOST_WARNINGS = 3

# colours that can be told apart on white and on black
_DONE, _RUNS, _FAILED = "#2da44e", "#6cb6ff", "#e5534b"
_CELL = '<td style="text-align:left;padding:1px 10px 1px 0;border:none;background:none">'


def in_notebook() -> bool:
    """Whether this is a kernel, which shows what it is told to in some front end."""
    ipython = sys.modules.get("IPython")  # else nobody has imported it, so this is none
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


class NotebookDisplay(Display):
    """What tasks print goes to standard error, as ever."""

    def __init__(self, **options: Any) -> None:
        super().__init__(attended=True, **options)
        self._id = f"mapreduce-{secrets.token_hex(8)}"
        self._shown = False
        self._next_secs = FIRST_SECS

    def refresh(self) -> None:
        super().refresh()
        passed = self.passed()
        if self.view is None or self.stopped or passed < self._next_secs or not self.view.submitted_at:
            return
        self._next_secs = passed + EVERY_SECS
        self._show(as_html(self.view, self.age()), progress_line(self.view, self.age()))

    def finish(self) -> None:
        """What was shown stays, as it was at the end."""
        self.stop()
        if self.view is None:
            return
        lines = paragraph(self.view, self.local, self.passed()) if self._shown else []
        lines += self._hottest_lines(self.view)
        if lines:
            text = "\n".join(lines)
            style = "margin:0;padding:0;background:none"
            self._show(f'<pre style="{style}">{html.escape(text)}</pre>', text)

    def _show(self, page: str, text: str) -> None:
        import IPython.display  # it is there: `in_notebook`

        display: Any = IPython.display.display
        display({"text/html": page, "text/plain": text}, raw=True, display_id=self._id, update=self._shown)
        self._shown = True


def as_html(view: JobView, passed_secs: float) -> str:
    """A table of stages, and what there is to say besides. Safe: all that others have written is escaped."""
    return "".join(_html(view, passed_secs))


def _html(view: JobView, passed_secs: float) -> Iterator[str]:
    now = time.time()
    left = view.secs_left(now)
    head = [texts.clock(passed_secs), *rates(view, now)]
    if left is not None:
        head.append(f"{texts.clock(left)} left")
    yield f"<div><b>{html.escape(view.job)}</b> &nbsp; {html.escape(', '.join(head))}</div>"
    yield '<table style="border:none;background:none">'
    for stage in view.stages:
        yield from _row(stage)
    yield "</table>"
    warnings = [notice.text for notice in view.notices if notice.level == "warning"]
    for text in warnings[-MOST_WARNINGS:]:
        yield f'<div style="color:{_FAILED}">{html.escape(texts.clean(text))}</div>'


def _row(stage: StageView) -> Iterator[str]:
    total = stage.total or stage.done + stage.running + stage.waiting
    done = 100 * stage.done / total if total else 100.0 * (stage.total == 0)
    runs = 100 * stage.running / total if total else 0.0
    bar = (
        f'<div style="width:16em;height:.8em;border:1px solid;opacity:.8;display:flex">'
        f'<div style="width:{done:.1f}%;background:{_DONE}"></div>'
        f'<div style="width:{runs:.1f}%;background:{_RUNS}"></div></div>'
    )
    states = [
        f"{number:,} {what}"
        for number, what in (
            (stage.running, "running"),
            (stage.waiting, "waiting"),
            (stage.failed, "failed"),
        )
        if number > 0
    ]
    known = "?" if stage.total is None else f"{stage.total:,}"
    cells = [html.escape(stage.name), bar, f"{stage.done:,}/{known}", html.escape(", ".join(states))]
    yield f"<tr>{''.join(f'{_CELL}{cell}</td>' for cell in cells)}</tr>"
