"""What an executor and its parent say to each other, over a socket pair.

    frame   4 bytes length, big endian; then msgpack [tag, [field, …], …]: a message, or several

    parent                         executor
      │ ◀────── Hello ────────────── │   it is up
      │ ─────── Load ──────────────▶ │   the job that it will serve, once
      │ ─────── Run, … ────────────▶ │   attempts; it runs one after the other
      │ ◀────── Wrote, … ─────────── │   a block is on disk; the smallest come with Done
      │ ◀────── Profiled, … ──────── │   where the job is profiled
      │ ◀────── Done or Failed ───── │
      ╳ closed                       │   it ends at once, with all that it started

Tuples and dataclasses become lists of plain fields here and nowhere else.
"""

from __future__ import annotations

import struct
from typing import Any, Iterator, NamedTuple, Optional

from mapreduce import codec, wire
from mapreduce.refs import Block, Carried, Counters, Failure, Skipped, Stats, TaskSpec
from mapreduce.spec import JobSpec

LENGTH = struct.Struct(">I")
#: what an executor exits with that finds its end of the pipe closed
PIPE_CLOSED = 97
#: the longest frame of an executor's: `Done` with its counters and the records that were left out
MAX_ANSWER_BYTES = 64 << 20


class Hello(NamedTuple):
    pid: int
    interpreter: str  #: see `code.interpreter_tag`
    mark: bytes = b""  #: what it writes to its output between two attempts, see `Run`


class Load(NamedTuple):
    spec: JobSpec


class Run(NamedTuple):
    task: TaskSpec
    #: sent before the one before it was answered: when it begins a mark tells its output from that one's
    behind: bool = False


class Wrote(NamedTuple):
    attempt: int
    partition: int
    seq: int
    block: Block


class Profiled(NamedTuple):
    attempt: int
    part: int
    samples: int
    lines: dict[str, int]  #: see `profiling.Profile`


class Done(NamedTuple):
    attempt: int
    counters: Counters
    stats: Stats
    skipped: tuple[Skipped, ...] = ()
    fit: bool = True  #: for another task; else it has to be ended, and begins none that it was sent
    blocks: tuple[Carried, ...] = ()  #: those that lie in no file


class Failed(NamedTuple):
    attempt: int
    failure: Failure
    fit: bool = True  #: as in `Done`


_TAGS: dict[str, type] = {cls.__name__: cls for cls in (Hello, Load, Run, Wrote, Profiled, Done, Failed)}


def encode(*messages: Any) -> bytes:
    """One frame."""
    plain: list[Any] = []
    for message in messages:
        plain += (type(message).__name__, wire.to_plain(message))
    body = codec.pack_known(plain)
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> list[Any]:
    """What a frame holds, without its length. Raises `wire.BadMessage` for what is none of ours."""
    plain = codec.unpack(body)
    if type(plain) is not list or len(plain) % 2:
        raise wire.BadMessage("a frame that is no list of tags and fields")
    return [_message(tag, fields) for tag, fields in zip(plain[::2], plain[1::2])]


def _message(tag: Any, fields: Any) -> Any:
    if tag not in _TAGS:
        raise wire.BadMessage(f"no message is called {tag!r}")
    return wire.from_plain(_TAGS[tag], fields)


class Frames:
    """Cuts a stream of bytes into messages, of at most ``most`` bytes each where that is given."""

    def __init__(self, most: Optional[int] = None) -> None:
        self._buffer = bytearray()
        self._most = most

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are complete with ``data``. Raises `wire.BadMessage`."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if self._most is not None and length > self._most:
                raise wire.BadMessage(f"a frame of {length} bytes")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            yield from decode(body)
