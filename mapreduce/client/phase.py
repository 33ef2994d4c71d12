"""How far a client has come."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    SUBMITTING = "submitting"  #: until `Submitted` is confirmed
    RESUMING = "resuming"  #: until the log has told what a client before us has done
    FEEDING = "feeding"  #: until the whole input is in
    WAITING = "waiting"
    COLLECTED = "collected"  #: the output is here, complete and verified
    CLOSING = "closing"  #: `Delivered` is on its way
    DONE = "done"


#: the job's end is still to come
BUSY = (Phase.RESUMING, Phase.FEEDING, Phase.WAITING)
#: its output is ours to take as soon as it is there
COLLECTING = (Phase.FEEDING, Phase.WAITING)
