"""Which work queues a worker takes dispatches from at the moment: from all, or from none."""

from __future__ import annotations

from mapreduce.brokers import base
from mapreduce.effects import Command, Report


class Intake:
    """The consumers of a worker's queues. ``prefetch`` is the number of dispatches that each may hold unacked."""

    def __init__(self, prefix: str, queues: tuple[str, ...], prefetch: int) -> None:
        self._tags = {queue: f"{prefix}tasks{number}" for number, queue in enumerate(queues)}
        self._prefetch = prefetch
        self._consumed: set[str] = set()  #: queues with a consumer of ours
        self._resume_at = 0.0  #: endless: never
        self._paused = False

    @property
    def open(self) -> bool:
        """A dispatch that comes now is welcome."""
        return not self._paused

    def owns(self, tag: str) -> bool:
        return tag in self._tags.values()

    def connected(self) -> list[Command]:
        """A session has begun."""
        self._consumed.clear()
        return [base.Declare(queue, base.Kind.QUEUE) for queue in self._tags]

    def declared(self, name: str) -> list[Command]:
        """Consuming has a connection of its own, so it begins when the queue is known to be there."""
        return self._consume([name]) if name in self._tags and self.open else []

    def gone(self, tag: str) -> list[Command]:
        """Somebody has deleted a queue."""
        queue = next(queue for queue, its in self._tags.items() if its == tag)
        self._consumed.discard(queue)
        if self._resume_at == float("inf"):
            return []
        text = f"{queue} was deleted; declaring it again"
        return [Report("warning", text), base.Declare(queue, base.Kind.QUEUE)]

    def close(self) -> list[Command]:
        """Take nothing more."""
        return self.pause(float("inf"))

    def pause(self, until: float) -> list[Command]:
        """Take nothing before then."""
        self._paused = True
        self._resume_at = max(self._resume_at, until)
        consumed, self._consumed = self._consumed, set()
        return [base.Cancel(tag) for queue, tag in self._tags.items() if queue in consumed]

    def resume(self, now: float) -> list[Command]:
        """Take dispatches again, if it is time to."""
        if self.open or now < self._resume_at:
            return []
        self._paused = False
        return self._consume(list(self._tags))

    def _consume(self, queues: list[str]) -> list[Command]:
        wanted = [queue for queue in queues if queue not in self._consumed]
        self._consumed.update(wanted)
        return [base.Consume(self._tags[queue], queue, self._prefetch) for queue in wanted]
