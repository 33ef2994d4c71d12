"""One attempt: read → process → write. All that an executor does, and no more: no broker, no processes.

    stage 0:   splits.read ─ records ─▶ map ─ pairs ─▶ writer
    stage k:   sort.merge_groups ─ groups ─▶ reduce ─ pairs ─▶ [map ─ pairs ─▶] writer
    writer:    combine, partition, spill, sort (`sort.PartitionedWriter`); the last stage's is a
    `sort.PlainWriter`

The loop over the records is all that matters for speed, so it is a chain of iterators driven from C: nothing
here is called once per record. What is known only per record (which one failed, say) is found out afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from functools import partial
from itertools import chain, islice, starmap
from typing import Any, Callable, Iterator, Optional, Sequence, Union

from mapreduce import order, seeding, sort, splits
from mapreduce.blame import Blame, TaskFailed, shorten
from mapreduce.drain import drained
from mapreduce.grouping import is_sum
from mapreduce.job import Context, Fold, Function, Job, SampledRanges, Stage, enter, is_whole
from mapreduce.refs import Block, Counters, Stats, TaskSpec
from mapreduce.spec import JobSpec

__all__ = ["Task", "TaskFailed", "run_task"]

Pairs = Iterator[Any]
Source = Generator[Any, None, None]
Emit = Callable[[int, int, Block], None]
Writer = Union[sort.PartitionedWriter, sort.PlainWriter]


def run_task(spec: TaskSpec, job: Job, job_spec: JobSpec, emit: Emit) -> tuple[Counters, Stats]:
    """Run one attempt of a task of ``job``, which has its parameters bound.

    ``emit(partition, seq, block)`` is told of each block once it is on disk. Returns the user's counters, and
    "records_in", "records_out", "bytes_in", "bytes_out" and "seconds". Raises `TaskFailed` for whatever goes
    wrong, also for `SystemExit` from user code.
    """
    return Task(spec, job, job_spec, emit).run()


class Task:
    """One attempt. What a careful one does differently it overrides, see `careful`."""

    def __init__(self, spec: TaskSpec, job: Job, job_spec: JobSpec, emit: Emit) -> None:
        self._spec = spec
        self._stages = job.stages
        self._stage: Stage = self._stages[spec.stage]
        self._job_spec = job_spec
        self._emit = emit
        self._context = Context()
        self._blame = Blame(
            self._stage, spec.stage, len(self._stages), spec.directory, job_spec.max_memory, spec.shared
        )
        self._pid = os.getpid()
        self._emitted: dict[int, int] = {}
        self._paths: set[str] = set()
        self._records_in = self._records_out = self._bytes_out = self._bytes_on_disk = 0

    def run(self) -> tuple[Counters, Stats]:
        """Do the work. Returns counters and statistics; raises `TaskFailed`."""
        started = time.perf_counter()
        # the same with and without a broker, and for each try of the task
        seeding.seed(f"{self._spec.stage}.{self._spec.index}")
        before = enter(self._context)
        try:
            self._write(self._pairs())
            self._context.check()
        except TaskFailed:
            raise
        except BaseException as error:  # exit() and its like in user code are failures of the task
            raise TaskFailed(self._blame.failure(error)) from error
        finally:
            enter(before)
        return self._context.counters, {
            "records_in": self._records_in,
            "records_out": self._records_out,
            "bytes_in": self._bytes_in(),
            "bytes_out": self._bytes_out,
            "seconds": time.perf_counter() - started,
        }

    # ------------------------------------------------------------ reading

    def _pairs(self) -> Pairs:
        """All that the task has to write, as an iterator that does the task's work as it is drained."""
        if self._stage.reduce is None:
            batches = self._records()
            return self._sampled(self._made_of(chain.from_iterable(batches), batches))
        groups = self._groups()
        return self._made_of(chain.from_iterable(groups), groups)

    def _made_of(self, items: Iterator[Any], source: Source) -> Pairs:
        """What the functions of the stage make of records or groups; ``source`` is the generator behind them."""
        stage = self._stage
        if stage.reduce is None:
            assert stage.map is not None
            return _mapped(stage.map, items, source)
        pairs = _reduced(stage.reduce, items, source)
        if stage.map is None:
            return pairs
        between = _checkpoint(pairs)
        return _mapped(stage.map, between, between)

    def _sampled(self, pairs: Pairs) -> Pairs:
        return _keys_alone(islice(pairs, self._spec.sample)) if self._spec.sample else pairs

    def _records(self) -> Source:
        for batch in self._batches():
            position = iter(batch.records)
            self._blame.batch, self._blame.position = batch, position
            yield islice(position, self._spec.sample) if self._spec.sample else position
        self._blame.batch = None

    def _batches(self) -> Iterator[splits.Batch]:
        assert self._spec.split is not None
        for batch in splits.read(self._spec.split, self._job_spec.input, self._spec.data):
            self._context.source = batch.source
            self._records_in += len(batch.records)
            yield batch
            self._end_fork()
            if self._spec.sample:
                break

    def _groups(self) -> Source:
        """Groups, many at a time."""
        reduce = self._stage.reduce
        return sort.merge_groups(
            self._spec.blocks, self._spec.directory, taken=self._took, totals=is_sum(reduce)
        )

    def _took(self, pairs: int) -> None:
        self._end_fork()
        self._records_in += pairs

    def _bytes_in(self) -> int:
        if self._spec.split is not None:
            return self._spec.split.length
        return sum(block.length for block in self._spec.blocks)

    # ------------------------------------------------------------ writing

    def _write(self, pairs: Pairs) -> None:
        writer = self._writer()
        try:
            writer.write(pairs)
        finally:
            self._end_fork()
        writer.close()
        if self._paths and self._bytes_on_disk != sum(os.stat(path).st_size for path in self._paths):
            raise OSError("something else has written to the files of the task; does user code fork?")

    def _end_fork(self) -> None:
        """End a copy of this process that user code has made and let run on: it shares our open files."""
        if os.getpid() != self._pid:
            os._exit(1)

    def _writer(self) -> Writer:
        directory, is_shared = self._spec.shared or self._spec.directory, bool(self._spec.shared)
        if self._is_last():
            output = "" if self._spec.sample else self._job_spec.output
            return sort.PlainWriter(directory, self._wrote, output, self._spec.carries, is_shared)
        partitions = self._job_spec.partitions
        partition_all, combine = self._partition_all(partitions), self._combiner()
        buckets = sort.bucket_count(partitions) if self._stage.partition is None else 1
        spread = self._partition_all(partitions * buckets) if buckets > 1 else None
        return sort.PartitionedWriter(
            directory,
            partitions,
            partition_all,
            combine,
            self._wrote,
            spread=spread,
            carries=self._spec.carries,
            is_shared=is_shared,
            few=0 if is_sum(self._stage.combine) else sort.FEW,  # nothing is cheaper than to multiply
        )

    def _is_last(self) -> bool:
        """Whether pairs are written as they come."""
        return bool(self._spec.sample) or self._spec.stage == len(self._stages) - 1

    def _combiner(self) -> Optional[Function]:
        return self._stage.combine

    def _partition_all(self, partitions: int) -> sort.PartitionAll:
        chosen = self._stage.partition
        if chosen is None:
            return partial(order.partition_all, n=partitions)
        if not isinstance(chosen, SampledRanges):
            return partial(_partition_keys, chosen, partitions)
        return order.RangePartition(self._job_spec.boundaries.get(self._spec.stage, [])).partition_all

    def _wrote(self, partition: int, block: Block) -> None:
        seq = self._emitted.get(partition, 0)
        self._emitted[partition] = seq + 1
        self._records_out += block.records
        self._bytes_out += block.length
        if block.data is None:
            self._bytes_on_disk += block.length
            self._paths.add(block.path)
        self._emit(partition, seq, block)


def _mapped(function: Function, records: Iterator[Any], source: Source) -> Pairs:
    """``source`` is the generator behind ``records``."""
    if is_whole(function):
        return iter(function(records))
    return drained(chain.from_iterable(map(function, records)), source)


def _reduced(function: Function, groups: Iterator[Any], source: Source) -> Pairs:
    """``source`` is the generator behind ``groups``."""
    if isinstance(function, Fold):
        return _folded(function.function, groups)
    if is_whole(function):
        return iter(function(groups))
    return drained(chain.from_iterable(starmap(function, groups)), source)


def _folded(function: Function, groups: Iterator[Any]) -> Pairs:
    for key, values in groups:
        yield key, function(values)


def _keys_alone(pairs: Pairs) -> Pairs:
    """Without the values; what is no pair is left for the writer to complain of."""
    for pair in pairs:
        yield (pair[0], None) if type(pair) is tuple and len(pair) == 2 else pair


def _checkpoint(pairs: Pairs) -> Source:
    """Nothing but a frame in tracebacks, which tells what a reduce did wrong from what the map behind it
    did.
    """
    yield from pairs


def _partition_keys(function: Function, partitions: int, keys: Sequence[Any]) -> list[int]:
    """The user's ``partition(key, n)`` for many keys."""
    result = [function(key, partitions) for key in keys]
    if result and (set(map(type, result)) != {int} or min(result) < 0 or max(result) >= partitions):
        bad = next(i for i, n in enumerate(result) if type(n) is not int or not 0 <= n < partitions)
        raise ValueError(
            f"partition returned {result[bad]!r} for the key {shorten(keys[bad])}: it must be a whole number "
            f"from 0 to {partitions - 1}"
        )
    return result
