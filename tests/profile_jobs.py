"""Jobs for tests of the profiler: where their time goes is known."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

from mapreduce import Job

Pairs = Iterator[tuple[Any, Any]]


def busy(secs: float) -> int:
    """So much CPU time, in lines of this file."""
    end = time.process_time() + secs
    n = 0
    while time.process_time() < end:
        n += 1  # busy
    return n


def uneven(line: str) -> Pairs:
    busy(0.15)  # first
    busy(0.05)  # second
    yield line, 1


def in_c(line: str) -> Pairs:
    began = time.process_time()
    sum(range(20_000_000))  # one call
    yield time.process_time() - began, 1


LONG = json.dumps([[str(i)] * 10 for i in range(2000)])


def by_library(line: str) -> Pairs:
    end = time.process_time() + 0.15
    while time.process_time() < end:
        json.dumps(json.loads(LONG), indent=1)  # library
    yield line, 1


def sleeps(line: str) -> Pairs:
    time.sleep(0.3)
    yield line, 1


def has_its_own(line: str) -> Pairs:
    """Its own timer, of which it gets all signals; the engine's profiler none after that."""
    told: list[int] = []
    signal.signal(signal.SIGPROF, lambda number, frame: told.append(number))
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    while not told:
        pass
    time.sleep(0.05)
    busy(0.1)
    yield line, len(told)


def fails(line: str) -> Pairs:
    busy(0.1)
    raise ValueError(line)


def total(key: str, values: Iterator[int]) -> Pairs:
    yield key, sum(values)


uneven_job = Job(uneven, reduce=total)
in_c_job = Job(in_c)
library_job = Job(by_library)
sleepy_job = Job(sleeps)
own_job = Job(has_its_own)
failing_job = Job(fails)
