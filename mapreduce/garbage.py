"""How often a process of ours looks for cyclic garbage."""

from __future__ import annotations

import gc

#: thresholds of Python's three generations; an executor ends with its job
EXECUTOR = (100_000, 50, 100)
#: a worker goes on for weeks
HOST = (100_000, 10, 10)


def seldom_collect(thresholds: tuple[int, int, int]) -> None:
    """Less often than Python does by itself, and never among what there is already.

    Pairs, tasks and messages are many, and none of them is garbage of that kind: to look at them again and again is a
    fifth of an executor's time, and of a client's or worker's a tenth that grows with the number of tasks. So what is
    known of a job must be in no cycle, as an object is that holds its own bound methods (`tests/test_memory.py`).
    """
    if hasattr(gc, "freeze") and hasattr(gc, "set_threshold"):  # PyPy collects in its own way
        gc.freeze()
        gc.set_threshold(*thresholds)
