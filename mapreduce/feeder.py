"""The client's input, read by a thread of its own: planning and reading may block, the host's loop may not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from mapreduce import splits
from mapreduce.effects import InputEnd, InputFailed, InputPiece, InputSplit, InputSplits
from mapreduce.events import SplitInput
from mapreduce.refs import Split
from mapreduce.spec import MIB, InputFormat

#: a split of so few bytes travels in its task's own message, and in the log; all who read that hold it. A function of
#: the split alone, so that whoever goes on with the job numbers the pieces of the others in the same way
CARRIED_BYTES = 1024
#: so many splits, of so little input, come for one request: host and thread would wake each other up for each
TOGETHER = 64


def input_items(planned: Iterable[Split], fmt: InputFormat, refer: Callable[[Split], bool]) -> Iterator[Any]:
    """What the client reads, one after the other: pieces of about 1 MiB, and after the pieces of a split the split.
    Splits that have no pieces come together (`goes_on`: where many come for one request).

    ``refer(split)`` tells which splits go as references, without pieces.
    """
    nearby = splits.Nearby()
    together: list[SplitInput] = []
    count = size = 0  #: of those since the last request
    for split in planned:
        inline = None if refer(split) else splits.inline(split, fmt, nearby)
        if inline is not None and inline[0].length > CARRIED_BYTES:
            if together:
                yield InputSplits(tuple(together))
                together, count, size = [], 0, 0
            for piece in _even_pieces(inline[1]):
                yield InputPiece(piece)
            yield InputSplit(inline[0])
            continue
        together.append(
            SplitInput(split) if inline is None else SplitInput(inline[0], data=b"".join(inline[1]) or None)
        )
        count, size = count + 1, size + split.length
        full = count >= TOGETHER or size >= TOGETHER * CARRIED_BYTES
        if full or _was_a_stream(split):
            yield InputSplits(tuple(together), goes_on=not full)
            together = []
        if full:
            count = size = 0
    if together:
        yield InputSplits(tuple(together), goes_on=True)
    yield InputEnd()


def _was_a_stream(split: Split) -> bool:
    """Then the next one may be long in coming: our copy of a stream is all that nothing pins."""
    return not split.segments[-1].pin


def _even_pieces(data: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about 1 MiB, so that a thousand small files do not make a thousand messages."""
    parts: list[bytes] = []
    size = 0
    for part in data:
        if size and size + len(part) > MIB:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    if size:
        yield b"".join(parts)


class Feeder:
    """Runs an iterator of input items in a thread, one item per `request`, or several that go on, and posts each to
    the host: ``post(item, urgent)``.
    """

    def __init__(self, items: Iterator[Any], post: Callable[[Any, bool], None]) -> None:
        self._items = items
        self._post = post
        # a semaphore of Python's costs ten times as much
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="input", daemon=True)

    def request(self) -> None:
        """Ask for one more item; it comes as an event. Never blocks."""
        if self._thread.ident is None:
            self._thread.start()
        self._requests.put(None)

    def stop(self) -> None:
        """Read no further. A read that is under way (a terminal's, say) is left to itself."""
        self._stopped = True
        self._requests.put(None)

    def _run(self) -> None:
        goes_on = False
        while True:
            if not goes_on:
                self._requests.get()
            if self._stopped:
                return
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001  # whatever a file system or a URL may raise is the user's to read
                self._post(InputFailed(error), True)
                return
            goes_on = isinstance(item, InputSplits) and item.goes_on
            self._post(item, not goes_on)
