"""How often a process of ours looks for cyclic garbage."""

from __future__ import annotations

import gc


def seldom_collect() -> None:
    """Less often than Python does by itself, and never among what there is already.

    Pairs, tasks and messages are many, and none of them is garbage of that kind: to look at them again and again is a
    fifth of an executor's time, and of a client's or worker's a tenth that grows with the number of tasks.
    """
    if hasattr(gc, "freeze") and hasattr(gc, "set_threshold"):  # PyPy collects in its own way
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
