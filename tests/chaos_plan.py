"""The jobs of a chaos run: what each is, and what it must print. The seed and a number determine all of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from mapreduce import order

#: share of clients that are killed
KILLED_SHARE = 0.2
#: `mr run --resume`, `mr results`, `mr cancel`, or nobody comes
AFTER_DEATH = ("resume", "resume", "results", "cancel", "nobody")

#: kind of job -> its last line
_KINDS = {
    "words": "job = Job(words, fold=sum)",
    "lengths": "job = Job(words, fold=sum).then(lengths, fold=sum)",
    "plain": "job = Job(words)",
}

_JOB = """\
import time
from mapreduce import Job

def words(line):
    time.sleep({nap})
    for word in line.split():
        yield word, 1

def lengths(pair):
    yield len(pair[0]), pair[1]

"""


@dataclass(frozen=True)
class Plan:
    """One job, wholly determined by the seed and its number."""

    number: int
    kind: str
    text_bytes: int
    split_bytes: int
    partitions: int
    nap_secs: float  #: per record
    source: str  #: "inline", "shared" or "stdin"
    detached: bool
    kill_after_secs: Optional[float]  #: when its first client is killed, if at all
    kill_when_submitted: (
        bool  #: whether the clock of that starts with the job's submission, or with the client
    )
    kill_results_after_secs: Optional[float]
    after_death: str  #: what somebody does about a job whose client was killed: see `AFTER_DEATH`

    @property
    def name(self) -> str:
        return f"chaos{self.number}"

    def undisturbed(self) -> Plan:
        """The same job, nobody killed."""
        return replace(self, kill_after_secs=None, kill_results_after_secs=None)


def make_plan(seed: int, number: int) -> Plan:
    rng = random.Random(f"{seed}/{number}")

    def moment(longest_secs: float) -> Optional[float]:
        return rng.uniform(0.1, longest_secs) if rng.random() < KILLED_SHARE else None

    return Plan(
        number,
        kind=rng.choice(sorted(_KINDS)),
        text_bytes=rng.randint(20_000, 500_000),
        split_bytes=rng.choice((8, 16, 32, 64)) * 1024,
        partitions=rng.randint(1, 8),
        nap_secs=rng.choice((0.0, 0.0, 0.0005)),
        source=rng.choice(("inline", "inline", "shared", "stdin")),
        detached=rng.random() < 0.4,
        kill_after_secs=moment(3.0),
        kill_when_submitted=rng.random() < 0.7,
        kill_results_after_secs=moment(3.0),
        after_death=rng.choice(AFTER_DEATH),
    )


def job_source(plan: Plan) -> str:
    """The job's file."""
    return _JOB.format(nap=plan.nap_secs) + _KINDS[plan.kind] + "\n"


def oracle(plan: Plan, text: Path) -> bytes:
    """What the job must print, by plain Python."""
    words = text.read_text().split()
    if plan.kind == "plain":
        return "".join(f"{word}\t1\n" for word in words).encode()
    counts: Counter[object] = Counter(words)
    if plan.kind == "lengths":
        lengths: Counter[object] = Counter()
        for word, count in counts.items():
            lengths[len(str(word))] += count
        counts = lengths
    parts: list[list[str]] = [[] for _ in range(plan.partitions)]
    for key in sorted(counts, key=lambda key: key if isinstance(key, (int, str)) else 0):
        parts[order.partition(key, plan.partitions)].append(f"{key}\t{counts[key]}\n")
    return "".join(line for part in parts for line in part).encode()
