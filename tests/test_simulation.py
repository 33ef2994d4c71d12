"""Schedules by the thousand: whatever dies or is lost, the output is right or the failure has a name.

`make simulate` plays more of them. What a seed plays is in `tests/simulation`, and never changes with anything but that
folder's code and the engine's.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.mutation_table import MUTATIONS, Mutation
from tests.mutations import ROOT, find, mutate, run_one
from tests.simulate import explain
from tests.simulation import play

BLOCK = 100
BLOCKS = 20
#: one broken rule of each kind; `make mutations` has all
QUICK = (
    "the dispatch is acked before `Done` is confirmed",
    "`Done` is published before its blocks are confirmed",
    "a later `Done` replaces the first",
    "`StageSealed` is logged before the seals",
    "a dispatch is logged before the queue has confirmed it",
    "a lease is acked before its renewal is confirmed",
    "a redelivered dispatch is run at once",
    "the lease is acked while streams are still there",
)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_schedules_end_right(block: int) -> None:
    """2,000 of them in all."""
    wrong = []
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            play.run(seed)
        except Exception as error:
            wrong.append(f"make simulate REPLAY={seed}    # {explain(error)}")
    assert not wrong, "\n".join(wrong)


def test_trouble_of_every_kind_comes_up() -> None:
    """A simulator in which nothing goes wrong would find everything right."""
    counts: dict[str, int] = {}
    for seed in range(150):
        for name, number in play.run(seed).counts.items():
            counts[name] = counts.get(name, 0) + number
    missing = EXERCISED - set(counts)
    assert not missing, f"in 150 schedules there was none of {sorted(missing)}"


#: what 150 schedules have in them, whatever the engine is like
EXERCISED = {
    "alarms", "broker restarts", "crashes", "crashes between two commands", "dropped connections",
    "drops between two commands", "failed attempts", "freezes", "jobs right", "late workers", "lost connections",
    "lost stream entries", "repeated messages", "skipped records", "workers told to leave",
}  # fmt: skip


@pytest.mark.parametrize("seed", [5, 11, 24])
def test_a_seed_replays_exactly_in_another_process(seed: int) -> None:
    """No order of a set, no address of an object, no clock of the machine leaks in."""
    traces = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulate", "--replay", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        traces.append(done.stdout)
    assert traces[0] == traces[1]
    assert len(traces[0].splitlines()) > 50


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_every_mutation_still_fits_the_code(mutation: Mutation) -> None:
    """`make mutations` shows which check catches each."""
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    compile(mutate(source, mutation), mutation.file, "exec")


@pytest.mark.parametrize("name", QUICK)
def test_the_simulator_notices_a_broken_rule(name: str) -> None:
    caught = run_one(find([name])[0], budget=200)
    assert caught.seed >= 0, f"{caught.schedules} schedules were all right although {name}"
