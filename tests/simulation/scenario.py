"""What is played: jobs, workers, trouble. Drawn from the seed, so that a seed is all that it takes to play it again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from mapreduce.spec import JobSpec

#: what a bad record does to user code
RAISES, DIES, KILLS_HOST = "raises", "dies", "kills the host"


#: what makes user code handle records that are bad without it
CORRECTED = {"corrected": True}


class Retry(NamedTuple):
    """What the user does about a failed job."""

    after: float  #: seconds
    corrected: bool
    #: somebody else does the same, at about the same time, and dies
    rival: bool
    cancels: bool  #: instead: does away with what is kept


@dataclass(frozen=True)
class JobPlan:
    """One job of a scenario."""

    name: str
    spec: JobSpec
    #: records of each split
    records: tuple[int, ...]
    #: records on which user code fails each time: (task, record of its split) → how
    bad: dict[tuple[int, int], str] = field(default_factory=dict)
    #: seconds after the start at which the client comes
    at: float = 0.0
    #: when it has failed; when it has failed again, …
    retries: tuple[Retry, ...] = ()


@dataclass
class Scenario:
    """All of it. Fields are what the rest of the simulator reads; `draw` chooses them."""

    seed: int
    jobs: list[JobPlan]
    workers: int
    late_workers: list[float]  #: when more of them come
    by_reference: bool
    latency: float
    spikes: float
    #: seconds that a task takes on average; a share of them takes far longer
    task_secs: float
    slow: float
    #: how many attempts fail for no reason, or die
    bad_luck: float
    #: trouble comes so often, seconds on average, and so many times
    trouble_every: float
    trouble: int
    #: which kinds, besides what every scenario has
    lossy: bool
    client_dies: bool
    destructive: bool
    full_disk: float
    dawdling: float
    deaf: float
    stutter: float
    forgets: float
    ack_timeout: float
    renew_secs: float
    part_bytes: int
    block_records: int
    #: readers that are gone have said that blocks are missing, and are heard now
    late_words: bool = False
    #: executors of a worker: one of these numbers
    slots: tuple[int, ...] = (1, 1, 2)
    #: workers have run short tasks before
    hasty: bool = False
    #: dispatches that one message may hold; 0: coordinators are not told how long tasks take, so each has its own
    ranges: int = 0
    #: bytes of blocks that come with an executor's answer; splits come with their dispatches if there are any
    carried: int = 0
    #: where `forgets` holds: places whose names end so
    forgets_only: str = ""
    #: seconds for which a queue's messages may be with their consumers before the broker has stored and confirmed them
    stores_late: float = 0.0
    #: what dead processes have said of a job that was retried is heard once more
    echoes: bool = False
    #: files of the shared folder are removed, cut or changed
    vanishing: bool = False
    #: how often a worker does not see that folder
    blind: float = 0.0

    def describe(self) -> list[str]:
        """For the head of a trace."""
        lines = []
        for job in self.jobs:
            s = job.spec
            lines.append(
                f"{job.name}: {s.stages} stages, {s.partitions} partitions, splits of {list(job.records)} records, "
                f"{s.tries} tries, skip {s.skip_bad}, {'detached' if s.detached else 'attached'}"
                + (f", bad {job.bad}" if job.bad else "")
                + (f", kept {s.keep_secs} s, {list(job.retries)}" if job.retries else "")
            )
        rest = {k: v for k, v in vars(self).items() if k != "jobs"}
        return [*lines, ", ".join(f"{key} {value}" for key, value in rest.items())]


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    kind = rng.random()
    lossy = kind < 0.2
    slow = 0.3 if 0.2 <= kind < 0.24 else 0.0
    bad = 0.24 <= kind < 0.34
    destructive = 0.34 <= kind < 0.37
    client_dies = 0.37 <= kind < 0.41
    calm = kind > 0.98
    count = rng.choice((1, 1, 1, 1, 1, 2, 2, 3))
    busy = rng.choice((0.15, 0.4, 0.4, 1.5, 6.0)) if not slow else 80.0
    if lossy:
        busy = rng.choice((0.15, 0.4, 1.5))
    renew = rng.choice((480.0, 480.0, 5.0 if busy < 2.0 else 30.0))
    forgets = rng.choice((0.0, 0.005, 0.03)) if lossy else 0.0
    renew = (
        480.0 if forgets else renew
    )  # a log that grows for ten minutes is not to be read every two seconds
    patience = 60.0 if renew == 5.0 else rng.choice((60.0, 600.0))
    jobs = [_draw_job(rng, n, bad, client_dies, patience) for n in range(count)]
    short_ack = rng.random() < 0.04
    return Scenario(
        seed=seed,
        jobs=jobs,
        workers=rng.choice((1, 2, 2, 3)),
        late_workers=[rng.uniform(0, 20.0)] if rng.random() < 0.15 else [],
        by_reference=rng.random() < 0.4,
        latency=rng.choice((0.001, 0.02, 0.02, 0.3)),
        spikes=rng.choice((0.0, 0.0, 0.0, 0.002, 0.01)),
        task_secs=rng.choice((0.01, 0.3, 0.3, 1.0)),
        slow=slow,
        bad_luck=0.0 if bad else rng.choice((0.0, 0.0, 0.1)),
        trouble_every=busy,
        trouble=0 if calm else rng.choice((1, 2, 3, 5, 8, 14)),
        lossy=lossy,
        client_dies=client_dies,
        destructive=destructive,
        full_disk=rng.choice((0.0, 0.0, 0.0, 0.0, 0.004)) if not bad else 0.0,
        dawdling=rng.choice((0.0, 0.0, 0.1)),
        deaf=rng.choice((0.0, 0.1, 1.0)),
        stutter=rng.choice((0.0, 0.0, 0.0, 0.1)),
        forgets=forgets,
        ack_timeout=60.0 if short_ack else 1800.0,
        renew_secs=renew,
        part_bytes=rng.choice((8 << 20, 8 << 20, 40)),
        block_records=rng.choice((1, 2, 100)),
    )


def _draw_job(rng: random.Random, number: int, bad: bool, client_dies: bool, patience: float) -> JobPlan:
    splits = rng.choice((0, 1, 2, 3, 3, 4, 6))
    records = tuple(rng.choice((0, 1, 1, 2, 3)) for _ in range(splits))
    where = [(i, r) for i, n in enumerate(records) for r in range(n)]
    broken: dict[tuple[int, int], str] = {}
    tries, skip = 1000, 0
    if bad and number == 0:
        tries = rng.choice((1, 2, 3))
        skip = rng.choice((0, 1, 2, 5))
        for place in rng.sample(where, min(len(where), rng.choice((1, 1, 2, 3)))):
            broken[place] = rng.choice((RAISES, RAISES, DIES))
        if broken and rng.random() < 0.1:
            broken = {next(iter(broken)): KILLS_HOST}
            skip = 0
    spec = JobSpec(
        f"model{number}",
        {},
        {},
        rng.choice((1, 2, 2, 2, 3)),
        rng.choice((1, 2, 2, 3)),
        tries=tries,
        skip_bad=skip,
        copies=rng.random() < 0.8,
        detached=not client_dies and rng.random() < 0.2,
        client_timeout_secs=patience,
        expiry_secs=3000.0,
        retain_secs=rng.choice((0.0, 0.0, 0.0, 30.0)),
    )
    return JobPlan(f"job{number}", spec, records, broken, rng.choice((0.0, 0.0, rng.uniform(0, 5.0))))
