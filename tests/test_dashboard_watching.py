"""What the dashboard asks of the broker: whom it follows, for how long, how it cancels. On made-up events."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.dashboard import snapshot
from mapreduce.dashboard.watcher import Watcher
from mapreduce.dashboard.watching import CENSUS_SECS, LINGER_SECS, MAX_FOLLOWED, CancelJob, Look, Watching
from mapreduce.effects import Command, Connected, Report, Tick
from mapreduce.spec import JobSpec
from mapreduce.views import JobView


class Play:
    """The role, with a log for each job that it reads."""

    def __init__(self) -> None:
        self.role = Watching(random.Random(1), lambda: 1000.0 + self.now)
        self.now = 0.0
        self.offsets: dict[str, int] = {}
        self.tell(Connected())

    def tell(self, event: Any) -> list[Command]:
        return self.role.handle(event, self.now)

    def after(self, secs: float) -> list[Command]:
        self.now += secs
        return self.tell(Tick())

    def look(self, *jobs: str) -> list[Command]:
        return self.tell(Look(frozenset(jobs), True))

    def log(self, tag: str, *entries: Any) -> list[Command]:
        """The entries come on the consumer ``tag``."""
        commands: list[Command] = []
        for entry in entries:
            offset = self.offsets[tag] = self.offsets.get(tag, -1) + 1
            receipt = base.Receipt(tag, offset)
            commands += self.tell(
                base.Delivered(tag, receipt, wire.encode(entry), offset, False, 1000.0 + self.now)
            )
        return commands


def consumed(commands: list[Command]) -> dict[str, str]:
    """Place -> tag."""
    return {each.name: each.tag for each in commands if isinstance(each, base.Consume)}


def published(commands: list[Command]) -> list[Any]:
    return [wire.decode(each.head)[0] for each in commands if isinstance(each, base.Publish)]


def test_a_job_is_followed_while_somebody_looks_and_a_little_longer() -> None:
    play = Play()
    tags = consumed(play.look("a", "b"))
    assert set(tags) == {ev.log_stream("a"), ev.log_stream("b")}
    play.log(tags[ev.log_stream("a")], ev.Submitted("a", JobSpec("first", {}, {}, 1), "1", 1000.0))
    assert play.role.followed["a"].view.name == "first"
    assert play.role.followed["b"].view.name == ""
    assert not consumed(play.look("a"))
    play.after(LINGER_SECS - 1)
    assert set(play.role.followed) == {"a", "b"}
    assert base.Cancel(tags[ev.log_stream("b")]) in play.after(2)
    assert set(play.role.followed) == {"a"}


def test_a_job_that_nobody_looks_at_makes_room() -> None:
    play = Play()
    names = [f"j{number}" for number in range(MAX_FOLLOWED)]
    for name in names:
        play.look(name)
        play.now += 0.1
    play.look(*names[2:])
    tags = consumed(play.look(*names[2:], "new1", "new2", "new3"))
    assert set(tags) == {ev.log_stream("new1"), ev.log_stream("new2")}
    assert set(play.role.followed) == {*names[2:], "new1", "new2"}  # those that are looked at stay
    assert set(consumed(play.look("new3"))) == {ev.log_stream("new3")}


def test_a_log_that_is_not_there_takes_no_room() -> None:
    play = Play()
    tags = consumed(play.look("typo", "real"))
    play.log(tags[ev.log_stream("real")], ev.Submitted("real", JobSpec("first", {}, {}, 1), "1", 1000.0))
    for tag in tags.values():
        play.tell(base.Gone(tag))
    play.after(0.1)
    assert set(play.role.followed) == {"typo", "real"}  # both are looked at
    play.look()
    play.after(0.1)
    assert set(play.role.followed) == {"real"}  # what was seen of it stays for a while


def test_in_a_new_session_logs_are_read_again_and_workers_asked() -> None:
    play = Play()
    before = consumed(play.look("a"))
    play.tell(base.Disconnected("gone"))
    assert not play.role.connected
    after = consumed(play.tell(Connected()))
    assert set(after) == set(before)
    assert after != before
    assert any(isinstance(each, base.Declare) for each in play.after(0.1))


def test_all_are_asked_often_while_somebody_looks_and_rarely_else() -> None:
    play = Play()
    asked = []
    for _ in range(3):
        (declare,) = [each for each in play.after(30) if isinstance(each, base.Declare)]
        ask = published([])
        for each in play.tell(base.Declared(declare.name)):
            if isinstance(each, base.Broadcast):
                ask = [wire.decode(each.body)[0]]
        (question,) = ask
        asked.append(question.number)
        play.tell(base.Depth(ev.JOBS, 2, 0))
        play.after(1)
        play.after(0.1)
        assert play.role.census is not None
        assert play.role.census.waiting_leases == 2
        assert not [each for each in play.after(CENSUS_SECS) if isinstance(each, base.Declare)]
    assert len(set(asked)) == 3
    play.look()
    assert [each for each in play.after(CENSUS_SECS) if isinstance(each, base.Declare)]
    assert play.role.overview()["waiting_leases"] == 2


def test_cancelling_is_over_when_the_log_has_it() -> None:
    play = Play()
    commands = play.tell(CancelJob("a", 7))
    (request,) = [each for each in published(commands) if isinstance(each, ev.CancelRequested)]
    assert "dashboard" in request.reason
    (token,) = [each.token for each in commands if isinstance(each, base.Publish) and "cancel" in each.token]
    assert play.role.answers == {}
    play.tell(base.Confirmed(token))
    assert play.role.answers == {7: ""}
    tag = consumed(commands)[ev.log_stream("a")]
    spec = JobSpec("first", {}, {}, 1, detached=True)
    play.log(tag, ev.Submitted("a", spec, "1", 1000.0), ev.Cancelled("on request"))
    assert ev.Delivered(-1) in published(play.after(0.1))  # a detached job has nobody else to say so
    assert not published(play.after(0.1))


def test_what_cannot_be_cancelled_is_said() -> None:
    play = Play()
    commands = play.tell(CancelJob("none", 1))
    (token,) = [each.token for each in commands if isinstance(each, base.Publish) and "cancel" in each.token]
    play.tell(base.Unroutable(token))
    tags = consumed(play.look("a"))
    spec = JobSpec("first", {}, {}, 1)
    play.log(tags[ev.log_stream("a")], ev.Submitted("a", spec, "1", 1000.0), ev.Abandoned("expired"))
    assert play.role.followed["a"].view.phase == "abandoned"
    play.role.followed["a"].observer.caught_up = True
    assert not published(play.tell(CancelJob("a", 2)))
    play.tell(base.Disconnected("gone"))
    play.tell(CancelJob("a", 3))
    assert "no such job" in play.role.answers[1]
    assert "over already" in play.role.answers[2]
    assert "does not answer" in play.role.answers[3]


def test_a_job_that_cannot_be_shown_says_so_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real = snapshot.of_job

    def of_job(job: str, view: JobView, now: float) -> dict[str, Any]:
        return {**real(job, view, now), "ratio": 1 // (job != "odd")}

    monkeypatch.setattr(snapshot, "of_job", of_job)
    told: list[Report] = []
    watcher = Watcher("amqp://127.0.0.1:1", told.append)  # it is never started: nothing is there
    role = watcher._role
    role.handle(Look(frozenset(["fine", "odd"]), True), 0.0)
    for each in role.followed.values():
        each.observer.caught_up = True
    for _ in range(2):
        for each in role.followed.values():
            each.changed = True
        watcher._next.clear()
        watcher._tell_news()
    (odd, fine) = (watcher.feed.latest(job) for job in ("odd", "fine"))
    assert odd is not None and "ZeroDivisionError" in json.loads(odd[1])["broken"]
    assert fine is not None and "broken" not in json.loads(fine[1])
    assert [(each.level, "odd" in each.text) for each in told] == [("warning", True)]  # once
