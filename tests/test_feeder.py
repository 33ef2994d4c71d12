"""The client's input thread: what one request brings."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from mapreduce import splits
from mapreduce.effects import InputEnd, InputFailed, InputPiece, InputSplit
from mapreduce.errors import InputError
from mapreduce.feeder import CARRIED_TOGETHER, Feeder, input_items
from mapreduce.refs import Split
from mapreduce.spec import InputFormat

LINES = InputFormat("lines")
SECS = 20.0


def items_of(path: Path, split_bytes: int) -> list[Any]:
    planned = splits.plan([str(path)], LINES, split_bytes, "")
    return list(input_items(planned, LINES, lambda split: False))


def test_small_splits_come_by_the_dozen_large_ones_alone(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text("".join(f"{number:09d}\n" for number in range(2 * CARRIED_TOGETHER + 3)))
    *small, end = items_of(path, 10)
    assert [item.goes_on for item in small] == 2 * ([True] * (CARRIED_TOGETHER - 1) + [False]) + [True] * 3
    assert b"".join(item.data for item in small) == path.read_bytes() and end == InputEnd()
    path.write_text("x" * 1999 + "\n" + "y" * 1999 + "\n")
    assert [type(item) for item in items_of(path, 2000)] == [InputPiece, InputSplit] * 2 + [InputEnd]
    assert not any(item.goes_on for item in items_of(path, 2000) if isinstance(item, InputSplit))


def test_a_request_brings_what_goes_on_and_one_more() -> None:
    split = Split(())
    dozen = [InputSplit(split, False, b"x", goes_on=True)] * 5 + [InputPiece(b"y"), InputEnd()]
    happened: list[Any] = []  #: in the input thread

    class Requests(queue.SimpleQueue[None]):
        def get(self, block: bool = True, timeout: Optional[float] = None) -> None:
            happened.append("waits")
            super().get(block, timeout)

    def items() -> Iterator[Any]:
        for item in dozen:
            happened.append(item)
            yield item

    posted: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
    feeder = Feeder(items(), lambda item, urgent: posted.put((item, urgent)))
    feeder._requests = Requests()
    feeder.request()
    heard = [posted.get(timeout=SECS) for _ in range(6)]
    assert heard == [(item, not isinstance(item, InputSplit)) for item in dozen[:6]]
    feeder.request()
    assert posted.get(timeout=SECS) == (InputEnd(), True)
    feeder.request()  # there is no more: the thread ends
    feeder._thread.join(SECS)
    assert happened == ["waits", *dozen[:6], "waits", InputEnd(), "waits"]


def test_who_waits_is_told_of_trouble_in_the_middle_of_a_dozen() -> None:
    def items() -> Any:
        yield InputSplit(Split(()), False, b"x", goes_on=True)
        raise InputError("gone")

    posted: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
    feeder = Feeder(items(), lambda item, urgent: posted.put((item, urgent)))
    feeder.request()
    assert posted.get(timeout=SECS)[1] is False
    failed, urgent = posted.get(timeout=SECS)
    assert isinstance(failed, InputFailed) and str(failed.error) == "gone" and urgent
