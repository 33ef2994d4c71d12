"""Jobs for tests of the profiler: where their time goes is known."""

import json
import signal
import time

from mapreduce import Job


def busy(secs):
    """So much CPU time, in lines of this file."""
    end = time.process_time() + secs
    n = 0
    while time.process_time() < end:
        n += 1  # busy
    return n


def uneven(line):
    busy(0.15)  # first
    busy(0.05)  # second
    yield line, 1


def in_c(line):
    began = time.process_time()
    sum(range(20_000_000))  # one call
    yield time.process_time() - began, 1


LONG = json.dumps([[str(i)] * 10 for i in range(2000)])


def by_library(line):
    end = time.process_time() + 0.15
    while time.process_time() < end:
        json.dumps(json.loads(LONG), indent=1)  # library
    yield line, 1


def sleeps(line):
    time.sleep(0.3)
    yield line, 1


def has_its_own(line):
    """Its own timer, of which it gets all signals; the engine's profiler none after that."""
    told = []
    signal.signal(signal.SIGPROF, lambda number, frame: told.append(number))
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    while not told:
        pass
    time.sleep(0.05)
    busy(0.1)
    yield line, len(told)


def fails(line):
    busy(0.1)
    raise ValueError(line)


def total(key, values):
    yield key, sum(values)


uneven_job = Job(uneven, reduce=total)
in_c_job = Job(in_c)
library_job = Job(by_library)
sleepy_job = Job(sleeps)
own_job = Job(has_its_own)
failing_job = Job(fails)
