"""What a waiting user should know: nobody takes the job, nobody can run its tasks, or they cannot reach anybody."""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import Client
from mapreduce.effects import Command, Connected, Report, Tick

#: how long nothing may happen before the user is told what the job waits for
PATIENCE_SECS = 3.0
#: how long a coordinator that has something to do may do nothing; a takeover is a matter of seconds
SILENCE_SECS = 10.0
#: how long the broker may take to answer for a queue, which is a matter of milliseconds unless it cannot use it
ANSWER_SECS = 10.0
#: how often it is asked while nothing runs
ASK_EVERY_SECS = 10.0


class WaitNotice:
    """A role that watches the client's fold and says, once per reason, what the job waits for."""

    def __init__(self, client: Client) -> None:
        self.prefix = "notice/"
        self.finished = False
        self._client = client
        self._reason: Optional[str] = None
        self._since = 0.0
        self._said: Optional[str] = None
        self._queue = _WorkQueue()

    def handle(self, event: Any, now: float) -> list[Command]:
        self._queue.note(event)
        if not isinstance(event, Tick):
            return []
        asked = self._queue.ask(self._name_of_queue(), now)
        reason = self._waits_for(now)
        if reason != self._reason:
            self._reason, self._since = reason, now
            if reason is None and self._said is not None:
                self._said = None
                return [*asked, Report("info", f"job {self._client.job} goes on")]
        if reason is None or reason == self._said or now - self._since < PATIENCE_SECS:
            return asked
        self._said = reason
        return [*asked, Report("info", f"job {self._client.job} waits: {reason}")]

    def _waits_for(self, now: float) -> Optional[str]:
        state = self._client.state
        if state.spec is None or state.terminal is not None or state.ready:
            return None
        if state.lease is None:
            return "no worker has taken it yet; start one with `mr worker`"
        if state.running:
            return None
        if self._queue.is_silent(now):
            return (
                f"the broker does not answer for the queue {self._queue.name}, where its tasks go: its node is "
                "down, perhaps (rabbitmqctl cluster_status), and it goes on once that is back"
            )
        if state.unstarted and state.attempts:
            return "all workers are busy with other tasks, or gone"
        if state.unstarted:
            tag = state.spec.interpreter
            what = "any interpreter" if tag == "any" else f"interpreter {tag}"
            return (
                f"no worker with {what} in pool {state.spec.pool!r} has taken its tasks yet: there is none, or all "
                f"are busy with other tasks (queue {self._name_of_queue()})"
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

    def _name_of_queue(self) -> str:
        """Where its tasks should be taken from; "" unless they should, and nothing runs."""
        state = self._client.state
        if state.spec is None or state.terminal is not None or state.lease is None or state.running:
            return ""
        if not state.unstarted and not self._is_up_to_the_coordinator():
            return ""
        return ev.tasks_queue(state.spec.pool, state.spec.interpreter)


class _WorkQueue:
    """Whether the broker can use it: one that it cannot use it does not answer for until it can (`brokers.asking`)."""

    def __init__(self) -> None:
        self.name = ""  #: "": nobody waits for what should go through it
        self._ask_at = 0.0
        self._asked_at: Optional[float] = None  #: and not answered
        self._connected = False

    def ask(self, name: str, now: float) -> list[Command]:
        """Asks for it, when it is time; ``name``: "" while nobody waits."""
        if name != self.name:
            self.name, self._ask_at, self._asked_at = name, now + PATIENCE_SECS, None
        if not name or not self._connected or self._asked_at is not None or now < self._ask_at:
            return []
        self._asked_at, self._ask_at = now, now + ASK_EVERY_SECS
        return [base.Inspect(name)]

    def note(self, event: Any) -> None:
        """An answer; or none will come, and nobody can be asked."""
        if isinstance(event, (Connected, base.Disconnected)):
            self._connected = isinstance(event, Connected)
            self._asked_at = None
        elif isinstance(event, base.Depth) and event.name == self.name:
            self._asked_at = None

    def is_silent(self, now: float) -> bool:
        """It was asked for, and has not answered."""
        return self._asked_at is not None and now - self._asked_at >= ANSWER_SECS
