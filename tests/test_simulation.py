"""Schedules by the thousand: whatever dies or is lost, the output is right or the failure has a name.

`make simulate` plays more of them. What a seed plays is in `tests/simulation`, and never changes with anything but that
folder's code and the engine's.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.refs import Segment, Split
from mapreduce.spec import JobSpec
from mapreduce.state import JobState
from tests.mutation_table import MUTATIONS, Mutation
from tests.mutations import ROOT, find, mutate, run_one
from tests.simulate import explain
from tests.simulation import play, seeds
from tests.simulation.monitor import Monitor
from tests.simulation.reference import Reference, facts_of
from tests.simulation.world import World

#: 2,000 schedules in all, some of each family
BLOCKS = [range(n, n + 100) for n in range(0, 1700, 100)] + [range(n, n + 40) for n in seeds.FAMILIES[1:]]

#: one broken rule of each kind; `make mutations` has all
QUICK = (
    "the dispatch is acked before `Done` is confirmed",
    "`Done` is published before its blocks are confirmed",
    "a later `Done` replaces the first",
    "`StageSealed` is logged before the seals",
    "a dispatch is logged before the queue has confirmed it",
    "a lease is acked before its renewal is confirmed",
    "a redelivered dispatch is run at once",
    "`Missing` leaves the stages after the next as they are",
    "a coordinator acts before it has read the log",
    "a long attempt does not say that it is alive",
    "a record that kills is not left out of the next attempt",
    "the lease is acked while streams are still there",
    "what is kept is deleted when the job has failed",
    "a worker runs the code that was submitted",
)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"from-{block.start}")
def test_schedules_end_right(block: range) -> None:
    wrong = []
    for seed in block:
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


def _log_of_two_stages() -> list[object]:
    spec = JobSpec("model", {}, {}, 2, 1)
    split = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))
    return [
        ev.Submitted("job", spec, "0", 0.0), ev.Splits(0, (split, split)), ev.InputComplete(2),
        ev.Dispatched((ev.DispatchRef(1, 0, 0), ev.DispatchRef(2, 0, 1))),
        ev.Started(1, 0, 0, 0, 11, "w"), ev.Done(1, 0, 0, 0, 11, "w", {0: 1}, {"tasks": 1}),
        ev.Done(2, 0, 1, 0, 12, "w", {0: 2}, {"tasks": 1}), ev.StageSealed(1, 0),
        ev.Dispatched((ev.DispatchRef(3, 1, 0),)), ev.Done(3, 1, 0, 0, 13, "w", {0: 1}, {"tasks": 1}),
        ev.StageSealed(2, 0),
        ev.Missing(3, 1, 0, 0, (12,)), ev.Delivered(0), ev.Done(4, 0, 1, 0, 14, "w", {0: 2}, {"tasks": 1}),
        ev.StageSealed(1, 1), ev.Done(5, 1, 0, 1, 15, "w", {0: 1}, {"tasks": 1}), ev.StageSealed(2, 1), ev.Delivered(1),
        ev.Cancelled("too late"),
    ]  # fmt: skip


def test_the_reference_and_the_fold_of_the_engine_agree_and_void_alike() -> None:
    """By hand, for the reference says in all schedules what is right."""
    reference, state = Reference(), JobState()
    sealed, terminal = [], []
    for event in _log_of_two_stages():
        reference.apply(event)
        state.apply(event)
        assert facts_of(state) == reference.facts()
        sealed.append(list(reference.sealed))
        terminal.append(reference.terminal)
    assert sealed[10] == [True, True, True]
    assert sealed[11] == [True, False, False]
    assert terminal[-3:] == [None, ev.Delivered(1), ev.Delivered(1)]
    assert reference.generations == [0, 1, 1]
    assert reference.facts().counters == {"tasks": 3}


def test_what_an_earlier_log_of_a_job_ended_with_excuses_nothing() -> None:
    """A client that was silent for too long declares its job anew when it is back."""
    world = World(0)
    monitor = Monitor(world)
    log, queue = ev.log_stream("job"), ev.tasks_queue("default", "any")
    places = {log, queue}
    before, after = (wire.encode(ev.Dispatch("job", number, 0, 0, 0, None)) for number in (1, 2))
    submitted = wire.encode(_log_of_two_stages()[0])
    monitor.declared(log)
    monitor.comes(log, submitted)
    monitor.comes(queue, before)
    monitor.comes(log, wire.encode(ev.Abandoned("nothing was heard of its client")))
    world.now = 100.0
    monitor.declared(log)
    monitor.comes(log, submitted)
    monitor.comes(queue, after)
    monitor.acks(before, places)
    assert monitor.breaches == []
    monitor.acks(after, places)
    assert monitor.breaches == ["a dispatch is acked of which the log knows no end"]
