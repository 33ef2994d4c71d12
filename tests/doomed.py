"""`mr worker` that kills itself with SIGKILL at one chosen step: python doomed.py STEP NTH worker …

STEP is what it is about to ask of the broker: the name of an event or message that it would publish, or "Ack"
(of a dispatch), "AckLease", "Delete". NTH counts from 1. Nothing of that step reaches the broker. With a "+" after
the name it dies right after asking: the step is on its way, and may arrive or not. It says "taking NAME" on
standard error before the first of each other step.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Optional

from mapreduce import cli, wire
from mapreduce.brokers import base
from mapreduce.host import Host

STEP, NTH = sys.argv[1].rstrip("+"), int(sys.argv[2])
AFTERWARDS = sys.argv[1].endswith("+")
del sys.argv[1:3]
_seen = 0
_said: set[Optional[str]] = {None}
_perform = Host.perform


def _name(command: Any) -> Optional[str]:
    if isinstance(command, base.Publish):
        return type(next(wire.decode_all(command.head))[0]).__name__
    if isinstance(command, base.Ack):
        return {"worker/tasks": "Ack", "leases/jobs": "AckLease"}.get(
            command.receipt.tag.rstrip("0123456789")
        )
    return "Delete" if isinstance(command, base.Delete) else None


def perform(self: Host, role: Any, commands: Any) -> None:
    global _seen
    for command in commands:
        name = _name(command)
        if name not in _said:
            _said.add(name)
            print(f"taking {name}", file=sys.stderr, flush=True)
        last = False
        if name == STEP:
            _seen += 1
            last = _seen == NTH
        if last and not AFTERWARDS:
            os.kill(os.getpid(), signal.SIGKILL)
        _perform(self, role, [command])
        if last:
            self._broker.poll()  # which lets it go
            os.kill(os.getpid(), signal.SIGKILL)


Host.perform = perform  # type: ignore[method-assign]
cli.main()
