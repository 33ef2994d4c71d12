"""The end of a job: stop all that runs for it, delete its data, and its log once nobody needs that any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Union

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.brokers import base
from mapreduce.effects import Command, RemoveShared
from mapreduce.refs import Failure
from mapreduce.state import JobState, Terminal

#: how long workers have to stop before the streams that they publish to are deleted; a publication that meets a
#: deletion ends the connection
STOP_SECS = 1.0


#: characters of a text that still fits into a message when the broker has refused a longer one
SHORT_CHARS = 200


def shortened(end: Union[Terminal, ev.Expired]) -> Union[Terminal, ev.Expired]:
    """The same end in fewer words."""
    if isinstance(end, ev.Failed):
        failure = end.failure
        short = Failure(failure.kind, failure.message[:SHORT_CHARS], position=failure.position)
        return replace(end, failure=short)
    return (
        end if isinstance(end, (ev.Delivered, ev.Expired)) else replace(end, reason=end.reason[:SHORT_CHARS])
    )


class Ending:
    """What is left to be deleted of one job, and in which order."""

    def __init__(self, lease: ev.Lease, log_tag: str) -> None:
        self._lease = lease
        self._log_tag = log_tag
        self._stop_at: Optional[float] = None
        self._to_delete: Optional[set[str]] = None
        self.log_is_gone = False

    @property
    def over(self) -> bool:
        """Everything is deleted."""
        return self.log_is_gone and self._to_delete is not None and not self._to_delete

    def step(self, now: float, state: JobState, log_may_go: bool) -> list[Command]:
        """After a terminal event. Where the client has all, nobody writes any more."""
        commands: list[Command] = []
        if self._stop_at is None:
            self._stop_at = now if isinstance(state.terminal, ev.Delivered) else now + STOP_SECS
            commands.append(base.Broadcast(wire.encode(ev.StopJob(self._lease.job, state.revision))))
        if self._to_delete is None and now >= self._stop_at and not state.kept:
            commands += self._delete_data(state.revision)
        if not self.log_is_gone and self._to_delete is not None and log_may_go:
            self.log_is_gone = True
            log = ev.log_stream(self._lease.job)
            self._to_delete.add(log)
            commands += [base.Cancel(self._log_tag), base.Delete(log)]
        return commands

    def without_log(self) -> list[Command]:
        """The log does not exist (any more): what else there is of the job goes, too."""
        self.log_is_gone = True
        return self._delete_data(0) if self._to_delete is None else []

    def deleted(self, name: str) -> None:
        if self._to_delete is not None:
            self._to_delete.discard(name)

    def _delete_data(self, revision: int) -> list[Command]:
        names = ev.data_streams(self._lease.job, self._lease.stages, self._lease.partitions)
        self._to_delete = set(names)
        return [*self._remove_shared(revision), *(base.Delete(name) for name in names)]

    def _remove_shared(self, revision: int) -> list[Command]:
        """Here, and wherever else it is seen, if it is not seen here."""
        job, shared_dir = self._lease.job, self._lease.shared_dir
        if not shared_dir:
            return []
        advice = ev.StopJob(job, revision, shared_dir)
        return [RemoveShared(shared.folder_of(shared_dir, job)), base.Broadcast(wire.encode(advice))]
