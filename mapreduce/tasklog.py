"""Tells what a worker's executors do, for its log: read off what the worker asks of them and what they answer."""

from __future__ import annotations

from typing import Any, Union

from mapreduce.effects import (
    Command,
    Execute,
    ExecutorDone,
    ExecutorFailed,
    KillExecutor,
    Report,
    Role,
)


class TaskLog:
    """A role around the worker's, which does nothing but add reports to its commands."""

    def __init__(self, worker: Role, everything: bool) -> None:
        """``everything``: also when tasks begin, end well or are stopped; else only failures are told."""
        self.prefix = worker.prefix
        self.finished = False
        self._worker = worker
        self._everything = everything
        self._running: dict[int, Execute] = {}  #: by attempt

    def handle(self, event: Any, now: float) -> list[Command]:
        told: list[Command] = []
        if isinstance(event, (ExecutorDone, ExecutorFailed)):
            told = self._ended(event)
        commands = self._worker.handle(event, now)
        self.finished = self._worker.finished
        for command in commands:
            if isinstance(command, (Execute, KillExecutor)):
                told += self._asked(command)
        return commands + told if told else commands

    def _asked(self, command: Union[Execute, KillExecutor]) -> list[Command]:
        if isinstance(command, Execute):
            self._running[command.task.attempt] = command
            return self._tell("debug", command, "task_started", "begins")
        task = self._running.pop(command.attempt, None)
        return [] if task is None else self._tell("debug", task, "task_stopped", "is stopped")

    def _ended(self, event: Any) -> list[Command]:
        task = self._running.pop(event.attempt, None)
        if task is None:
            return []
        if isinstance(event, ExecutorFailed):
            return self._tell("warning", task, "task_failed", f"has failed: {event.failure.message}")
        return self._tell("debug", task, "task_done", "is done")

    def _tell(self, level: str, run: Execute, event: str, what: str) -> list[Command]:
        if not (self._everything or level == "warning"):
            return []
        task = run.task
        text = f"task {task.index} of stage {task.stage} of job {task.job} {what}"
        return [Report(level, text, event, task.job, task.stage, task.index)]
