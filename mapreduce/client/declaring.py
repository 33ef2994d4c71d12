"""The streams of a job that is being submitted: the log first, and so few at a time that whoever changes his mind need
not wait long for those that are on their way.
"""

from __future__ import annotations

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.effects import Command
from mapreduce.spec import JobSpec

#: a broker takes some milliseconds for each
AT_A_TIME = 50


class Declaring:
    """Which are still to be declared."""

    def __init__(self, job: str, spec: JobSpec) -> None:
        self._names = [ev.log_stream(job), *ev.data_streams(job, spec.stages, spec.partitions)]
        self._awaited = ""  #: the last one on its way

    @property
    def over(self) -> bool:
        """All are declared, or on their way: what is published now comes after them."""
        return not self._names

    def next(self) -> list[Command]:
        """The next of them; there must be some."""
        names, self._names = self._names[:AT_A_TIME], self._names[AT_A_TIME:]
        self._awaited = names[-1]
        return [base.Declare(name, base.Kind.STREAM) for name in names]

    def goes_on(self, name: str) -> bool:
        """Whether there are more to declare now that this one is."""
        return name == self._awaited and not self.over
