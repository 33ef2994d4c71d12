"""A short `bench.long_life`: some 15 seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.long_life import GROWTH_MB, Sample, growth
from tests.support import ROOT


@pytest.mark.slow
@pytest.mark.timeout(240)  # some 15 seconds on two idle cores
def test_eight_jobs_leave_two_workers_and_their_client_as_they_were() -> None:
    command = [sys.executable, "-m", "bench.long_life", "--jobs", "8", "--every", "8"]  # counts, not memory
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all is back where it was" in result.stdout


def test_growth_is_named() -> None:
    before = Sample(20, {"client": 30.0}, {"threads": 3})
    assert growth([before, Sample(40, {"client": 30.0 + GROWTH_MB / 2}, {"threads": 3})]) == []
    [threads] = growth([before, Sample(40, {"client": 20.0}, {"threads": 4})])
    assert "threads: 3 after 20 jobs, 4 after 40" in threads
    [memory] = growth([before, Sample(40, {"client": 31.0 + GROWTH_MB}, {"threads": 3})])
    assert "client" in memory
