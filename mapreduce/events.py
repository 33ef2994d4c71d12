"""All that travels: names of queues and streams, messages, and the events of a job's log.

`docs/protocol.md` says who writes and who reads each of them. An event's producer is whoever is named in its
comment; every event may arrive twice, and may come from a process that is dead by now.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any, NamedTuple, Optional, Union

from mapreduce.frozen import frozen
from mapreduce.refs import Block, Counters, Failure, Skipped, Split, Stats
from mapreduce.spec import JobSpec
from mapreduce.wire import message

# ---------------------------------------------------------------- names

PREFIX = "mr.1"
JOBS = f"{PREFIX}.jobs"
CONTROL = f"{PREFIX}.control"
#: where messages that nobody can read are put, with the reason; nothing empties it but people
ASIDE = f"{PREFIX}.aside"
_REPLIES = f"{PREFIX}.replies."


#: of jobs, pools and interpreters: what fits into a queue's name and a folder's, and reads well in both
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_name(text: str) -> bool:
    """Whether ``text`` may name a job, a pool or an interpreter."""
    return _NAME.fullmatch(text) is not None


def tasks_queue(pool: str, interpreter: str) -> str:
    """The work queue of a pool for one interpreter tag ("cp311", "pp39") or for "any"."""
    return f"{PREFIX}.work.{pool}.{interpreter}"


def replies_queue(asker: str) -> str:
    """Where one who asks gets the answers; ``asker``: letters and digits."""
    return f"{_REPLIES}{asker}"


def is_replies_queue(name: str) -> bool:
    """Whether ``name`` is one of these. Whoever is asked sends to nothing else."""
    return name.startswith(_REPLIES) and is_name(name[len(_REPLIES) :])


def log_stream(job: str) -> str:
    return f"{PREFIX}.job.{job}.log"


def input_stream(job: str) -> str:
    return f"{PREFIX}.job.{job}.in"


def output_stream(job: str) -> str:
    return f"{PREFIX}.job.{job}.out"


def partition_stream(job: str, stage: int, partition: int) -> str:
    return f"{PREFIX}.job.{job}.{stage}.{partition}"


def reads_from(job: str, stage: int, partition: int, stages: int) -> str:
    """What a task of ``stage`` > 0 reads; the stage after the last one is the client, which reads ``out``."""
    return output_stream(job) if stage == stages else partition_stream(job, stage, partition)


def data_streams(job: str, stages: int, partitions: int) -> list[str]:
    """Every stream of a job but its log."""
    shuffles = [partition_stream(job, s, p) for s in range(1, stages) for p in range(partitions)]
    return [input_stream(job), *shuffles, output_stream(job)]


# ---------------------------------------------------------------- queue messages


class Rank(NamedTuple):
    """Orders leases of one job: the higher one coordinates."""

    renewals: int
    salt: int  #: random: two leases of one renewal are never equal


@message
@frozen
class Lease:
    """On ``mr.1.jobs``: whoever holds it unacked coordinates the job. Names all that the job owns."""

    job: str
    rank: Rank
    #: how often a holder died since the job last made progress
    takeovers: int
    stages: int
    partitions: int
    #: how many leases in a row were renewed before their holders had read the log
    unread: int = 0
    #: see `JobSpec`: the job's folder therein is its own, too
    shared_dir: str = ""


class SplitInput(NamedTuple):
    """A split and how to get its bytes: by reference, from pieces of the job's ``in`` stream, or right here."""

    split: Split
    #: numbers of the pieces that hold the bytes; a piece lies at its number or at a higher offset. Inline
    #: segments give their place in the concatenation of these pieces.
    first_piece: int = 0
    pieces: int = 0  #: 0: by reference, unless `data` is there
    #: the bytes themselves, where they are few: fetching them would cost more than the task
    data: Optional[bytes] = None


class CodeRef(NamedTuple):
    """Where the code of a dispatch stands: in this `Retried`."""

    offset: int  #: in the job's log
    number: int


@message
@frozen
class Dispatch:
    """On a work queue: run this task."""

    job: str
    dispatch: int  #: random, 64 bits
    stage: int
    index: int
    generation: int
    input: Optional[SplitInput]  #: stage 0 only
    #: see `refs.TaskSpec`
    careful: bool = False
    skip: tuple[int, ...] = ()
    skip_limit: int = 0
    #: an attempt of the task has ended its host or its process: none is to wait as started, nor anything behind it
    alone: bool = False
    revision: int = 0  #: how often the job was retried before
    code: Optional[CodeRef] = None  #: None: what was submitted


@message
@frozen
class Aside:
    """On ``mr.1.aside``: a message that could not be read, the body, and why."""

    queue: str
    reason: str


# ---------------------------------------------------------------- stream messages with a body


@message
@frozen
class Piece:
    """On ``in``: up to about 1 MiB of input, the body."""

    number: int  #: from 0, in order; a piece may appear twice


@message
@frozen
class EndOfInput:
    """On ``in``: no piece follows."""

    pieces: int


@message
@frozen
class BlockHead:
    """On a partition stream or ``out``: one block, or a part of a large one, in the body; or by reference."""

    index: int  #: of the task that wrote it
    attempt: int
    seq: int  #: of the block among those its attempt wrote for this partition, from 0
    records: int
    run: int
    kind: str
    ref: Optional[Block] = None
    #: a block too large for one message comes in parts, in order, each with this head
    part: int = 0
    parts: int = 1


class SealEntry(NamedTuple):
    """One line of a seal: take ``blocks`` blocks of ``attempt``, the winner of that task."""

    task: int  #: index in the stage before
    attempt: int
    blocks: int


@message
@frozen
class Seal:
    """On a partition stream or ``out``: exactly what to take. Long ones come in parts."""

    generation: int
    part: int
    parts: int
    entries: tuple[SealEntry, ...]  #: in order of task index


# ---------------------------------------------------------------- control (advice)


@message
@frozen
class StopJob:
    job: str
    #: of the dispatches to be stopped, and all before: the job may go on with later ones
    revision: int = 0
    #: the job's folder therein is to be removed by whoever sees it; "": nothing is
    shared_dir: str = ""


@message
@frozen
class StopAttempt:
    attempt: int


@message
@frozen
class Ask:
    """To all workers: say on ``reply_to``, a queue for replies, how things stand."""

    question: (
        str  #: "workers": each answers with a `WorkerReport`; "jobs": with its `JobReport`s, and then that
    )
    reply_to: str
    number: int  #: the answers name it


@message
@frozen
class Drain:
    """To one worker: finish what you have begun, hand back the rest, and leave."""

    worker: str


# ---------------------------------------------------------------- answers to an `Ask`, on ``mr.1.replies.<id>``


class RunningTask(NamedTuple):
    """An attempt that an executor is at."""

    job: str
    stage: int
    task: int  #: index in its stage
    attempt: int
    slot: int  #: the number of the executor, from 0
    secs: float  #: for how long


@message
@frozen
class WorkerReport:
    """Worker: I am here. The last of its answers to an `Ask`."""

    number: int
    worker: str
    host: str
    pid: int
    version: str  #: of mapreduce
    python: str  #: "CPython 3.11.2", what the worker itself runs on
    tag: str  #: "cp311", …: what its executors run on
    pool: str
    slots: int
    since: float  #: when it began, in seconds since the epoch by its own clock
    now: float  #: when it answered, by the same clock
    memory_bytes: int  #: of all its processes; 0: cannot be told on that system
    draining: bool  #: it takes nothing new, and leaves when it has nothing more to do
    coordinates: tuple[str, ...]  #: jobs
    running: tuple[RunningTask, ...]
    held: int  #: dispatches that it has besides: to be begun, or to be ended
    libraries: dict[str, str] = field(default_factory=dict)  #: version of each that matters
    #: how long the broker lets anybody hold a message unacked, if it has taught the worker so; 0.0: it has not
    ack_timeout_secs: float = 0.0


class StageReport(NamedTuple):
    """How far a stage is."""

    total: Optional[int]  #: None: unknown yet
    done: int
    running: int


@message
@frozen
class JobReport:
    """Coordinator: how a job of mine stands."""

    number: int
    job: str
    rank: Rank  #: of its lease: two may think that they coordinate it
    name: str  #: "": it has not been read yet
    pool: str
    submitted_at: float  #: seconds since the epoch by the client's clock; 0.0: not known
    phase: str  #: see `views.phase.phase_of`
    cause: str  #: one line: why there is no output, or ""
    stages: tuple[StageReport, ...]
    worker: str  #: who answers
    kept_until: (
        float  #: seconds since the epoch by the worker's clock: the job's log goes then; 0.0: not yet known
    )


# ---------------------------------------------------------------- the log


@message
@frozen
class Submitted:
    """Client: the job itself, always the first event."""

    job: str
    spec: JobSpec
    version: str  #: of the client's mapreduce
    at: float  #: seconds since the epoch on the client's clock, for people


@message
@frozen
class Splits:
    """Client: these splits can be read from now on."""

    first: int
    splits: tuple[SplitInput, ...]


@message
@frozen
class InputComplete:
    """Client: there are so many splits in all."""

    count: int


@message
@frozen
class Took:
    """Coordinator: I have this lease, and read on from here."""

    rank: Rank
    worker: str


class DispatchRef(NamedTuple):
    """It names no generation: a dispatch of an older one counts as live until its reader meets the later seal."""

    dispatch: int
    stage: int
    task: int  #: index in its stage
    priority: int = 0  #: on its queue


@message
@frozen
class Dispatched:
    """Coordinator: these are on the work queue: it has confirmed them."""

    items: tuple[DispatchRef, ...]
    revision: int = 0


@message
@frozen
class Started:
    """Worker: this attempt is about to run."""

    dispatch: int
    stage: int
    index: int
    generation: int
    attempt: int
    worker: str
    revision: int = 0


class Carried(NamedTuple):
    """A small block of a job's output. It comes with `Done`: a message of its own, and the wait for its confirm, would
    cost more than the task."""

    seq: int  #: as of `BlockHead`, and so are these
    records: int
    run: int
    kind: str
    data: bytes


@message
@frozen
class Done:
    """Worker: the attempt has ended and the broker has all its blocks."""

    dispatch: int
    stage: int
    index: int
    generation: int
    attempt: int
    worker: str
    blocks: dict[int, int]  #: partition -> how many; partitions without any are left out
    counters: Counters = field(default_factory=dict)
    stats: Stats = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    secs: float = 0.0  #: for how long it ran
    slot: int = -1  #: in which of the worker's executors; -1: unknown
    revision: int = 0  #: as in its dispatch
    output: tuple[Carried, ...] = ()  #: those of its blocks, counted above, that did not go to ``out``


@message
@frozen
class AttemptFailed:
    """Worker: a try has failed."""

    dispatch: int
    stage: int
    index: int
    generation: int
    attempt: int
    worker: str
    failure: Failure
    #: it was not careful: it does not use up the last try, if that has to be
    plain: bool = False
    secs: float = 0.0  #: as in `Done`; 0: it was not given to an executor
    slot: int = -1
    revision: int = 0


@message
@frozen
class Lost:
    """Worker: a dispatch came back from the queue: whoever had it has lost its connection, or its life."""

    dispatch: int
    stage: int
    index: int


@message
@frozen
class Returned:
    """Worker: I hand back a dispatch that I have not started, or stopped on purpose."""

    dispatch: int
    stage: int
    index: int


@message
@frozen
class Missing:
    """Reader of a partition: the seal lists blocks of these attempts that the stream does not hold."""

    dispatch: int  #: of the reading task; 0: the client
    stage: int  #: of the reading task; the number of stages: the client
    index: int
    generation: int
    attempts: tuple[int, ...]


@message
@frozen
class Long:
    """Worker: the attempt goes on, but its dispatch is acked now; `Alive` follows each minute."""

    dispatch: int
    stage: int
    index: int
    attempt: int
    worker: str
    revision: int = 0


@message
@frozen
class Alive:
    """Worker: the long attempt still runs."""

    dispatch: int
    stage: int
    index: int
    attempt: int
    worker: str
    revision: int = 0


@message
@frozen
class Back:
    """Worker: my connection was lost, I am not."""

    worker: str


@message
@frozen
class StageSealed:
    """Coordinator: every partition of ``stage`` has its seal; ``stage`` == number of stages: ``out``."""

    stage: int
    generation: int


@message
@frozen
class Passed:
    """Coordinator: so much time has gone by under my lease, in all, whoever else has held it: the clock of the log.

    Whoever takes over knows from it how long anything has waited, without comparing the clocks of two hosts. A sum,
    not what is new: it may be lost, come twice or late, and the next one sets it right.
    """

    total_secs: float
    salt: int = 0  #: of the lease: who reads its own has read all that was logged before


@message
@frozen
class Present:
    """Client: I am still here."""


@message
@frozen
class Resumed:
    """Client: the client before me is gone, I go on with the job. Of several the last one does."""

    client: int  #: random, 63 bits
    #: False: not yet, I only want to know what stands in the log before this
    claims: bool = True


@message
@frozen
class CancelRequested:
    """Client: please end the job."""

    reason: str


@message
@frozen
class Delivered:
    """Client: I have all of the output (of this generation), or have read why there is none."""

    generation: int


@message
@frozen
class Failed:
    """Coordinator: user code failed, or data was lost, for good; or until somebody tries again."""

    failure: Failure
    stage: int
    index: int
    tries: int
    revision: int = 0


@message
@frozen
class Retried:
    """Client: the job that has failed is to go on; see `JobState.can_go_on`."""

    number: int  #: random, 63 bits: a repeat has the same
    bundle: Optional[dict[str, Any]]  #: the corrected code; None: as it is
    at: float  #: seconds since the epoch on the client's clock, for people


@message
@frozen
class Expired:
    """Coordinator: what was kept of the failed job is about to be deleted; no `Retried` counts any more."""

    revision: int


@message
@frozen
class Cancelled:
    """Coordinator: ended on request."""

    reason: str


@message
@frozen
class Abandoned:
    """Coordinator: given up: the client is gone, the results expired, or the job was parked."""

    reason: str


# ---------------------------------------------------------------- for viewers: without effect on the fold


@message
@frozen
class Printed:
    """Worker: user code has written this to standard output or error; it may be lost, nobody waits for it."""

    stage: int
    index: int
    attempt: int
    worker: str
    text: str
    #: bytes that were left out before ``text``, for there were too many
    dropped: int = 0
    #: of what the attempt has printed, from 1, in order, so that one that comes twice is known; 0: nobody knows
    part: int = 0


@message
@frozen
class Profiled:
    """Worker: where the CPU time of an attempt has gone; of a long one in parts, the last one just before it ends.

    It may be lost, nobody waits for it.
    """

    stage: int
    index: int
    attempt: int
    worker: str
    samples: int  #: in all of the part
    lines: dict[str, int]  #: "file:line:function" → samples, of the hottest, see `profiling`
    part: int = 0


@message
@frozen
class Marked:
    """Client, observer: a place in the log. Whoever reads his own mark has read all that stood before it."""

    number: int  #: random, 63 bits


Event = Union[
    Submitted,
    Splits,
    InputComplete,
    Took,
    Dispatched,
    Started,
    Done,
    AttemptFailed,
    Lost,
    Returned,
    Missing,
    Long,
    Alive,
    Back,
    StageSealed,
    Passed,
    Present,
    Resumed,
    CancelRequested,
    Delivered,
    Failed,
    Retried,
    Expired,
    Cancelled,
    Abandoned,
    Printed,
    Profiled,
    Marked,
]
