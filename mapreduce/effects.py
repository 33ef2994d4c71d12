"""What roles ask of the host besides broker commands, and what the host tells them besides broker events.

    role.handle(event, now) -> [command, …]

``now`` is the host's monotonic clock in seconds. `Tick` comes a few times a second, for timers.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol, Union

from mapreduce.brokers import base
from mapreduce.events import SplitInput
from mapreduce.frozen import frozen
from mapreduce.refs import Block, Carried, Counters, Failure, Skipped, Split, Stats, TaskSpec
from mapreduce.spec import JobSpec

# ---------------------------------------------------------------- local commands


@frozen
class Append:
    """Append bytes to a file, making it and its folder if need be; `AppendFailed` answers only trouble."""

    key: str  #: begins with the role's prefix
    path: str
    body: memoryview


@frozen
class RemoveTree:
    """Remove a folder with all it holds, if it is there."""

    path: str
    shared: bool = False  #: it lies where a file server may be slow; then it is gone some time later


@frozen
class ShareFolder:
    """Make the folder that a job shares, see `shared`; `AppendFailed` answers trouble."""

    key: str  #: begins with the role's prefix
    path: str


@frozen
class CheckBlocks:
    """Look whether the folder that a job shares, and these blocks in it, are here; `BlocksChecked` answers."""

    key: str  #: begins with the role's prefix
    folder: str
    blocks: tuple[Block, ...]


@frozen
class RemoveShared:
    """Remove the folder that a job has shared, if it is to be seen here."""

    path: str


@frozen
class Execute:
    """Run an attempt in an executor slot, when the executor is done with what it was given before, all of the same
    ``code``; makes the attempt's folder, unless its task `carries`."""

    slot: int
    code: str  #: the job, and which of its retries brought its code; such attempts may share an executor
    spec: JobSpec
    task: TaskSpec


@frozen
class KillExecutor:
    """Take an attempt from its slot: end it at once if it runs, else do not begin it. A fresh executor takes over what
    else the slot was given; nothing happens if the attempt is over."""

    slot: int
    attempt: int


@frozen
class ForgetJob:
    """No more of this code will run here: let go of what is kept for it (idle executors that have it)."""

    code: str  #: as in `Execute`


@frozen
class ReadInput:
    """Read the next item of the client's input; answered by one of the input events below."""


@frozen
class Report:
    """A line for whoever runs this process: something was set aside, a connection came back, …"""

    level: str  #: "debug", "info" or "warning"
    text: str
    event: str = ""  #: what it is about, for programs that read logs: "connection_lost", "task_failed", …
    job: str = ""
    stage: Optional[int] = None
    task: Optional[int] = None  #: its index in the stage


@frozen
class WakeAt:
    """Send this role a `Tick` then, besides those that come anyway, and in the place of the one that it has asked for
    before."""

    when: float  #: by the clock of ``now``


@frozen
class Defer:
    """Send this role `Deferred` when all that has happened by now is handled: what is decided then is decided once for
    all of it."""


@frozen
class Leave:
    """This process is to end in an orderly way, with all the time that it takes: tell all roles `Shutdown`."""


Local = Union[
    Append, RemoveTree, ShareFolder, CheckBlocks, RemoveShared, Execute, KillExecutor, ForgetJob, ReadInput, Report,
    WakeAt, Defer, Leave,
]  # fmt: skip
Command = Union[base.Command, Local]

# ---------------------------------------------------------------- local events


@frozen
class Tick:
    pass


@frozen
class Deferred:
    """The answer to `Defer`."""


@frozen
class Connected:
    """A session with the broker has begun: declare, consume, go on."""


@frozen
class AppendFailed:
    key: str
    reason: str
    kind: str = "disk"  #: as in `Failure`


@frozen
class BlocksChecked:
    """``trouble``: why the folder is of no use here, as "is not there"; nothing is known of the blocks then."""

    key: str
    trouble: str
    attempts: tuple[int, ...]  #: which have written the blocks that are lost, or are not what they were


@frozen
class ExecutorBlock:
    """The attempt has written a block, whole and on disk."""

    slot: int
    attempt: int
    partition: int
    seq: int
    block: Block


@frozen
class ExecutorPrinted:
    """What the attempt's code has written to standard output or error; the last of it comes before its end."""

    slot: int
    attempt: int
    text: str
    dropped: int  #: bytes that were left out before it


@frozen
class ExecutorProfiled:
    """Where the attempt's time has gone since it was last told; the last part before it ends."""

    slot: int
    attempt: int
    part: int  #: from 0
    samples: int
    lines: dict[str, int]  #: see `profiling.Profile`


@frozen
class ExecutorDone:
    slot: int
    attempt: int
    counters: Counters
    stats: Stats
    skipped: tuple[Skipped, ...] = ()
    #: of its blocks those of which no `ExecutorBlock` has told: they are on no disk
    blocks: tuple[Carried, ...] = ()


@frozen
class ExecutorFailed:
    slot: int
    attempt: int
    failure: Failure


@frozen
class Shutdown:
    """Finish or hand back what you hold, then be done. Of several the shortest grace counts."""

    #: how long what has started may take to finish; endless: as long as it likes
    grace_secs: float = float("inf")


@frozen
class InputPiece:
    """Up to about 1 MiB of input bytes for the `in` stream."""

    data: bytes


@frozen
class InputSplit:
    """A split is complete: its bytes are the pieces since the last one."""

    split: Split


@frozen
class InputSplits:
    """Splits without pieces, in order: by reference, or with their few bytes."""

    splits: tuple[SplitInput, ...]
    goes_on: bool = False  #: more comes of what was asked for


@frozen
class InputEnd:
    pass


@frozen
class InputFailed:
    """The input cannot be read; the error is the user's to see."""

    error: Exception


class Role(Protocol):
    """A state machine: pure, single-threaded, without I/O or clock of its own."""

    #: tags and tokens of this role begin with it
    prefix: str
    #: nothing is left to do; the host forgets the role
    finished: bool

    def handle(self, event: Any, now: float) -> list[Command]: ...
