"""The simulation behind "Growing" in docs/performance.md: its engine, its fit, and what it must never say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import report
from bench.broker_limits import table
from bench.growth import __main__ as growth
from bench.growth import answers, fit, pictures
from bench.growth.engine import Process, Server, Simulation, Tokens
from bench.growth.model import Cluster, Task, simulate

COSTS = fit.Costs(
    client={"job": 0.5, "task": 0.001, "input MiB": 0.001, "output MiB": 0.002},
    node={"job": 0.2, "task": 0.001, "block": 0.0005, "stream": 0.005, "moved MiB": 0.004},
    worker={"task": 0.002, "block": 0.0005, "moved MiB": 0.002},
    executor_task=0.003,
    executor_block=0.0002,
    works={},
)
FREE = fit.Costs(
    client=dict.fromkeys(COSTS.client, 0.0),
    node=dict.fromkeys(COSTS.node, 0.0),
    worker=dict.fromkeys(COSTS.worker, 0.0),
    executor_task=0.0,
    executor_block=0.0,
    works={},
)
SORT = fit.Work("sort", 0.03, 0.03, 1.0, 1.0)
CLUSTER = Cluster(hosts=4, executors=2, network=112.0, node_network=112.0)


# ---------------------------------------------------------------- the engine


def user(simulation: Simulation, server: Server, seconds: float, ends: list[float]) -> Process:
    yield server.use(seconds)
    ends.append(simulation.now)


def test_a_server_takes_so_many_at_a_time_in_order() -> None:
    simulation = Simulation()
    ends: list[float] = []
    server = Server(simulation, 2)
    for seconds in (3.0, 1.0, 1.0, 5.0):
        simulation.start(user(simulation, server, seconds, ends))
    assert simulation.run() == 7.0
    assert ends == [1.0, 2.0, 3.0, 7.0]
    assert server.busy == 10.0


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 5))
def test_a_queue_is_never_faster_than_its_servers_and_never_idles_for_nothing(
    loads: list[int], count: int
) -> None:
    simulation = Simulation()
    server = Server(simulation, count)
    for seconds in loads:
        simulation.start(user(simulation, server, float(seconds), []))
    least = max(sum(loads) / count, max(loads))
    # Graham's bound for lists of jobs: who comes first is served first, and nobody waits while a server is free
    assert least - 1e-9 <= simulation.run() <= sum(loads) / count + max(loads)


def test_tokens_wait_until_they_are_given_back() -> None:
    simulation, tokens = Simulation(), Tokens(1)
    seen: list[tuple[str, float]] = []

    def holder(name: str) -> Process:
        yield tokens.take()
        yield simulation.sleep(1.0)
        seen.append((name, simulation.now))
        tokens.give()

    for name in "abc":
        simulation.start(holder(name))
    simulation.run()
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


# ---------------------------------------------------------------- the fit


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=3, max_size=3))
def test_least_squares_finds_what_made_the_figures(costs: list[float]) -> None:
    rows = [[1.0, 2.0, 0.0], [1.0, 0.0, 3.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    wanted = [sum(cost * count for cost, count in zip(costs, row)) for row in rows]
    assert fit.least_squares(rows, wanted) == pytest.approx(costs, abs=1e-3)


def test_nothing_costs_less_than_nothing() -> None:
    assert fit.least_squares([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [3.0, 2.0, 1.0])[1] == 0.0


def made_up(name: str, work: str, maps: int, partitions: int, mib: float) -> dict[str, Any]:
    """What `job_costs` would say of a job if everything cost what `COSTS` says."""
    row: dict[str, Any] = {
        "name": name, "work": work, "fits": True, "executors": 2, "partitions": partitions, "split": 8.0,
        "maps": maps, "reduces": partitions, "blocks": maps * partitions, "out_blocks": partitions,
        "input": mib, "shuffle": mib, "output": mib, "map_share": 0.5,
    }  # fmt: skip
    counts = fit.features(row)
    for process, names in fit.FEATURES.items():
        known = getattr(COSTS, process)
        row[process] = sum(known[feature] * counts[feature] for feature in names)
    moved = 0.0 if work == "spread" else mib * (SORT.map_secs + SORT.reduce_secs)
    row["executor"] = (
        moved + COSTS.executor_task * (maps + partitions) + 2 * COSTS.executor_block * row["blocks"]
    )
    return row


def test_the_fit_finds_the_costs_of_made_up_jobs() -> None:
    rows = [
        made_up("a", "spread", 1000, 1, 1e-4),
        made_up("b", "spread", 300, 64, 1e-4),
        made_up("c", "sort", 12, 12, 96.0),
        made_up("d", "sort", 5, 5, 400.0),
    ]
    for row in rows[2:]:
        row["output"] = 0.5 * row["input"]  # else what comes in and what goes out cannot be told apart
        row["client"] = sum(COSTS.client[name] * fit.features(row)[name] for name in fit.FEATURES["client"])
        row["node"] = sum(COSTS.node[name] * fit.features(row)[name] for name in fit.FEATURES["node"])
        row["worker"] = sum(COSTS.worker[name] * fit.features(row)[name] for name in fit.FEATURES["worker"])
    found = fit.fitted(rows, {"node": {"stream": 0.005, "moved MiB": 0.004}})
    assert found.worker == pytest.approx(COSTS.worker, rel=0.05)
    assert found.node == pytest.approx(COSTS.node, rel=0.05)
    assert (found.executor_task, found.executor_block) == pytest.approx((0.003, 0.0002), rel=0.05)
    assert found.works["sort"].map_secs == pytest.approx(SORT.map_secs, rel=0.1)
    assert found.works["sort"].shuffle == 1.0


# ---------------------------------------------------------------- the model


def test_the_same_seed_gives_the_same_job() -> None:
    one, two = (simulate(CLUSTER, Task(512), SORT, COSTS, seed=7) for _ in range(2))
    assert one == two
    assert simulate(CLUSTER, Task(512), SORT, COSTS, seed=8).seconds != one.seconds


def test_one_executor_and_nothing_else_takes_what_its_tasks_take() -> None:
    alone = Cluster(1, 1, 0.0, round_trip=0.0, jitter=0.0)
    outcome = simulate(alone, Task(80.0, 8.0, 4), SORT, FREE)
    assert outcome.seconds == pytest.approx(80 * 0.06)
    assert outcome.maps_seconds == pytest.approx(80 * 0.03)
    assert outcome.busy["executors"] == pytest.approx(1.0)


def test_a_slow_broker_sets_the_pace() -> None:
    slow = replace(CLUSTER, hosts=16, node_network=10.0, jitter=0.0)
    outcome = simulate(slow, Task(512.0, 8.0, 32), SORT, FREE)
    # what goes in: input, then what the maps write; then reduces read and write, at the same time at best
    assert outcome.maps_seconds == pytest.approx(2 * 512 / 10, rel=0.02)
    assert 3 * 512 / 10 <= outcome.seconds <= 4 * 512 / 10 * 1.02
    assert outcome.limit == "broker's network"


JOBS = st.builds(
    Task,
    input=st.floats(1.0, 400.0),
    split=st.sampled_from([2.0, 8.0, 32.0]),
    partitions=st.integers(1, 40),
    input_by_reference=st.booleans(),
    blocks_by_reference=st.booleans(),
)
CLUSTERS = st.builds(
    Cluster,
    hosts=st.integers(1, 8),
    executors=st.integers(1, 4),
    network=st.sampled_from([0.0, 112.0]),
    nodes=st.sampled_from([1, 3]),
    node_network=st.sampled_from([20.0, 112.0]),
    replicas=st.sampled_from([1, 3]),
    balanced=st.booleans(),
)


@settings(deadline=None, max_examples=50)
@given(CLUSTERS, JOBS)
def test_nothing_is_busier_than_all_the_time(cluster: Cluster, task: Task) -> None:
    cluster = replace(cluster, replicas=min(cluster.replicas, cluster.nodes))
    outcome = simulate(cluster, task, SORT, COSTS)
    assert outcome.seconds >= outcome.maps_seconds > 0
    assert all(0 <= share <= 1 + 1e-9 for share in outcome.busy.values()), outcome.busy


@settings(deadline=None, max_examples=50)
@given(JOBS)
def test_what_the_formula_asks_of_the_broker_is_what_the_simulation_carries(task: Task) -> None:
    outcome = simulate(CLUSTER, task, SORT, COSTS)
    carried = outcome.busy["broker's network"] * outcome.seconds * CLUSTER.node_network
    references = outcome.blocks * answers.REFERENCE_MIB if task.blocks_by_reference else 0.0
    asked = answers.demand(task, SORT, COSTS).wire * task.input
    assert carried == pytest.approx(asked - references, rel=1e-6)


def test_a_replica_costs_the_leader_its_network() -> None:
    one = replace(CLUSTER, nodes=3, hosts=8)
    plain, copied = (
        simulate(replace(one, replicas=n), Task(512, 8, 24), SORT, COSTS).seconds for n in (1, 3)
    )
    assert copied > plain


def test_others_take_their_share_of_a_machine_that_all_share() -> None:
    machine = Cluster(1, 2, 0.0, round_trip=0.0, jitter=0.0, shared_cores=2)
    alone, among = (simulate(replace(machine, others=n), Task(80.0, 8.0, 4), SORT, FREE) for n in (0, 2))
    assert alone.others == 0.0
    # two executors and two others on two cores: each has half of one, but for the end of each stage
    assert among.seconds == pytest.approx(2 * alone.seconds, rel=0.15)
    assert among.others == pytest.approx(among.seconds, rel=0.15)


# ---------------------------------------------------------------- what is shown


def test_a_picture_is_xml_and_names_its_lines() -> None:
    series = {"a < b": [(1.0, 2.0), (64.0, 90.0)], "dashed": [(1.0, 2.0), (64.0, 91.0)]}
    root = ElementTree.fromstring(pictures.lines("title", "x", "y", series, {"dashed": "a < b"}))
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert {"a < b", "dashed", "title"} <= {each.text for each in texts}
    places = sorted(float(each.attrib["y"]) for each in texts if each.text in series)
    assert places[1] - places[0] >= 16


def test_a_table_has_a_column_for_each_name() -> None:
    lines = table([{"a": 1, "b": 1234.5}, {"a": 20, "b": 0.1234}]).splitlines()
    assert [line.split() for line in lines] == [["a", "b"], ["1", "1,234"], ["20", "0.123"]]


def test_the_document_says_what_was_measured() -> None:
    """The simulated tables take minutes; the others show that nobody forgot `python -m bench.growth`."""
    limits, _, costs = growth.known()
    document = report.DOCUMENT.read_text()
    assert report.replaced(document, growth.parts_of(growth.unsimulated(limits, costs))) == document
