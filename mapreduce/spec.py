"""A job as plain data: what the first event of its log holds, and all that workers know of it.

Nothing here runs user code: `code` is an opaque bundle until it reaches an executor.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from mapreduce.frozen import frozen

MIB = 1024 * 1024
DEFAULT_SPLIT_BYTES = 8 * MIB
DEFAULT_PARTITIONS = 8
DEFAULT_TRIES = 4
#: of a job on a broker, see `JobSpec.retain_secs` and `JobSpec.keep_secs`
DEFAULT_RETAIN_SECS = 600.0
DEFAULT_KEEP_SECS = 3600.0
#: each is a stream on the broker
MAX_PARTITIONS = 10_000
#: an attempt that runs longer says so (`Long`) and lets go of its dispatch: nothing is held unacked for ten minutes
LONG_SECS = 300.0
#: where the broker ends sessions over late acks, nothing is held for longer than this part of its patience
ACK_TIMEOUT_SHARE = 1 / 3
#: how often a client says that it is there, at most; more often where the job's patience with it is short
PRESENT_EVERY_SECS = 60.0


@frozen
class InputFormat:
    """How bytes become records.

    ``kind``: "lines" (str without line end), "jsonl" (parsed values), "csv" (dict per row, header line),
    "files" ((name, bytes) per file), "fixed" (bytes of ``record_bytes``).
    ``errors``: for bytes that are not UTF-8: "strict" (fail), "replace" (U+FFFD) or "latin-1" (read all so).
    """

    kind: str = "lines"
    errors: str = "strict"
    record_bytes: int = 0


@frozen
class JobSpec:
    """The job as submitted; immutable."""

    name: str
    #: how to get the user's `Job` back, see `code`: plain data
    bundle: dict[str, Any]
    #: values of `-p NAME=VALUE`, already of the right types
    params: dict[str, Any]
    #: number of stages, the first one (which reads the input) included
    stages: int
    #: number of partitions of every stage after the first
    partitions: int = DEFAULT_PARTITIONS
    input: InputFormat = field(default_factory=InputFormat)
    split_bytes: int = DEFAULT_SPLIT_BYTES
    #: how often a task may fail in user code before the job fails
    tries: int = DEFAULT_TRIES
    #: the same for single stages, where they differ
    stage_tries: dict[int, int] = field(default_factory=dict)
    #: how many records of the whole job may be left out because user code fails on them
    skip_bad: int = 0
    #: how long one attempt may run; 0: for ever
    task_timeout_secs: float = 0.0
    #: how many bytes of memory an executor and what it starts may use; 0: no limit
    max_memory: int = 0
    #: whether slow tasks near the end of a stage are run a second time elsewhere
    copies: bool = True
    #: what the client reads, as it was named, in the order given; so that `mr run --resume` can go on with it
    inputs: tuple[str, ...] = ()
    #: "cp311", "pp39", …: workers that may run it; "any": all
    interpreter: str = "any"
    pool: str = "default"
    #: stage -> the borders of its output's key ranges, where the job partitions by sampled ranges
    boundaries: dict[int, list[Any]] = field(default_factory=dict)
    #: stages whose output a function of the job spreads over the partitions
    partitioned: tuple[int, ...] = ()
    #: True: the client may leave once the input is in
    detached: bool = False
    #: the job is given up when a client that must be there says nothing for so long
    client_timeout_secs: float = 600.0
    #: how long results of a detached job wait to be collected
    expiry_secs: float = 24 * 3600.0
    #: how long the log is kept after the outcome has been delivered
    retain_secs: float = 0.0
    #: the folder that relative names in `inputs` start from
    directory: str = ""
    #: what was found there: "FILES:BYTES:DIGEST" of names, sizes and time stamps; "": it cannot be read again
    listing: str = ""
    #: "": the last stage writes pairs; else the bytes of output files in this format, one of `formats.SEAMLESS`
    output: str = ""
    #: what the output is to look like, as `mr run --format` said, also where executors do not write it: `--resume` and
    #: `mr results` go by it unless they are told otherwise; "": it was not said
    format: str = ""
    #: how long the streams are kept after the job has failed: it can be looked into, and go on
    keep_secs: float = 0.0
    #: executors note where the time of each attempt goes, see `profiling`
    profile: bool = False
    #: a folder that client and workers all see, for blocks, see `shared`; "": they travel through the broker
    shared_dir: str = ""

    @property
    def present_every_secs(self) -> float:
        """How often its client says that it is there."""
        return min(PRESENT_EVERY_SECS, self.client_timeout_secs / 4)
