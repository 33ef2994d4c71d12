"""Which work queues a worker takes dispatches from at the moment: from all, or from none."""

from __future__ import annotations

from mapreduce.brokers import base
from mapreduce.effects import Command, Report


class Intake:
    """The consumers of a worker's queues. ``prefetch`` is the number of dispatches that each may hold unacked.

    While the worker is in haste each queue has a second consumer, for as many more as that allows.
    """

    def __init__(self, prefix: str, queues: tuple[str, ...], prefetch: int) -> None:
        self._tags = {queue: f"{prefix}tasks{number}" for number, queue in enumerate(queues)}
        self._prefetch = prefetch
        self._consumed: set[str] = set()  #: queues with a consumer of ours
        self._resume_at = 0.0  #: endless: never
        self._paused = False
        self._extra: dict[str, str] = {}  #: tag → queue, of the second consumers

    @property
    def open(self) -> bool:
        """A dispatch that comes now is welcome."""
        return not self._paused

    def owns(self, tag: str) -> bool:
        return tag in self._tags.values() or tag in self._extra

    def hurry(self, more: int) -> list[Command]:
        """Hold so many more dispatches of each queue; 0: no more than ever."""
        if bool(more) == bool(self._extra) or not self.open:
            return []
        if not more:
            return self._calm_down()
        self._extra = {f"{self._tags[queue]}+": queue for queue in self._tags if queue in self._consumed}
        return [base.Consume(tag, queue, more) for tag, queue in self._extra.items()]

    def _calm_down(self) -> list[Command]:
        extra, self._extra = self._extra, {}
        return [base.Cancel(tag) for tag in extra]

    def connected(self) -> list[Command]:
        """A session has begun."""
        self._consumed.clear()
        self._extra.clear()
        return [base.Declare(queue, base.Kind.PRIORITY) for queue in self._tags]

    def declared(self, name: str) -> list[Command]:
        """Consuming has a connection of its own, so it begins when the queue is known to be there."""
        return self._consume([name]) if name in self._tags and self.open else []

    def gone(self, tag: str) -> list[Command]:
        """Somebody has deleted a queue."""
        if self._extra.pop(tag, None) is not None:
            return []  # the first consumer of it tells, too
        queue = next(queue for queue, its in self._tags.items() if its == tag)
        self._consumed.discard(queue)
        if self._resume_at == float("inf"):
            return []
        text = f"{queue} was deleted; declaring it again"
        return [Report("warning", text, "queue_deleted"), base.Declare(queue, base.Kind.PRIORITY)]

    def close(self) -> list[Command]:
        """Take nothing more."""
        return self.pause(float("inf"))

    def pause(self, until: float) -> list[Command]:
        """Take nothing before then."""
        self._paused = True
        self._resume_at = max(self._resume_at, until)
        consumed, self._consumed = self._consumed, set()
        cancelled = [base.Cancel(tag) for queue, tag in self._tags.items() if queue in consumed]
        return [*cancelled, *self._calm_down()]

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
