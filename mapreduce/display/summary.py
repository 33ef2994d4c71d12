"""A job from a distance, in a line or a paragraph: what it took, what went wrong, what was slow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mapreduce.display import texts
from mapreduce.views import JobView, Summary, task_name

#: more counters are only counted: `--counters` prints them all
MOST_COUNTERS = 12
MOST_SLOWEST = 3
MOST_WARNINGS = 3
#: how evenly less than this is spread does not matter
LEAST_SKEW_BYTES = 64 * 1024
_ENDS = {"done": "done", "failed": "failed", "cancelled": "was cancelled", "abandoned": "was given up"}


def one_line(view: JobView, local: bool, took_secs: float) -> str:
    """For logs. ``took_secs``: for how long we have watched it."""
    summary = view.summary()
    parts = [_tasks(summary), _moved(view, summary, local)]
    return f"{_head(view, summary, took_secs)}: {'; '.join(parts)}"


def paragraph(view: JobView, local: bool, took_secs: float) -> list[str]:
    """For people. ``local``: there was no broker."""
    return list(_paragraph(view, local, took_secs))


def _paragraph(view: JobView, local: bool, took_secs: float) -> Iterator[str]:
    summary = view.summary()
    stages = len(summary.stages)
    yield _head(view, summary, took_secs)
    yield from (f"  {line}" for line in _table(summary))
    yield f"  {_tasks(summary)}; {_moved(view, summary, local)}"
    slowest = summary.slowest[:MOST_SLOWEST]
    if slowest:
        named = (
            f"{task_name(each.stage, each.index, stages)} ({texts.secs(each.secs or 0.0)}"
            f"{'' if local else f' on {texts.clean(each.worker)}'})"
            for each in slowest
        )
        yield f"  slowest: {', '.join(named)}"
    for number, skew in summary.skews.items():
        if skew.largest >= LEAST_SKEW_BYTES:
            name = task_name(number, skew.partition, stages)
            yield f"  skew: {name} read {texts.size(skew.largest)}, the median {texts.size(skew.median)}"
    if summary.counters:
        shown = [f"{texts.clean(name)} {value:,}" for name, value in summary.counters.items()]
        more = f", and {len(shown) - MOST_COUNTERS} more" if len(shown) > MOST_COUNTERS else ""
        yield f"  counters: {', '.join(shown[:MOST_COUNTERS])}{more}"
    if summary.left_out:
        yield f"  left out: {texts.count(summary.left_out, 'record')}"
    warnings = [notice.text for notice in view.notices if notice.level == "warning"]
    yield from (f"  ! {texts.clean(text)}" for text in warnings[-MOST_WARNINGS:])


def end_of(view: JobView) -> str:
    """How it has ended, for its client: that its output is ready is all that it can do."""
    return "done" if view.phase == "ready" else view.phase


def _head(view: JobView, summary: Summary, took_secs: float) -> str:
    after = f"after {texts.secs(summary.secs or took_secs)}"  # 0: nobody knows when messages were sent
    end = _ENDS.get(end_of(view))
    return f"job {view.job} {end} {after}" if end else f"job {view.job}, {after}"


def _tasks(summary: Summary) -> str:
    if summary.tries == summary.tasks > 0 and not (summary.failed or summary.lost or summary.copies):
        return f"{texts.count(summary.tasks, 'task')}, each at the first try"
    trouble = [
        text
        for number, text in (
            (summary.failed, f"{summary.failed} failed"),
            (summary.lost, f"{summary.lost} lost"),
            (summary.copies, texts.count(summary.copies, "copy", "copies")),
        )
        if number
    ]
    tries = texts.count(summary.tries, "try", "tries")
    return f"{texts.count(summary.tasks, 'task')} done, {tries}{': ' * bool(trouble)}{', '.join(trouble)}"


def _moved(view: JobView, summary: Summary, local: bool) -> str:
    beside = local or (view.spec is not None and view.spec.shared_dir)
    return f"{texts.size(summary.bytes_moved)} {'between processes' if beside else 'through the broker'}"


def _table(summary: Summary) -> list[str]:
    rows = [("", "tasks", "records in", "records out", "bytes in", "bytes out")]
    for stage in summary.stages:
        tasks = f"{stage.done:,}" if stage.done == stage.total else f"{stage.done:,}/{stage.total or '?'}"
        rows.append(
            (
                stage.name,
                tasks,
                f"{stage.records_in:,}",
                f"{stage.records_out:,}",
                texts.size(stage.bytes_in),
                texts.size(stage.bytes_out),
            )
        )
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
