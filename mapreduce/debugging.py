"""Running a task that has failed once more, in this process, and stopping where it fails: `mr debug`, `mr run --debug`.

It is a careful attempt of the task, with the same records: they come one at a time, so that the one at work is known.
In the debugger it is called ``record``, in every frame (a name of user code's own hides it): a key comes with the list
of all its values.
"""

from __future__ import annotations

import builtins
import os
import pdb
import sys
from collections.abc import Iterator
from typing import Any, Optional

import click

from mapreduce import code, shared
from mapreduce.blame import shorten
from mapreduce.careful import Pass
from mapreduce.errors import InputError, JobError, JobLost, UsageError
from mapreduce.events import Failed
from mapreduce.frozen import frozen
from mapreduce.host import Host
from mapreduce.job import Job
from mapreduce.mark import Mark, Place
from mapreduce.refs import Failure, TaskSpec
from mapreduce.run import JobRun
from mapreduce.scratch import ScratchFolder
from mapreduce.spec import JobSpec
from mapreduce.state import KILLED, JobState
from mapreduce.task import TaskFailed
from mapreduce.task_input import TaskInput
from mapreduce.views import describe_tasks

#: characters of a record that are shown
SHOWN = 2000


@frozen
class Found:
    """How the task has failed here."""

    failure: Failure
    error: BaseException  #: what user code, or the engine for it, has raised
    place: Optional[Place]  #: of the record at work
    record: Any


class _Debugged(Pass):
    """Remembers the record at work."""

    def __init__(self, task: TaskSpec, job: Job, spec: JobSpec) -> None:
        super().__init__(task, job, spec, Mark(task.directory), dict.fromkeys(task.skip, ""))
        self.place: Optional[Place] = None
        self.record: Any = None

    def _placed(self) -> Iterator[tuple[Place, Any]]:
        for place, item in super()._placed():
            self.place, self.record = place, item
            if self._stage.reduce is not None:
                key, values = item
                self.record = (key, list(values))
                yield place, (key, iter(self.record[1]) if iter(values) is values else self.record[1])
            else:
                yield place, item
        self.place = self.record = None


def debug_run(job_run: JobRun) -> None:
    """A job that has just failed in this process, with `JobSpec.keep_secs`: its failed task."""
    state = job_run.client.state
    if not state.kept or state.spec is None:  # its data is not there
        return
    stage, index = find_task(state, None)
    with ScratchFolder("mr-debug-") as scratch:
        job_run.host.roles.clear()  # they have nothing left to do
        task = fetch(job_run.host, state, stage, index, scratch.path)
        debug(state, stage, index, task, load_job(state.spec, None))


def find_task(state: JobState, text: Optional[str]) -> tuple[int, int]:
    """Stage and index of what ``text`` names: "STAGE/N", or "N" of stage 0, or of the stage that failed; None: the
    failed task. Raises `UsageError`.
    """
    failed = state.terminal if isinstance(state.terminal, Failed) else None
    if text is None:
        if failed is None:
            raise UsageError(f"job {state.job} has not failed: name a task, as in mr debug {state.job} 0/3")
        stage, index = failed.stage, failed.index
    else:
        first, slash, last = text.partition("/")
        numbers = (first, last) if slash else (str(failed.stage if failed is not None else 0), first)
        if not all(each.isascii() and each.isdigit() and len(each) < 10 for each in numbers):
            raise UsageError(f"{text[:70]!r} is no task: N, or STAGE/N, as in 12 or 1/3")
        stage, index = map(int, numbers)
    if state.task(stage, index) is None:
        raise UsageError(f"job {state.job} has no task {stage}/{index}; it has {describe_tasks(state)}")
    return stage, index


def load_job(spec: JobSpec, job_file: Optional[str]) -> Job:
    """The job's code, as it was sent or from a corrected file, with its parameters. Raises `MapReduceError`."""
    here = code.interpreter_tag()
    if job_file is None and spec.bundle["kind"] == "pickle" and spec.bundle["interpreter"] != here:
        was = spec.bundle["interpreter"]
        raise JobError(
            f"the job was pickled by {was} and cannot be loaded by {here}: run mr debug with {was}"
        )
    job = code.from_file(job_file)[0] if job_file is not None else code.load(spec.bundle)
    if len(job.stages) != spec.stages:
        raise UsageError(f"{job_file}: {len(job.stages)} stages, and the job has {spec.stages}")
    return job.bind(spec.params)


def fetch(host: Host, state: JobState, stage: int, index: int, folder: str) -> TaskSpec:
    """What it takes to run the task here. Raises `JobLost`."""
    role = TaskInput(state, stage, index, folder)
    host.join(role)
    host.run(lambda: role.finished)
    if role.task is None:
        raise JobLost(role.error)
    _check_shared(role.task)
    os.makedirs(role.task.directory, exist_ok=True)
    return role.task


def _check_shared(task: TaskSpec) -> None:
    """What it reads from a folder that the job shares. Raises `JobLost`."""
    blocks = [block for block in task.blocks if block.crc is not None]
    try:
        lost = shared.lost(blocks)
    except PermissionError as error:
        raise JobLost(
            f"the input of partition {task.index} cannot be read: {error.filename}: {error.strerror}"
        ) from error
    if lost:
        raise JobLost(
            f"the input of partition {task.index} cannot be read: {lost[0].path} is not there, or not what it was"
        )


def run(task: TaskSpec, job: Job, spec: JobSpec) -> Optional[Found]:
    """Run it; None: it does not fail here. Raises `InputError` for input that cannot be read."""
    attempt = _Debugged(task, job, spec)
    try:
        attempt.run()
    except TaskFailed as failed:
        error: BaseException = failed
        while isinstance(error, TaskFailed) and error.__cause__ is not None:
            error = error.__cause__
        if failed.failure.kind == "input":
            raise InputError(failed.failure.message) from failed
        return Found(failed.failure, error, attempt.place, attempt.record)
    return None


def debug(
    state: JobState, stage: int, index: int, task: TaskSpec, job: Job, interactive: bool = True
) -> bool:
    """Run the task and say what comes of it, on standard error; ``interactive``: stop in pdb where it fails.

    Whether it has failed.
    """
    spec = state.spec
    assert spec is not None
    _say(f"mr: task {stage}/{index} of job {state.job} runs in this process; Ctrl-C stops it where it is")
    for line in _warnings(state, stage, index):
        _say(f"mr: {line}")
    found = run(task, job, spec)
    if found is None:
        _say(f"mr: it does not fail here. {_why_not(state, spec)}")
        return False
    if found.failure.traceback:
        _say(found.failure.traceback.rstrip())
    _say(f"mr: {found.failure.message}" + (f" in {found.failure.function}" if found.failure.function else ""))
    if found.place is not None:
        if found.failure.position < 0:
            _say("mr: which record it was is not known; this is the last one that was read:")
        at = f", byte {found.place.offset}" if found.place.offset >= 0 else ""
        _say(f"mr: at {found.place.source}{at} (record {found.place.position} of the task)")
        _say(f"mr: record = {_shown(found.record)}")
    if interactive:
        _stop(found)
    return True


def _stop(found: Found) -> None:
    """In the debugger, in the frame that has raised."""
    _say("mr: this is pdb: `record` is the record, `u` goes up to the caller, `q` quits")
    before = vars(builtins).get("record")
    vars(builtins)["record"] = found.record
    try:
        pdb.post_mortem(found.error.__traceback__)
    finally:
        vars(builtins).pop("record")
        if before is not None:
            vars(builtins)["record"] = before


def _warnings(state: JobState, stage: int, index: int) -> Iterator[str]:
    spec, failed = state.spec, state.terminal
    assert spec is not None
    here = code.interpreter_tag()
    if spec.interpreter not in ("any", here):
        yield f"warning: the job ran on {spec.interpreter}, and this is {here}: what happens here may differ"
    if not isinstance(failed, Failed) or (failed.stage, failed.index) != (stage, index):
        return
    if failed.failure.kind in KILLED:
        yield f"warning: it has ended its process ({failed.failure.message}), and may end this one"
        if failed.failure.record:
            yield f"that happened at this record: {failed.failure.record}"


def _why_not(state: JobState, spec: JobSpec) -> str:
    reasons = [
        f"it ran on another host, perhaps with other files, libraries or environment (here: {sys.executable})"
    ]
    if spec.max_memory:
        reasons.append("this process has no limit of memory (--max-memory)")
    if spec.task_timeout_secs:
        reasons.append("nor of time (--task-timeout)")
    if sys.flags.hash_randomization:
        reasons.append("executors hash with PYTHONHASHSEED=0, so that sets may have another order")
    if state.revision:
        reasons.append("the code is that of the last retry")
    return f"It may hang on what differs: {'; '.join(reasons)}"


def _shown(record: Any) -> str:
    text = repr(record)
    return text if len(text) <= SHOWN else shorten(record)


def _say(text: str) -> None:
    click.echo(text, err=True)
