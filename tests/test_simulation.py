"""Schedules by the hundred: whatever dies, the output is whole, counted once, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from mapreduce import coordinator
from tests.simulation import Simulation


def play(simulation: Simulation, trouble: float, limit: float = 10_000.0) -> None:
    try:
        simulation.play(trouble, limit)
    except AssertionError as error:
        trace = "\n".join(simulation.world.trace[-40:])
        raise AssertionError(f"seed {simulation.world.seed}: {error}\n{trace}") from error


@pytest.fixture(params=[False, True], ids=["", "renewing"])
def renewals(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with leases that are renewed all the time."""
    if request.param:
        monkeypatch.setattr(coordinator, "RENEW_SECS", 2.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_calm_job_ends_right(seed: int) -> None:
    play(Simulation(seed, stages=1 + seed % 3, splits=seed % 9), trouble=0.0)


@pytest.mark.parametrize("block", range(10))
def test_a_troubled_job_ends_right(block: int, renewals: None) -> None:
    for seed in range(block * 10, block * 10 + 10):
        play(Simulation(seed, stages=1 + seed % 3), trouble=0.02)


@pytest.mark.parametrize("block", range(10))
def test_a_job_with_long_tasks_ends_right(block: int) -> None:
    """`Long`, `Alive`, and the silence of workers that die after them; leases renew as often as they do."""
    for seed in range(block * 3, block * 3 + 3):
        play(Simulation(seed, stages=1 + seed % 2, slow=0.2), trouble=0.002, limit=100_000.0)


@pytest.mark.parametrize("block", range(20))
def test_a_broker_that_loses_what_it_confirmed_stops_no_job(block: int) -> None:
    """The output is right or the failure has a name; it never hangs."""
    for seed in range(block * 5, block * 5 + 5):
        play(Simulation(seed, stages=1 + seed % 3, lossy=True), trouble=0.15, limit=20_000.0)


@pytest.mark.parametrize("block", range(10))
def test_jobs_side_by_side_end_right(block: int, renewals: None) -> None:
    for seed in range(block * 2, block * 2 + 2):
        first = Simulation(seed, stages=2, detached=seed % 2 == 0)
        for n in range(2):
            Simulation(seed, stages=1 + n, splits=4, detached=n == 1, job=f"other{n}", beside=first)
        play(first, trouble=0.01)
