"""Attempts whose results nobody waits for: of tasks that another has won, of input that is void."""

from __future__ import annotations

from typing import Any

from mapreduce import events as ev
from mapreduce.state import JobState


def losers(state: JobState, entry: Any) -> list[int]:
    """What can stop now; ``entry`` comes next in the log, and is not folded yet."""
    if isinstance(entry, ev.Started):
        return [entry.attempt] if _is_late(state, entry) else []
    task = state.task(entry.stage, entry.index) if isinstance(entry, ev.Done) else None
    if task is None or task.winner is not None:
        return []
    running = [each.attempt for each in task.live.values() if each is not None]
    return [attempt for attempt in running if attempt != entry.attempt]


def _is_late(state: JobState, entry: ev.Started) -> bool:
    """It was on its way when its task was won, or its input was voided."""
    task = state.task(entry.stage, entry.index)
    if task is None or state.stages[entry.stage].generation != entry.generation:
        return True
    return task.winner is not None and task.winner.attempt != entry.attempt
