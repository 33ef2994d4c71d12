"""The client, event by event: what it takes for proof, when it leaves, what it sends again."""

from __future__ import annotations

import random
from typing import Any, Optional

import pytest

from mapreduce import effects, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import (
    CONFIRM_CANCEL_SECS,
    LEASE_LOST_SECS,
    LOG_TAG,
    NEWS_SECS,
    OUT_TAG,
    SPLIT_BYTES_PER_EVENT,
    CancelClient,
    Client,
    Phase,
)
from mapreduce.errors import Cancelled, InputError, JobFailed, JobLost, OutputError
from mapreduce.progress import PATIENCE_SECS, SILENCE_SECS, WaitNotice
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import JobSpec

SPEC = JobSpec("j", {}, {}, 1, 2)
DETACHED = JobSpec("j", {}, {}, 1, 2, detached=True)
SUBMITTED = ev.Submitted("j1", SPEC, "0", 0.0)
SPLIT = Split((Segment("data.txt", "copy", 0, 10, 90, True),))
LOG, OUT, IN = ev.log_stream("j1"), ev.output_stream("j1"), ev.input_stream("j1")


class Play:
    """A client, what it published, and a log to feed it from."""

    def __init__(self, spec: Optional[JobSpec] = SPEC, client: Optional[Client] = None) -> None:
        self.client = client or Client("j1", spec, "/nowhere", "0", random.Random(1), 0.0)
        self.now = 100.0
        self.offset = 0
        self.commands: list[Any] = []
        self.tell(effects.Connected())
        if spec is not None and client is None:
            self.confirm("lease")
            self.confirm("submitted")
            self.log(ev.Submitted("j1", spec, "0", 0.0))

    def tell(self, event: Any) -> list[Any]:
        commands = self.client.handle(event, self.now)
        self.commands += commands
        return commands

    def log(self, *entries: Any) -> None:
        for entry in entries:
            receipt = base.Receipt(LOG_TAG, self.offset)
            self.tell(base.Delivered(LOG_TAG, receipt, wire.encode(entry), self.offset, False))
            self.offset += 1

    def wait(self, secs: float) -> list[Any]:
        self.now += secs
        return self.tell(effects.Tick())

    def published(self, kind: str) -> list[base.Publish]:
        return [
            c for c in self.commands if isinstance(c, base.Publish) and c.token.startswith(f"client/{kind}:")
        ]

    def events(self) -> list[Any]:
        """What it has logged."""
        sent = [c.head for c in self.commands if isinstance(c, base.Publish) and c.to == LOG]
        return [wire.decode(head)[0] for head in sent]

    def confirm(self, kind: str) -> None:
        self.tell(base.Confirmed(self.published(kind)[-1].token))

    def feed(self) -> None:
        """One piece, its split, and the end."""
        self.tell(effects.InputPiece(b"abc"))
        self.tell(effects.InputSplit(SPLIT, inline=True))
        self.tell(effects.InputEnd())


def failed(kind: str = "raised", message: str = "ValueError: no", **more: Any) -> ev.Failed:
    return ev.Failed(Failure(kind, message, **more), 0, 0, 1)


class TestOnlyTheLogIsProof:
    def test_a_failed_job_whose_output_is_gone_tells_its_failure(self) -> None:
        play = Play(None)
        play.tell(base.Gone(OUT_TAG))
        play.wait(1.0)
        assert not play.client.finished
        play.log(SUBMITTED, failed())
        assert isinstance(play.client.error, JobFailed)
        assert play.events() == [ev.Delivered(-1)]

    def test_output_gone_and_no_news_is_a_loss_in_the_end(self) -> None:
        play = Play()
        play.tell(base.Gone(OUT_TAG))
        play.wait(NEWS_SECS - 1)
        assert not play.client.finished
        play.wait(2.0)
        assert play.client.finished and isinstance(play.client.error, JobLost)

    def test_a_new_session_looks_again(self) -> None:
        play = Play()
        play.tell(base.Gone(OUT_TAG))
        play.tell(base.Disconnected("gone"))
        commands = play.tell(effects.Connected())
        assert [c.name for c in commands if isinstance(c, base.Consume)] == [LOG, OUT]
        play.wait(NEWS_SECS + 1)
        assert not play.client.finished

    def test_a_returned_piece_may_mean_that_the_job_has_ended(self) -> None:
        play = Play()
        play.feed()
        play.tell(base.Unroutable(play.published("piece")[0].token))
        assert not play.client.finished
        play.log(failed())
        assert isinstance(play.client.error, JobFailed)

    def test_the_log_gone_is_a_loss_at_once(self) -> None:
        play = Play()
        play.tell(base.Gone(LOG_TAG))
        assert play.client.finished and "lost" in str(play.client.error)

    def test_no_log_at_all_is_no_such_job(self) -> None:
        play = Play(None)
        play.tell(base.Gone(OUT_TAG))
        play.tell(base.Gone(LOG_TAG))
        assert str(play.client.error) == "there is no job j1 on this broker (any more)"

    def test_while_closing_only_the_news_itself_ends_it(self) -> None:
        play = Play()
        play.feed()
        play.log(failed())
        assert play.client.phase is Phase.CLOSING
        play.tell(base.Unroutable(play.published("piece")[0].token))
        assert not play.client.finished
        play.tell(base.Unroutable(play.published("delivered")[0].token))
        assert play.client.finished and isinstance(play.client.error, JobFailed)

    def test_once_the_output_is_here_nothing_that_is_gone_matters(self) -> None:
        play = Play()
        play.wait(60.0)
        play.client.phase = Phase.COLLECTED
        play.tell(base.Unroutable(play.published("event")[-1].token))
        play.tell(base.Gone(LOG_TAG))
        assert not play.client.finished and play.client.error is None


class TestAnAttachedClientNeverEndsTheJob:
    def test_when_it_is_interrupted(self) -> None:
        play = Play(None)
        play.log(SUBMITTED)
        assert play.client.cancel("SIGINT", play.now) == []
        assert play.client.finished and isinstance(play.client.error, Cancelled)
        assert play.events() == []

    def test_when_its_disk_is_full(self) -> None:
        play = Play(None)
        play.log(SUBMITTED)
        assert play.tell(effects.AppendFailed("client/spool:", "no space")) == []
        assert play.client.finished and isinstance(play.client.error, OutputError)

    def test_whoever_submitted_it_does(self) -> None:
        play = Play()
        play.tell(effects.AppendFailed("client/spool:", "no space"))
        assert any(isinstance(event, ev.CancelRequested) for event in play.events())


class TestCancel:
    def play(self) -> Play:
        return Play(None, CancelClient("j1", "/nowhere", "0", random.Random(1)))

    def test_it_asks_once_and_waits_for_the_end(self) -> None:
        play = self.play()
        assert play.events() == [ev.CancelRequested("mr cancel")]
        play.confirm("event")
        play.tell(effects.Connected())
        assert len(play.events()) == 1
        play.log(SUBMITTED, ev.Cancelled("mr cancel"))
        assert play.client.finished and play.client.error is None
        assert len(play.events()) == 1, "the client that submitted it still has to read why it ended"

    def test_a_detached_job_has_nobody_else_to_say_that_its_log_can_go(self) -> None:
        play = self.play()
        play.log(ev.Submitted("j1", DETACHED, "0", 0.0), ev.Cancelled("mr cancel"))
        assert play.events()[-1] == ev.Delivered(-1) and not play.client.finished
        play.confirm("delivered")
        assert play.client.finished and play.client.error is None

    @pytest.mark.parametrize("end", [failed(), ev.Abandoned("idle")])
    def test_what_is_over_already_is_left_to_be_fetched(self, end: Any) -> None:
        play = self.play()
        play.log(SUBMITTED, end)
        assert play.client.finished and "over already" in str(play.client.error)
        assert len(play.events()) == 1

    def test_no_such_job(self) -> None:
        play = self.play()
        play.tell(base.Unroutable(play.published("event")[0].token))
        assert "there is no job j1" in str(play.client.error)

    def test_nobody_answers(self) -> None:
        play = self.play()
        play.log(SUBMITTED)
        play.wait(CONFIRM_CANCEL_SECS + 1)
        assert play.client.finished and "no worker coordinates it" in str(play.client.error)


class TestDetached:
    def test_it_leaves_when_nothing_at_all_is_unconfirmed(self) -> None:
        play = Play(DETACHED)
        play.confirm("lease")
        play.feed()
        play.confirm("splits")
        play.confirm("input")
        assert not play.client.finished, "a piece may still be lost"
        for piece in play.published("piece"):
            play.tell(base.Confirmed(piece.token))
        assert play.client.finished and play.client.detached

    def test_it_does_not_read_the_output(self) -> None:
        play = Play(DETACHED)
        assert [c.name for c in play.commands if isinstance(c, base.Consume)] == [LOG]


class TestLeases:
    def test_a_lease_that_nobody_renews_is_sent_again(self) -> None:
        play = Play()
        play.log(ev.Took(ev.Rank(3, 1), "w"))
        assert not any(isinstance(c, base.Publish) and c.to == ev.JOBS for c in play.wait(LEASE_LOST_SECS))
        sent = [c for c in play.wait(1.0) if isinstance(c, base.Publish) and c.to == ev.JOBS]
        assert [wire.decode(c.head)[0].rank.renewals for c in sent] == [4]
        assert not any(isinstance(c, base.Publish) and c.to == ev.JOBS for c in play.wait(1.0))

    def test_took_is_a_sign_of_life(self) -> None:
        play = Play()
        play.now += LEASE_LOST_SECS
        play.log(ev.Took(ev.Rank(3, 1), "w"))
        play.wait(LEASE_LOST_SECS)
        assert len(play.published("lease")) == 2, "those of the submission"

    def test_one_that_is_sent_again_after_a_lost_connection_has_a_rank_of_its_own(self) -> None:
        play = Play()
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        first, again = (wire.decode(each.head)[0] for each in play.published("lease")[-2:])
        assert first.rank.renewals == again.rank.renewals == 1
        assert first.rank != again.rank
        play.confirm("lease")
        assert not any("lease" in c.token for c in play.tell(effects.Connected()) if hasattr(c, "token"))


def test_splits_events_are_bounded_by_bytes() -> None:
    play = Play()
    segment = Segment("n" * 200, "p" * 200, 0, 1, 0, True)
    for _ in range(100):
        play.tell(effects.InputSplit(Split((segment,) * 256), inline=False))
    play.tell(effects.InputEnd())
    batches = [event for event in play.events() if isinstance(event, ev.Splits)]
    assert sum(len(batch.splits) for batch in batches) == 100
    assert [batch.first for batch in batches[1:]] == [
        batch.first + len(batch.splits) for batch in batches[:-1]
    ]
    assert max(len(each.head) for each in play.published("splits")) < SPLIT_BYTES_PER_EVENT + 1000


def test_a_short_patience_is_met_with_frequent_signs_of_life() -> None:
    play = Play(JobSpec("j", {}, {}, 1, 2, client_timeout_secs=8.0))
    play.wait(2.0)
    assert play.events()[-1] == ev.Present()


class TestDescribeFailure:
    def error(self, failure: ev.Failed) -> Any:
        play = Play()
        play.log(ev.Splits(0, (ev.SplitInput(SPLIT),)), failure)
        return play.client.error

    def test_input_that_is_bad_is_an_input_error(self) -> None:
        error = self.error(failed("input", "not UTF-8", source="data.txt", offset=93))
        assert isinstance(error, InputError) and "data.txt, byte 93" in str(error)

    def test_the_function_is_named_once_and_the_split_where_no_record_is_known(self) -> None:
        text = str(self.error(failed("value", "object cannot be encoded, made by map m", function="map m")))
        assert text.count("map m") == 1
        assert "data.txt, bytes 90 to 100" in text

    def test_a_function_that_the_message_does_not_name(self) -> None:
        assert "ValueError: no in map m" in str(self.error(failed(function="map m")))


class TestWaitNotice:
    """What a waiting user is told."""

    def said(self, play: Play, secs: float = PATIENCE_SECS + 1) -> str:
        notice = WaitNotice(play.client)
        notice.handle(effects.Tick(), play.now)
        reports = notice.handle(effects.Tick(), play.now + secs)
        return "".join(each.text for each in reports if isinstance(each, effects.Report))

    def play(self) -> Play:
        play = Play()
        play.log(ev.Took(ev.Rank(1, 1), "w"), ev.Splits(0, (ev.SplitInput(SPLIT),) * 2))
        return play

    def test_nobody_has_taken_it(self) -> None:
        assert "no worker has taken it" in self.said(Play())

    def test_nobody_has_started_a_task(self) -> None:
        play = self.play()
        play.log(ev.Dispatched((ev.DispatchRef(1, 0, 0),)))
        assert "no worker with interpreter" in self.said(play) or "any interpreter" in self.said(play)

    def test_workers_that_were_there_are_busy(self) -> None:
        play = self.play()
        play.log(ev.Dispatched((ev.DispatchRef(1, 0, 0), ev.DispatchRef(2, 0, 1))))
        play.log(ev.Started(1, 0, 0, 0, 7, "w", 0), ev.Done(1, 0, 0, 0, 7, "w", {}, {}, {}))
        assert "all workers are busy" in self.said(play)

    def test_a_silent_coordinator(self) -> None:
        play = self.play()
        assert self.said(play) == ""
        play.now += SILENCE_SECS + 1
        assert "its coordinator is silent" in self.said(play)
