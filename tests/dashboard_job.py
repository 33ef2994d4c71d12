"""A job to look at: tasks that succeed, one that fails at first, one that takes long, one that fails for good, prints.

Each line of the input is a task's order, see `work`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from mapreduce import Job, count

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def work(line: str, folder: str = "") -> Iterator[tuple[str, int]]:
    order, _, rest = line.partition(" ")
    count(f"{order} {HOSTILE}")
    if order == "print":
        print(f"printed {HOSTILE}", flush=True)
    elif order == "sleep":
        time.sleep(float(rest.split()[0]))
    elif order == "retry" and not os.path.exists(os.path.join(folder, "tried")):
        open(os.path.join(folder, "tried"), "w").close()
        raise ValueError(f"only the first time {HOSTILE}")
    elif order == "fail":
        raise RuntimeError(f"for good {HOSTILE}")
    elif order == "wait":
        while not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.02)
    for word in line.split():
        yield word, 1


def total(word: str, counts: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


job = Job(work, reduce=total, name=f"look {HOSTILE}")
