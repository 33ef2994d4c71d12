"""User code, modelled: what it writes, where it fails, and what the right output of a job is.

A record of the input is (task, number). What a task writes carries the way it has come, as key, and the attempts that
it has come through, as stamps: the code is not deterministic, so that an output mixed from two attempts of one task
shows. Files are bytes in a dict.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple, Optional

from mapreduce import shared
from mapreduce.refs import Block, Failure, Segment, Skipped, Split, TaskSpec
from mapreduce.spec import JobSpec
from tests.simulation.folder import SharedFolder
from tests.simulation.scenario import CORRECTED, KILLS_HOST, RAISES, JobPlan

Key = tuple[int, ...]
Pair = tuple[Key, tuple[int, ...]]
Files = dict[str, bytearray]


class HostKilled(Exception):
    """A record that takes the whole host with it."""


class Outcome(NamedTuple):
    """What came of an attempt."""

    blocks: list[tuple[int, int, Block]]  #: partition, sequence, block
    counters: dict[str, int]
    skipped: tuple[Skipped, ...]
    failure: Any  #: Failure, or None


# ---------------------------------------------------------------- input


def record_bytes(task: int, number: int) -> bytes:
    return b"%03d.%03d;" % (task, number)


def input_bytes(plan: JobPlan, task: int) -> bytes:
    return b"".join(record_bytes(task, number) for number in range(plan.records[task]))


def split_of(plan: JobPlan, task: int) -> Split:
    length = len(input_bytes(plan, task))
    return Split((Segment(f"f{task}", f"f{task}", 0, length, 0, True),))


# ---------------------------------------------------------------- tasks


def run(
    plan: JobPlan, spec: JobSpec, task: TaskSpec, files: Files, folder: SharedFolder, block_records: int
) -> Outcome:
    """One attempt. Raises `HostKilled`, and AssertionError when it was given the wrong input."""
    if task.split is not None:
        read: list[Pair] = [((task.index, number), ()) for number in range(plan.records[task.index])]
        segment = task.split.segments[0]
        if task.data is not None:
            assert task.data == input_bytes(plan, task.index), f"task {task.index} carries the wrong input"
        elif segment.path != segment.name:
            data = bytes(files.get(segment.path, b""))[segment.start : segment.end]
            assert data == input_bytes(plan, task.index), f"task {task.index} was given the wrong input"
    else:
        loaded = [load(files, folder, block) for block in task.blocks]
        if any(pairs is None for pairs in loaded):
            return Outcome([], {}, (), Failure("lost", "a block is not what was written"))
        read = [pair for pairs in loaded for pair in pairs or ()]
    written: list[Pair] = []
    skipped: list[Skipped] = []
    own = 0
    for position, (key, stamps) in enumerate(read):
        is_bad = task.stage == 0 and spec.bundle != CORRECTED
        how = plan.bad.get((key[0], key[1])) if is_bad else None
        if task.careful and position in task.skip:
            skipped.append(Skipped(position, "f", -1, repr(key), "bad record"))
        elif how is None:
            way = key if task.stage == 0 else (*key, task.index)
            written.append((way, (*stamps, task.attempt)))
        elif how == RAISES and task.careful and own < task.skip_limit:
            own += 1
            skipped.append(Skipped(position, "f", -1, repr(key), "bad record"))
        elif how == KILLS_HOST:
            raise HostKilled
        else:
            known = position if task.careful or how == RAISES else -1
            kind = "raised" if how == RAISES else "died"
            return Outcome([], {}, (), Failure(kind, f"bad record {key}", "map model", position=known))
    blocks = _write(spec, task, written, files, folder, block_records)
    if blocks is None:
        return Outcome([], {}, (), Failure("folder", "the folder that the job shares is gone"))
    counters = {"tasks": 1, f"records {task.stage}": len(written)}
    return Outcome(blocks, {k: v for k, v in counters.items() if v}, tuple(skipped), None)


def _write(
    spec: JobSpec, task: TaskSpec, pairs: list[Pair], files: Files, folder: SharedFolder, size: int
) -> Optional[list[tuple[int, int, Block]]]:
    """None: there is no place for them."""
    last = task.stage == spec.stages - 1
    blocks = []
    path, left = f"{task.directory}/blocks", task.carries
    if task.shared:
        opened, files = folder.open(task.shared), folder.files
        if opened is None:
            return None
        path = opened
    for partition in range(1 if last else spec.partitions):
        ours = [pair for pair in pairs if last or _goes_to(pair[0], partition, spec.partitions)]
        for seq, cut in enumerate(range(0, len(ours), size)):
            data = marshal.dumps(ours[cut : cut + size], 2)
            if len(data) <= left:
                left -= len(data)
                carried = Block("", 0, len(data), len(ours[cut : cut + size]), 0, "", data)
                blocks.append((partition, seq, carried))
                continue
            file = files.setdefault(path, bytearray())
            crc = shared.checksum(data) if task.shared else None
            block = Block(path, len(file), len(data), len(ours[cut : cut + size]), 0, "", crc=crc)
            blocks.append((partition, seq, block))
            file += data
    return blocks


def load(files: Files, folder: SharedFolder, block: Block) -> Optional[list[Pair]]:
    """The pairs of a block; None: it lies in the shared folder no more, or is not what was written."""
    if block.crc is None:
        data: Optional[bytes] = bytes(files[block.path][block.offset : block.offset + block.length])
    else:
        data = folder.read(block)
    return None if data is None else marshal.loads(data)


def _goes_to(key: Key, partition: int, partitions: int) -> bool:
    """To most partitions, not to all: some stay empty."""
    return (sum(key) + partition) % (partitions + 1) != 0 if len(key) == 2 else True


# ---------------------------------------------------------------- what is right


def expected(plan: JobPlan, left_out: set[tuple[int, int]]) -> tuple[set[Key], dict[str, int]]:
    """Keys of the right output, and the right counters, if these records were left out."""
    spec = plan.spec
    ways: list[Key] = [
        (task, number)
        for task, count in enumerate(plan.records)
        for number in range(count)
        if (task, number) not in left_out
    ]
    counters = {"tasks": len(plan.records), "records 0": len(ways)}
    for stage in range(1, spec.stages):
        ways = [
            (*way, partition)
            for way in ways
            for partition in range(spec.partitions)
            if _goes_to(way, partition, spec.partitions)
        ]
        counters["tasks"] += len({way[-1] for way in ways})
        counters[f"records {stage}"] = len(ways)
    return set(ways), {name: value for name, value in counters.items() if value}


def check_output(pairs: list[Pair], keys: set[Key]) -> None:
    """Every way appears once, and of each task one attempt only. Raises AssertionError."""
    found = [key for key, _ in pairs]
    assert len(found) == len(set(found)), "a record was counted twice"
    assert set(found) == keys, f"missing {sorted(keys - set(found))}, invented {sorted(set(found) - keys)}"
    stamps: dict[tuple[int, int], int] = {}
    for key, stamped in pairs:
        tasks = [key[0], *key[2:]]
        for stage, stamp in enumerate(stamped):
            first = stamps.setdefault((stage, tasks[stage]), stamp)
            assert first == stamp, f"two attempts of task {stage}.{tasks[stage]} in one output"
