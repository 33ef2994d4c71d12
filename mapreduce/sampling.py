"""Borders of key ranges from a sample of the input: what `sampled_ranges()` stands for.

Executors run the first map over the first records of some splits, evenly spread over the input; the sorted sample is
cut into ranges of equal size (as TeraSort does). The result is a function of input and settings alone. The map is the
user's code: whatever it does to its process, and however long it takes, is told and does no harm here. It is tried as
often as a task of the job would be, and what fails may be left out as it may there (`--tries`, `--skip-bad`).
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from mapreduce import order
from mapreduce.codec import UnsupportedValue
from mapreduce.coordination.tries import FINAL_KINDS, tries_of
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed
from mapreduce.errors import InputError, JobFailed, MapReduceError, OutputError
from mapreduce.interpreters import Interpreter
from mapreduce.pool import ExecutorPool
from mapreduce.refs import Block, Failure, Split, TaskSpec
from mapreduce.shown import input_name
from mapreduce.sort import read_blocks
from mapreduce.spec import JobSpec
from mapreduce.state import KILLED

SAMPLED_SPLITS = 16
RECORDS_PER_SPLIT = 2000
#: it is a matter of a second; whoever waits for longer is told what for
PATIENCE_SECS = 5.0
WHAT_FOR = "while sampling {} for sampled_ranges()"

Reporter = Callable[[str, str], None]


def sample_borders(
    planned: Sequence[Split], spec: JobSpec, directory: str, report: Reporter, interpreter: Interpreter
) -> list[Any]:
    """At most ``spec.partitions - 1`` keys, ascending, that cut the sample into ranges of about equal size.

    ``directory``: for temporary files. Raises `InputError`, and `JobFailed` for what the map does.
    """
    step = max(1, len(planned) // SAMPLED_SPLITS)
    sampled = planned[::step]
    keys = _Sampler(sampled, spec, directory, report).run(interpreter) if sampled else []
    try:
        keys.sort(key=order.sort_key)
    except UnsupportedValue as error:
        raise JobFailed(f"{error}, {WHAT_FOR.format('the input')}") from error
    cuts = [keys[len(keys) * part // spec.partitions] for part in range(1, spec.partitions)] if keys else []
    distinct: list[Any] = []
    for key in cuts:
        if not distinct or order.sort_key(distinct[-1]) != order.sort_key(key):
            distinct.append(key)
    return distinct


@dataclass
class _Sample:
    """One of the sampled splits."""

    split: Split
    blocks: list[Block] = field(default_factory=list)  #: of the last attempt
    failures: int = 0  #: tries used up
    skip: set[int] = field(default_factory=set)  #: records that ended careful attempts


class _Sampler:
    def __init__(self, sampled: Sequence[Split], spec: JobSpec, directory: str, report: Reporter) -> None:
        self._samples = [_Sample(split) for split in sampled]
        self._spec = spec
        self._directory = os.path.join(directory, "sample")
        self._report = report
        self._todo = list(range(len(sampled)))[::-1]
        self._attempts = itertools.count(1)
        self._running: dict[int, int] = {}  #: slot → number of the sample

    def run(self, interpreter: Interpreter) -> list[Any]:
        """The keys, in no order."""
        started, told = time.monotonic(), False
        with ExecutorPool(min(os.cpu_count() or 1, len(self._samples)), interpreter) as pool:
            while self._todo or self._running:
                for slot in range(pool.count):
                    if self._todo and slot not in self._running:
                        self._start(pool, slot)
                select.select(pool.filenos(), [], [], 0.25)
                for event in pool.poll():
                    self._take(event)
                if not told and time.monotonic() - started > PATIENCE_SECS:
                    told = True
                    number = next(iter(self._running.values()), 0)
                    self._report("info", f"still busy {WHAT_FOR.format(_name(self._samples[number]))}")
        return [key for sample in self._samples for keys, _ in read_blocks(sample.blocks) for key in keys]

    def _start(self, pool: ExecutorPool, slot: int) -> None:
        number, spec = self._todo.pop(), self._spec
        sample = self._samples[number]
        attempt = next(self._attempts)
        directory = os.path.join(self._directory, str(attempt))
        try:
            os.makedirs(directory)
        except OSError as error:
            raise OutputError(f"cannot make the folder {directory}: {error.strerror or error}") from error
        sample.blocks = []
        task = TaskSpec(
            "sample", 0, number, attempt, directory, sample.split, (),
            careful=spec.skip_bad > 0 or sample.failures > 0,  # the first careful attempt names the record
            skip=tuple(sorted(sample.skip)), skip_limit=spec.skip_bad - len(sample.skip), sample=RECORDS_PER_SPLIT,
        )  # fmt: skip
        self._running[slot] = number
        pool.submit(slot, "sample", spec, task)

    def _take(self, event: Any) -> None:
        if isinstance(event, ExecutorBlock):
            self._samples[self._running[event.slot]].blocks.append(event.block)
        elif isinstance(event, ExecutorDone):
            del self._running[event.slot]
        elif isinstance(event, ExecutorFailed):
            number = self._running.pop(event.slot)
            self._charge(self._samples[number], event.failure)
            self._todo.append(number)

    def _charge(self, sample: _Sample, failure: Failure) -> None:
        """Leave out the record that ended the attempt, or count a try; raises after the last one."""
        known = failure.kind in KILLED and failure.position >= 0
        if known and len(sample.skip) < self._spec.skip_bad:
            sample.skip.add(failure.position)
            return
        sample.failures += 1
        final = failure.kind in FINAL_KINDS or (failure.kind == "value" and not self._spec.skip_bad)
        if final or sample.failures >= tries_of(self._spec, 0):
            raise _error(sample, failure)


def _error(sample: _Sample, failure: Failure) -> MapReduceError:
    named = failure.function and failure.function not in failure.message
    text = f"{failure.message}, in {failure.function}" if named else failure.message
    at = f", byte {failure.offset}" if failure.source and failure.offset >= 0 else ""
    text = f"{text}, {WHAT_FOR.format((failure.source or _name(sample)) + at)}"
    return InputError(text) if failure.kind == "input" else JobFailed(text, failure.traceback)


def _name(sample: _Sample) -> str:
    return input_name(sample.split.segments[0].name)
