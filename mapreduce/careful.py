"""A careful attempt: records one at a time, each marked before user code has it; those that fail may be left out.

    one by one   record ─ mark ─▶ map ─▶ all its pairs, checked ─▶ writer
    whole        records ─ mark ─▶ [map] ─▶ pairs ─▶ writer                  a function of all records at once

One by one, whatever is wrong with a record shows before any pair of it goes on: also that a pair cannot be
encoded or that the partition function fails on a key. So a record is left out without a trace. A record is a record of
the input in stage 0, later a key with all its values.

Where an error cannot be laid to a record at once, in a whole function or a combiner, the record is looked for: with
ever fewer of the records the work is done again, into a folder that is thrown away.

The bytes are those of a plain attempt; with records left out, those of one over the input without them. For that, user
code must not change what it has yielded; where it does, within a record, the record fails.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Optional

from mapreduce import codec, order, sort
from mapreduce.blame import offset_of, shorten
from mapreduce.job import Context, Fold, Job, enter, is_whole
from mapreduce.mark import Mark, Place
from mapreduce.refs import Block, Counters, Failure, Skipped, Stats, TaskSpec
from mapreduce.runs import BlockWriter
from mapreduce.shown import input_name
from mapreduce.spec import JobSpec
from mapreduce.task import Emit, Pairs, Source, Task, TaskFailed

#: failures that are no record's
TROUBLE = ("disk", "files", "folder", "lost")
#: failures that are a record's own; such a record can be left out
OF_RECORDS = ("raised", "value")
#: what is said of records that `TaskSpec.skip` names
SKIPPED_BEFORE = "ended an earlier attempt"
#: of one record's pairs, held in memory, as `codec.weigh` counts; what is more goes to disk
HELD_BYTES = 8 * 1024 * 1024
#: records that one attempt looks for by doing the work again; each costs about thirty goes over its input
MAX_SEARCHES = 32
_MAX_REASON = 300
_ALL = range(1 << 62)


def run_careful(
    spec: TaskSpec, job: Job, job_spec: JobSpec, emit: Emit
) -> tuple[Counters, Stats, tuple[Skipped, ...]]:
    """As `task.run_task`; returns the records that were left out, too.

    ``emit`` is told of all blocks at the end. The failure that `TaskFailed` brings names the record, where it is
    the fault of one.
    """
    return _Careful(spec, job, job_spec, emit).run()


class ChangedPair(sort.NotAPair):
    """User code changed a pair after it had yielded it: what is written would hang on the moment of writing."""

    def __init__(self, pair: Any) -> None:
        Exception.__init__(self, f"{shorten(pair)} and changed it afterwards: it must yield a copy")
        self.value = pair


class _Careful:
    def __init__(self, spec: TaskSpec, job: Job, job_spec: JobSpec, emit: Emit) -> None:
        self._spec, self._job, self._job_spec, self._emit = spec, job, job_spec, emit
        self._mark = Mark(spec.directory)
        #: why records are left out
        self._reasons = dict.fromkeys(spec.skip, SKIPPED_BEFORE)
        self._searched = 0

    def run(self) -> tuple[Counters, Stats, tuple[Skipped, ...]]:
        try:
            while True:
                attempt = Pass(self._spec, self._job, self._job_spec, self._mark, self._reasons)
                try:
                    counters, stats = attempt.run()
                except TaskFailed as error:
                    attempt.remove_files()
                    self._leave_out_culprit(error, attempt.taken)
                    continue
                for wrote in attempt.wrote:
                    self._emit(*wrote)
                return counters, stats, attempt.skipped
        finally:
            self._mark.close()

    def _leave_out_culprit(self, error: TaskFailed, taken: int) -> None:
        """Find the record that has failed the attempt; raises unless one more may be left out."""
        if error.failure.position >= 0 or error.failure.kind not in OF_RECORDS:
            raise error
        if self._searched == MAX_SEARCHES:
            text = (
                f"{error.failure.message}; {MAX_SEARCHES} records were searched for and left out before it, "
                "and one attempt searches for no more: check records in a map or reduce that gets them one by one"
            )
            raise TaskFailed(replace(error.failure, message=text)) from error
        self._searched += 1
        self._mark.clear()
        place = _Search(self._spec, self._job, self._job_spec, self._reasons, taken).find()
        if place is None or place.position in self._reasons:  # what fails now and then is not found
            raise error
        failure = _placed(error.failure, place)
        if not _may_skip(self._spec, self._reasons):
            raise TaskFailed(failure) from error
        self._reasons[place.position] = _reason(failure)


class _Selective(Task):
    """A task of some of its records; what it writes is noted, and told to nobody."""

    def __init__(
        self, spec: TaskSpec, job: Job, job_spec: JobSpec, skip: dict[int, str], chosen: range = _ALL
    ) -> None:
        self.wrote: list[tuple[int, int, Block]] = []
        super().__init__(spec, job, job_spec, lambda *wrote: self.wrote.append(wrote))
        self._skip = skip
        self._chosen = chosen
        self._left_out: list[Place] = []

    def _placed(self) -> Iterator[tuple[Place, Any]]:
        """Each record, or group, and where it is."""
        for place, item in self._all_placed():
            if place.position >= self._chosen.stop:
                return
            if place.position in self._skip:
                self._left_out.append(place)
            elif place.position >= self._chosen.start:
                yield place, item

    def _all_placed(self) -> Iterator[tuple[Place, Any]]:
        if self._stage.reduce is not None:
            for position, group in enumerate(chain.from_iterable(self._groups())):
                yield Place(position, f"key {shorten(group[0])}", -1, ""), group
            return
        before = 0
        for batch in self._batches():
            source = input_name(batch.source)
            for index, record in enumerate(batch.records[: self._spec.sample or None]):
                yield Place(before + index, source, offset_of(batch, index), shorten(record)), record
            before += len(batch.records)

    def remove_files(self) -> None:
        """What it has written before it failed."""
        for path in {block.path for _, _, block in self.wrote}:
            with contextlib.suppress(FileNotFoundError):  # user code may have found it
                os.unlink(path)


class Pass(_Selective):
    """One go over all records, but those to be left out."""

    def __init__(
        self, spec: TaskSpec, job: Job, job_spec: JobSpec, mark: Mark, reasons: dict[int, str]
    ) -> None:
        super().__init__(spec, job, job_spec, reasons)
        self._mark = mark
        self._reasons = reasons
        #: records that user code has been given, or was spared
        self.taken = 0

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, and why."""
        return tuple(Skipped(*place, self._reasons[place.position]) for place in sorted(self._left_out))

    def _pairs(self) -> Pairs:
        functions = [f for f in (self._stage.reduce, self._stage.map) if f is not None]
        if any(map(is_whole, functions)):
            items = self._marked()
            return self._sampled(self._made_of(items, items))
        return self._sampled(self._one_by_one())

    def _marked(self) -> Source:
        """For a whole function, which may do anything with a record until it asks for more."""
        for place, item in self._placed():
            self._mark.set(place)
            self.taken = place.position + 1
            yield item
        self._mark.clear()

    def _one_by_one(self) -> Pairs:
        for place, item in self._placed():
            self.taken = place.position + 1
            self._mark.set(place)
            can_skip = _may_skip(self._spec, self._reasons)
            before = (dict(self._context.counters), random.getstate()) if can_skip else None
            held = _Held(self._spec.directory)
            try:
                self._fill(held, item)
            except BaseException as error:  # see `Task.run`
                held.remove()
                failure = self._blame.failure(error)
                if failure.kind not in TROUBLE:
                    failure = _placed(failure, place)
                if before is None or failure.kind not in OF_RECORDS:
                    raise TaskFailed(failure) from error
                self._context.counters = before[0]
                random.setstate(before[1])
                self._reasons[place.position] = _reason(failure)
                self._left_out.append(place)
                continue
            self._mark.clear()
            yield from held.pairs()

    def _fill(self, held: _Held, item: Any) -> None:
        """All pairs of a record. Raises what user code does, and what the writer would raise for its pairs."""
        one = (each for each in (item,))
        prints: list[int] = []
        for keys, values, weight in sort.slices(_printed(self._made_of(one, one), prints)):
            codec.encode_chunk(keys, values)
            if not self._is_last():
                self._check_keys(keys)
            held.add(keys, values, prints[:], weight)
            prints.clear()
        held.check()

    def _check_keys(self, keys: list[Any]) -> None:
        if not order.kind(keys):
            for key in keys:
                order.sort_key(key)
        if callable(self._stage.partition):  # this is but a trial: it must leave nothing behind
            state = random.getstate()
            before = enter(Context(self._context.source))
            try:
                super()._partition_all(self._job_spec.partitions)(keys)
            finally:
                enter(before)
                random.setstate(state)

    # ------------------------------------------------------------ what is called for many records at once

    def _partition_all(self, partitions: int) -> Any:
        function = super()._partition_all(partitions)

        def marked(keys: Any) -> Any:
            self._mark.clear()
            return function(keys)

        return marked

    def _combiner(self) -> Any:
        combine = super()._combiner()
        if combine is None:
            return None

        function = combine.function if isinstance(combine, Fold) else combine

        def mark(key: Any) -> None:
            self._mark.set(Place(-1, f"key {shorten(key)}", -1, ""))

        def combined(key: Any, values: Any) -> Any:
            mark(key)
            return function(key, values)

        def _folded(key: Any, values: Any) -> Any:  # `blame` knows it by its name
            mark(key)
            yield key, function(values)

        return _folded if isinstance(combine, Fold) else combined


class _Held:
    """The pairs of one record, until all of them are known to be right: in memory, many of them on disk."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._slices: list[tuple[list[Any], list[Any], list[int]]] = []
        self._weight = 0
        self._blocks: list[Block] = []
        self._writer: Optional[BlockWriter] = None

    def add(self, keys: list[Any], values: list[Any], prints: list[int], weight: int) -> None:
        self._slices.append((keys, values, prints))
        self._weight += weight + codec.weigh(keys)
        if self._weight > HELD_BYTES:
            self._spill()

    def check(self) -> None:
        """Raise `ChangedPair` if user code has changed a pair after it had yielded it."""
        for keys, values, prints in self._slices:
            for key, value, before in zip(keys, values, prints):
                if _print((key, value)) != before:
                    raise ChangedPair((key, value))

    def _spill(self) -> None:
        self.check()
        if self._writer is None:
            self._writer = BlockWriter(self._directory, lambda _, block: self._blocks.append(block))
        for keys, values, _ in self._slices:
            self._writer.write(0, 0, "", keys, values)
        self._slices, self._weight = [], 0

    def pairs(self) -> Pairs:
        """All of them; they are gone afterwards."""
        if self._writer is not None:
            self._writer.close()
        try:
            for keys, values in sort.read_blocks(self._blocks):
                yield from zip(keys, values)
        finally:
            self.remove()
        for keys, values, _ in self._slices:
            yield from zip(keys, values)

    def remove(self) -> None:
        """What is on disk."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None


def _printed(pairs: Pairs, prints: list[int]) -> Pairs:
    """The pairs; for each, at the moment at which it is yielded, a number that stands for its bytes."""
    for pair in pairs:
        prints.append(_print(pair))
        yield pair


def _print(pair: Any) -> int:
    if type(pair) is tuple and len(pair) == 2:
        with contextlib.suppress(codec.UnsupportedValue):
            return hash(codec.encode_chunk(pair[:1], pair[1:]))
    return 0  # whoever writes it will say what is wrong with it


# ---------------------------------------------------------------- whose fault it is


class _Probe(_Selective):
    def _pairs(self) -> Pairs:
        items = self._items()
        return self._made_of(items, items)

    def _items(self) -> Source:
        for _, item in self._placed():
            yield item


class _Search:
    """For the record without which the work goes on."""

    def __init__(self, spec: TaskSpec, job: Job, job_spec: JobSpec, skip: dict[int, str], taken: int) -> None:
        self._spec, self._job, self._job_spec = spec, job, job_spec
        self._skip = skip
        self._taken = taken

    def find(self) -> Optional[Place]:
        """None if it is the fault of no record, or the failure does not come again."""
        if not self._fails(range(self._taken)) or self._fails(range(0)):
            return None
        last = self._boundary(self._taken)
        # The first records up to `last` fail, without it they do not. That may be the fault of one before it with
        # which it does not go together.
        if self._fails(range(last, last + 1)):
            return self._place(last)
        early, late = 0, last  # from `early` on they fail, from `late` on they do not
        while late - early > 1:
            middle = (early + late) // 2
            early, late = (middle, late) if self._fails(range(middle, last + 1)) else (early, middle)
        return self._place(early if self._reach(early) > self._reach(last) else last)

    def _boundary(self, failing: int, without: Optional[int] = None) -> int:
        """The record with which the first of them begin to fail; ``failing`` of them do."""
        if not self._fails(range(failing - 1), without):
            return failing - 1
        passing = 0
        while failing - passing > 1:
            middle = (failing + passing) // 2
            if self._fails(range(middle), without):
                failing = middle
            else:
                passing = middle
        return passing

    def _reach(self, without: int) -> int:
        """How far the work goes without one more record."""
        return (
            self._boundary(self._taken, without) if self._fails(range(self._taken), without) else self._taken
        )

    def _fails(self, chosen: range, without: Optional[int] = None) -> bool:
        """Raises `TaskFailed` for troubles of another kind."""
        folder = tempfile.mkdtemp(prefix="search.", dir=self._spec.directory)
        skip = self._skip if without is None else {**self._skip, without: ""}
        spec = replace(self._spec, directory=folder, shared="")
        try:
            _Probe(spec, self._job, self._job_spec, skip, chosen).run()
        except TaskFailed as error:
            if error.failure.kind not in OF_RECORDS:
                raise
            return True
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return False

    def _place(self, position: int) -> Place:
        probe = _Probe(self._spec, self._job, self._job_spec, {}, range(position, position + 1))
        return next(place for place, _ in probe._placed())


def _may_skip(spec: TaskSpec, reasons: dict[int, str]) -> bool:
    return len(reasons) - len(spec.skip) < spec.skip_limit


def _placed(failure: Failure, place: Place) -> Failure:
    return replace(
        failure,
        position=place.position,
        source=place.source,
        offset=place.offset,
        record=place.record or failure.record,
    )


def _reason(failure: Failure) -> str:
    if not failure.function:
        return failure.message
    message = failure.message
    named = f", made by {failure.function}"
    if message.endswith(named):
        message = message[: -len(named)]
    return f"{failure.function}: {message}"[:_MAX_REASON]
