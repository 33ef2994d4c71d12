"""What people see of a job: the fold of its log with times; indifferent to repeats, total, bounded."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapreduce import events as ev
from mapreduce.display.summary import paragraph
from mapreduce.refs import Failure, Segment, Skipped, Split
from mapreduce.spec import JobSpec
from mapreduce.views import JobView, Skew, describe_tasks, stage_name, task_name, to_plain
from mapreduce.views.job import NOTICES, PRINTED, PRINTED_CHARS, SLOWEST
from mapreduce.views.narrative import Narrative, TaskFilter

SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 100, 0, True),)), 0, 1)
FAILURE = Failure("raised", "ValueError: no", "map words", "f", 7, "'x'", "Traceback …")
T = 1000.0


def submitted(stages: int = 2) -> ev.Submitted:
    return ev.Submitted("job-1", JobSpec("job", {}, {}, stages, 4, keep_secs=60.0), "0", T)


def begun(splits: int = 2, stages: int = 2, keep_attempts: bool = True) -> JobView:
    view = JobView(keep_attempts)
    for entry in (submitted(stages), ev.Splits(0, (SPLIT,) * splits), ev.InputComplete(splits)):
        view.note(entry, T)
    return view


def started(dispatch: int, index: int, attempt: int, stage: int = 0, worker: str = "w") -> Any:
    return ev.Started(dispatch, stage, index, 0, attempt, worker)


def done(dispatch: int, index: int, attempt: int, stage: int = 0, **fields: Any) -> Any:
    stats = {"records_in": 10, "records_out": 20, "bytes_in": 100 * (index + 1), "bytes_out": 50}
    blocks = {0: 1, 2: 1} if stage == 0 else {0: 1}
    return ev.Done(
        dispatch, stage, index, 0, attempt, "w", blocks, {"n": 1}, stats, **{"secs": 2.0, "slot": 1, **fields}
    )


def failed(dispatch: int, index: int, attempt: int) -> Any:
    return ev.AttemptFailed(dispatch, 0, index, 0, attempt, "w", FAILURE, secs=0.5, slot=0)


def finished() -> JobView:
    """Map 0 and 1, reduce 0 and 2, delivered."""
    view = begun()
    for index in (0, 1):
        view.note(started(index, index, 10 + index), T + 1)
        view.note(done(index, index, 10 + index), T + 5)
    view.note(ev.StageSealed(1, 0), T + 6)
    for index in (0, 2):
        view.note(started(20 + index, index, 20 + index, 1), T + 7)
        view.note(done(20 + index, index, 20 + index, 1), T + 9)
    view.note(ev.StageSealed(2, 0), T + 10)
    return view


def test_an_attempt_lasts_as_long_as_its_worker_says() -> None:
    view = begun()
    view.note(started(1, 0, 10), T + 1)  # started in haste, three seconds before an executor was free
    (running,) = view.running
    assert (running.outcome, running.began_at, running.ended_at) == ("running", T + 1, None)
    assert running.ran_secs(T + 4) == 3.0
    view.note(done(1, 0, 10), T + 6)
    won = view.attempts[10]
    assert (won.outcome, won.began_at, won.ended_at, won.secs, won.slot) == ("won", T + 4, T + 6, 2.0, 1)
    assert (won.records_in, won.records_out, won.bytes_in, won.bytes_out) == (10, 20, 100, 50)
    assert not view.running


def test_a_stage_in_numbers() -> None:
    view = begun(3)
    view.note(ev.Dispatched((ev.DispatchRef(1, 0, 0), ev.DispatchRef(2, 0, 1))), T)
    view.note(started(1, 0, 10), T)
    view.note(started(2, 1, 11), T)
    view.note(failed(2, 1, 11), T + 1)
    map_stage, reduce_stage = view.stages
    numbers = (map_stage.total, map_stage.done, map_stage.running, map_stage.waiting, map_stage.failed)
    assert numbers == (3, 0, 1, 2, 1)
    assert (reduce_stage.name, reduce_stage.total, reduce_stage.sealed) == ("reduce", None, False)
    view.note(started(3, 1, 12), T + 2)
    assert (view.stages[0].running, view.stages[0].waiting, view.stages[0].failed) == (2, 1, 0)
    view.note(done(3, 1, 12), T + 3)
    assert (view.stages[0].done, view.stages[0].failed, view.stages[0].bytes_in) == (1, 0, 200)


def test_a_failure_is_told_once_with_its_record() -> None:
    view = begun()
    for _ in range(2):
        view.note(started(1, 0, 10), T)
        view.note(failed(1, 0, 10), T + 1)
    assert [notice.text for notice in view.notices] == ["map 0 failed on w: ValueError: no in map words"]
    (attempt,) = view.failures
    assert attempt is view.attempts[10]
    assert (attempt.outcome, attempt.failure, attempt.secs, attempt.slot) == ("failed", FAILURE, 0.5, 0)


def test_copies_and_who_is_beaten() -> None:
    view = begun()
    view.note(started(1, 0, 10, worker="slow"), T)
    view.note(started(2, 0, 11, worker="fast"), T + 5)
    assert [view.attempts[n].copy for n in (10, 11)] == [False, True]
    view.note(done(2, 0, 11), T + 6)
    assert [view.attempts[n].outcome for n in (10, 11)] == ["beaten", "won"]
    view.note(done(1, 0, 10, secs=8.0, slot=3), T + 8)
    late = view.attempts[10]
    assert (late.outcome, late.ended_at, late.secs, late.slot) == ("beaten", T + 8, 8.0, 3)
    assert view.summary().copies == 1


@pytest.mark.parametrize(("end", "outcome"), [(ev.Lost, "lost"), (ev.Returned, "returned")])
def test_an_attempt_that_comes_to_nothing(end: Any, outcome: str) -> None:
    view = begun()
    view.note(started(1, 0, 10), T)
    view.note(end(1, 0, 0), T + 4)
    assert (view.attempts[10].outcome, view.attempts[10].secs) == (outcome, 4.0)
    assert len(view.notices) == (outcome == "lost")


def test_what_is_void_is_lost_and_runs_again() -> None:
    view = finished()
    assert view.phase == "ready" and view.ended_at == T + 10
    view.note(ev.Missing(20, 1, 0, 0, (10,)), T + 11)
    assert view.phase == "running" and view.ended_at is None
    assert [view.attempts[n].outcome for n in (10, 11, 20, 22)] == ["lost", "won", "lost", "lost"]
    assert view.notices[-1].text == "reduce 0 lacks blocks that the broker has lost; they are made again"
    assert all(attempt.outcome == "won" for attempt in view.slowest(9))


def test_of_a_job_with_a_shared_folder_nothing_is_said_of_the_broker() -> None:
    view = JobView()
    job = submitted()
    shared = replace(job, spec=replace(job.spec, shared_dir="/shared"))
    for entry in (shared, ev.Splits(0, (SPLIT,)), ev.InputComplete(1), started(1, 0, 10), done(1, 0, 10)):
        view.note(entry, T)
    assert "0 B between processes" in "\n".join(paragraph(view, False, 1.0))
    view.note(ev.StageSealed(0, 0), T)
    view.note(ev.Missing(20, 1, 0, 0, (10,)), T)
    assert (
        view.notices[-1].text == "reduce 0 lacks blocks that the shared folder has lost; they are made again"
    )


def test_how_it_ends() -> None:
    view = finished()
    view.note(ev.Delivered(0), T + 60)
    assert (view.phase, view.ended_at, view.cause) == ("done", T + 10, "")
    view = begun()
    view.note(started(1, 0, 10), T + 1)
    view.note(ev.Failed(FAILURE, 0, 1, 4), T + 3)
    assert (view.phase, view.cause) == ("failed", "ValueError: no in map words")
    assert view.failure == ev.Failed(FAILURE, 0, 1, 4) and view.ended_at == T + 3
    assert view.attempts[10].outcome == "returned" and not view.running and view.stages[0].running == 0


def test_a_job_that_is_retried_goes_on() -> None:
    view = begun()
    view.note(started(1, 0, 10), T)
    view.note(failed(1, 0, 10), T + 1)
    view.note(ev.Failed(FAILURE, 0, 0, 1), T + 2)
    view.note(ev.Retried(5, {}, T + 9), T + 9)
    assert (view.phase, view.ended_at, view.cause, view.failure) == ("running", None, "", None)


def test_the_time_between_a_failure_and_the_retry_does_not_count() -> None:
    view = begun(4)
    for index in range(2):
        view.note(started(index, index, 10 + index), T + 4 * index)
        view.note(done(index, index, 10 + index, secs=4.0), T + 4 * index + 4)
    view.note(started(2, 2, 12), T + 8)
    view.note(failed(2, 2, 12), T + 9)
    view.note(ev.Failed(FAILURE, 0, 2, 1), T + 10)
    assert view.ran_secs(T + 1000) == 10.0
    view.note(ev.Retried(5, {}, T + 1010), T + 1010)
    assert view.ran_secs(T + 1010) == 10.0
    # two tasks in ten seconds, two are left; and a reduce of what four maps write, at 30 bytes a second
    assert view.secs_left(T + 1010) == pytest.approx(10.0 + 200 / 30)
    for dispatch, index in ((3, 2), (4, 3)):
        view.note(started(dispatch, index, 10 + dispatch), T + 1011)
        view.note(done(dispatch, index, 10 + dispatch, revision=1), T + 1014)
    assert view.records_per_sec(T + 1015) == 20 / 5, "since the retry"
    view.note(ev.Cancelled("enough"), T + 1020)
    assert view.summary().secs == view.ran_secs(T + 2000) == 20.0
    assert view.records_per_sec(T + 2000) == 40 / 20


def test_a_stage_that_begins_anew_is_as_fast_as_it_is_now() -> None:
    view = begun(2)
    for index in range(2):
        view.note(started(index, index, 10 + index), T)
        view.note(done(index, index, 10 + index), T + 2)
    view.note(ev.StageSealed(1, 0), T + 2)
    view.note(started(5, 0, 20, 1), T + 2)
    view.note(done(5, 0, 20, 1), T + 4)
    view.note(started(6, 2, 21, 1), T + 4)
    view.note(ev.Missing(6, 1, 2, 0, (10,)), T + 500)
    view.note(started(7, 0, 30), T + 500)
    view.note(done(7, 0, 30), T + 502)
    view.note(ev.StageSealed(1, 1), T + 502)
    again = [
        ev.Started(8, 1, 0, 1, 40, "w"),
        ev.Done(8, 1, 0, 1, 40, "w", {0: 1}, {}, {"bytes_in": 9}, (), 2.0),
    ]
    view.note(again[0], T + 502)
    view.note(again[1], T + 504)
    assert view.stages[1].done == 1 and view.stages[1].total == 2
    assert view.secs_left(T + 504) == pytest.approx(2.0)


@pytest.mark.parametrize("secs", [float("inf"), float("nan"), 1e300, -1.0])
def test_figures_that_make_no_sense_are_left_out(secs: float) -> None:
    view = begun(1)
    view.note(started(1, 0, 10), T + 1)
    stats = {"records_in": "x", "bytes_in": float("inf"), "records_out": None, "bytes_out": 7}
    view.note(ev.Done(1, 0, 0, 0, 10, "w", {0: 1}, {"n": "x", "m": 2}, stats, (), secs), T + 4)  # type: ignore[dict-item]
    (stage, _) = view.stages
    assert (stage.done, stage.records_in, stage.records_out, stage.bytes_in, stage.bytes_out) == (
        1,
        0,
        0,
        0,
        7,
    )
    assert view.attempts[10].secs == 3.0 and view.attempts[10].records_in == 0
    assert view.summary().counters == {"m": 2}
    assert view.bytes_per_sec(T + 5) == 0.0 and paragraph(view, False, 5.0)


def test_summary_and_skew() -> None:
    view = finished()
    summary = view.summary()
    assert (summary.secs, summary.tasks, summary.tries, summary.failed, summary.lost) == (10.0, 4, 4, 0, 0)
    assert summary.bytes_moved == 2 * 100 + 4 * 50  # what was fed, and all blocks
    assert summary.counters == {"n": 4}
    # partitions 1 and 3 are empty
    assert summary.skews == {1: Skew(50, 300, 2)} and view.skew(0) is None
    assert view.records_per_sec(T + 99) == 4.0


def test_rates_and_the_time_left() -> None:
    view = begun(10)
    assert view.secs_left(T) is None and view.records_per_sec(T) == 0.0
    for index in range(4):
        view.note(started(index, index, index), T + 2 * index)
        view.note(done(index, index, index), T + 2 * index + 2)
    assert view.records_per_sec(T + 8) == pytest.approx(40 / 6)  # three tasks' time
    left = view.secs_left(T + 8)
    # six tasks of two seconds; and a reduce of as many bytes as ten maps write, 2.5 a map's of input for each
    assert left is not None and left == pytest.approx(12.0 + 500 / (1000 / 8))


def test_tasks_that_read_next_to_nothing_do_not_make_the_next_stage_last_for_days() -> None:
    view = begun(4)
    for at, index in enumerate(range(3)):
        view.note(started(index, index, index), T + 2 * at)
        view.note(
            replace(done(index, index, index), stats={"bytes_in": 1, "bytes_out": 10**9}), T + 2 * at + 2
        )
    assert view.secs_left(T + 6) == pytest.approx(2.0 + 8.0), "as long as the maps took"
    view.note(started(3, 3, 3), T + 6)
    view.note(replace(done(3, 3, 3), stats={"bytes_in": 1, "bytes_out": 10**9}), T + 8)
    view.note(ev.StageSealed(0, 0), T + 8)
    left = view.secs_left(T + 8)
    assert left is not None and left <= 8.0


def test_maps_whose_input_is_empty_tell_how_long_a_stage_takes_all_the_same() -> None:
    view = begun(1)
    view.note(started(0, 0, 0), T)
    view.note(replace(done(0, 0, 0), stats={"bytes_in": 0, "bytes_out": 10**9}), T + 2)
    view.note(ev.StageSealed(0, 0), T + 2)
    assert view.secs_left(T + 2) == pytest.approx(2.0)


def test_what_was_shown_is_not_shown_again_when_the_log_is_read_again() -> None:
    log = [submitted(), ev.Splits(0, (SPLIT,)), started(1, 0, 10), failed(1, 0, 10)]
    log.insert(3, ev.Printed(0, 0, 10, "w", "hello\n", 0))
    view = JobView()
    for _ in range(2):
        for entry in log:
            view.note(entry, T)
        assert (view.notices_seen, view.printed_seen) == (1, 1)
        assert len(view.notices) == len(view.printed) == 1
        assert view.state.failures == 1 and view.attempts[10].outcome == "failed"
        view.restart()
        assert view.phase == "submitting" and not view.attempts


@pytest.mark.parametrize(("numbered", "shown"), [(True, ["a", "b", "a"]), (False, ["a", "b", "a", "b", "a"])])
def test_what_a_broker_stored_twice_is_shown_once(numbered: bool, shown: list[str]) -> None:
    """By the number of its part; of a worker that gives none, twice."""
    parts = [(1, "a"), (2, "b"), (1, "a"), (2, "b"), (3, "a")]
    entries = [ev.Printed(0, 0, 10, "w", text, 0, part if numbered else 0) for part, text in parts]
    view, narrative = JobView(), Narrative()
    for entry in (submitted(), *entries, replace(entries[0], attempt=11)):
        view.note(entry, T)
        narrative.note(entry, T)
    assert [each.text for each in view.printed] == [*shown, "a"]
    assert [each.text for each in narrative.take() if each.kind == "printed"] == [*shown, "a"]


def test_memory_is_bounded_for_displays() -> None:
    view = begun(5000, keep_attempts=False)
    for n in range(5000):
        view.note(started(n, n, n), T + n)
        view.note(ev.Printed(0, n, n, "w", "x" * 4000, 0), T + n)
        skipped = (Skipped(n, "f", n, "'bad'", "ValueError"),)
        view.note(done(n, n, n, secs=float(n), skipped=skipped), T + n)
    assert len(view.attempts) <= SLOWEST and [a.attempt for a in view.slowest(2)] == [4999, 4998]
    assert len(view.notices) == NOTICES and view.notices_seen == 5000
    assert len(view.printed) <= PRINTED and sum(len(each.text) for each in view.printed) <= PRINTED_CHARS
    assert view.printed_seen == 5000 and len(view._pace._by_second) < 200


def test_names() -> None:
    assert [stage_name(n, 2) for n in (0, 1)] == ["map", "reduce"]
    assert [task_name(n, 5, 3) for n in (0, 1, 2)] == ["map 5", "reduce 1/5", "reduce 2/5"]


# ---------------------------------------------------------------- any log

small = st.integers(0, 3)
places = {"dispatch": small, "stage": st.integers(0, 2), "index": small}
attempts = {**places, "generation": st.integers(0, 1), "attempt": small, "worker": st.sampled_from("ab")}
ended = {**attempts, "revision": st.integers(0, 1)}
entries = st.one_of(
    st.builds(submitted, st.integers(1, 3)),
    st.just(ev.Splits(0, (SPLIT,) * 3)),
    st.just(ev.InputComplete(3)),
    st.builds(lambda d, s, i: ev.Dispatched((ev.DispatchRef(d, s, i),)), small, small, small),
    st.builds(ev.Started, **attempts),
    st.builds(ev.Started, **attempts),
    st.builds(ev.Done, **ended, blocks=st.just({0: 1}), stats=st.just({"bytes_in": 5}), secs=st.floats(0, 9)),
    st.builds(ev.AttemptFailed, **ended, failure=st.just(FAILURE)),
    st.builds(ev.Lost, **places),
    st.builds(ev.Returned, **places),
    st.builds(
        ev.Missing, **places, generation=st.integers(0, 1), attempts=st.lists(small, max_size=2).map(tuple)
    ),
    st.builds(ev.StageSealed, st.integers(0, 3), st.integers(0, 1)),
    st.builds(ev.Printed, small, small, small, st.just("a"), st.text(max_size=3), small),
    st.builds(ev.Marked, small),
    st.just(ev.CancelRequested("enough")),
    st.sampled_from([ev.Failed(FAILURE, 0, 0, 1), ev.Abandoned("gone"), ev.Delivered(0)]),
    st.builds(ev.Retried, small, st.just({}), st.just(T)),
)
times = st.one_of(st.just(0.0), st.floats(T, T + 100))
logs = st.lists(st.tuples(entries, times), max_size=40)


def check(view: JobView) -> None:
    """What must be true of any view."""
    state = view.state
    if state.terminal is None:
        assert {each.dispatch for each in view.running} == set(state.running)
        for dispatch, (stage, index) in state.running.items():
            task = state.task(stage, index)
            running = task.live[dispatch] if task is not None else None
            shown = next(each for each in view.running if each.dispatch == dispatch)
            assert running is not None and (shown.attempt, shown.worker) == running[:2]
    else:
        assert not view.running
    assert all(each.ended_at is None and each.outcome == "running" for each in view.running)
    for shown_stage in view.stages:
        tasks = state.stages[shown_stage.number].tasks
        count = len(tasks) if shown_stage.total is None else shown_stage.total
        assert shown_stage.done + shown_stage.running + shown_stage.waiting == count
        busy = {index for stage, index in state.running.values() if stage == shown_stage.number}
        failing = {index for index, task in tasks.items() if task.winner is None and task.failure is not None}
        assert shown_stage.failed == len(failing - (busy if state.terminal is None else set()))
    assert (view.ended_at is None) == (state.terminal is None and not state.ready)


@pytest.mark.parametrize("keep", [True, False])
@given(log=logs)
@example(log=[(started(0, 0, 0, worker=worker), T) for worker in "ab"])
@example(log=[(started(n, 0, 0, worker=worker), T) for n, worker in enumerate("ab")])
@settings(max_examples=150)
def test_any_log_can_be_viewed(keep: bool, log: list[Any]) -> None:
    view, twice = JobView(keep), JobView(keep)
    for entry, at in [(submitted(), T), (ev.Splits(0, (SPLIT,) * 3), T), *log]:
        view.note(entry, at)
        check(view)
        if not isinstance(entry, ev.Printed):  # the one thing that is not told apart from its repeat
            twice.note(entry, at)
        twice.note(entry, at)
    now = T + 101
    data = json.loads(json.dumps(to_plain(view, now)))
    again = json.loads(json.dumps(to_plain(twice, now)))
    assert data["stages"] == again["stages"] and data["phase"] == again["phase"]
    before = (view.printed_seen, view.notices_seen)
    view.restart()
    for entry, at in [(submitted(), T), (ev.Splits(0, (SPLIT,) * 3), T), *log]:
        view.note(entry, at)
    assert (view.printed_seen, view.notices_seen) == before
    assert json.loads(json.dumps(to_plain(view, now))) == data


# ---------------------------------------------------------------- as lines


def told(narrative: Narrative) -> list[tuple[str, str, str]]:
    return [(each.kind, each.name, each.text) for each in narrative.take()]


def test_a_narrative_tells_each_thing_once_in_order() -> None:
    log = [
        submitted(),
        ev.Took(ev.Rank(1, 1), "w"),
        ev.Took(ev.Rank(2, 1), "w"),  # its lease, renewed
        ev.Splits(0, (SPLIT,)),
        ev.InputComplete(1),
        started(1, 0, 10),
        ev.Printed(0, 0, 10, "w", "hello\n", 0),
        failed(1, 0, 10),
        ev.Failed(FAILURE, 0, 0, 1),
    ]
    narrative = Narrative()
    for entry in log:
        narrative.note(entry, T)
    assert told(narrative) == [
        ("info", "", "job job-1 is submitted"),
        ("info", "", "coordinated by w"),
        ("info", "", "the input is complete: 1 task"),
        ("printed", "map 0", "hello\n"),
        ("warning", "", "map 0 failed on w: ValueError: no in map words"),
        ("error", "", "failed: ValueError: no in map words"),
    ]
    narrative.restart()
    for entry in [*log, ev.Retried(1, {}, T)]:
        narrative.note(entry, T)
    assert told(narrative) == [("info", "", "goes on: what has failed is tried again")]


def test_of_one_task_each_try_is_told() -> None:
    narrative = Narrative(tasks=True)
    for entry in (
        submitted(),
        ev.Splits(0, (SPLIT,) * 2),
        started(1, 0, 10),
        started(2, 1, 11),
        done(2, 1, 11),
    ):
        narrative.note(entry, T)
    lines = narrative.take()
    assert not any(TaskFilter(1, 1).takes(each) for each in lines)
    assert [each.text for each in lines if TaskFilter(None, 1).takes(each)] == [
        "begins on w",
        "done on w after 2.00 s",
    ]


def test_what_is_no_task_of_a_job_is_known_as_soon_as_its_tasks_are() -> None:
    view = JobView()
    assert not TaskFilter(None, 9).is_none(view.state)
    view.note(submitted(), T)
    view.note(ev.Splits(0, (SPLIT,) * 2), T)
    assert not TaskFilter(0, 2).is_none(view.state)
    view.note(ev.InputComplete(2), T)
    assert TaskFilter(0, 2).is_none(view.state) and TaskFilter(2, 0).is_none(view.state)
    assert not TaskFilter(0, 1).is_none(view.state) and not TaskFilter(1, 0).is_none(view.state)
    assert not TaskFilter(None, 2).is_none(view.state)
    assert describe_tasks(view.state) == "0/0 to 0/1"


@given(log=logs, rng=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_any_log_can_be_told(log: list[Any], rng: random.Random) -> None:
    narrative = Narrative(tasks=rng.random() < 0.5)
    for entry, at in [(submitted(), T), *log]:
        narrative.note(entry, at)
    first = narrative.take()
    narrative.restart()
    for entry, at in [(submitted(), T), *log]:
        narrative.note(entry, at)
    assert narrative.take() == [] and first
