"""What the live display looks like: a job as a few styled lines, as wide as there is room.

wordcount-1f2e3d4c  0:12  8 tasks at work on 3 workers
map     ━━━━━━━━━━━━━━━╸────────────  123/200  8 running  69 waiting  2 failed
reduce  ────────────────────────────    0/8    8 waiting
1.2 M records/s, 45.3 MiB/s, 0:07 left
! map 17 failed on db1:4711: ValueError: …
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from mapreduce.display import texts
from mapreduce.display.plain import rates
from mapreduce.views import JobView, StageView

#: wider lines are harder to read, and wrap when a window is pulled smaller
MOST_COLUMNS = 100
#: a bar that is shorter says nothing
LEAST_BAR = 8
MOST_BAR = 40
MOST_WARNINGS = 3
#: the job's line, rates, and the warnings
_OTHER_ROWS = 2 + MOST_WARNINGS
#: of the stages, where there is no room for all
_LEAST_STAGES = 1


def frame(view: JobView, local: bool, passed_secs: float, columns: int, rows: int) -> list[Text]:
    """Lines of at most ``columns`` columns, and fewer than ``rows`` of them."""
    width = min(columns - 1, MOST_COLUMNS)
    lines = [
        _head(view, local, passed_secs),
        *_stages(view.stages, width, rows - 1 - _OTHER_ROWS),
        *_speed(view),
        *_warnings(view),
    ]
    for line in lines:
        line.no_wrap = True
        line.truncate(max(width, 1), overflow="ellipsis")
    return lines[: max(1, rows - 1)]


def _head(view: JobView, local: bool, passed_secs: float) -> Text:
    text = Text.assemble((view.job, "bold"), "  ", texts.clock(passed_secs))
    running = len(view.running)
    busy = len({each.worker for each in view.running})
    if view.state.cancel_reason is not None:
        return text.append("  is asked to end", "yellow")
    if view.phase == "ready":
        return text.append("  its output comes")
    if running:
        where = "" if local else f" on {texts.count(busy, 'worker')}"
        text.append(f"  {texts.count(running, 'task')} at work{where}")
    elif view.phase in ("submitting", "feeding"):
        text.append("  its input comes")
    return text


def _stages(stages: Sequence[StageView], width: int, room: int) -> Iterator[Text]:
    shown = _those_at_work(stages, max(_LEAST_STAGES, room))
    names = max((len(stage.name) for stage in shown), default=0)
    counts = [f"{stage.done:,}/{'?' if stage.total is None else f'{stage.total:,}'}" for stage in shown]
    widest = max(map(len, counts), default=0)
    states = [_states(stage) for stage in shown]
    used = names + 2 + widest + max((state.cell_len for state in states), default=0)
    bar = min(MOST_BAR, width - used - 2)
    for stage, number, state in zip(shown, counts, states):
        text = Text(stage.name.ljust(names) + "  ")
        if bar >= LEAST_BAR:
            text.append_text(_bar(stage, bar)).append("  ")
        yield text.append(number.rjust(widest)).append_text(state)


def _those_at_work(stages: Sequence[StageView], room: int) -> Sequence[StageView]:
    """All, or those around the first that is not done."""
    current = next((i for i, stage in enumerate(stages) if stage.done != stage.total), len(stages) - 1)
    first = max(0, min(current - 1, len(stages) - room)) if room > 1 else max(0, current)
    return stages[first : first + room]


def _states(stage: StageView) -> Text:
    text = Text()
    for number, what, style in (
        (stage.running, "running", "cyan"),
        (stage.waiting, "waiting", ""),
        (stage.failed, "failed", "red"),
    ):
        if number > 0:
            text.append("  ").append(f"{number:,} {what}", style)
    return text


def _bar(stage: StageView, length: int) -> Text:
    """Halves of a character count; what is done, what runs, what waits."""
    total = stage.total or stage.done + stage.running + stage.waiting
    if not total:
        complete = stage.total == 0
        return Text(("━" if complete else "─") * length, "green" if complete else "dim")
    halves = 2 * length * stage.done // total
    text = Text("━" * (halves // 2) + "╸" * (halves % 2), "green")
    rest = length - len(text)
    runs = min(rest, -(-length * stage.running // total))
    return text.append("─" * runs, "cyan").append("─" * (rest - runs), "dim")


def _speed(view: JobView) -> Iterator[Text]:
    now = time.time()
    parts = rates(view, now)
    left = view.secs_left(now)
    if left is not None:
        parts.append(f"{texts.clock(left)} left")
    if parts:
        yield Text(", ".join(parts), "dim")


def _warnings(view: JobView) -> Iterator[Text]:
    warnings = [notice.text for notice in view.notices if notice.level == "warning"]
    for text in warnings[-MOST_WARNINGS:]:
        line = " ".join(texts.clean(text).split())  # a tab's width is not known before it is there
        yield Text(f"! {line}", "yellow")
