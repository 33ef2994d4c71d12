"""The input of one task, read once more: by whoever wants to look into a job that has failed and is kept.

It is read as a worker reads it: what a split's dispatch carries, its pieces on ``in``, or what the seal of its
partition lists. Nothing is logged and nothing acked but deliveries of streams: the job does not notice.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Attempt, Delivery
from mapreduce.brokers import base
from mapreduce.effects import AppendFailed, Command, Connected, Tick
from mapreduce.refs import TaskSpec
from mapreduce.state import JobState

#: all of it has been there for long
PATIENCE_SECS = 30.0


class TaskInput:
    """A role: brings the input of one task; `task` is what it takes to run it here, with records one at a time."""

    def __init__(self, state: JobState, stage: int, index: int, folder: str) -> None:
        """``state``: the job's; the task must exist. ``folder``: for the input, and what the task writes."""
        self.prefix = "worker/"  # of `Attempt`'s tags
        self.finished = False
        self.task: Optional[TaskSpec] = None
        #: why there is none
        self.error = ""
        self._folder = folder
        self._sessions = 0
        task = state.stages[stage].tasks[index]
        generation = state.stages[stage].generation
        source = state.splits[index] if stage == 0 else None
        dispatch = ev.Dispatch(
            state.job, 0, stage, index, generation, source, careful=True, skip=tuple(sorted(task.skips))
        )
        self._dispatch = dispatch
        self._spec = state.spec
        self._attempt = self._begin(0.0)

    def _begin(self, now: float) -> Attempt:
        """Each session reads all of it anew, into a folder of its own: what is written is appended to its files."""
        folder = os.path.join(self._folder, str(self._sessions))
        attempt = Attempt(0, self._dispatch, Delivery(base.Receipt("", 0), 1), folder, now)
        attempt.spec = self._spec
        return attempt

    def handle(self, event: Any, now: float) -> list[Command]:
        if isinstance(event, AppendFailed):
            return self._fail(event.reason)
        if self.finished:
            return []
        if isinstance(event, Connected):
            return self._fetch(now)
        if isinstance(event, base.Delivered):
            return [base.Ack(event.receipt), *self._on_delivered(event, now)]
        if isinstance(event, base.Gone):
            return self._fail("it is not on the broker any more (a job is kept for so long as --keep says)")
        if isinstance(event, Tick) and now - self._attempt.heard_at > PATIENCE_SECS:
            return self._fail("the broker has lost a part of it")
        return []

    def _fetch(self, now: float) -> list[Command]:
        self._sessions += 1
        self._attempt = self._begin(now)
        place = self._attempt.expect_input()
        if place is None:
            return self._finish()
        return [base.Consume(self._attempt.input_tag, place[0], Attempt.PREFETCH, place[1])]

    def _on_delivered(self, event: base.Delivered, now: float) -> list[Command]:
        attempt = self._attempt
        attempt.heard_at = now
        commands: list[Command] = []
        for msg, body in wire.decode_all(event.body):
            if not attempt.input_complete and not isinstance(msg, wire.BadMessage):
                commands += attempt.take_input(msg, body)
        if not attempt.input_complete:
            return commands
        commands.append(base.Cancel(attempt.input_tag))
        if attempt.missing() is None and not attempt.stale:
            return [*commands, *self._finish()]
        place = attempt.look_again()
        if place is not None:
            return [*commands, base.Consume(attempt.input_tag, place[0], Attempt.PREFETCH, place[1])]
        return [*commands, *self._fail("the broker has lost a part of it")]

    def _finish(self) -> list[Command]:
        task = self._attempt.task_spec(by_reference=False)
        self.task, self.finished = replace(task, shared=""), True
        return []

    def _fail(self, reason: str) -> list[Command]:
        what = "split" if self._dispatch.stage == 0 else "partition"
        self.error = f"the input of {what} {self._dispatch.index} cannot be read: {reason}"
        self.task, self.finished = None, True
        return [base.Cancel(self._attempt.input_tag)]
