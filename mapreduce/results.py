"""What a job has brought: its output in parts, counters, figures, and the records that were left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mapreduce.client import Collected
from mapreduce.frozen import frozen
from mapreduce.refs import Block, Counters, Skipped
from mapreduce.scratch import ScratchFolder
from mapreduce.sort import read_blocks

#: more records than these are only counted
SHOWN = 20


class LeftOut(NamedTuple):
    """A record that is not in the result, because the job's functions fail on it and `skip_bad` allows that."""

    stage: int
    record: Skipped

    def __str__(self) -> str:
        record = self.record
        at = f" at byte {record.offset}" if record.offset >= 0 else ""
        where = f"{record.source}{at}" if record.source else f"stage {self.stage}"
        return f"{where}: {record.reason}" + (f": {record.record}" if record.record else "")


@frozen
class Output:
    """The output of a job: its parts in order, each with the number of the task that wrote it."""

    parts: list[tuple[int, list[Block]]]
    counters: Counters
    stats: dict[str, Any]
    #: how many parts there are, those without a record included
    tasks: int
    skipped: list[LeftOut]

    @classmethod
    def of(cls, collected: Collected) -> Output:
        """What a client has collected."""
        skipped = [LeftOut(stage, record) for stage, record in collected.skipped]
        return cls(collected.parts, collected.counters, collected.stats, collected.tasks, skipped)

    @classmethod
    def none(cls) -> Output:
        """That of a job whose output is somebody else's to collect."""
        return cls([], {}, {}, 0, [])

    def batches(self) -> Iterator[tuple[int, list[Any], list[Any]]]:
        """(part, keys, values), a batch at a time; of a job that was submitted without an output format."""
        for part, blocks in self.parts:
            for keys, values in read_blocks(blocks):
                yield part, keys, values


class Result:
    """What `job.run` returns: iterate it for (key, value) pairs, as often as you like.

    The pairs lie in temporary files, which go when the result is closed or forgotten.
    """

    def __init__(self, scratch: ScratchFolder, output: Output) -> None:
        self._output = output
        self._scratch = scratch
        self.counters: Counters = output.counters
        self.stats: dict[str, Any] = output.stats
        self.skipped: list[LeftOut] = output.skipped

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for _, keys, values in self._output.batches():
            yield from zip(keys, values)

    def __enter__(self) -> Result:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files."""
        self._scratch.close()


def describe_left_out(skipped: Sequence[LeftOut]) -> Iterator[str]:
    """Lines for people; none if nothing was left out."""
    if skipped:
        yield f"left out {len(skipped)} record{'s' if len(skipped) > 1 else ''}:"
        yield from (f"  {record}" for record in skipped[:SHOWN])
    if len(skipped) > SHOWN:
        yield f"  … and {len(skipped) - SHOWN} more"
