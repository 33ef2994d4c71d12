"""The jobs of `bench.stragglers`: the same little work for every record, by waiting or by computing.

STRAGGLER names a file with the factor by which a worker is slower than the others; it is read when an executor
loads the job.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from mapreduce import Job

#: one record; a task is 25 of them, a quarter of a second
WAIT_SECS = 0.01
LOOPS = 120_000

FACTOR = float(Path(os.environ["STRAGGLER"]).read_text()) if "STRAGGLER" in os.environ else 1.0


def wait(record: str) -> Iterator[tuple[int, int]]:
    time.sleep(WAIT_SECS * FACTOR)
    yield int(record) % 100, 1


def compute(record: str) -> Iterator[tuple[int, int]]:
    total = 0
    for number in range(LOOPS):
        total += number
    yield int(record) % 100, 1


waits = Job(wait, fold=sum, name="waits")
computes = Job(compute, fold=sum, name="computes")
