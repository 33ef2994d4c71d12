"""The steps at which `tests/doomed.py` can die; each is a place where an order of rule 1 or a takeover matters."""

from __future__ import annotations

#: of a worker that runs tasks
WORKER_STEPS = ["Started", "BlockHead", "Done", "Ack"]
#: of one that coordinates
LEASE_STEPS = ["Took", "Dispatch", "Dispatched", "Seal", "StageSealed"]
#: of one that coordinates a job's end
LAST_STEPS = ["Delete", "AckLease"]

#: all of them, before and after
STEPS = [step + when for step in (*WORKER_STEPS, *LEASE_STEPS, *LAST_STEPS) for when in ("", "+")]
