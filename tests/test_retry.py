"""Jobs that have failed: kept, looked into, and going on; and for how long."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from typing import Any, Optional

import pytest

from mapreduce import debugging, leases, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import CancelClient, Phase, RetryingClient
from mapreduce.effects import Append, Connected, Execute, ForgetJob, RemoveTree, Tick
from mapreduce.errors import UsageError
from mapreduce.job import Job
from mapreduce.leases import MAX_KEPT, LeaseKeeper
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import InputFormat, JobSpec
from mapreduce.state import JobState
from mapreduce.submission import Inputs, Options, check_correction, make_spec
from mapreduce.task_input import TaskInput
from tests.coordinating import RANK, SPEC, Bench, dispatched, done, of_type, splits
from tests.coordinating import failed as attempt_failed
from tests.coordinating import started as attempt_started
from tests.support import Process, mr, mr_ok, workers
from tests.test_client import SUBMITTED, Play
from tests.test_ending import exists
from tests.test_executor import eventually
from tests.test_stragglers import stopped
from tests.test_worker import Bench as WorkerBench
from tests.test_worker import logged, published

KEPT = replace(SPEC, keep_secs=100.0)
FAILED = ev.Failed(Failure("raised", "ValueError: no"), 0, 1, 4)
CORRECTED = {"kind": "corrected"}
RETRIED = ev.Retried(5, CORRECTED, 0.0)


def fold(*entries: Any, spec: JobSpec = KEPT) -> JobState:
    state = JobState()
    for entry in (ev.Submitted("job", spec, "0", 0.0), *entries):
        state.apply(entry)
    return state


def half_done() -> tuple[Any, ...]:
    """Two splits; the first is won, the second has failed with another dispatch on its way."""
    return (
        *splits(2), dispatched(0, 1), attempt_started(0), attempt_started(1, 1), done(0),
        attempt_failed(1, 1), ev.Dispatched((ev.DispatchRef(2, 0, 1),)), FAILED,
    )  # fmt: skip


class TestTheFold:
    def test_what_is_won_stays_and_all_else_begins_anew(self) -> None:
        state = fold(*half_done(), RETRIED)
        assert state.terminal is None and state.revision == 1
        first, second = state.stages[0].tasks[0], state.stages[0].tasks[1]
        assert first.winner is not None and second.failures == 0 and not second.live
        assert list(state.stages[0].pending) == [1] and not state.unstarted and not state.running
        assert state.spec is not None and state.spec.bundle == CORRECTED

    def test_nothing_counts_that_was_dispatched_before(self) -> None:
        late = (dispatched(1), attempt_started(2, 1), done(2, 1), attempt_failed(2, 1), FAILED, ev.Expired(0))
        state = fold(*half_done(), RETRIED, *late)
        assert state.terminal is None and not state.unstarted and not state.running
        assert state.stages[0].tasks[1].winner is None and state.stages[0].tasks[1].failures == 0

    @pytest.mark.parametrize(
        ("entries", "spec"),
        [
            ((*half_done(), ev.Expired(0)), KEPT),
            (half_done(), SPEC),
            ((splits(2)[0], FAILED), KEPT),
            ((*splits(2), replace(FAILED, failure=Failure("lost", "gone"))), KEPT),
            ((*splits(2), ev.Cancelled("enough")), KEPT),
            (splits(2), KEPT),
        ],
        ids=["expired", "not kept", "input not all in", "data lost", "cancelled", "it runs"],
    )
    def test_a_retry_is_void_where_there_is_nothing_to_go_on_with(
        self, entries: tuple[Any, ...], spec: JobSpec
    ) -> None:
        before, after = fold(*entries, spec=spec), fold(*entries, RETRIED, spec=spec)
        assert after.revision == 0 and after.terminal == before.terminal

    def test_a_retry_counts_once_however_often_and_when_it_comes(self) -> None:
        void = replace(RETRIED, number=6)
        again = replace(FAILED, revision=1)
        state = fold(*half_done(), RETRIED, void, again, RETRIED, void)
        assert state.terminal == again and state.retries == [5]


class TestTheCoordinator:
    def winding_up(self, *more: Any) -> Bench:
        bench = Bench((*half_done(), *more), spec=KEPT)
        bench.wait(2.0)
        return bench

    def test_nothing_is_deleted_before_the_end_of_the_keeping_is_read(self) -> None:
        bench = self.winding_up()
        assert not of_type(bench.said, ev.Expired)
        said = bench.wait(KEPT.keep_secs)
        assert of_type(said, ev.Expired) == [ev.Expired(0)]
        assert not any(isinstance(command, base.Delete) for command in bench.said)
        deleted = [command for command in bench.log(ev.Expired(0)) if isinstance(command, base.Delete)]
        assert {command.name for command in deleted} == set(ev.data_streams("job", 2, 2))

    def test_a_lost_end_of_the_keeping_is_logged_again(self) -> None:
        bench = self.winding_up()
        [expired] = [
            c
            for c in bench.wait(KEPT.keep_secs)
            if isinstance(c, base.Publish) and isinstance(wire.decode(c.head)[0], ev.Expired)
        ]
        bench.tell(base.Confirmed(expired.token))
        assert of_type(bench.wait(70.0), ev.Expired) == [ev.Expired(0)]

    def test_cancelling_ends_the_keeping_at_once_and_the_log_goes_with_it(self) -> None:
        bench = self.winding_up()
        assert of_type(bench.log(ev.CancelRequested("mr cancel")), ev.Expired)
        bench.log(ev.Expired(0))
        names = {command.name for command in bench.said if isinstance(command, base.Delete)}
        assert ev.log_stream("job") in names

    def test_a_retry_dispatches_what_is_left_with_the_code_that_it_brings(self) -> None:
        bench = self.winding_up()
        offset = bench.offset
        [dispatch] = of_type(bench.log(RETRIED), ev.Dispatch)
        assert (dispatch.stage, dispatch.index, dispatch.revision) == (0, 1, 1)
        assert dispatch.code == ev.CodeRef(offset, RETRIED.number)

    def test_a_job_that_goes_on_can_fail_again(self) -> None:
        bench = self.winding_up(RETRIED)
        final = ev.AttemptFailed(9, 0, 1, 0, 9, "w", Failure("input", "no such file"), revision=1)
        news = (ev.Dispatched((ev.DispatchRef(9, 0, 1),), 1), replace(attempt_started(9, 1), revision=1))
        bench.log(*news)
        [failed] = of_type(bench.log(final), ev.Failed)
        assert failed.revision == 1

    def test_a_stage_whose_sealing_came_after_the_failure_is_sealed_anew(self) -> None:
        bench = Bench((*splits(1), dispatched(0), attempt_started(0)), spec=KEPT)
        sealing = bench.log(done(0))
        bench.log(FAILED)  # another coordinator says so
        bench.echo(sealing)
        assert any(isinstance(entry, ev.StageSealed) for entry in bench.entries)
        assert not bench.it.state.stages[1].sealed
        bench.echo(bench.log(RETRIED))
        assert bench.it.state.stages[1].sealed

    def test_what_ran_before_is_stopped_by_whoever_reads_of_the_end_and_the_retry_at_once(self) -> None:
        bench = Bench((*half_done(), RETRIED), spec=KEPT)
        assert stopped(bench.said) == [ev.StopJob("job", 0)]
        bench = Bench(half_done()[:-1], spec=KEPT)
        entries = wire.join([wire.encode(entry) for entry in (FAILED, RETRIED)])
        said = bench.tell(base.Delivered("leases/1/log", base.Receipt("", 0), entries, bench.offset, False))
        assert stopped(said) == [ev.StopJob("job", 0)]

    def test_a_long_attempt_that_heard_of_no_end_is_stopped_when_it_says_that_it_runs(self) -> None:
        bench = self.winding_up(RETRIED, dispatched(1), replace(attempt_started(9, 1), revision=1))
        for kind in (ev.Long, ev.Alive):
            assert stopped(bench.log(kind(1, 0, 1, 1, "w"))) == [ev.StopAttempt(1)]
            assert not stopped(bench.log(kind(9, 0, 1, 9, "w", revision=1)))
            assert not stopped(bench.log(kind(8, 0, 1, 8, "w", revision=1))), "taken for lost: it may win yet"
        bench.log(replace(done(9, 1), revision=1))
        assert stopped(bench.log(ev.Alive(8, 0, 1, 8, "w", revision=1))) == [ev.StopAttempt(8)]
        assert not stopped(bench.log(ev.Alive(9, 0, 1, 9, "w", revision=1))), "the winner's last words"

    def test_corrected_code_is_not_slow_because_the_first_was_fast(self) -> None:
        for retried, copied in ((RETRIED, False), (replace(RETRIED, bundle=None), True)):
            entries = (
                *splits(2),
                dispatched(0, 1),
                attempt_started(0),
                done(0, seconds=0.1),
                FAILED,
                retried,
            )
            bench = Bench(entries, spec=replace(KEPT, client_timeout_secs=1e9))
            [dispatch] = of_type(bench.said, ev.Dispatch)
            bench.echo(bench.said)
            bench.log(replace(attempt_started(dispatch.dispatch, 1, "other"), revision=1))
            bench.log(done(1, 1, seconds=0.1))  # of the first code, and too late
            assert bool(of_type(bench.wait(5.0), ev.Dispatch)) is copied

    def test_a_dispatch_of_a_failed_job_is_stopped_when_it_starts(self) -> None:
        bench = self.winding_up()
        [stop] = [c for c in bench.log(attempt_started(2, 1)) if isinstance(c, base.Broadcast)]
        assert wire.decode(stop.body)[0] == ev.StopAttempt(2)


class Kept:
    """A worker's leases, and jobs that have failed one after the other."""

    def __init__(self, count: int) -> None:
        self.keeper = LeaseKeeper("me", random.Random(1))
        for number in range(count):
            now, tag = number * 0.01, f"leases/{number + 1}/log"
            self.deliver("leases/jobs", number, ev.Lease(f"job{number}", RANK, 0, 2, 2), None, now)
            submitted = ev.Submitted(f"job{number}", replace(KEPT, keep_secs=1e6), "0", 0.0)
            for offset, entry in enumerate((submitted, *half_done(), ev.Took(RANK, "me"))):
                self.deliver(tag, offset, entry, offset, now)

    def deliver(self, tag: str, number: int, message: Any, offset: Optional[int], now: float) -> None:
        self.keeper.handle(
            base.Delivered(tag, base.Receipt(tag, number), wire.encode(message), offset, False), now
        )

    def gone(self) -> list[str]:
        """Logs of jobs that it keeps no longer."""
        said = [*self.keeper.handle(Tick(), 2.0), *self.keeper.handle(Tick(), 2.25)]
        publications = [command for command in said if isinstance(command, base.Publish)]
        return [each.to for each in publications if isinstance(wire.decode(each.head)[0], ev.Expired)]


def test_a_worker_keeps_a_hundred_failed_jobs_and_the_oldest_goes_first() -> None:
    assert Kept(MAX_KEPT).gone() == []
    assert Kept(MAX_KEPT + 2).gone() == [ev.log_stream("job0"), ev.log_stream("job1")]


@pytest.mark.parametrize(("tasks", "gone"), [(6, 0), (5, 1), (4, 1), (3, 2), (1, 2)])
def test_a_worker_keeps_so_many_tasks_of_failed_jobs_but_always_the_last_job(
    tasks: int, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "MAX_KEPT_TASKS", tasks)  # each has two
    assert Kept(3).gone() == [ev.log_stream(f"job{number}") for number in range(gone)]


class TestTheWorker:
    TAG = "worker/job:job@5"

    def dispatch(self, bench: WorkerBench, number: int = 7) -> list[Any]:
        split = splits(1)[0].splits[0]
        dispatch = ev.Dispatch("job", number, 0, 0, 0, split, revision=1, code=ev.CodeRef(40, 5))
        return bench.deliver("worker/tasks0", dispatch)

    def run_corrected(self, bench: WorkerBench) -> list[Any]:
        self.dispatch(bench)
        said = bench.deliver(self.TAG, ev.Submitted("job", KEPT, "0", 0.0), offset=0)
        [consume] = [command for command in said if isinstance(command, base.Consume)]
        assert (consume.name, consume.offset) == (ev.log_stream("job"), 40)
        said = bench.deliver(self.TAG, RETRIED, offset=40)
        assert logged(said) == ["Started"]
        return bench.tell(base.Confirmed(published(said)[0].token))

    def test_the_code_is_that_of_the_retry_that_the_dispatch_names(self) -> None:
        bench = WorkerBench()
        [execute] = [command for command in self.run_corrected(bench) if isinstance(command, Execute)]
        assert execute.spec == replace(KEPT, bundle=CORRECTED)
        assert execute.code != "job", "an executor that has the first code may not take it"
        [end] = published(bench.done(bench.attempt))
        assert wire.decode(end.head)[0].revision == 1

    def test_the_end_of_the_job_before_it_went_on_stops_nothing_of_it_now(self) -> None:
        bench = WorkerBench()
        self.run_corrected(bench)
        assert bench.deliver("worker/control", ev.StopJob("job", 0)) == []
        said = bench.deliver("worker/control", ev.StopJob("job", 1))
        assert ForgetJob("job@5") in said and RemoveTree("/d/job") in said


class TestItsInput:
    def test_a_new_session_reads_it_anew(self, tmp_path: Path) -> None:
        split = ev.SplitInput(Split((Segment("text", "text", 0, 6, 0, False),)), 0, 2)
        role = TaskInput(fold(ev.Splits(0, (split,)), ev.InputComplete(1), FAILED), 0, 0, str(tmp_path))
        written: dict[str, bytes] = {}

        def tell(event: Any) -> None:
            for command in role.handle(event, 0.0):
                if isinstance(command, Append):
                    written[command.path] = written.get(command.path, b"") + bytes(command.body)

        def bring(number: int, body: bytes) -> None:
            message = wire.encode(ev.Piece(number), body)
            tell(base.Delivered("worker/input:0", base.Receipt("", number), message, number, False))

        tell(Connected())
        bring(0, b"abc")
        tell(base.Disconnected("gone"))
        tell(Connected())
        bring(0, b"abc")
        bring(1, b"def")
        assert role.task is not None and role.task.split is not None
        assert written[role.task.split.segments[0].path] == b"abcdef"


class TestClients:
    KEPT_JOB = replace(SUBMITTED, spec=replace(SUBMITTED.spec, keep_secs=100.0))

    def retrying(self, *entries: Any) -> tuple[Play, RetryingClient]:
        client = RetryingClient("j1", "/nowhere", "0", random.Random(1), 0.0)
        play = Play(None, client)
        play.log(self.KEPT_JOB, *splits(1), *entries, *[e for e in play.events() if isinstance(e, ev.Marked)])
        return play, client

    def test_a_failure_is_the_last_word_only_once_what_follows_it_is_read(self) -> None:
        play = Play(None)
        play.log(self.KEPT_JOB, *splits(1), replace(FAILED, index=0))
        assert play.client.error is None
        [mark] = [event for event in play.events() if isinstance(event, ev.Marked)]
        play.log(RETRIED, mark)
        assert play.client.error is None and play.client.phase is Phase.WAITING
        play.log(replace(FAILED, index=0, revision=1))
        play.log(play.events()[-1])
        assert play.client.error is not None and play.events()[-1] == ev.Delivered(-1)

    def test_a_job_goes_on_when_its_host_says_so_and_brings_its_output(self) -> None:
        play, client = self.retrying(replace(FAILED, index=0))
        assert client.looked
        play.commands += client.retry(CORRECTED)
        assert isinstance(play.events()[-1], ev.Retried)
        play.log(play.events()[-1])
        assert client.phase is Phase.WAITING and client.error is None

    @pytest.mark.parametrize(
        ("entries", "text"),
        [
            ((), "it has not failed"),
            ((ev.Cancelled("enough"),), "was cancelled"),
            (
                (replace(FAILED, failure=Failure("lost", "a stream is gone")),),
                "a stream is gone; submit it anew",
            ),
            ((FAILED, ev.Expired(0)), "is gone (--keep)"),
        ],
    )
    def test_what_cannot_go_on_is_left_alone_and_says_why(self, entries: tuple[Any, ...], text: str) -> None:
        play, client = self.retrying(*entries)
        assert client.finished and not client.looked and text in str(client.error)
        assert not [event for event in play.events() if isinstance(event, ev.Retried)]

    def test_of_two_the_second_is_told_that_the_job_goes_on(self) -> None:
        play, client = self.retrying(replace(FAILED, index=0))
        play.commands += client.retry(None)
        play.log(RETRIED, play.events()[-1])
        assert client.finished and "somebody has retried it already" in str(client.error)

    def test_a_broker_that_refuses_the_corrected_code_is_quoted(self) -> None:
        play, client = self.retrying(replace(FAILED, index=0))
        play.commands += client.retry(CORRECTED)
        play.tell(
            base.Unroutable(play.published("event")[-1].token, reason="message size 9 is larger than 8")
        )
        assert client.finished and "larger than 8" in str(client.error)

    def test_who_stops_waiting_is_told_what_becomes_of_the_job(self) -> None:
        play, client = self.retrying(replace(FAILED, index=0))
        client.cancel("SIGINT", play.now)
        assert client.finished and "nothing of job j1 was changed" in str(client.error)
        play, client = self.retrying(replace(FAILED, index=0))
        play.commands += client.retry(CORRECTED)
        play.log(play.events()[-1])
        client.cancel("SIGINT", play.now)
        assert client.finished and "given up in 600 s" in str(client.error)

    def test_cancelling_asks_again_when_the_job_goes_on_meanwhile(self) -> None:
        play = Play(None, CancelClient("j1", "/nowhere", "0", random.Random(1)))
        asked = ev.CancelRequested("mr cancel")
        play.log(self.KEPT_JOB, *splits(1), FAILED, asked, RETRIED, ev.Expired(0))
        assert play.events().count(asked) == 2 and not play.client.finished
        play.log(asked, ev.Cancelled("mr cancel"))
        assert play.client.finished and play.client.error is None

    def test_cancelling_a_kept_job_waits_until_it_is_kept_no_more(self) -> None:
        client = CancelClient("j1", "/nowhere", "0", random.Random(1))
        play = Play(None, client)
        play.log(self.KEPT_JOB, *splits(1), FAILED, ev.CancelRequested("mr cancel"))
        assert not client.finished
        play.log(ev.Expired(0))
        assert client.finished and client.error is None


# ---------------------------------------------------------------- as users do it

BAD = """\
from mapreduce import Job

def words(line):
    print("seen")
    for word in line.split():
        yield word, 12 // len(word.replace("x", ""))

job = Job(words, reduce=lambda word, values: [(word, sum(values))])
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(BAD.replace('.replace("x", "")', ""))
    (tmp_path / "text").write_text("aa bb\ncc xx dd\n")
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    return path


def test_a_job_on_a_broker_fails_is_debugged_corrected_and_goes_on(rabbit_url: str, bad: Path) -> None:
    text, good = bad.with_name("text"), bad.with_name("good.py")
    run = ("run", bad, text, "--broker", rabbit_url, "--pool", "retry", "--tries", 1, "--keep", "5m")
    with workers(rabbit_url, pool="retry"):
        failed = mr(*run)
        said = failed.stderr.decode()
        assert failed.returncode == 1 and "mr debug" in said
        job = said.partition("job ")[2].split()[0]
        debugged = mr("debug", job, "--broker", rabbit_url, stdin=b"p record, word\nq\n")
        assert debugged.returncode == 1 and b"('cc xx dd', 'xx')" in debugged.stdout
        assert mr("debug", job, "--broker", rabbit_url, "--job", good).returncode == 0
        again = mr("retry", job, "--broker", rabbit_url)
        assert again.returncode == 1 and b"ZeroDivisionError" in again.stderr
        assert again.stderr.count(b"seen") == 2, "what the first try printed is not shown again"
        output = mr_ok("retry", job, good, "--broker", rabbit_url)
        assert sorted(output.splitlines()) == [b"aa\t6", b"bb\t6", b"cc\t6", b"dd\t6", b"xx\t6"]
        refused = mr("retry", job, "--broker", rabbit_url)
        assert refused.returncode == 9 and refused.stderr.count(b"\n") == 1, "nothing of what was printed"
        other = mr(*run, "-q").stderr.decode()
        assert "ZeroDivisionError" in other


def test_a_job_that_failed_before_its_input_was_in_is_left_as_it_is(rabbit_url: str, bad: Path) -> None:
    told = bad.with_name("told")
    args = ("--broker", rabbit_url, "--pool", "early", "--tries", 1, "--keep", "5m", "--split-size", "1M")
    with workers(rabbit_url, pool="early"):
        run = Process("run", bad, "-", *args, stdin=PIPE)
        assert run.popen.stdin is not None
        run.popen.stdin.write(b"aa xx\n" * 300_000)  # a split and a part of the next, and no end yet
        run.popen.stdin.flush()
        job = run.wait_for("is submitted").split()[2]
        run.wait_for("ZeroDivisionError")
        assert run.popen.wait(20) == 1
        run.stop()
        refused = mr("retry", job, "--broker", rabbit_url, "--json", "--on-done", f"touch {told}")
        assert refused.returncode == 9 and not told.exists()
        (error,) = map(json.loads, refused.stderr.splitlines())
        assert error["event"] == "error"
        assert error["text"] == (
            f"job {job} cannot go on: it failed before all of its input was in; submit it anew"
        )


def test_a_kept_job_is_gone_when_it_is_cancelled(rabbit_url: str, bad: Path) -> None:
    run = ("run", bad, bad.with_name("text"), "--broker", rabbit_url, "--pool", "kept", "--tries", 1)
    with workers(rabbit_url, pool="kept"):
        job = mr(*run, "--keep", "5m").stderr.decode().partition("job ")[2].split()[0]
        assert exists(rabbit_url, ev.input_stream(job))
        mr_ok("cancel", job, "--broker", rabbit_url)
        # its workers have a moment to stop, counted from its failure
        assert eventually(lambda: not exists(rabbit_url, ev.input_stream(job)))


def test_a_run_without_a_broker_stops_in_the_debugger(bad: Path) -> None:
    failed = mr("run", "--debug", bad, bad.with_name("text"), "--tries", 1, stdin=b"p record\nq\n")
    assert failed.returncode == 1 and b"'cc xx dd'" in failed.stdout


def each(record: str) -> Iterator[tuple[str, int]]:
    yield record, 1


def total(key: str, values: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield key, sum(values)


def test_a_correction_spreads_keys_as_the_job_did() -> None:
    """Whether it is the same function nobody can tell; that there is one, or none, anybody can."""
    plain = Job(each, reduce=total)
    own = Job(each, reduce=total, partition=lambda key, partitions: len(key) % partitions)
    inputs = Inputs((), iter(()), "")
    for first, other in ((plain, own), (own, plain)):
        spec = make_spec(first, {}, InputFormat(), Options(), inputs)
        check_correction("j1", spec, first, "good.py")
        with pytest.raises(UsageError, match="partitions in another way"):
            check_correction("j1", spec, other, "bad.py")


@pytest.mark.parametrize("text", ["x", "1/", "9", "3/0", "0/1/2"])
def test_a_task_that_is_none_gets_a_line(text: str) -> None:
    with pytest.raises(UsageError, match="task"):
        debugging.find_task(fold(*half_done()), text)


def test_a_task_is_named_by_its_number_or_with_its_stage() -> None:
    state = fold(*half_done())
    assert debugging.find_task(state, None) == (0, 1)
    assert debugging.find_task(state, "0") == debugging.find_task(state, "0/0") == (0, 0)
