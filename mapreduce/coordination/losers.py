"""Attempts whose results nobody waits for: of tasks that another has won, of input that is void."""

from __future__ import annotations

from typing import Any, Union

from mapreduce import events as ev
from mapreduce.state import JobState


def losers(state: JobState, entry: Any) -> list[int]:
    """What can stop now; ``entry`` comes next in the log, and is not folded yet."""
    if isinstance(entry, ev.Started):
        return [entry.attempt] if _is_late(state, entry) else []
    if isinstance(entry, (ev.Long, ev.Alive)):
        return [entry.attempt] if _is_vain(state, entry) else []
    if isinstance(entry, ev.Missing):
        return _of_void_stages(state, entry)
    task = state.task(entry.stage, entry.index) if isinstance(entry, ev.Done) else None
    if task is None or task.winner is not None:
        return []
    running = [each.attempt for each in task.live.values() if each is not None]
    return [attempt for attempt in running if attempt != entry.attempt]


def _is_late(state: JobState, entry: ev.Started) -> bool:
    """It was on its way when its task was won, or its input was voided, or the job failed."""
    task = state.task(entry.stage, entry.index)
    if state.terminal is not None or entry.revision != state.revision:
        return True
    if task is None or state.stages[entry.stage].generation != entry.generation:
        return True
    return task.winner is not None and task.winner.attempt != entry.attempt


def _is_vain(state: JobState, entry: Union[ev.Long, ev.Alive]) -> bool:
    """It was told to stop, by advice that has not reached it: whatever comes of it does not count.

    One that was taken for lost goes on: it may still be the first to be done.
    """
    task = state.task(entry.stage, entry.index)
    if state.terminal is not None or entry.revision != state.revision or task is None:
        return True
    return task.winner is not None and task.winner.attempt != entry.attempt


def _of_void_stages(state: JobState, missing: ev.Missing) -> list[int]:
    """What read a seal that is about to be void, or what came of it; but the reader who says so has ended."""
    if (
        not 0 < missing.stage < len(state.stages)
        or state.stages[missing.stage].generation != missing.generation
    ):
        return []
    before, named = state.stages[missing.stage - 1], set(missing.attempts)
    if not any(task.winner is not None and task.winner.attempt in named for task in before.tasks.values()):
        return []
    return [
        running.attempt
        for stage in state.stages[missing.stage :]
        for task in stage.tasks.values()
        for dispatch, running in task.live.items()
        if running is not None and dispatch != missing.dispatch
    ]
