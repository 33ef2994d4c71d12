"""What is known of a job goes with the last reference to it: cyclic garbage is looked for seldom (`garbage`), and a
worker coordinates job after job.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client.cancel import CancelClient
from mapreduce.client.resume import ResumingClient
from mapreduce.client.retry import RetryingClient
from mapreduce.client.role import Client
from mapreduce.client.watch import WatchingClient
from mapreduce.effects import Connected, Shutdown, Tick
from mapreduce.leases import LeaseKeeper
from mapreduce.state import JobState
from mapreduce.views.job import JobView
from mapreduce.views.output import OutputView
from mapreduce.worker import Worker
from tests.coordinating import SPEC, Bench, dispatched, done, failed, splits, started

LOG = [
    ev.Submitted("job", SPEC, "0", 0.0),
    *splits(2),
    *[dispatched(0, 1), started(0), done(0), started(1, 1), failed(1, 1)],
]


@pytest.fixture(autouse=True)
def nobody_collects() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def folded() -> Any:
    state = JobState()
    for entry in LOG:
        state.apply(entry)
    assert (state.out.total, state.stages[0].done, state.failures) == (None, 1, 1)
    return state


def coordinator() -> Any:
    bench = Bench(tuple(LOG[1:]))
    bench.echo(bench.log(ev.CancelRequested("enough")))
    bench.wait(1.0)
    assert bench.it.state.terminal is not None
    return bench.it


def view_of(kind: Callable[[], JobView]) -> Callable[[], Any]:
    def view() -> JobView:
        made = kind()
        for at, entry in enumerate(LOG):
            made.note(entry, float(at))
        made.restart()
        return made

    return view


def client_of(kind: Any, *spec: Any) -> Callable[[], Any]:
    def client() -> Any:
        made = kind("job", *spec, "/nowhere", "0", random.Random(1))
        made.follow(JobView())
        return told(made)

    return client


def told(role: Any) -> Any:
    for event in (Connected(), Tick(), base.Disconnected("gone"), Shutdown()):
        role.handle(event, 1.0)
    return role


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(folded, id="JobState"),
        pytest.param(coordinator, id="Coordinator"),
        pytest.param(view_of(JobView), id="JobView"),
        pytest.param(view_of(OutputView), id="OutputView"),
        pytest.param(client_of(Client, SPEC), id="Client"),
        *(
            pytest.param(client_of(kind), id=kind.__name__)
            for kind in (CancelClient, ResumingClient, RetryingClient, WatchingClient)
        ),
        pytest.param(lambda: told(LeaseKeeper("w", random.Random(1))), id="LeaseKeeper"),
        pytest.param(lambda: told(Worker("w", 1, ("tasks",), "/d", False, random.Random(1))), id="Worker"),
    ],
)
def test_what_is_known_of_a_job_is_no_cyclic_garbage(make: Callable[[], Any]) -> None:
    gone = weakref.ref(make())
    assert gone() is None
