"""The client's input thread: what one request brings."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from mapreduce import splits
from mapreduce.effects import InputEnd, InputFailed, InputPiece, InputSplit, InputSplits
from mapreduce.errors import InputError
from mapreduce.events import SplitInput
from mapreduce.feeder import CARRIED_BYTES, TOGETHER, Feeder, input_items
from mapreduce.refs import Split
from mapreduce.spec import InputFormat

LINES = InputFormat("lines")
SECS = 20.0


def items_of(path: Path, split_bytes: int, refers: bool = False) -> list[Any]:
    planned = splits.plan([str(path)], LINES, split_bytes, "")
    return list(input_items(planned, LINES, lambda split: refers))


def test_small_splits_come_by_the_dozen_large_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text("".join(f"{number:09d}\n" for number in range(2 * TOGETHER + 3)))
    *small, end = items_of(path, 10)
    assert [(len(item.splits), item.goes_on) for item in small] == [(TOGETHER, False)] * 2 + [(3, True)]
    carried = [split for item in small for split in item.splits]
    assert b"".join(split.data for split in carried) == path.read_bytes() and end == InputEnd()
    assert not any(split.pieces for split in carried)
    path.write_text("x" * 1999 + "\n" + "y" * 1999 + "\n")
    assert [type(item) for item in items_of(path, 2000)] == [InputPiece, InputSplit] * 2 + [InputEnd]


def test_splits_without_pieces_come_before_the_pieces_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("a\n" + "b\n" + "x" * 1999 + "\n" + "c\n")
    together, piece, split, *empty, end = items_of(path, 2)
    assert [carried.data for carried in together.splits] == [b"a\n", b"b\n"] and not together.goes_on
    assert (piece.data[0:1], len(piece.data), split.split.length) == (b"x", 2000, 2000)
    data = [carried.data for item in empty for carried in item.splits]
    assert data[-1] == b"c\n" and set(data[:-1]) == {None} and end == InputEnd(), "no line begins in them"


def test_references_come_by_the_dozen_as_long_as_little_is_read_for_them(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("line\n" * TOGETHER * CARRIED_BYTES)
    *items, end = items_of(path, 5 * CARRIED_BYTES, refers=True)
    assert [len(item.splits) for item in items] == [13] * 4 + [12] and end == InputEnd()
    assert [item.goes_on for item in items] == [False] * 4 + [True]
    assert all(split.data is None and split.split.segments[0].pin for item in items for split in item.splits)


def test_each_split_of_a_stream_is_told_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    planned = splits.plan([str(pipe)], LINES, 2, str(tmp_path / "spool"))
    lines = [b"a\n", b"b\n", b"c\n"] * TOGETHER
    writer = threading.Thread(target=pipe.write_bytes, args=(b"".join(lines),))
    writer.start()
    *items, end = input_items(planned, LINES, lambda split: False)
    writer.join(SECS)
    assert [[split.data for split in item.splits] for item in items] == [[line] for line in lines]
    assert [n for n, item in enumerate(items, 1) if not item.goes_on] == [
        TOGETHER,
        2 * TOGETHER,
        3 * TOGETHER,
    ]
    assert end == InputEnd()


def test_a_request_brings_what_goes_on_and_one_more() -> None:
    some = [InputSplits((SplitInput(Split(())),), goes_on=True)] * 5 + [InputPiece(b"y"), InputEnd()]
    happened: list[Any] = []  #: in the input thread

    class Requests(queue.SimpleQueue[None]):
        def get(self, block: bool = True, timeout: Optional[float] = None) -> None:
            happened.append("waits")
            super().get(block, timeout)

    def items() -> Iterator[Any]:
        for item in some:
            happened.append(item)
            yield item

    posted: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
    feeder = Feeder(items(), lambda item, urgent: posted.put((item, urgent)))
    feeder._requests = Requests()
    feeder.request()
    heard = [posted.get(timeout=SECS) for _ in range(6)]
    assert heard == [(item, not isinstance(item, InputSplits)) for item in some[:6]]
    feeder.request()
    assert posted.get(timeout=SECS) == (InputEnd(), True)
    feeder.request()  # there is no more: the thread ends
    feeder._thread.join(SECS)
    assert happened == ["waits", *some[:6], "waits", InputEnd(), "waits"]


def test_who_waits_is_told_of_trouble_behind_what_goes_on() -> None:
    def items() -> Any:
        yield InputSplits((SplitInput(Split(())),), goes_on=True)
        raise InputError("gone")

    posted: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
    feeder = Feeder(items(), lambda item, urgent: posted.put((item, urgent)))
    feeder.request()
    assert posted.get(timeout=SECS)[1] is False
    failed, urgent = posted.get(timeout=SECS)
    assert isinstance(failed, InputFailed) and str(failed.error) == "gone" and urgent
