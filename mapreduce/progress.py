"""What a waiting user should know: nobody takes the job, or nobody can run its tasks."""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.client import Client
from mapreduce.effects import Command, Report, Tick

#: how long nothing may happen before the user is told what the job waits for
PATIENCE_SECS = 3.0
#: how long a coordinator that has something to do may do nothing; a takeover is a matter of seconds
SILENCE_SECS = 10.0


class WaitNotice:
    """A role that watches the client's fold and says, once per reason, what the job waits for."""

    def __init__(self, client: Client) -> None:
        self.prefix = "notice/"
        self.finished = False
        self._client = client
        self._reason: Optional[str] = None
        self._since = 0.0
        self._said: Optional[str] = None

    def handle(self, event: Any, now: float) -> list[Command]:
        if not isinstance(event, Tick):
            return []
        reason = self._waits_for(now)
        if reason != self._reason:
            self._reason, self._since = reason, now
            if reason is None and self._said is not None:
                self._said = None
                return [Report("info", f"job {self._client.job} goes on")]
        if reason is None or reason == self._said or now - self._since < PATIENCE_SECS:
            return []
        self._said = reason
        return [Report("info", f"job {self._client.job} waits: {reason}")]

    def _waits_for(self, now: float) -> Optional[str]:
        state = self._client.state
        if state.spec is None or state.terminal is not None or state.ready:
            return None
        if state.lease is None:
            return "no worker has taken it yet; start one with `mr worker`"
        if state.running:
            return None
        if state.unstarted and state.attempts:
            return "all workers are busy with other tasks, or gone"
        if state.unstarted:
            tag = state.spec.interpreter
            what = "any interpreter" if tag == "any" else f"interpreter {tag}"
            queue = ev.tasks_queue(state.spec.pool, tag)
            return (
                f"no worker with {what} in pool {state.spec.pool!r} has taken its tasks yet: there is none, or all "
                f"are busy with other tasks (queue {queue})"
            )
        if now - self._client.heard_at > SILENCE_SECS and self._is_up_to_the_coordinator():
            return "its coordinator is silent; another worker takes over soon, if there is one (`mr worker`)"
        return None

    def _is_up_to_the_coordinator(self) -> bool:
        """A stage waits for its seal, or a task for its dispatch that is not put off because it failed before."""
        stages = self._client.state.stages
        for stage, after in zip(stages, stages[1:]):
            if stage.sealed and not after.sealed:
                return stage.complete or any(not stage.tasks[index].failures for index in stage.pending)
        return False
