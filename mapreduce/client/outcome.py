"""The end of a job as its user reads it: what failed, on which record, and the user's own traceback."""

from __future__ import annotations

from mapreduce import events as ev
from mapreduce.errors import Cancelled, InputError, JobFailed, JobLost, MapReduceError, OutputError
from mapreduce.refs import Failure, Segment
from mapreduce.shown import input_name
from mapreduce.state import JobState, Terminal


def error_of(terminal: Terminal, state: JobState) -> MapReduceError:
    """Why there is no output."""
    if isinstance(terminal, ev.Failed):
        return describe_failure(terminal, state)
    if isinstance(terminal, ev.Cancelled):  # by somebody else
        return Cancelled(f"the job was cancelled: {terminal.reason}")
    if isinstance(terminal, ev.Abandoned):
        return JobLost(f"the job was given up: {terminal.reason}")
    return JobLost("the job's output was delivered to somebody else")


def over_already(job: str, terminal: Terminal) -> MapReduceError:
    """For whoever wants to end a job that has ended."""
    if isinstance(terminal, ev.Failed):
        how = f"it failed ({terminal.failure.message})"
    elif isinstance(terminal, ev.Abandoned):
        how = f"it was given up ({terminal.reason})"
    else:
        how = "its output was delivered"
    return JobLost(f"job {job} is over already: {how}")


def describe_failure(terminal: ev.Failed, state: JobState) -> MapReduceError:
    """The error that a user reads."""
    failure: Failure = terminal.failure
    named = failure.function and failure.function not in failure.message
    lines = [f"{failure.message} in {failure.function}" if named else failure.message]
    if failure.source:
        at = f", byte {failure.offset}" if failure.offset >= 0 else ""
        lines.append(f"  at {failure.source}{at}")
    elif terminal.stage == 0 and terminal.index in state.splits:
        lines.append(f"  in {_describe_segments(state.splits[terminal.index].split.segments)}")
    if failure.record:
        lines.append(f"  record: {failure.record}")
    what = "split" if terminal.stage == 0 else "partition"
    stage = f"stage {terminal.stage}, " if state.last > 0 else ""
    tries = f", {terminal.tries} tries" if terminal.tries > 1 else ""
    lines.append(f"  ({stage}{what} {terminal.index}{tries})")
    text = "\n".join(lines)
    if failure.kind == "room":
        return OutputError(text)
    if failure.kind == "lost":
        return JobLost(text)
    return InputError(text) if failure.kind == "input" else JobFailed(text, failure.traceback)


def _describe_segments(segments: tuple[Segment, ...]) -> str:
    """The input of a split, for messages."""
    first, name = segments[0], input_name(segments[0].name)
    if len(segments) > 1:
        return f"{len(segments)} stretches of input, {name} to {input_name(segments[-1].name)}"
    if first.compression:
        return name
    return f"{name}, bytes {first.origin} to {first.origin + first.end - first.start}"
