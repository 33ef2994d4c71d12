"""Schedules by the hundred: whatever dies, the output is whole, counted once, and nothing is left behind."""

from __future__ import annotations

import pytest

from tests.simulation import Simulation


@pytest.mark.parametrize("seed", range(20))
def test_a_calm_job_ends_right(seed: int) -> None:
    Simulation(seed, stages=1 + seed % 3, splits=seed % 9).play(trouble=0.0)


@pytest.mark.parametrize("block", range(20))
def test_a_troubled_job_ends_right(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        simulation = Simulation(seed, stages=1 + seed % 3)
        try:
            simulation.play(trouble=0.02)
        except AssertionError as error:
            trace = "\n".join(simulation.world.trace[-40:])
            raise AssertionError(f"seed {seed}: {error}\n{trace}") from error
