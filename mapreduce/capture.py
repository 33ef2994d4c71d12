"""What user code writes to standard output and error, on its way to the log.

    executor, and all that it starts ─ descriptors 1 and 2: one pipe ─▶ Capture ─ ExecutorPrinted ─▶ worker

A pipe, so that C code and subprocesses are heard, too, so that what a process wrote last is there when it is dead, and
so that nobody can fill a disk. What comes belongs to the attempt that runs, and all of it is taken before the end of
that is told. An executor that goes on with an attempt before we know of the last one's end writes a mark between their
outputs, random bytes that nobody else writes. Whoever prints without end never waits for long: what is too much is
read and dropped.

An attempt's first `HEAD_BYTES` and last `TAIL_BYTES` are kept: the last words are what a death is explained with. All
attempts of a worker share an `Allowance`, those of a job a `JobAllowance`: its log keeps what is told.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
from collections.abc import Iterator
from typing import NamedTuple, Optional

#: what an attempt may print, and what a worker's attempts may print a second; saved up while they print less
HEAD_BYTES = 56 * 1024
TAIL_BYTES = 8 * 1024
WORKER_BYTES_PER_SEC = 64 * 1024
BURST_BYTES = 4 * WORKER_BYTES_PER_SEC
#: what one job may print on a worker in all; beyond that only the last words of what fails are told
JOB_BYTES = 16 * 1024 * 1024
#: who prints a little all the time is read so often, and told of so often
QUIET_SECS = 0.01
FLUSH_SECS = 0.1
#: so long a line may be unfinished until it is told of all the same
PARTIAL_SECS = 1.0
#: who has printed so much meanwhile is read on at once: its pipe may be full, and it waits
FAST_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
#: more is not read at once of one child, so that all have their turn; no less than a pipe holds by default
_TURN_BYTES = 256 * 1024


#: how marks begin: as no text does
_MARK = b"\xff\0\xfe"


def new_mark() -> bytes:
    """For one executor. Short enough for a pipe to take it whole or not at all."""
    return _MARK + os.urandom(8).hex().encode()


def open_pipe() -> tuple[int, int]:
    """Our end, which does not block, and the child's."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return ours, theirs


class Text(NamedTuple):
    """Some of what an attempt has printed, after ``dropped`` bytes that are left out."""

    text: str
    dropped: int


class Allowance:
    """How much may be told of: so much a second, and what was saved up."""

    def __init__(self) -> None:
        self._left: float = BURST_BYTES
        self._at = 0.0

    def left(self, now: float) -> int:
        """Bytes."""
        self._left = min(BURST_BYTES, self._left + max(0.0, now - self._at) * WORKER_BYTES_PER_SEC)
        self._at = now
        return max(0, int(self._left))

    def take(self, count: int) -> None:
        """More than is left makes debts, but never so many that others are silent for long."""
        self._left = max(-BURST_BYTES, self._left - count)


class JobAllowance:
    """One job's part of a worker's allowance, which has an end."""

    def __init__(self, worker: Allowance) -> None:
        self._worker = worker
        self._left = JOB_BYTES

    @property
    def used_up(self) -> bool:
        return self._left <= 0

    def left(self, now: float) -> int:
        """Bytes."""
        return max(0, min(self._left, self._worker.left(now)))

    def take(self, count: int) -> None:
        """More than is left makes debts of the worker's."""
        self._left -= count
        self._worker.take(count)


class Kept:
    """What is kept of one attempt's output, and not told of yet."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._room = HEAD_BYTES
        self._dropped = 0  #: between head and tail
        self._tail = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __len__(self) -> int:
        """Bytes that could be told of now."""
        return len(self._head)

    @property
    def used(self) -> bool:
        """Something was printed, told or not."""
        return self._room < HEAD_BYTES

    def add(self, data: bytes) -> None:
        """What was read."""
        if self._room:
            taken = data[: self._room]
            self._head += taken
            self._room -= len(taken)
            data = data[len(taken) :]
        if data:
            self._tail += data
            excess = len(self._tail) - TAIL_BYTES
            if excess > 0:
                self._dropped += excess
                del self._tail[:excess]

    def words(self) -> str:
        """All of it, as it is now."""
        return (self._head + self._tail).decode("utf-8", "replace")

    def take(self, allowance: JobAllowance, now: float, partial: bool) -> Optional[Text]:
        """Whole lines, as many as may be told of; ``partial``: and what has begun of the last one."""
        end = len(self._head) if partial else self._head.rfind(b"\n") + 1
        left = allowance.left(now)
        if left < end:
            end = self._head.rfind(b"\n", 0, left) + 1
        return self._cut(end, allowance) if end else None

    def take_all(self, allowance: JobAllowance, now: float, anyhow: bool) -> Iterator[Text]:
        """The rest of an attempt that is over: all that may be told of. ``anyhow``: all, for it explains a failure;
        the end of it if its job has printed too much.
        """
        waiting = len(self._head) + len(self._tail)
        if anyhow and allowance.used_up:
            self._tail = self._head + self._tail
            self._head = bytearray()
            if waiting > TAIL_BYTES:
                del self._tail[:-TAIL_BYTES]
                self._dropped += waiting - TAIL_BYTES
        elif not anyhow and allowance.left(now) < waiting:
            end = min(allowance.left(now), len(self._head))
            self._dropped += waiting - end
            del self._head[end:]
            self._tail.clear()
        if not self._dropped:
            self._head += self._tail
            self._tail.clear()
        if self._head or self._decoder.getstate()[0]:  # a character that was never completed
            yield self._cut(len(self._head), allowance, final=True)
        if self._dropped:
            begin = self._tail.find(b"\n", 0, -1) + 1  # with a whole line
            dropped = self._dropped + begin
            self._head, self._tail = self._tail[begin:], bytearray()
            yield self._cut(len(self._head), allowance, final=True)._replace(dropped=dropped)

    def _cut(self, end: int, allowance: JobAllowance, final: bool = False) -> Text:
        text = self._decoder.decode(bytes(self._head[:end]), final)
        del self._head[:end]
        allowance.take(end)
        return Text(text, 0)


class Capture:
    """One child's pipe, and what is kept of its attempt's output."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.slot = -1
        self.attempt = 0  #: 0: none
        self.allowance: Optional[JobAllowance] = None  #: its attempt's
        self.kept = Kept()
        self.mark = b""  #: between the outputs of two attempts; none yet
        self._due = 0  #: marks that have not come of attempts that are at work or over
        self._later: list[bytearray] = []  #: what has come after each mark that was not due
        self._cut = b""  #: what may be the beginning of a mark
        self.closed = False  #: by all who could write to it, or by us
        #: all was read that had been written when its process was heard last, so that an end more needs no look
        self.current = False
        #: when to read again, None: when the selector says so
        self.read_at: Optional[float] = None
        #: when to tell of what is kept, None: there is nothing; and since when there is
        self.tell_at: Optional[float] = None
        self.since = 0.0

    def read(self, now: float) -> int:
        """Take what is there, up to `_TURN_BYTES`; returns how many bytes that was."""
        count = 0
        with contextlib.suppress(BlockingIOError):  # nothing more
            while count < _TURN_BYTES:
                data = os.read(self.fd, _READ_BYTES)
                if not data:
                    self.closed = True
                    break
                self._take(data)
                count += len(data)
                if len(data) < _READ_BYTES:
                    break  # a pipe gives all that it holds
        self.note(now)
        return count

    def _take(self, data: bytes) -> None:
        """What was read, marks among it."""
        if not self.mark:
            self.kept.add(data)
            return
        data, self._cut = self._cut + data, b""
        at = data.rfind(_MARK[:1], max(0, len(data) - len(self.mark) + 1))
        if at >= 0 and self.mark.startswith(data[at:]):  # the rest of it comes
            data, self._cut = data[:at], data[at:]
        first, *others = data.split(self.mark)
        self._put(first)
        for part in others:
            if self._due:
                self._due -= 1
            else:
                self._later.append(bytearray())
            self._put(part)

    def _put(self, data: bytes) -> None:
        if self._later:
            self._later[-1] += data
        else:
            self.kept.add(data)

    def go_on(self) -> None:
        """The next attempt has begun, with a mark."""
        if self._later:
            self.kept.add(bytes(self._later.pop(0)))
        else:
            self._due += 1

    def complete(self) -> None:
        """All that there is was read: what could have been a mark is none."""
        cut, self._cut = self._cut, b""
        self._put(cut)

    def last_words(self, now: float) -> str:
        """What its process, which is dead, has said and was not told of yet."""
        if not self.closed:
            self.read(now)
        return self.kept.words()

    def note(self, now: float) -> None:
        """That something is kept and has to be told of, if it is so."""
        if self.tell_at is None and self.attempt and len(self.kept):
            self.tell_at, self.since = now + FLUSH_SECS, now


class Printed(NamedTuple):
    """Some of what an attempt has printed, after ``dropped`` bytes that are left out."""

    slot: int
    attempt: int
    text: str
    dropped: int


class Captures:
    """Those of a pool's children. Who prints nothing costs nothing but a look at an empty pipe when it is done."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._allowance = Allowance()
        self._jobs: dict[str, JobAllowance] = {}
        self._talking: dict[Capture, None] = {}  #: those with a time

    def add(self, capture: Capture) -> None:
        """Hear it from now on."""
        self._selector.register(capture.fd, selectors.EVENT_READ, capture)

    def remove(self, capture: Capture) -> None:
        """Before its pipe is closed."""
        capture.closed = True
        self._deafen(capture)
        self._talking.pop(capture, None)

    def _deafen(self, capture: Capture) -> None:
        if capture.fd in self._selector.get_map():
            self._selector.unregister(capture.fd)

    def forget(self, job: str) -> None:
        """It is over, or idle for long; should it come again, it may print as much again."""
        self._jobs.pop(job, None)

    def begin(
        self, capture: Capture, slot: int, job: str, attempt: int, now: float, behind: bool = False
    ) -> None:
        """What comes from now on is this attempt's, after a mark if it was sent ``behind`` another one; so is what a
        process has said before its first one."""
        capture.slot, capture.attempt = slot, attempt
        if behind:
            capture.go_on()
        if job not in self._jobs:
            self._jobs[job] = JobAllowance(self._allowance)
        capture.allowance = self._jobs[job]
        capture.note(now)
        if capture.tell_at is not None:
            self._talking[capture] = None

    def end(self, capture: Capture, now: float, failed: bool) -> Iterator[Printed]:
        """The attempt is over: the rest of what it has printed."""
        if failed or not capture.current:
            capture.current = capture.closed or capture.read(now) < _TURN_BYTES
        if capture.current:
            capture.complete()  # else the rest of a mark may have to be read yet
        if capture.kept.used and capture.allowance is not None:
            for text, dropped in capture.kept.take_all(capture.allowance, now, anyhow=failed):
                yield Printed(capture.slot, capture.attempt, text, dropped)
            capture.kept = Kept()
        capture.attempt, capture.tell_at = 0, None

    def hear(self, capture: Capture, now: float) -> None:
        """There is something to read, or the end of it. Not looked at again for a moment: lines come in swarms."""
        if capture.closed:
            return  # its child was discarded since the selector saw it
        fast = capture.read(now) >= FAST_BYTES
        self._deafen(capture)
        capture.read_at = None if capture.closed else now if fast else now + QUIET_SECS
        self._talking[capture] = None

    def poll(self, now: float) -> Iterator[Printed]:
        """What is to be told of by now."""
        for capture in list(self._talking):
            if capture.read_at is not None and now >= capture.read_at:
                self._read_on(capture, now)
            allowance = capture.allowance
            if allowance is not None and capture.tell_at is not None and now >= capture.tell_at:
                partial = now - capture.since >= PARTIAL_SECS
                told = capture.kept.take(allowance, now, partial)
                if told is not None:
                    yield Printed(capture.slot, capture.attempt, told.text, told.dropped)
                    capture.since = now
                capture.tell_at = now + FLUSH_SECS if len(capture.kept) else None
            if capture.read_at is None and capture.tell_at is None:
                del self._talking[capture]

    def _read_on(self, capture: Capture, now: float) -> None:
        count = capture.read(now)
        if capture.closed:
            capture.read_at = None
        elif count:
            capture.read_at = now if count >= FAST_BYTES else now + QUIET_SECS
        else:
            capture.read_at = None
            self._selector.register(capture.fd, selectors.EVENT_READ, capture)

    def wait_secs(self, now: float) -> Optional[float]:
        """For how long `poll` need not be called unless the selector says so; None: for ever."""
        times = [at for each in self._talking for at in (each.read_at, each.tell_at) if at is not None]
        return max(0.0, min(times) - now) if times else None
