"""Asking and answering on control: what workers say of themselves and their jobs, and what is made of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import census as rules
from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.census import Asker, Census, Skew, choose_job, choose_worker
from mapreduce.commands import tables
from mapreduce.doctor.broker import _describe_tls, describe_ack_timeout
from mapreduce.doctor.workers import check_clocks, check_versions, check_workers
from mapreduce.effects import Connected, Leave, Shutdown, Tick
from mapreduce.errand import Errand, Script, Wait
from mapreduce.errors import BrokerError, JobLost, UsageError
from mapreduce.leases import LeaseKeeper
from mapreduce.refs import Failure
from mapreduce.respondent import Facts, Respondent
from mapreduce.views.phase import READING
from tests import coordinating
from tests.coordinating import RANK, SPEC, published, splits, started
from tests.test_worker import Bench as WorkerBench

REPLIES = ev.replies_queue("abc")


def report(name: str = "host:1:aa", **changes: Any) -> ev.WorkerReport:
    plain = ev.WorkerReport(
        7, name, name.partition(":")[0], 1, "1.0", "CPython 3.11.2", "cp311", "default", 2, 100.0, 1000.0, 5 << 20,
        False, (), (), 0, {"msgpack": "1.1", "cloudpickle": "3.0"},
    )  # fmt: skip
    return replace(plain, **changes)


def job_report(job: str = "job-1", **changes: Any) -> ev.JobReport:
    plain = ev.JobReport(7, job, ev.Rank(1, 1), "job", "default", 10.0, "running", "", (), "host:1:aa", 0.0)
    return replace(plain, **changes)


def a_census(workers: tuple[Any, ...] = (), jobs: tuple[Any, ...] = (), **changes: Any) -> Census:
    skews = {each.worker: Skew(0.0, 0.01) for each in workers}
    return replace(Census("jobs", workers, jobs, skews, 0, 0), **changes)


# ---------------------------------------------------------------- who answers


class Asked:
    """A worker that runs a task and coordinates a job that has failed, and who speaks for it."""

    def __init__(self) -> None:
        self.bench = WorkerBench()
        self.attempt = self.bench.run()
        self.keeper = LeaseKeeper("w", random.Random(1))
        facts = Facts("h", 5, "1.0", "CPython 3.11.2", "cp311", "default", 100.0, lambda: 1000.0, lambda: 77)
        self.it = Respondent(self.bench.worker, self.keeper, facts)

    def coordinates(self, *entries: Any, spec: Any = SPEC, took: bool = True) -> coordinating.Bench:
        job = coordinating.Bench(entries, spec=spec, took=took)
        self.keeper.coordinators["leases/1/"] = job.it
        return job

    def hears(self, message: Any, now: float = 4.0) -> list[Any]:
        tag = "respondent/control"
        return self.it.handle(
            base.Delivered(tag, base.Receipt(tag, 1), wire.encode(message), None, False), now
        )

    def answers(self, question: str, to: str = REPLIES) -> list[Any]:
        commands = self.hears(ev.Ask(question, to, 7))
        assert all(command.to == to for command in commands)
        return published(commands)


def test_a_worker_says_what_it_is_and_does() -> None:
    asked = Asked()
    assert asked.it.handle(Connected(), 0.0) == [base.Listen("respondent/control")]
    (said,) = asked.answers("workers")
    assert (said.worker, said.host, said.pid, said.slots, said.memory_bytes) == ("w", "h", 5, 1, 77)
    assert (said.number, said.since, said.now, said.draining, said.held) == (7, 100.0, 1000.0, False, 0)
    assert said.running == (ev.RunningTask("job", 0, 0, asked.attempt.number, 0, 4.0),)
    asked.bench.dispatch(8)
    assert asked.answers("workers")[0].held == 1


def test_a_job_is_reported_before_its_worker() -> None:
    asked = Asked()
    job = asked.coordinates(*splits(3), started(5))
    said, last = asked.answers("jobs")
    assert (said.job, said.rank, said.name, said.phase, said.cause) == ("job", RANK, "j", "running", "")
    assert said.stages == (ev.StageReport(3, 0, 1), ev.StageReport(None, 0, 0))
    assert said.kept_until == 0.0 and last.coordinates == ("job",)
    job.log(ev.Failed(Failure("raised", "ValueError: no\nmore", "map words"), 0, 0, 4))
    said, _ = asked.answers("jobs")
    assert (said.phase, said.cause) == ("failed", "ValueError: no more in map words")
    assert said.stages[0] == ev.StageReport(3, 0, 0)
    assert said.kept_until == 1000.0 + SPEC.client_timeout_secs - 4.0  # its client may still read why


def test_a_failed_job_says_how_long_it_is_kept() -> None:
    asked = Asked()
    asked.coordinates(
        *splits(1), ev.Failed(Failure("raised", "no"), 0, 0, 4), spec=replace(SPEC, keep_secs=60.0)
    )
    said, _ = asked.answers("jobs")
    assert 1000.0 < said.kept_until <= 1060.0


def test_a_coordinator_that_still_reads_does_not_guess() -> None:
    asked = Asked()
    asked.coordinates(*splits(3), took=False)
    assert asked.answers("jobs")[0].phase == READING


def test_a_lease_that_was_handed_on_is_not_reported() -> None:
    asked = Asked()
    job = asked.coordinates()
    job.echo(job.take(job.it.hand_on(0.0)))
    (last,) = asked.answers("jobs")
    assert last.coordinates == ()


@pytest.mark.parametrize("to", ["mr.1.jobs", "elsewhere", "mr.1.replies.", "mr.1.replies.a b", ""])
def test_nothing_is_sent_to_what_is_no_queue_for_replies(to: str) -> None:
    assert Asked().hears(ev.Ask("workers", to, 7)) == []


def test_a_question_of_a_later_version_is_not_answered() -> None:
    assert Asked().answers("weather") == []


def test_a_worker_that_is_told_to_leave_says_so_at_once() -> None:
    asked = Asked()
    assert asked.hears(ev.Drain("another")) == []
    report, leave = asked.hears(ev.Drain("w"))
    assert leave == Leave() and "mr drain" in report.text
    assert asked.answers("workers")[0].draining
    assert asked.hears(ev.Drain("w")) == [], "once is enough"


def test_a_worker_that_is_stopped_by_a_signal_leaves_as_well() -> None:
    asked = Asked()
    asked.it.handle(Shutdown(30.0), 0.0)
    assert asked.answers("workers")[0].draining


# ---------------------------------------------------------------- who asks


class Asking:
    """An asker and the broker's side of it."""

    def __init__(self, question: str = "jobs", patience_secs: float = 2.0) -> None:
        self.now = 0.0
        self.it = Asker(question, random.Random(1), patience_secs, lambda: 1000.0 + self.now)
        (declare,) = self.tell(Connected())
        assert declare.kind is base.Kind.REPLIES and ev.is_replies_queue(declare.name)
        self.said = self.tell(base.Declared(declare.name))
        (broadcast,) = (each for each in self.said if isinstance(each, base.Broadcast))
        self.ask = wire.decode(broadcast.body)[0]
        assert (self.ask.question, self.ask.reply_to) == (question, declare.name)

    def tell(self, event: Any) -> list[Any]:
        return self.it.handle(event, self.now)

    def answer(self, message: Any, number: Optional[int] = None) -> list[Any]:
        message = replace(message, number=self.ask.number if number is None else number)
        receipt = base.Receipt("census/answers", 1)
        return self.tell(base.Delivered("census/answers", receipt, wire.encode(message), None, False))

    def depth(self, consumers: int, ready: int = 0) -> None:
        self.tell(base.Depth(ev.JOBS, ready, consumers))

    def wait(self, secs: float) -> list[Any]:
        self.now += secs
        return self.tell(Tick())


def test_it_is_over_soon_after_all_have_answered() -> None:
    asking = Asking()
    asking.depth(2)
    asking.answer(report("a:1:x"))
    asking.wait(1.0)
    assert not asking.it.finished
    asking.answer(report("b:1:x"))
    assert not asking.it.finished, "one that leaves may answer, too"
    asking.answer(report("c:1:x", draining=True))
    assert asking.wait(0.25)[-1] == base.Delete(asking.ask.reply_to) and asking.it.finished
    census = asking.it.census()
    assert [each.worker for each in census.workers] == ["a:1:x", "b:1:x", "c:1:x"] and census.silent == 0


def test_the_silent_are_counted_and_waited_for() -> None:
    asking = Asking()
    asking.depth(3, ready=4)
    asking.answer(report("a:1:x"))
    asking.answer(report("b:1:x", draining=True))  # consumes no leases any more
    asking.wait(1.9)
    assert not asking.it.finished
    asking.wait(0.1)
    assert asking.it.finished
    assert (asking.it.census().silent, asking.it.census().waiting_leases) == (2, 4)


def test_where_there_is_no_queue_there_is_no_worker() -> None:
    asking = Asking()
    asking.depth(0, ready=-1)
    asking.wait(0.25)
    assert asking.it.finished and asking.it.census() == Census("jobs", (), (), {}, 0, 0)


def test_answers_to_others_and_nonsense_count_for_nothing() -> None:
    asking = Asking()
    asking.depth(1)
    asking.answer(report(), number=1)
    asking.tell(base.Delivered("census/answers", base.Receipt("", 2), b"nonsense", None, False))
    asking.answer(job_report(), number=2)
    assert asking.it.census().silent == 1 and not asking.it.census().jobs


def test_of_two_who_coordinate_a_job_the_one_that_knows_it_counts_then_the_higher_lease() -> None:
    asking = Asking()
    low, high, blind = (
        job_report(worker="low"), job_report(worker="high", rank=ev.Rank(2, 0)),
        job_report(worker="blind", rank=ev.Rank(3, 0), phase=READING),
    )  # fmt: skip
    for each in (blind, low, high, low, blind):
        asking.answer(each)
    assert [each.worker for each in asking.it.census().jobs] == ["high"]


def test_a_new_session_asks_anew() -> None:
    asking = Asking()
    asking.depth(1)
    (declare,) = asking.tell(Connected())
    assert declare.name != asking.ask.reply_to
    asking.wait(5.0)
    assert not asking.it.finished, "nobody has been asked yet"


def test_clocks_are_compared_with_the_middle_of_question_and_answer() -> None:
    asking = Asking()
    asking.now = 0.5
    asking.answer(report("a:1:x", now=1010.25))
    assert asking.it.census().skews == {"a:1:x": Skew(10.0, 0.25)}


def test_a_broker_that_takes_no_messages_is_named() -> None:
    asking = Asking()
    asking.tell(base.Blocked("low on memory"))
    asking.depth(1)
    asking.wait(2.0)
    assert asking.it.census().blocked == "low on memory"
    for nobody_knows in (
        lambda: choose_job(asking.it.census(), "x"),
        lambda: choose_job(asking.it.census(), "@"),
        lambda: choose_worker(asking.it.census(), "x"),
        lambda: tables.note_who_is_missing(asking.it.census()),
    ):
        with pytest.raises(BrokerError, match=r"takes no messages \(low on memory\): nobody can answer"):
            nobody_knows()


# ---------------------------------------------------------------- which job, which worker

NAMES = st.lists(
    st.text("ab-", min_size=1, max_size=5).filter(ev.is_name), min_size=1, max_size=6, unique=True
)


@given(NAMES, st.text("ab-", min_size=1, max_size=5))
def test_a_prefix_names_a_job_if_no_other_has_it(names: list[str], text: str) -> None:
    census = a_census((report(),), tuple(job_report(name) for name in names))
    fitting = [name for name in names if name.startswith(text)]
    if text in names or len(fitting) == 1:
        assert choose_job(census, text) == (text if text in names else fitting[0])
    else:
        with pytest.raises(UsageError if fitting else JobLost) as error:
            choose_job(census, text)
        assert all(name in str(error.value) for name in fitting[-5:])


def test_at_is_the_job_that_was_submitted_last() -> None:
    jobs = (job_report("new", submitted_at=20.0), job_report("old"))
    asking = Asking()
    for each in (*jobs, job_report("unread", submitted_at=0.0, phase=READING)):
        asking.answer(each)
    assert choose_job(asking.it.census(), "@") == "new"
    with pytest.raises(JobLost, match="there is no job on this broker; no worker is there to ask"):
        choose_job(a_census(), "@")
    with pytest.raises(JobLost, match=r"\(any more\); but 2 workers did not answer"):
        choose_job(a_census((report(),), silent=2), "x")


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "é", "x" * 65])
def test_what_can_be_no_id_is_not_asked_for(name: str) -> None:
    with pytest.raises(JobLost, match="no job can have such a name"):
        rules.find_job("amqp://nowhere.invalid/", name)


@pytest.mark.parametrize("text", ["h1:22:abcd", "h1:2", "h1:22", "ab", "abcd"])
def test_a_worker_is_named_by_a_beginning_or_its_number(text: str) -> None:
    workers = tuple(map(report, ["h1:22:abcd", "h2:22:ef01", "h1:3:0123"]))
    assert choose_worker(a_census(workers), text).worker == "h1:22:abcd"


@pytest.mark.parametrize(
    ("text", "said"), [("h", "may be h1:22:ab, h2:22:ef"), ("x", "no worker 'x'"), ("", "no")]
)
def test_nobody_is_meant_by_what_fits_several_or_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_worker(a_census((report("h1:22:ab"), report("h2:22:ef"))), text)


def test_reports_as_plain_data_name_all_fields() -> None:
    task = ev.RunningTask("job", 0, 3, 2**62, 0, 1.5)
    census = a_census((report(running=(task,)),), question="workers")
    (plain,) = census.to_plain()["workers"]
    assert plain["running"] == [
        {"job": "job", "stage": 0, "task": 3, "attempt": f"{2**62:016x}", "slot": 0, "secs": 1.5}
    ]
    assert plain["libraries"]["msgpack"] == "1.1" and "number" not in plain


# ---------------------------------------------------------------- what the doctor makes of it


def levels(findings: Any) -> list[tuple[str, str]]:
    return [(finding.check, finding.level) for finding in findings]


def test_the_doctor_misses_workers() -> None:
    assert levels(check_workers(a_census())) == [("workers", "warning")]
    assert levels(check_workers(a_census((report(),)))) == [("workers", "ok")]
    missing = a_census((report(),), silent=1, waiting_leases=2)
    assert levels(check_workers(missing)) == [("workers", "warning"), ("workers", "ok"), ("jobs", "warning")]


def test_the_doctor_compares_the_clocks_of_hosts() -> None:
    workers = (report("a:1:x"), report("a:2:y"), report("b:1:z"))
    skews = {"a:1:x": Skew(-90.0, 0.1), "a:2:y": Skew(-90.1, 0.1), "b:1:z": Skew(1.5, 1.0)}
    (finding,) = check_clocks(a_census(workers, skews=skews))
    assert finding.level == "warning" and "that of a is 1 min 30 s behind ours" in finding.text
    assert levels(check_clocks(a_census(workers))) == [("clocks", "ok")]
    assert levels(check_clocks(a_census())) == []


def test_the_doctor_compares_versions() -> None:
    ours = {"msgpack": "1.1", "cloudpickle": "3.0"}
    same = a_census((report("a:1:x"), report("b:1:x")))
    assert levels(check_versions(same, "1.0", "cp311", ours)) == [("python", "ok"), ("versions", "ok")]
    other = report("c:1:x", version="0.9", tag="cp39", libraries={"msgpack": "1.0", "cloudpickle": "2.0"})
    findings = list(check_versions(a_census((other,)), "1.0", "cp311", ours))
    assert levels(findings) == [
        ("versions", "warning"), ("python", "warning"), ("libraries", "warning"), ("libraries", "note")
    ]  # fmt: skip
    assert findings[0].text == "c:1:x has mapreduce 0.9, and we 1.0"
    bare = report(libraries={"cloudpickle": "3.0"})
    (lacking,) = (
        each for each in check_versions(a_census((bare,)), "1.0", "cp311", ours) if each.check == "libraries"
    )
    assert (lacking.level, lacking.text) == ("warning", "host:1:aa has no msgpack, and we 1.1")
    assert levels(check_versions(a_census(), "1.0", "cp311", ours)) == []


def test_the_doctor_looks_at_how_the_line_is_encrypted() -> None:
    plain, tls = "amqp://mq.example/", base.Tls("TLSv1.3", "AES", True, 100 * 86400.0)
    assert _describe_tls(plain, None, 0.0).level == "warning"
    assert _describe_tls("amqp://localhost/", None, 0.0).level == "ok"
    assert _describe_tls("amqp://127.0.0.2/", None, 0.0).level == "ok"
    assert (
        _describe_tls("amqps://mq.example/", tls, 0.0).text
        == "TLSv1.3, AES; its certificate ends on 1970-04-11"
    )
    assert _describe_tls("amqps://mq.example/", tls, 90 * 86400.0).level == "warning"
    assert _describe_tls("amqps://mq.example/", tls._replace(verified=False), 0.0).level == "warning"


def test_the_doctor_knows_an_ack_timeout_only_from_workers() -> None:
    assert describe_ack_timeout([]).level == "note"
    assert describe_ack_timeout([1800.0, 600.0]).text.startswith("600 s, as 2 workers had to learn")
    assert describe_ack_timeout([10.0]).level == "warning"


# ---------------------------------------------------------------- errands


def script() -> Script[list[Any]]:
    first = yield Wait([base.Inspect("a")], lambda event: isinstance(event, base.Depth), 2.0)
    second = yield Wait([base.Inspect("b")], lambda event: isinstance(event, base.Depth), 2.0)
    return [first, second]


def test_an_errand_goes_on_with_each_answer_and_without_those_that_do_not_come() -> None:
    errand = Errand(script)
    assert errand.handle(Tick(), 0.0) == []
    assert errand.handle(Connected(), 0.0) == [base.Inspect("a")]
    assert errand.handle(base.Declared("a"), 1.0) == []
    depth = base.Depth("a", 1, 0)
    assert errand.handle(depth, 1.9) == [base.Inspect("b")]
    assert errand.handle(Tick(), 3.8) == [] and not errand.finished
    assert errand.handle(Tick(), 3.9) == [] and errand.finished
    assert errand.result == [depth, None]


def test_an_errand_begins_anew_with_the_next_session() -> None:
    errand = Errand(script)
    errand.handle(Connected(), 0.0)
    errand.handle(base.Depth("a", 1, 0), 1.0)
    assert errand.handle(Connected(), 2.0) == [base.Inspect("a")]
