"""What a view shows, as plain data. Times are seconds since the epoch by the clock of whoever logged them."""

from __future__ import annotations

from typing import NamedTuple, Optional

from mapreduce.frozen import frozen
from mapreduce.refs import Counters, Failure
from mapreduce.state import JobState
from mapreduce.views.profile import StageProfile


def stage_name(stage: int, stages: int) -> str:
    """What people call a stage: "map", "reduce", or "reduce 2" where there are several."""
    if stage == 0:
        return "map"
    return "reduce" if stages <= 2 else f"reduce {stage}"


def task_name(stage: int, index: int, stages: int) -> str:
    """What people call a task: "map 3", "reduce 0", or "reduce 2/0" where there are several."""
    return f"{stage_name(stage, stages)}{'/' if stage and stages > 2 else ' '}{index}"


def describe_tasks(state: JobState) -> str:
    """Which tasks there are, as options name them: "0/0 to 0/12, 1/0 to 1/7"."""
    ranges = [
        f"{number}/{min(each.tasks)} to {number}/{max(each.tasks)}"
        for number, each in enumerate(state.stages[:-1])  # the last one is the output
        if each.tasks
    ]
    return ", ".join(ranges) or "none"


#: a hundred years: what is said to have taken longer is garbage
MOST_SECS = 3.2e9


class AttemptView:
    """One try of a task, on one executor: a bar of a chart. It changes until it has ended."""

    __slots__ = (
        "attempt", "began_at", "bytes_in", "bytes_out", "copy", "dispatch", "ended_at", "failure", "index",
        "outcome", "records_in", "records_out", "secs", "slot", "stage", "worker",
    )  # fmt: skip

    def __init__(self, dispatch: int, stage: int, index: int, attempt: int, worker: str, at: float) -> None:
        self.dispatch = dispatch
        self.stage = stage
        self.index = index
        self.attempt = attempt
        self.worker = worker
        self.slot = -1  #: which of the worker's executors: known at the end
        self.began_at = at
        self.ended_at: Optional[float] = None  #: None: it runs
        #: for how long it ran, as its worker says or, where that says nothing, by the log; None: it runs, or unknown
        self.secs: Optional[float] = None
        #: "running"; "won"; "beaten" (another one won); "failed"; "lost" (its worker, what it read or what it wrote
        #: is gone); "returned" (stopped, or handed back unfinished)
        self.outcome = "running"
        self.copy = False  #: begun while another one of the task ran
        self.failure: Optional[Failure] = None
        self.records_in = 0
        self.records_out = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def __repr__(self) -> str:
        return f"AttemptView({self.stage}.{self.index} on {self.worker}: {self.outcome})"

    def ran_secs(self, now: float) -> float:
        """For how long it ran, or has been running."""
        if self.secs is not None:
            return self.secs
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.began_at)

    def end(self, outcome: str, at: float, secs: float = 0.0) -> None:
        """``secs``: what its worker says; 0: nothing."""
        self.outcome, self.ended_at = outcome, at
        if 0 < secs < MOST_SECS:
            self.secs, self.began_at = secs, at - secs if at else self.began_at
        elif at and self.began_at:
            self.secs = max(0.0, at - self.began_at)


@frozen
class StageView:
    """Tasks that read the same kind of input, as they stand."""

    number: int
    name: str  #: see `stage_name`
    total: Optional[int]  #: tasks; None: not known yet
    done: int
    running: int
    waiting: int
    failed: int  #: of those that wait: how many have failed before
    records_in: int
    records_out: int
    bytes_in: int
    bytes_out: int
    sealed: bool  #: its input is complete, so its tasks are known


class Notice(NamedTuple):
    """Something that users should know of."""

    at: float
    level: str  #: "info" or "warning"
    text: str  #: one line


@frozen
class PrintedText:
    """What user code has written to standard output or error."""

    at: float
    stage: int
    index: int
    attempt: int
    worker: str
    text: str
    dropped: int  #: bytes that were left out before it


class Skew(NamedTuple):
    """How unevenly the input of a stage lies in its partitions, in bytes."""

    median: int
    largest: int
    partition: int  #: the largest


@frozen
class Summary:
    """A job from a distance."""

    secs: float  #: see `JobView.ran_secs`; or to the last entry of its log
    tasks: int  #: that are done
    tries: int  #: attempts that were started
    failed: int  #: attempts
    lost: int  #: attempts
    copies: int  #: attempts begun while another one of the task ran
    stages: list[StageView]
    #: what was sent from one process to another: input that the client fed, and the blocks of all winners
    bytes_moved: int
    counters: Counters
    slowest: list[AttemptView]
    skews: dict[int, Skew]  #: by stage
    left_out: int  #: records
    profile: list[StageProfile]  #: of a job that is profiled
