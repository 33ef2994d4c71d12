"""What is drawn of a job: bounded for any job, and nothing that matters is hidden."""

from __future__ import annotations

import json
import time
from typing import Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import events as ev
from mapreduce.dashboard import chart, snapshot
from mapreduce.refs import Failure
from mapreduce.spec import JobSpec
from mapreduce.views import AttemptView, JobView

OUTCOMES = ("won", "beaten", "failed", "lost", "returned")


def attempt(
    number: int,
    began: float,
    ended: Optional[float],
    outcome: str,
    slot: int = 0,
    worker: str = "w",
    stage: int = 0,
) -> AttemptView:
    view = AttemptView(number, stage, number, number, worker, began)
    view.slot = slot
    if ended is not None:
        view.end(outcome, ended)
    view.records_in, view.bytes_in = 10, 1000
    return view


def row(count: int, worker: str = "w", slot: int = 0) -> list[AttemptView]:
    """Attempts one after the other; each seventh fails."""
    return [
        attempt(n, 1000 + n, 1000.9 + n, "failed" if n % 7 == 3 else "won", slot, worker)
        for n in range(count)
    ]


def test_each_attempt_has_a_bar_as_long_as_there_are_few() -> None:
    lanes, hidden = chart.lanes(row(100), 2000)
    assert [len(lane.bars) for lane in lanes] == [100]
    assert all(bar.count == 1 for bar in lanes[0].bars)
    assert not hidden


def test_of_many_attempts_few_bars_are_drawn_and_no_failure_is_lost() -> None:
    attempts = [each for worker in range(8) for slot in range(4) for each in row(1500, f"w{worker}", slot)]
    lanes, hidden = chart.lanes(attempts, 5000)
    bars = [bar for lane in lanes for bar in lane.bars]
    assert len(bars) <= chart.MAX_BARS
    assert sum(bar.count for bar in bars) == len(attempts)
    assert sum(bar.failed for bar in bars) == sum(each.outcome == "failed" for each in attempts)
    assert all((bar.outcome == "failed") == bool(bar.failed) for bar in bars)
    assert not hidden


def test_bars_are_as_few_where_tasks_run_and_stages_alternate() -> None:
    running = [attempt(n, 1000 + n / 10, None, "running", worker=f"w{n % 60}") for n in range(6000)]
    done = [attempt(n, 1000 + n, 1000.9 + n, "won", stage=n % 2) for n in range(6000)]
    lanes, _ = chart.lanes([*running, *done], 8000)
    bars = [bar for lane in lanes for bar in lane.bars]
    assert len(bars) <= chart.MAX_BARS
    assert all((bar.outcome == "running") == (bar.end is None) for bar in bars)
    for lane in lanes:
        assert [bar.begin for bar in lane.bars] == sorted(bar.begin for bar in lane.bars)


def test_a_merged_bar_looks_like_most_of_it_unless_one_failed() -> None:
    """Several of the same moment; the others are only there to be many."""
    few = ["won"] * 3 + ["beaten"]
    for more, outcome in (
        (["won"], "won"),
        (["lost"], "lost"),
        (["lost", "failed"], "failed"),
        (["beaten"] * 3, "beaten"),
    ):
        outcomes = few + more
        near = [attempt(n, 10 + n / 1000, 10.001 + n / 1000, o, worker="a") for n, o in enumerate(outcomes)]
        lanes, _ = chart.lanes([*near, *row(2 * chart.MAX_BARS)], 5000)
        (bar,) = lanes[0].bars
        assert (bar.count, bar.outcome) == (len(outcomes), outcome)


def test_of_many_executors_each_worker_has_a_lane_and_of_many_workers_the_busiest() -> None:
    attempts = [each for n in range(60) for slot in range(2) for each in row(2 + (n == 59), f"w{n:02}", slot)]
    lanes, hidden = chart.lanes(attempts, 5000)
    assert len(lanes) == chart.MAX_LANES
    assert hidden == 60 - chart.MAX_LANES
    assert all(lane.slot == -1 for lane in lanes)
    assert "w59" in [lane.worker for lane in lanes]


def test_what_runs_gets_a_lane_that_is_free() -> None:
    done = [attempt(1, 10, 20, "won", 0), attempt(2, 10, 15, "won", 1)]
    runs = [attempt(3, 16, None, "running", -1), attempt(4, 21, None, "running", -1)]
    lanes, _ = chart.lanes([*runs, *done], 30)
    assert [[bar.index for bar in lane.bars] for lane in lanes] == [[1, 4], [2, 3]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1000),
            st.floats(0, 100),
            st.sampled_from(OUTCOMES),
            st.integers(-1, 3),
            st.sampled_from("ab"),
        ),
        max_size=80,
    )
)
def test_all_attempts_are_in_some_lane_in_order(
    drawn: list[tuple[float, float, str, int, str]],
) -> None:
    attempts = [attempt(n, b, b + secs, o, slot, w) for n, (b, secs, o, slot, w) in enumerate(drawn)]
    lanes, _ = chart.lanes(attempts, 2000)
    assert sorted(bar.index for lane in lanes for bar in lane.bars) == list(range(len(drawn)))
    for lane in lanes:
        begins = [bar.begin for bar in lane.bars]
        assert begins == sorted(begins)


def test_throughput_is_what_was_read() -> None:
    curve = chart.throughput(row(50), 1000, 1060)
    won = sum(each.outcome == "won" for each in row(50))
    assert abs(sum(curve["records"]) * curve["step"] - 10 * won) < 1
    assert len(curve["records"]) <= chart.POINTS


def test_many_partitions_share_columns() -> None:
    attempts = [attempt(n, 0, 1, "won", stage=1) for n in range(1000)]
    attempts[700].bytes_in = 99_999
    shown = chart.partitions(attempts, 1)
    assert len(shown["bytes"]) <= chart.COLUMNS
    assert max(shown["bytes"]) == 99_999
    assert shown["bytes"].index(99_999) == 700 // shown["each"]


def test_a_snapshot_tells_no_secret_of_a_url() -> None:
    """Whoever may look at the page need not be allowed to read the input."""
    view = JobView()
    secret = "https://user:TOPSECRET@host/a.csv?X-Amz-Signature=TOPSECRET"
    view.note(ev.Submitted("j", JobSpec("n", {}, {}, 2, inputs=(secret, "b.txt")), "1", 1000.0), 1000.0)
    view.note(ev.Started(1, 0, 0, 0, 1, "w"), 1001)
    failure = Failure("input", "no CSV", source=secret)
    view.note(ev.AttemptFailed(1, 0, 0, 0, 1, "w", failure), 1002)
    view.note(ev.Failed(failure, 0, 0, 1), 1003)
    data = snapshot.to_json(snapshot.of_job("j", view, 1004.0))
    assert b"TOPSECRET" not in data
    assert b"host/a.csv" in data
    assert b"b.txt" in data


def test_a_snapshot_does_not_grow_with_the_job_and_any_value_is_json() -> None:
    view = JobView()
    view.note(ev.Submitted("j", JobSpec("n\ud800", {}, {}, 2), "1", 1000.0), 1000.0)
    view.note(ev.Splits(0, tuple(ev.SplitInput(None) for _ in range(8_000))), 1000.0)  # type: ignore[arg-type]
    for n in range(8_000):
        view.note(ev.Started(n, 0, n, 0, n, f"w{n % 4}"), 1001 + n / 10)
        stats = {"records_in": 2**60, "records_out": 1, "bytes_in": 10, "bytes_out": 10}
        counters = {f"c{n % 900}": 2**62}
        text = "x" * 60_000 if n % 500 == 0 else "y"
        view.note(ev.Printed(0, n, n, "w", text, 0), 1001)
        view.note(
            ev.Done(n, 0, n, 0, n, f"w{n % 4}", {}, counters, stats, secs=0.3, slot=n % 2), 1001.3 + n / 10
        )
    began = time.perf_counter()
    data = snapshot.to_json(snapshot.of_job("j", view, 4000.0))
    took = time.perf_counter() - began
    assert len(data) < 400_000
    back = json.loads(data)
    assert back["stages"][0]["records_in"] == str(8_000 * 2**60)
    assert back["timeline"]["merged"]
    assert took < 10  # it is 0.2 s; this only guards against what grows with the square
    assert json.loads(snapshot.to_json({"a": float("nan"), "b": [float("inf"), (1, b"x")]}))["a"] == "nan"
