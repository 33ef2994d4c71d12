"""Borders of key ranges from a sample of the input: what `sampled_ranges()` stands for.

Executors run the first map over the first records of some splits, evenly spread over the input; the sorted sample is
cut into ranges of equal size (as TeraSort does). The result is a function of input and settings alone. The map is the
user's code: whatever it does to its process, and however long it takes, is told and does no harm here.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import Any, Callable

from mapreduce import order
from mapreduce.codec import UnsupportedValue
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed
from mapreduce.errors import InputError, JobFailed, MapReduceError, OutputError
from mapreduce.pool import ExecutorPool
from mapreduce.refs import Block, Failure, Split, TaskSpec
from mapreduce.sort import read_blocks
from mapreduce.spec import JobSpec

SAMPLED_SPLITS = 16
RECORDS_PER_SPLIT = 2000
#: it is a matter of a second; whoever waits for longer is told what for
PATIENCE_SECS = 5.0
WHAT_FOR = "while sampling {} for sampled_ranges()"

Reporter = Callable[[str, str], None]


def sample_borders(planned: Sequence[Split], spec: JobSpec, directory: str, report: Reporter) -> list[Any]:
    """At most ``spec.partitions - 1`` keys, ascending, that cut the sample into ranges of about equal size.

    ``directory``: for temporary files. Raises `InputError`, and `JobFailed` for what the map does.
    """
    step = max(1, len(planned) // SAMPLED_SPLITS)
    sampled = planned[::step]
    keys = _Sampler(sampled, spec, directory, report).run() if sampled else []
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


class _Sampler:
    def __init__(self, sampled: Sequence[Split], spec: JobSpec, directory: str, report: Reporter) -> None:
        self._sampled = sampled
        self._spec = spec
        self._directory = os.path.join(directory, "sample")
        self._report = report
        self._blocks: list[list[Block]] = [[] for _ in sampled]
        self._todo = list(range(len(sampled)))[::-1]
        self._running: dict[int, tuple[int, float]] = {}  #: slot → number of the sample, since when

    def run(self) -> list[Any]:
        """The keys, in no order."""
        started, told = time.monotonic(), False
        with ExecutorPool(min(os.cpu_count() or 1, len(self._sampled))) as pool:
            while self._todo or self._running:
                for slot in range(pool.count):
                    if self._todo and slot not in self._running:
                        self._start(pool, slot)
                select.select(pool.filenos(), [], [], 0.25)
                for event in pool.poll():
                    self._take(event)
                self._check_time()
                if not told and time.monotonic() - started > PATIENCE_SECS:
                    told = True
                    number = next(iter(self._running.values()), (0, 0.0))[0]
                    self._report("info", f"still busy {WHAT_FOR.format(self._name(number))}")
        return [key for blocks in self._blocks for keys, _ in read_blocks(blocks) for key in keys]

    def _start(self, pool: ExecutorPool, slot: int) -> None:
        number = self._todo.pop()
        directory = os.path.join(self._directory, str(number))
        try:
            os.makedirs(directory)
        except OSError as error:
            raise OutputError(f"cannot make the folder {directory}: {error.strerror or error}") from error
        split = self._sampled[number]
        task = TaskSpec("sample", 0, number, number + 1, directory, split, (), sample=RECORDS_PER_SPLIT)
        self._running[slot] = (number, time.monotonic())
        pool.submit(slot, "sample", self._spec, task)

    def _take(self, event: Any) -> None:
        if isinstance(event, ExecutorBlock):
            self._blocks[event.attempt - 1].append(event.block)
        elif isinstance(event, ExecutorDone):
            del self._running[event.slot]
        elif isinstance(event, ExecutorFailed):
            raise self._error(event.attempt - 1, event.failure)

    def _check_time(self) -> None:
        limit = self._spec.task_timeout_secs
        for number, since in self._running.values():
            if limit and time.monotonic() - since > limit:
                text = f"the map takes longer than the time limit of {limit:g} s"
                raise self._error(number, Failure("timeout", text))

    def _error(self, number: int, failure: Failure) -> MapReduceError:
        named = failure.function and failure.function not in failure.message
        text = f"{failure.message}, in {failure.function}" if named else failure.message
        at = f", byte {failure.offset}" if failure.source and failure.offset >= 0 else ""
        text = f"{text}, {WHAT_FOR.format((failure.source or self._name(number)) + at)}"
        return InputError(text) if failure.kind == "input" else JobFailed(text, failure.traceback)

    def _name(self, number: int) -> str:
        return self._sampled[number].segments[0].name
