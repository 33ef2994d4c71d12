"""A client, workers and onlookers of different builds: whoever cannot read what matters says so, and nobody waits."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from mapreduce import __version__, codec, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import CancelClient, Client, RetryingClient, WatchingClient
from mapreduce.coordination.succession import MAX_STRANGERS, MAX_UNREAD
from mapreduce.effects import Connected
from mapreduce.errors import JobLost
from mapreduce.known import KnownJob
from mapreduce.legible import Legibility
from mapreduce.node import PrivateNode
from mapreduce.observer import Observer
from mapreduce.refs import Failure
from mapreduce.spec import JobSpec
from mapreduce.state import JobState
from mapreduce.views import JobView
from mapreduce.worker import Worker
from tests import coordinating
from tests.coordinating import Bench, of_type, splits
from tests.support import JOBS, ROOT, Process, count_words, make_text, mr

SPEC = JobSpec("j", {}, {}, 1, 2)
SUBMITTED = ev.Submitted("job", SPEC, "0", 0.0)


def foreign(message: Any) -> bytes:
    """What this build cannot make out."""
    plain = wire.to_plain(message)
    tag = type(message).__name__
    head = codec.pack([tag, [*plain[:-1], {"new": 1}], None])
    return bytes([wire.PROTOCOL]) + len(head).to_bytes(4, "big") + head


def delivery(tag: str, body: bytes) -> base.Delivered:
    return base.Delivered(tag, base.Receipt(tag, 1), body, 0, False)


def read(body: bytes) -> Any:
    return next(wire.decode_all(body))[0]


NEWER = foreign(ev.Submitted("job", SPEC, "9.9.9", 0.0))
SAME = foreign(ev.Submitted("job", SPEC, __version__, 0.0))
GARBAGE = b"garbage"
CUT = wire.encode(SUBMITTED)[:-3]


class TestTheCoordinator:
    def bench(self, *bodies: bytes, unread: int = 0) -> Bench:
        """One that has read these, and nothing else of a client."""
        bench = Bench(submitted=False, took=False, unread=unread)
        for body in bodies:
            bench.log_bytes(body)
        return bench

    @pytest.mark.parametrize("first", [NEWER, SAME, GARBAGE, CUT])
    def test_leaves_what_it_cannot_read_to_others(self, first: bytes) -> None:
        bench = self.bench(first, unread=3)
        lease = of_type(bench.log(ev.Took(coordinating.RANK, "me")), ev.Lease)
        assert [each.unread for each in lease] == [4]
        assert not of_type(bench.wait(2.0), ev.Lease), "once"

    @pytest.mark.parametrize("first", [NEWER, SAME, GARBAGE, CUT])
    def test_ends_what_so_many_could_not_read(self, first: bytes) -> None:
        bench = self.bench(first, unread=MAX_STRANGERS)
        end = of_type(bench.log(ev.Took(coordinating.RANK, "me")), ev.Abandoned)
        assert len(end) == 1
        assert f"its worker me (mapreduce {__version__}, " in end[0].reason
        assert "use the same version of mapreduce on both sides" in end[0].reason
        assert ("submitted by mapreduce 9.9.9 (Submitted.at: dict" in end[0].reason) == (first is NEWER)
        assert ("another build of mapreduce" in end[0].reason) == (first is not NEWER)

    def test_deletes_what_it_has_ended_when_the_client_knows(self) -> None:
        bench = self.bench(NEWER, unread=MAX_STRANGERS)
        bench.log(ev.Took(coordinating.RANK, "me"))
        bench.log(ev.Abandoned("so"), ev.Delivered(-1))
        deleted = {each.name for each in bench.wait(2.0) if isinstance(each, base.Delete)}
        data = ev.data_streams("job", coordinating.SPEC.stages, coordinating.SPEC.partitions)
        assert deleted == {*data, ev.log_stream("job")}

    def test_whose_turn_it_was_before_parking_takes_it_for_a_log_that_is_too_long(self) -> None:
        assert MAX_STRANGERS < MAX_UNREAD

    def test_leaves_the_end_of_such_a_job_to_others_too(self) -> None:
        """It may be kept, or have been retried: only who knows the job knows that."""
        bench = self.bench(NEWER, wire.encode(ev.Failed(Failure("raised", "no"), 0, 0, 4)))
        said = bench.log(ev.Took(coordinating.RANK, "me")) + bench.wait(2.0)
        assert of_type(said, ev.Lease) and not [each for each in said if isinstance(each, base.Delete)]

    def test_says_at_once_that_the_broker_has_lost_the_job(self) -> None:
        bench = Bench(splits(1), submitted=False)
        assert ["lost the job itself" in each.reason for each in of_type(bench.said, ev.Abandoned)] == [True]
        assert not of_type(bench.said, ev.Lease)

    def test_of_a_job_that_is_still_being_submitted_waits(self) -> None:
        bench = Bench((ev.Took(ev.Rank(0, 1), "other"),), submitted=False)
        assert not of_type(bench.said + bench.wait(5.0), ev.Abandoned)

    def test_goes_on_where_only_other_things_cannot_be_read(self) -> None:
        bench = self.bench(GARBAGE, wire.encode(SUBMITTED), NEWER, foreign(ev.Splits(0, ())))
        bench.log(ev.Took(coordinating.RANK, "me"), *splits(1))
        assert of_type(bench.said, ev.Dispatch) and not of_type(bench.said, ev.Lease)


class TestTheWorker:
    def test_says_why_it_cannot_run_a_task(self) -> None:
        known = KnownJob("job", None)
        assert not known.take(read(NEWER))
        assert "this worker (mapreduce" in known.trouble and "9.9.9" in known.trouble

    @pytest.mark.parametrize("later", [ev.Splits(0, ()), ev.Dispatched(())])
    def test_knows_that_what_comes_before_the_rest_was_the_job(self, later: Any) -> None:
        known = KnownJob("job", None)
        known.take(read(GARBAGE))
        known.take(ev.Took(coordinating.RANK, "w"))
        assert not known.trouble
        known.take(later)
        assert "cannot read the job" in known.trouble

    def test_has_no_trouble_with_a_job_that_comes_after_something_else(self) -> None:
        known = KnownJob("job", None)
        assert not known.take(read(GARBAGE)) and known.take(SUBMITTED) and not known.trouble

    def test_does_not_wait_for_corrected_code_that_it_cannot_read(self) -> None:
        retried = ev.Retried(5, None, 0.0)
        known = KnownJob("job", ev.CodeRef(9, 5))
        assert known.take(SUBMITTED) and not known.trouble
        assert not known.take(read(GARBAGE)) and not known.trouble, "that may be anything"
        assert not known.take(read(foreign(retried))) and "retried it" in known.trouble
        assert known.take(retried)

    def test_fails_what_waits_for_such_code_and_what_comes_later(self) -> None:
        worker = Worker("host:1:2", 2, ("tasks",), "/d", False, random.Random(1))
        dispatch = ev.Dispatch("job", 7, 1, 0, 0, None, revision=1, code=ev.CodeRef(9, 5))
        said: list[Any] = []
        for event in (
            Connected(),
            base.Declared("tasks"),
            delivery("worker/tasks0", wire.encode(dispatch)),
            delivery("worker/job:job@5", wire.encode(SUBMITTED)),
            delivery("worker/job:job@5", foreign(ev.Retried(5, None, 0.0))),
            delivery("worker/tasks0", wire.encode(replace(dispatch, dispatch=8))),
        ):
            said += worker.handle(event, 0.0)
        sent = [wire.decode(each.head)[0] for each in said if isinstance(each, base.Publish)]
        assert [(each.dispatch, each.failure.kind) for each in sent] == [(7, "code"), (8, "code")]


class Reader:
    """A client and a log to feed it from."""

    def __init__(self, client: Client) -> None:
        self.client = client
        client.handle(Connected(), 0.0)
        self._offset = 0
        self.said: list[Any] = []

    def read(self, *bodies: bytes) -> Optional[str]:
        """Its error, if it is out of its wits and leaves."""
        for body in bodies:
            tag, self._offset = self.client._log.tag, self._offset + 1
            delivery = base.Delivered(tag, base.Receipt(tag, 1), body, self._offset - 1, False)
            self.said += self.client.handle(delivery, 1.0)
        assert self.client.error is None or isinstance(self.client.error, JobLost)
        return str(self.client.error) if self.client.error is not None else None


def client(kind: Any = WatchingClient) -> Client:
    rng = random.Random(1)
    return Client("job", None, "/d", "0", rng) if kind is Client else kind("job", "/d", "0", rng)


class TestAnotherClient:
    @pytest.mark.parametrize("kind", [Client, WatchingClient, RetryingClient])
    def test_that_cannot_read_the_job_leaves(self, kind: Any) -> None:
        reader = Reader(client(kind))
        error = reader.read(NEWER)
        assert error is not None and "submitted by mapreduce 9.9.9" in error
        assert reader.client.finished

    def test_does_not_leave_before_it_is_sure(self) -> None:
        reader = Reader(client())
        assert reader.read(GARBAGE) is None
        assert reader.read(wire.encode(SUBMITTED), GARBAGE, NEWER) is None

    def test_that_reads_how_it_ended_needs_no_more(self) -> None:
        reader = Reader(client())
        assert "given up: so" in str(reader.read(GARBAGE, wire.encode(ev.Abandoned("so"))))

    def test_that_cancels_need_not_read_it(self) -> None:
        reader = Reader(client(CancelClient))
        assert reader.read(NEWER, wire.encode(ev.Cancelled("mr cancel"))) is None
        assert reader.client.finished


class TestAnotherWorker:
    DONE = ev.Done(7, 0, 0, 0, 5, "w", {0: 1}, {}, {})
    BEFORE = tuple(map(wire.encode, (SUBMITTED, *splits(1))))
    SEALED = wire.encode(ev.StageSealed(1, 0))

    def test_whose_results_cannot_be_read_leaves_no_client_waiting(self) -> None:
        reader = Reader(client())
        assert reader.read(*self.BEFORE, foreign(self.DONE)) is None
        error = reader.read(self.SEALED)
        assert error is not None and "what its workers say cannot be read" in error

    def test_whose_result_was_said_again_did_no_harm(self) -> None:
        reader = Reader(client())
        assert reader.read(*self.BEFORE, foreign(self.DONE), wire.encode(self.DONE), self.SEALED) is None

    def test_a_seal_of_what_was_void_by_then_proves_nothing(self) -> None:
        missing = ev.Missing(0, 1, 0, 0, (5,))
        reader = Reader(client())
        assert reader.read(*self.BEFORE, GARBAGE, wire.encode(self.DONE), wire.encode(missing)) is None
        assert reader.read(self.SEALED) is None

    @pytest.mark.parametrize(
        "end", [ev.Failed(Failure("raised", "no"), 0, 0, 4), ev.Cancelled("x"), ev.Delivered(0)]
    )
    def test_whose_last_word_cannot_be_read_has_ended_the_job_all_the_same(self, end: Any) -> None:
        reader = Reader(client())
        error = reader.read(*self.BEFORE, foreign(end))
        assert error is not None and "the job has ended" in error

    def test_the_jobs_own_client_asks_for_its_end(self) -> None:
        """Nobody else would take what it cannot."""
        own = Client("job", SPEC, "/d", "0", random.Random(1))
        own.handle(Connected(), 0.0)
        for kind in ("lease", "submitted"):
            own.handle(base.Confirmed(_token(own, kind)), 0.0)
        reader = Reader.__new__(Reader)
        reader.client, reader.said, reader._offset = own, [], 0
        reader.read(*self.BEFORE, foreign(self.DONE), self.SEALED)
        asked = [wire.decode(c.head)[0] for c in reader.said if isinstance(c, base.Publish)]
        assert [type(each) for each in asked] == [ev.CancelRequested] and not own.finished


def _token(client: Client, kind: str) -> str:
    return next(token for token in client._sent._unconfirmed if token.startswith(f"client/{kind}:"))


def test_an_onlooker_says_that_it_cannot_read_the_job() -> None:
    observer = Observer("job", JobView(), random.Random(1))
    observer.handle(Connected(), 0.0)
    tag = f"{observer.prefix}log:1"
    observer.handle(base.Delivered(tag, base.Receipt(tag, 1), NEWER, 0, False), 0.0)
    assert "9.9.9" in observer.why_unknown


def test_of_several_that_cannot_be_read_the_one_that_says_so_was_the_job() -> None:
    legibility = Legibility()
    for body in (GARBAGE, NEWER):
        legibility.note(read(body))
    assert "9.9.9" in legibility.why_unknown() and not legibility.lost


def test_a_job_that_nobody_knows_can_still_be_delivered_of_its_news() -> None:
    state = JobState()
    for event in (ev.Abandoned("x"), ev.Delivered(-1)):
        state.apply(event)
    assert state.delivered


# ---------------------------------------------------------------- the same with processes


class Fleet:
    """Processes of this build and of another, and one job."""

    def __init__(self, node: PrivateNode, folder: Path) -> None:
        self.node, self.pool = node, folder.name
        self.text = make_text(folder / "text.txt", 20_000)
        self.processes: list[Process] = []

    def start(self, *args: Any, foreign: str = "") -> Process:
        script = [str(ROOT / "tests" / "foreign.py"), foreign, "--"] if foreign else ["-m", "mapreduce.cli"]
        options = ["--broker", self.node.url, "--pool", self.pool]
        self.processes.append(Process(*args, *options, script=script))
        return self.processes[-1]

    def worker(self, foreign: str = "") -> Process:
        worker = self.start("worker", "-c", 1, foreign=foreign)
        worker.wait_for("ready")
        return worker

    def run(self, foreign: str = "") -> Process:
        return self.start("run", JOBS / "wordcount.py", self.text, foreign=foreign)

    def job(self, run: Process) -> str:
        return run.wait_for("is submitted").split()[2]

    def await_no_streams(self, job: str) -> None:
        end = time.monotonic() + 20
        while f".job.{job}." in self.node.control("list_queues", "--silent", "name"):
            assert time.monotonic() < end, "streams are left"
            time.sleep(0.2)


@pytest.fixture
def fleet(shared_node: PrivateNode, tmp_path: Path) -> Any:
    fleet = Fleet(shared_node, tmp_path)
    yield fleet
    for process in fleet.processes:
        process.stop()


def test_a_worker_of_another_build_ends_the_job_at_once_and_says_why(fleet: Fleet) -> None:
    fleet.worker()
    run = fleet.run(foreign="Submitted")
    job = fleet.job(run)
    text = run.wait_for(
        r"^mr: .*given up: its worker .* cannot read it: it was submitted by mapreduce 9\.9\.9"
    )
    assert "use the same version of mapreduce on both sides" in text
    assert run.popen.wait(20) == 9
    fleet.await_no_streams(job)


def test_a_worker_of_the_right_build_takes_the_job_from_others(fleet: Fleet) -> None:
    fleet.worker()
    fleet.worker(foreign="Submitted")
    run = fleet.run(foreign="Submitted")
    looks = mr("status", fleet.job(run), "--broker", fleet.node.url)
    assert run.output() == count_words(fleet.text)
    assert looks.returncode == 9, looks.stdout  # over by now, or not to be read: either way it is no hang


def test_a_client_that_cannot_read_its_workers_says_so(fleet: Fleet) -> None:
    fleet.worker(foreign="Done")
    run = fleet.run()
    run.wait_for(r"^mr: job .* cannot be followed by this client .*: what its workers say cannot be read")
    assert run.popen.wait(20) == 9
    fleet.await_no_streams(fleet.job(run))
