"""A word count whose functions wait until a test lets them go on: trouble can be made exactly there."""

from __future__ import annotations

import secrets
from pathlib import Path

_JOB = """
import os, time
from mapreduce import Job

FOLDER = {folder!r}
passed = set()

def say(*words):
    # What is printed goes to the job's log: the worker itself is told.
    with open("/proc/%d/fd/2" % os.getppid(), "w") as errors:
        print(*words, file=errors)

def wait_at(gate):
    if gate in passed:
        return
    if not os.path.exists(os.path.join(FOLDER, gate)):
        say("at", gate)
        while not os.path.exists(os.path.join(FOLDER, gate)):
            time.sleep(0.02)
        say("through", gate)
    passed.add(gate)

def words(line):
    wait_at("map")
    for word in line.split():
        yield word, 1

def total(word, counts):
    wait_at("reduce")
    yield word, sum(counts)

job = Job(words, reduce=total)
"""


class Gates:
    """``job`` is the file to run. An executor that comes to a closed gate says "at map" or "at reduce", on the
    standard error of its worker, and later "through".

    ``name`` is what the ids of its jobs begin with, and those of no other.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.name = f"gated{secrets.token_hex(4)}"
        self.job = folder / f"{self.name}.py"
        self.job.write_text(_JOB.format(folder=str(folder)))

    def open(self, *names: str) -> None:
        for name in names:
            (self._folder / name).touch()
