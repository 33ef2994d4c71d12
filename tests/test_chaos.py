"""A short chaos run; `make chaos` is the long one. Some 25 seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base, open_broker
from mapreduce.errors import BrokerError
from tests import chaos_log
from tests.chaos_plan import make_plan
from tests.contract.harness import Session
from tests.support import JOBS, ROOT, mr_ok, workers


@pytest.mark.slow
@pytest.mark.timeout(240)  # some 25 seconds on two idle cores
def test_eight_kills_and_a_broker_that_restarts_change_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--short", "--seconds", "200", "--verbose"]
    # With this seed the broker is away once, at the very first strike.
    command += ["--kills", "8", "--seed", "7", "--broker-share", "0.08"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "nothing was wrong" in result.stdout and "broker: " in result.stdout


def test_a_plan_depends_on_seed_and_number_alone() -> None:
    assert make_plan(1, 5) == make_plan(1, 5)
    assert len({make_plan(seed, number) for seed in (1, 2) for number in range(50)}) == 100


def test_a_log_as_text(rabbit_url: str) -> None:
    pool = ("--broker", rabbit_url, "--pool", "log")
    with workers(rabbit_url, pool="log"):
        job = mr_ok("run", JOBS / "wordcount.py", ROOT / "setup.py", *pool, "--detach", "--retain", 5)
        name = job.decode().strip()
        mr_ok("results", name, "--broker", rabbit_url)
        entries = chaos_log.read(rabbit_url, name)
    lines = chaos_log.text(entries).splitlines()
    assert f"Submitted job={name}" in lines[0] and any("Delivered(" in line for line in lines)
    assert chaos_log.summary(entries)["Done"] == sum(" Done " in line for line in lines) > 1


def test_events_that_travelled_together_are_told_one_by_one(rabbit_url: str) -> None:
    together = [ev.Took(ev.Rank(1, 7), "host"), ev.InputComplete(3)]
    session = Session(open_broker(rabbit_url))
    session.broker.connect()
    try:
        log = session.declare(ev.log_stream("together"), base.Kind.STREAM)
        session.publish(log, wire.join([wire.encode(event) for event in together]))
        assert chaos_log.read(rabbit_url, "together") == together
        session.do(base.Delete(log))
        session.wait(base.Deleted, name=log)
    finally:
        session.broker.close(1.0)


def test_the_log_of_no_job(rabbit_url: str) -> None:
    with pytest.raises(BrokerError, match="there is no log of job nobody"):
        chaos_log.read(rabbit_url, "nobody")
