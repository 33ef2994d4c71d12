"""Events of several attempts that go to their jobs' logs together: in one publication, for which one confirm answers.

Short tasks begin and end by the dozen. What each publication costs its worker (a token, a command, a confirm that is
routed back) is then a good part of what a task costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Attempt
from mapreduce.brokers import base
from mapreduce.effects import Command

#: in one publication: with some 200 bytes each, as most have, it can still be joined with others (`brokers.publisher`)
MOST = 32


class Together:
    """Which attempts have told what together; what one tells alone has a token of its own, `Attempt.token`."""

    def __init__(self) -> None:
        self._serial = 0
        self._attempts: dict[str, list[Attempt]] = {}  #: by token

    def tell(
        self, kind: str, attempts: list[Attempt], event_of: Callable[[Attempt], Any], hurries: bool = False
    ) -> list[Command]:
        """Publish an event of each; ``kind``: of the token; ``hurries``: as of `base.Publish`."""
        commands: list[Command] = []
        by_job: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            by_job.setdefault(attempt.job, []).append(attempt)
        for its in by_job.values():
            for begin in range(0, len(its), MOST):
                some = its[begin : begin + MOST]
                commands.append(self._publish(kind, some, list(map(event_of, some)), hurries))
        return commands

    def _publish(self, kind: str, attempts: list[Attempt], events: list[Any], hurries: bool) -> Command:
        token = attempts[0].token(kind)
        if len(attempts) > 1:
            self._serial += 1
            token = f"worker/{kind}s:{self._serial}"
            self._attempts[token] = attempts
        return _publish(attempts[0].job, events, token, hurries)

    def take(self, token: str) -> Iterable[Attempt]:
        """Whose events these were, when the broker has answered; none if it is no token of ours."""
        return self._attempts.pop(token, ())

    def clear(self) -> None:
        """The broker will not answer any more."""
        self._attempts.clear()


def publish(job: str, event: Any, token: str) -> base.Publish:
    """An event to the job's log."""
    return _publish(job, [event], token)


def _publish(job: str, events: list[Any], token: str, hurries: bool = False) -> base.Publish:
    body = wire.encode_all(events)
    return base.Publish(ev.log_stream(job), body, token, joins=True, messages=len(events), hurries=hurries)
