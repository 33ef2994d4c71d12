"""From nothing to a job that others work on.

    publish a provisional lease ─▶ confirmed: declare the streams ─▶ make the shared folder, log `Submitted`

The lease goes first, and is confirmed first: it names every stream, so whatever is declared has an owner.
"""

from __future__ import annotations

from typing import Optional

from mapreduce import events as ev
from mapreduce import shared
from mapreduce.brokers import base
from mapreduce.client.declaring import Declaring
from mapreduce.client.lease import OwnLease
from mapreduce.client.sent import Sent
from mapreduce.effects import Command, ShareFolder
from mapreduce.spec import JobSpec

#: key of a `ShareFolder`
SHARE = "client/share:"


class Submitting:
    """What is there of the job, in this session and before."""

    def __init__(self, job: str, version: str, at: float, sent: Sent, lease: OwnLease) -> None:
        """``at``: seconds since the epoch, when it is submitted."""
        self._job = job
        self._version = version
        self._at = at
        self._sent = sent
        self._lease = lease
        #: from the confirm of the first lease on, in this session
        self._declaring: Optional[Declaring] = None
        self._may_exist = False  #: the log, and more: somebody was asked to declare it
        self.taken_back = False

    def begin(self, spec: JobSpec) -> list[Command]:
        """Nothing of it is there, or only what an earlier session has left."""
        return [self._lease.place(), self._lease.publish(spec, renewals=0)]

    def begin_anew(self) -> None:
        """The session is lost, and all that was on its way."""
        self._sent.forget()
        self._lease.forget()
        self._declaring = None

    def make_places(self, spec: JobSpec) -> list[Command]:
        """It has an owner: its streams can be declared."""
        self._declaring, self._may_exist = Declaring(self._job, spec), True
        return self._declare(spec, self._declaring)

    def _declare(self, spec: JobSpec, declaring: Declaring) -> list[Command]:
        """The folder comes behind them: if it cannot be made there is a log in which to say so."""
        commands = declaring.next()
        if declaring.over:
            if spec.shared_dir:
                commands.append(ShareFolder(SHARE, shared.folder_of(spec.shared_dir, self._job)))
            submitted = ev.Submitted(self._job, spec, self._version, self._at)
            commands.append(self._sent.log(submitted, "submitted"))
        return commands

    def declared(self, event: base.Declared, spec: JobSpec) -> list[Command]:
        declaring = self._declaring
        if declaring is None or self.taken_back:
            return []
        return self._declare(spec, declaring) if declaring.goes_on(event.name) else []

    @property
    def has_begun(self) -> bool:
        """More than a first lease may be there, and somebody may hear us."""
        again = (
            self._may_exist and self._lease.on_its_way
        )  # in a new session, whose first lease is on its way
        return self._declaring is not None or again

    def take_back(self, reason: str) -> list[Command]:
        """Nobody works on the job yet, so we may say ourselves that it is over, and that we know. Who gets its proper
        lease then removes what is declared; else that would wait until the job is given up."""
        if self.taken_back:
            return []
        self.taken_back = True
        return [self._sent.log(ev.Cancelled(reason)), self._sent.log(ev.Delivered(-1), "taken_back")]
