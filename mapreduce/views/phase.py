"""How a job stands, in a word, and why it has no output, in a line: read off the fold."""

from __future__ import annotations

from mapreduce import events as ev
from mapreduce.state import JobState

#: for whoever has not read all of the log yet
READING = "reading"
_ENDS: dict[type, str] = {
    ev.Delivered: "done",
    ev.Failed: "failed",
    ev.Cancelled: "cancelled",
    ev.Abandoned: "abandoned",
}


def phase_of(state: JobState) -> str:
    """ "submitting", "feeding" (its input is not all in; tasks run meanwhile), "running", "ready" (its output waits
    to be fetched), "done", "failed", "cancelled" or "abandoned"."""
    if state.terminal is not None:
        return _ENDS[type(state.terminal)]
    if not state.stages:
        return "submitting"
    if state.ready:
        return "ready"
    return "feeding" if state.stages[0].total is None else "running"


def cause_of(state: JobState) -> str:
    """Why there is no output, in one line; "" unless it has failed, was cancelled or given up."""
    terminal = state.terminal
    if isinstance(terminal, ev.Failed):
        failure = terminal.failure
        named = failure.function and failure.function not in failure.message
        return f"{failure.message} in {failure.function}" if named else failure.message
    return terminal.reason if isinstance(terminal, (ev.Cancelled, ev.Abandoned)) else ""
