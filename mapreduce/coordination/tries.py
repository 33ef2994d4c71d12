"""How often a task is tried, when again, and how: plain first, then carefully.

A careful attempt takes records one at a time and knows which one ended it. So the last try is careful, and so are all
after one that died, ran into its time limit or out of its memory, or wrote a value that cannot be encoded when such
records may be left out. A job that allows one try only gets that one plain; if it ends without a known record, one more
careful attempt names it. Where records may be left out the only try is careful at once. A plain attempt that fails when
a careful one is due, because a takeover has delayed its news, does not stand in for that.

Trouble that is not the task's own costs no try. After eight times the task is given up all the same; after forty
only, if the trouble is one of workers (`state.LOCAL`) and there are some that have had none of it with this task.
"""

from __future__ import annotations

import random

from mapreduce.spec import JobSpec
from mapreduce.state import KILLED, LOCAL, TROUBLE, JobState, Task

#: before the first try again, and by how much longer each time
BACKOFF_SECS = 0.1
BACKOFF_GROWTH = 2.0
#: the same where the folder that a job shares is full or not seen: all tries together last for two minutes at least,
#: in which somebody may make room, and hold up no other job
FOLDER_BACKOFF_SECS = 1.0
FOLDER_BACKOFF_GROWTH = 4.0
MAX_BACKOFF_SECS = 60.0
#: failures that another try cannot mend
FINAL_KINDS = ("input", "counters")
#: a task whose worker died with it so often is given up, unless these workers turn out to live
MAX_LOSSES = 4
MAX_TROUBLES = 8
#: the same, while other workers are fine
MAX_LOCAL_TROUBLES = 40


def tries_of(spec: JobSpec, stage: int) -> int:
    """How often a task of the stage may fail."""
    return spec.stage_tries.get(stage, spec.tries)


def is_careful(spec: JobSpec, stage: int, task: Task) -> bool:
    """Whether the task's next attempt is careful."""
    tries = tries_of(spec, stage)
    last = task.failures >= _plain_tries(spec, tries)
    wrote_badly = task.failure is not None and task.failure.kind == "value"
    return task.careful or last or wrote_badly


def is_given_up(state: JobState, stage: int, task: Task) -> bool:
    """Whether the task has failed for good."""
    failure, spec = task.failure, state.spec
    if failure is None or spec is None:
        return False
    if failure.kind in FINAL_KINDS or (failure.kind == "value" and spec.skip_bad == 0):
        return True
    tries = tries_of(spec, stage)
    nameless = failure.kind in KILLED and failure.position < 0
    if tries == 1 and spec.skip_bad == 0 and nameless:
        tries = 2
    too_many = max(0, task.plain_failures - _plain_tries(spec, tries))
    if failure.kind not in TROUBLE:
        return task.failures - too_many >= tries
    return len(task.troubles) >= _troubles_allowed(state, task)


def _plain_tries(spec: JobSpec, tries: int) -> int:
    """How many of the tries may be plain."""
    return tries - 1 if tries > 1 or spec.skip_bad > 0 else tries


def _troubles_allowed(state: JobState, task: Task) -> int:
    assert task.failure is not None
    fine = (state.able | set(state.busy)).difference(task.troubles)
    return MAX_LOCAL_TROUBLES if fine and task.failure.kind in LOCAL else MAX_TROUBLES


def backoff(task: Task, rng: random.Random) -> float:
    """Seconds until the next try: exponential, with jitter."""
    times = min(task.failures + len(task.troubles), 20)
    first, growth = BACKOFF_SECS, BACKOFF_GROWTH
    if task.failure is not None and task.failure.kind == "folder":
        first, growth = FOLDER_BACKOFF_SECS, FOLDER_BACKOFF_GROWTH
    return min(first * growth ** (times - 1), MAX_BACKOFF_SECS) * rng.uniform(0.5, 1.0)
