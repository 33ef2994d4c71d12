"""The client, event by event: what it takes for proof, when it leaves, what it sends again."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Optional

import pytest

from mapreduce import effects, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.client import CancelClient, Client, Collected, Phase, ResumingClient, WatchingClient
from mapreduce.client.cancel import CONFIRM_CANCEL_SECS
from mapreduce.client.declaring import AT_A_TIME
from mapreduce.client.feeding import SPLIT_BYTES_PER_EVENT
from mapreduce.client.reading import STANDSTILL_SECS
from mapreduce.client.role import CANCEL_SECS, NEWS_SECS, OUT_TAG
from mapreduce.client.sent import Sent
from mapreduce.client.silence import ASK_SECS, SILENT_SECS
from mapreduce.errors import Cancelled, InputError, JobFailed, JobLost, OutputError
from mapreduce.progress import ANSWER_SECS, PATIENCE_SECS, SILENCE_SECS, WaitNotice
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import PRESENT_EVERY_SECS, JobSpec
from mapreduce.views import JobView, OutputView
from tests.coordinating import Bench

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
            receipt = base.Receipt(self.log_tag, self.offset)
            self.tell(base.Delivered(self.log_tag, receipt, wire.encode(entry), self.offset, False))
            self.offset += 1

    def out(self, *messages: Any) -> None:
        """What is on `out` from its start."""
        for offset, msg in enumerate(messages):
            receipt = base.Receipt(OUT_TAG, offset)
            self.tell(base.Delivered(OUT_TAG, receipt, wire.encode(msg), offset, False))

    @property
    def log_tag(self) -> str:
        """Of the reading of the log that is under way."""
        return next(c.tag for c in reversed(self.commands) if isinstance(c, base.Consume) and c.name == LOG)

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
        self.tell(effects.InputSplit(SPLIT))
        self.tell(effects.InputEnd())


def failed(kind: str = "raised", message: str = "ValueError: no", **more: Any) -> ev.Failed:
    return ev.Failed(Failure(kind, message, **more), 0, 0, 1)


class TestTakenBack:
    """Ctrl-C while the job is on its way to the broker."""

    WIDE = JobSpec("j", {}, {}, 2, 3 * AT_A_TIME)

    def begin(self) -> Play:
        play = Play(self.WIDE, Client("j1", self.WIDE, "/nowhere", "0", random.Random(1), 0.0))
        play.confirm("lease")
        return play

    def declared(self, play: Play) -> list[str]:
        return [c.name for c in play.commands if isinstance(c, base.Declare) and c.name != ev.JOBS]

    def test_streams_are_declared_so_many_at_a_time_and_the_job_comes_last(self) -> None:
        play = self.begin()
        names = [LOG, *ev.data_streams("j1", 2, 3 * AT_A_TIME)]
        for count in (AT_A_TIME, 2 * AT_A_TIME, 3 * AT_A_TIME, len(names)):
            assert self.declared(play) == names[:count]
            assert bool(play.events()) == (count == len(names))
            for name in names[count - AT_A_TIME : count]:
                play.tell(base.Declared(name))
        assert [type(each) for each in play.events()] == [ev.Submitted]

    def test_no_more_is_declared_and_a_worker_is_told_to_remove_what_is(self) -> None:
        play = self.begin()
        play.client.cancel("SIGINT", play.now)
        sent = play.tell(base.Declared(self.declared(play)[-1]))
        assert not sent, "no more is declared"
        assert isinstance(play.client.error, Cancelled) and not play.client.finished

    def test_the_lease_comes_after_the_end_is_in_the_log(self) -> None:
        play = self.begin()
        play.commands += play.client.cancel("SIGINT", play.now)
        assert play.client.cancel("SIGINT", play.now) == [], "said once"
        assert play.events() == [ev.Cancelled("SIGINT"), ev.Delivered(-1)]
        assert len(play.published("lease")) == 1
        play.confirm("event")
        play.confirm("taken_back")
        assert [wire.decode(each.head)[0].rank.renewals for each in play.published("lease")] == [0, 1]
        assert not play.client.finished
        play.confirm("lease")
        assert play.client.finished

    def test_before_anything_is_declared_there_is_nothing_to_say(self) -> None:
        play = Play(self.WIDE, Client("j1", self.WIDE, "/nowhere", "0", random.Random(1), 0.0))
        assert play.client.cancel("SIGINT", play.now) == [] and play.client.finished

    @pytest.mark.parametrize("how", ["disconnected", "silent"])
    def test_a_broker_that_goes_away_meanwhile_keeps_nobody(self, how: str) -> None:
        play = self.begin()
        play.client.cancel("SIGINT", play.now)
        if how == "silent":
            play.wait(CANCEL_SECS + 1)
        else:
            play.tell(base.Disconnected("gone"))
        assert play.client.finished

    @pytest.mark.parametrize("first", ["lease", "taken_back"])
    def test_what_an_earlier_session_has_declared_is_taken_back_too(self, first: str) -> None:
        play = self.begin()
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        play.commands += play.client.cancel("SIGINT", play.now)
        assert play.events() == [ev.Cancelled("SIGINT"), ev.Delivered(-1)]
        for kind in sorted(("lease", "taken_back"), key=lambda kind: kind != first):
            token = play.published(kind)[1 if kind == "lease" else 0].token  # that of this session
            play.tell(base.Confirmed(token))
            assert not play.client.finished
        last = wire.decode(play.published("lease")[-1].head)[0]
        assert last.rank.renewals == 1
        play.confirm("lease")
        assert play.client.finished

    def test_a_log_that_was_never_declared_needs_no_such_word(self) -> None:
        play = self.begin()
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        play.commands += play.client.cancel("SIGINT", play.now)
        play.tell(base.Unroutable(play.published("event")[-1].token))
        assert play.client.finished and isinstance(play.client.error, Cancelled)

    def test_who_takes_that_lease_removes_all(self) -> None:
        bench = Bench((ev.Cancelled("SIGINT"), ev.Delivered(-1)), submitted=False)
        bench.wait(2.0)
        deleted = {each.name for each in bench.said if isinstance(each, base.Delete)}
        assert deleted == {ev.log_stream("job"), *ev.data_streams("job", 2, 2)}


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
        play.tell(base.Gone(play.log_tag))
        assert play.client.finished and "lost" in str(play.client.error)

    def test_no_log_at_all_is_no_such_job(self) -> None:
        play = Play(None)
        play.tell(base.Gone(OUT_TAG))
        play.tell(base.Gone(play.log_tag))
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
        play.tell(base.Gone(play.log_tag))
        assert not play.client.finished and play.client.error is None


class TestTheOutputOnceItIsHere:
    """It is what it was when its seal was read, whatever is logged and written afterwards."""

    def done(self, attempt: int) -> ev.Done:
        return ev.Done(attempt, 0, 0, 0, attempt, "w", {0: 1}, {"words": 3}, {"records_in": 5})

    def play(self, *later: Any) -> Play:
        play = Play()
        play.log(
            ev.Splits(0, (ev.SplitInput(SPLIT),)), ev.InputComplete(1), self.done(7), ev.StageSealed(1, 0)
        )
        play.out(ev.BlockHead(0, 7, 0, 2, 0, ""), ev.Seal(0, 0, 1, (ev.SealEntry(0, 7, 1),)))
        assert play.client.phase is Phase.COLLECTED
        return play

    def test_what_comes_with_the_news_of_an_attempt_is_taken_once_its_attempt_is_sealed(self) -> None:
        def done(attempt: int) -> ev.Done:
            output = (ev.Carried(0, 2, 0, "", b"ab"), ev.Carried(1, 3, 0, "", b"cde"))
            return replace(self.done(attempt), blocks={0: 3}, output=output)

        play = Play()
        play.log(ev.Splits(0, (ev.SplitInput(SPLIT),)), ev.InputComplete(1), done(7), done(8), done(7))
        play.out(ev.BlockHead(0, 7, 2, 4, 0, ""))
        play.log(ev.StageSealed(1, 0))
        play.out(ev.Seal(0, 0, 1, (ev.SealEntry(0, 7, 3),)))
        assert play.client.phase is Phase.COLLECTED and play.client.collected is not None
        ((_, blocks),) = play.client.collected.parts
        assert [(block.records, block.offset, block.length) for block in blocks[:2]] == [(2, 0, 2), (3, 2, 3)]
        assert [block.records for block in blocks] == [2, 3, 4]

    def test_what_is_missed_later_takes_nothing_of_it_away(self) -> None:
        play = self.play()
        play.log(ev.Missing(0, 1, 0, 0, (7,)))
        collected = play.client.collected
        assert collected is not None and play.client.phase is Phase.COLLECTED
        ((part, blocks),) = collected.parts
        assert part == 0 and [block.records for block in blocks] == [2]
        assert (collected.generation, collected.tasks, collected.counters) == (0, 1, {"words": 3})
        assert collected.stats["records_in"] == [5]
        play.client.deliver()
        assert isinstance(play.client.collected, Collected)

    def test_then_nobody_has_to_write_it_again(self) -> None:
        play = self.play()
        play.log(ev.Missing(0, 1, 0, 0, (7,)))
        delivered = [wire.decode(c.head)[0] for c in play.client.deliver() if isinstance(c, base.Publish)]
        assert delivered == [ev.CancelRequested("its output was delivered"), ev.Delivered(0)]

    def test_how_the_job_ends_matters_no_more(self) -> None:
        play = self.play()
        play.log(failed())
        assert play.client.phase is Phase.COLLECTED and play.client.error is None
        (delivered,) = play.client.deliver()
        assert isinstance(delivered, base.Publish) and wire.decode(delivered.head)[0] == ev.Delivered(0)

    def test_unless_it_could_not_be_written(self) -> None:
        play = self.play()
        play.client.cancel("its client failed", play.now)
        play.log(ev.Cancelled("its client failed"))
        assert play.client.phase is Phase.CLOSING and play.events()[-1] == ev.Delivered(-1)

    def test_a_new_session_reads_all_of_it_again(self) -> None:
        play = Play()
        play.log(
            ev.Splits(0, (ev.SplitInput(SPLIT),)), ev.InputComplete(1), self.done(7), ev.StageSealed(1, 0)
        )
        play.out(ev.BlockHead(0, 7, 0, 2, 0, ""))
        play.tell(base.Disconnected("the broker lost its data"))
        consumers = [c for c in play.tell(effects.Connected()) if isinstance(c, base.Consume)]
        assert [(c.name, c.offset) for c in consumers] == [(LOG, "first"), (OUT, "first")]
        play.offset = 0
        play.log(SUBMITTED, ev.Splits(0, (ev.SplitInput(SPLIT),)), ev.InputComplete(1), self.done(7))
        play.log(ev.StageSealed(1, 0))
        play.out(ev.Seal(0, 0, 1, (ev.SealEntry(0, 7, 1),)))  # where the block was
        assert play.client.phase is Phase.COLLECTED


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


class TestWhoWatches:
    """`mr attach`."""

    def play(self) -> Play:
        return Play(None, WatchingClient("j1", "/nowhere", "0", random.Random(1)))

    def reads_output(self, play: Play) -> bool:
        return any(isinstance(c, base.Consume) and c.name == OUT for c in play.commands)

    def ready(self) -> list[Any]:
        done = ev.Done(1, 0, 0, 0, 1, "w", {})
        splits = ev.Splits(0, (ev.SplitInput(SPLIT),))
        return [splits, ev.InputComplete(1), ev.Started(1, 0, 0, 0, 1, "w"), done, ev.StageSealed(1, 0)]

    def test_takes_nothing_from_a_job_with_a_client_and_does_not_keep_it_alive(self) -> None:
        play = self.play()
        play.log(SUBMITTED, *self.ready())
        play.wait(10 * PRESENT_EVERY_SECS)
        assert not play.client.finished and not self.reads_output(play) and play.events() == []
        play.log(SUBMITTED, *self.ready(), ev.Delivered(0))  # it reads from the start now and then
        assert play.client.finished and play.client.error is None and play.client.collected is None
        assert play.events() == []

    @pytest.mark.parametrize("detached", [False, True])
    def test_keeps_what_comes_with_news_of_an_attempt_only_if_it_is_for_us(self, detached: bool) -> None:
        play = self.play()
        play.log(replace(SUBMITTED, spec=replace(SUBMITTED.spec, detached=detached)))
        play.log(ev.Done(1, 0, 0, 0, 1, "w", {0: 1}, output=(ev.Carried(0, 1, 0, "", b"a"),)))
        assert any(isinstance(command, effects.Append) for command in play.commands) == detached

    def test_takes_the_output_of_a_detached_job(self) -> None:
        play = self.play()
        assert not self.reads_output(play)
        play.log(ev.Submitted("j1", DETACHED, "0", 0.0), *self.ready())
        assert self.reads_output(play)
        play.out(ev.Seal(0, 0, 1, ()))
        assert play.client.phase is Phase.COLLECTED
        play.tell(effects.Connected())
        play.wait(2 * PRESENT_EVERY_SECS)
        assert ev.Present() in play.events()

    def test_ends_with_the_job_and_says_nothing_of_it(self) -> None:
        for terminal, kind in (
            (failed(), JobFailed),
            (ev.Cancelled("x"), Cancelled),
            (ev.Abandoned("x"), JobLost),
        ):
            play = self.play()
            play.log(SUBMITTED, terminal)
            for mark in [each for each in play.events() if isinstance(each, ev.Marked)]:
                play.log(mark)
            assert play.client.finished and isinstance(play.client.error, kind)
            assert not [each for each in play.events() if isinstance(each, ev.Delivered)]

    def test_says_its_mark_again_until_it_comes_back(self) -> None:
        play = self.play()
        kept = replace(SPEC, keep_secs=100.0)
        play.log(ev.Submitted("j1", kept, "0", 0.0), failed())
        [mark] = play.events()
        play.wait(PRESENT_EVERY_SECS + 1)
        assert play.events() == [mark, mark] and isinstance(mark, ev.Marked)
        play.log(mark)
        assert play.client.finished and isinstance(play.client.error, JobFailed)

    def test_a_log_that_goes_once_the_output_is_ready_is_one_that_was_delivered(self) -> None:
        for entries, lost in (([SUBMITTED, *self.ready()], False), ([SUBMITTED], True), ([], True)):
            play = self.play()
            play.log(*entries)
            play.tell(base.Gone(play.log_tag))
            assert play.client.finished and isinstance(play.client.error, JobLost) is lost


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
    def leases(self, commands: list[Any]) -> list[base.Publish]:
        return [c for c in commands if isinstance(c, base.Publish) and c.to == ev.JOBS]

    def ask(self, play: Play, consumers: int) -> list[base.Publish]:
        """Let the client ask for workers, and tell it how many there are."""
        asked = [c for c in play.wait(ASK_SECS + 1) if isinstance(c, base.Inspect)]
        return self.leases(play.tell(base.Depth(ev.JOBS, 0, consumers))) if asked else []

    def test_after_a_long_silence_a_lease_is_sent_again_if_anybody_could_take_it(self) -> None:
        play = Play()
        play.log(ev.Took(ev.Rank(3, 1), "w"), ev.Passed(50.0))
        assert self.ask(play, 1) == []
        play.now += SILENT_SECS
        assert self.ask(play, 0) == [], "it would lie beside the first one"
        (lease,) = self.ask(play, 2)
        assert (wire.decode(lease.head)[0].rank.renewals, wire.decode(lease.head)[0].takeovers) == (4, 1)
        assert self.ask(play, 2) == [], "not again for as long"

    @pytest.mark.parametrize("sign", [ev.Took(ev.Rank(3, 1), "w"), ev.Passed(50.0), ev.StageSealed(1, 0)])
    def test_what_a_coordinator_logs_is_a_sign_of_life(self, sign: Any) -> None:
        play = Play()
        play.log(ev.Passed(1.0))
        play.now += SILENT_SECS
        play.log(sign)
        assert self.ask(play, 1) == []

    def test_one_that_comes_back_is_sent_to_a_queue_that_is_declared_anew(self) -> None:
        play = Play()
        play.tell(base.Unroutable(play.published("lease")[-1].token))
        assert not play.client.finished
        declare, lease = play.wait(0.25)[:2]
        assert declare == base.Declare(ev.JOBS, base.Kind.QUEUE) and isinstance(lease, base.Publish)
        assert wire.decode(lease.head)[0].rank.renewals == 2
        assert not self.leases(play.wait(0.25))

    def test_also_while_it_submits(self) -> None:
        play = Play(client=Client("j1", SPEC, "/nowhere", "0", random.Random(1), 0.0))
        play.tell(base.Unroutable(play.published("lease")[0].token))
        assert not play.client.finished and self.leases(play.wait(0.25))

    def test_nothing_is_declared_before_the_lease_that_owns_it_is_confirmed(self) -> None:
        play = Play(client=Client("j1", SPEC, "/nowhere", "0", random.Random(1), 0.0))
        assert [c.name for c in play.commands if isinstance(c, base.Declare)] == [ev.JOBS]
        play.confirm("lease")
        declared = [c.name for c in play.commands if isinstance(c, base.Declare)]
        assert declared[1:] == [LOG, *ev.data_streams("j1", SPEC.stages, SPEC.partitions)]
        assert isinstance(play.events()[0], ev.Submitted)

    def test_one_that_is_sent_again_after_a_lost_connection_outranks_the_one_before(self) -> None:
        play = Play()
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        first, again = (wire.decode(each.head)[0] for each in play.published("lease")[-2:])
        assert first.rank.renewals == 1 and again.rank.renewals == 2
        assert (first.takeovers, again.takeovers) == (0, 1), "its holder relies on none that outranks it"
        play.confirm("lease")
        assert not any("lease" in c.token for c in play.tell(effects.Connected()) if hasattr(c, "token"))

    @staticmethod
    def at_its_end() -> Play:
        """All is said but its lease."""
        play = Play()
        play.log(ev.Cancelled("its client wants it to end"))
        play.confirm("delivered")
        return play

    def test_it_does_not_leave_before_its_lease_is_confirmed(self) -> None:
        play = self.at_its_end()
        assert not play.client.finished, "a broker that restarts now may lose what owns the log"
        play.confirm("lease")
        assert play.client.finished

    def test_one_that_comes_back_when_all_else_is_said_is_sent_again_before_it_leaves(self) -> None:
        play = self.at_its_end()
        play.tell(base.Unroutable(play.published("lease")[-1].token))
        assert not play.client.finished and self.leases(play.wait(0.25))
        play.confirm("lease")
        assert play.client.finished

    def test_one_that_came_back_before_the_end_is_waited_for(self) -> None:
        play = Play()
        play.tell(base.Unroutable(play.published("lease")[-1].token))
        play.log(ev.Cancelled("its client wants it to end"))
        play.confirm("delivered")
        assert not play.client.finished, "nobody has a lease"
        assert self.leases(play.wait(0.25))
        play.confirm("lease")
        assert play.client.finished

    def test_one_that_the_broker_refuses_when_all_else_is_said_is_not_waited_for(self) -> None:
        play = self.at_its_end()
        play.tell(base.Unroutable(play.published("lease")[-1].token, "too large"))
        assert play.client.finished


def test_splits_events_are_bounded_by_bytes() -> None:
    play = Play()
    segment = Segment("n" * 200, "p" * 200, 0, 1, 0, True)
    for _ in range(100):
        play.tell(effects.InputSplits((ev.SplitInput(Split((segment,) * 256)),)))
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


@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize(
    "secs", [PRESENT_EVERY_SECS, STANDSTILL_SECS + 1]
)  # then it reads the log again, too
def test_who_only_waits_keeps_no_job_alive_that_nobody_feeds(fed: bool, secs: float) -> None:
    play = Play(None)
    play.log(SUBMITTED, ev.Splits(0, (ev.SplitInput(SPLIT),)))
    if fed:
        play.log(ev.InputComplete(1))
    play.wait(secs)
    assert (ev.Present() in play.events()) == fed


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
        play.log(ev.Started(1, 0, 0, 0, 7, "w"), ev.Done(1, 0, 0, 0, 7, "w", {}, {}, {}))
        assert "all workers are busy" in self.said(play)

    def test_a_work_queue_that_the_broker_cannot_use_is_named_once_and_so_is_its_return(self) -> None:
        play = self.play()
        notice, asked = WaitNotice(play.client), 0
        notice.handle(effects.Connected(), play.now)
        said: list[str] = []

        def wait(secs: float) -> None:
            nonlocal asked
            for _ in range(int(secs)):
                play.now += 1.0
                play.log(ev.Passed(play.now))  # its coordinator is there
                commands = notice.handle(effects.Tick(), play.now)
                said.extend(each.text for each in commands if isinstance(each, effects.Report))
                asked += commands.count(base.Inspect("mr.1.work.default.any"))

        wait(PATIENCE_SECS + 1)
        assert asked == 1, "it is asked for when nothing has run for long"
        notice.handle(base.Depth("mr.1.work.default.any", 0, 1), play.now)
        wait(60)
        assert asked == 2 and said == [said[0]] and "the queue mr.1.work.default.any" in said[0]
        notice.handle(base.Depth("mr.1.work.default.any", 0, 1), play.now)
        wait(1)
        assert said[1:] == ["job j1 goes on"]

    def test_a_lost_session_answers_for_no_queue_and_between_two_nobody_is_asked(self) -> None:
        play = self.play()
        notice = WaitNotice(play.client)

        def ticks(secs: float) -> list[Any]:
            commands = []
            for _ in range(int(secs)):
                play.now += 1.0
                play.log(ev.Passed(play.now))
                commands += notice.handle(effects.Tick(), play.now)
            return commands

        ask, told_at_once = base.Inspect("mr.1.work.default.any"), []
        notice.handle(effects.Connected(), play.now)
        assert ticks(PATIENCE_SECS + ANSWER_SECS - 1).count(ask) == 1
        notice.handle(base.Disconnected("gone"), play.now)
        told_at_once += ticks(2 * ANSWER_SECS)
        assert ask not in told_at_once, "there is no session to answer on"
        notice.handle(effects.Connected(), play.now)
        told_at_once += ticks(1)
        assert told_at_once.count(ask) == 1
        notice.handle(base.Depth(ask.name, 0, 1), play.now)
        told_at_once += ticks(ANSWER_SECS)
        assert not any(
            "does not answer" in each.text for each in told_at_once if isinstance(each, effects.Report)
        )

    def test_a_silent_coordinator(self) -> None:
        play = self.play()
        assert self.said(play) == ""
        play.now += SILENCE_SECS + 1
        assert "its coordinator is silent" in self.said(play)


class TestBrokersThatLoseWhatTheyConfirmed:
    """The log is read again, and said again is what the client alone knows."""

    def consumed(self, commands: list[Any]) -> list[base.Consume]:
        return [c for c in commands if isinstance(c, base.Consume)]

    def test_a_new_session_reads_the_log_from_its_start_into_a_new_fold(self) -> None:
        play = Play()
        play.log(ev.Splits(0, (ev.SplitInput(SPLIT),) * 3))
        play.tell(base.Disconnected("gone"))
        log, _ = self.consumed(play.tell(effects.Connected()))
        assert (log.name, log.offset) == (LOG, "first")
        play.offset = 0
        play.log(SUBMITTED, ev.Splits(0, (ev.SplitInput(SPLIT),) * 2))
        assert len(play.client.state.splits) == 2, "what the broker has, not what it had"

    def test_deliveries_of_an_earlier_reading_mean_nothing(self) -> None:
        play = Play()
        old = play.log_tag
        play.wait(STANDSTILL_SECS + 1)
        late = base.Delivered(old, base.Receipt(old, 9), wire.encode(failed()), 9, False)
        assert play.tell(late) == [base.Ack(late.receipt)]
        assert play.client.error is None

    def test_a_standstill_is_looked_into_less_and_less_often(self) -> None:
        play = Play()
        readings = [play.now for _ in range(1200) if self.consumed(play.wait(1.0))]
        gaps = [after - before for before, after in zip(readings, readings[1:])]
        assert len(readings) >= 3 and gaps == sorted(gaps) and gaps[0] > STANDSTILL_SECS

    def test_time_that_passes_and_what_is_for_viewers_is_no_news(self) -> None:
        play = Play()
        for _ in range(4):
            play.now += STANDSTILL_SECS / 4
            play.log(ev.Passed(15.0), ev.Present(), ev.Marked(1))
            play.log(ev.Printed(0, 0, 1, "w", "hello"), ev.Profiled(0, 0, 1, "w", 1, {}))
        assert self.consumed(play.wait(1.0))

    def test_the_output_is_read_again_if_only_its_seal_is_waited_for(self) -> None:
        play = Play()
        play.log(ev.InputComplete(0), ev.StageSealed(1, 0))
        assert play.client.state.ready
        assert [c.name for c in self.consumed(play.wait(STANDSTILL_SECS + 1))] == [LOG, OUT]

    def test_what_only_the_client_knows_is_said_with_each_sign_of_life(self) -> None:
        play = Play()
        play.feed()
        play.confirm("splits")
        play.confirm("input")
        before = len(play.events())
        play.wait(PRESENT_EVERY_SECS)
        assert play.events()[before:] == [ev.Present(), ev.InputComplete(1)]
        pieces = [wire.decode(each.head)[0] for each in play.published("piece")]
        assert pieces == [ev.Piece(0), ev.EndOfInput(1), ev.EndOfInput(1)], "who reads `in` waits for its end"
        play.client.cancel("SIGINT", play.now)
        before = len(play.events())
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        assert ev.CancelRequested("SIGINT") in play.events()[before:]

    def test_blocks_that_are_missing_are_named_again(self) -> None:
        play = Play()
        play.log(ev.InputComplete(0), ev.StageSealed(1, 0))
        seal = wire.encode(ev.Seal(0, 0, 1, (ev.SealEntry(0, 7, 1),)))
        play.tell(base.Delivered(OUT_TAG, base.Receipt(OUT_TAG, 0), seal, 0, False))
        missing = ev.Missing(0, 1, 0, 0, (7,))
        assert play.events()[-1] == missing
        play.wait(PRESENT_EVERY_SECS)
        assert play.events().count(missing) == 2


def test_an_alarm_is_told_once_with_its_reason_and_so_is_its_end() -> None:
    play = Play()
    events = [base.Blocked("low on memory"), base.Blocked("low on disk"), base.Unblocked(), base.Unblocked()]
    said = [c.text for event in events for c in play.tell(event) if isinstance(c, effects.Report)]
    assert len(said) == 2 and "low on memory" in said[0]


def test_a_message_that_the_broker_refuses_ends_the_job_with_its_reason() -> None:
    play = Play()
    play.feed()
    play.tell(base.Unroutable(play.published("piece")[0].token, "message size 99 is larger than 9"))
    assert "message size 99" in str(play.client.error)
    assert any(isinstance(event, ev.CancelRequested) for event in play.events())


def test_a_split_that_is_too_large_to_be_named_ends_the_job_and_says_so() -> None:
    play = Play()
    segment = Segment("n", "p", 0, 1, 0, True, header=("column" * 10_000,))
    play.tell(effects.InputSplits((ev.SplitInput(Split((segment,) * 256)),)))
    (splits,) = play.published("splits")
    assert len(splits.head) > SPLIT_BYTES_PER_EVENT, "one split goes alone, however large"
    play.tell(base.Unroutable(splits.token, "a message of 15.0 MiB is more than the broker takes"))
    assert isinstance(play.client.error, JobLost)
    text = str(play.client.error)
    assert "15.0 MiB" in text and "make --split-size smaller" in text
    assert ev.CancelRequested(text) in play.events()
    play.tell(base.Disconnected("gone"))
    again = play.tell(effects.Connected())
    assert not any(isinstance(c, base.Publish) and c.token == splits.token for c in again), (
        "it is not sent again"
    )


class TestResume:
    """A client that goes on with a job whose first client died."""

    def play(self, *log: Any) -> Play:
        play = Play(None, ResumingClient("j1", "/nowhere", "0", random.Random(1)))
        play.log(*log)
        return play

    def said(self, play: Play, claims: bool) -> list[ev.Resumed]:
        return [event for event in play.events() if isinstance(event, ev.Resumed) and event.claims == claims]

    def mark(self, play: Play) -> ResumingClient:
        """Let it read its mark, and so know the log up to there."""
        play.log(self.said(play, claims=False)[0])
        assert isinstance(play.client, ResumingClient)
        return play.client

    def own(self, play: Play) -> ev.Resumed:
        """Its claim, once it has made it."""
        client = self.mark(play)
        if client.looked:
            play.commands += client.claim()
        return self.said(play, claims=True)[0]

    def inline(self, first: int, pieces: int) -> ev.SplitInput:
        return ev.SplitInput(SPLIT, first, pieces)

    def test_it_goes_on_behind_what_is_logged(self) -> None:
        play = self.play(
            SUBMITTED, ev.Splits(0, (self.inline(0, 3), ev.SplitInput(SPLIT, 3, 0), self.inline(3, 2)))
        )
        client = self.mark(play)
        assert client.looked and client.attached and not self.said(play, claims=True)
        play.log(self.own(play))
        assert client.lacks_input and client.fed == 3 and not client.attached
        assert [c for c in client.feed() if isinstance(c, effects.ReadInput)]
        play.feed()
        pieces = [wire.decode(c.head)[0] for c in play.published("piece")]
        assert pieces == [ev.Piece(5), ev.EndOfInput(6)]
        splits = [event for event in play.events() if isinstance(event, ev.Splits)]
        assert [(event.first, event.splits[0].first_piece) for event in splits] == [(3, 5)]
        assert play.events()[-1] == ev.InputComplete(4)

    def test_behind_a_gap_nothing_counts(self) -> None:
        play = self.play(SUBMITTED, ev.Splits(0, (self.inline(0, 3),)), ev.Splits(2, (self.inline(5, 1),)))
        play.log(self.own(play))
        assert isinstance(play.client, ResumingClient) and play.client.fed == 1

    def test_input_that_is_all_in_needs_nothing(self) -> None:
        play = self.play(SUBMITTED, ev.Splits(0, (self.inline(0, 3),)), ev.InputComplete(1))
        play.log(self.own(play))
        assert isinstance(play.client, ResumingClient) and not play.client.lacks_input
        assert play.client.phase is Phase.WAITING
        play.wait(PRESENT_EVERY_SECS)
        assert [wire.decode(each.head)[0] for each in play.published("piece")] == [ev.EndOfInput(3)]
        assert play.events()[-1] == ev.InputComplete(1)

    def test_of_input_with_a_gap_it_does_not_say_where_it_ends(self) -> None:
        play = self.play(SUBMITTED, ev.Splits(1, (self.inline(3, 1),)), ev.InputComplete(2))
        play.log(self.own(play))
        play.wait(PRESENT_EVERY_SECS)
        assert not play.published("piece")
        assert not any(isinstance(event, ev.InputComplete) for event in play.events())

    def test_a_detached_job_whose_input_is_in_is_left_alone(self) -> None:
        play = self.play(ev.Submitted("j1", DETACHED, "0", 0.0), ev.InputComplete(0))
        play.log(self.own(play))
        for each in play.published("event"):
            play.tell(base.Confirmed(each.token))
        assert play.client.detached and play.client.finished

    @pytest.mark.parametrize(
        ("end", "error"),
        [(failed(), JobFailed), (ev.Abandoned("idle"), JobLost), (ev.Cancelled("no"), Cancelled)],
    )
    def test_a_job_that_is_over_tells_how(self, end: Any, error: type) -> None:
        play = self.play(SUBMITTED, end)
        assert isinstance(play.client.error, error)

    def test_there_is_no_such_job(self) -> None:
        play = self.play()
        play.tell(base.Gone(play.log_tag))
        assert "there is no job j1" in str(play.client.error)

    def test_a_job_that_never_was_submitted(self) -> None:
        play = self.play()
        self.mark(play)
        assert play.client.finished and "never submitted" in str(play.client.error)

    def test_of_two_the_later_one_goes_on(self) -> None:
        play = self.play(SUBMITTED, ev.Resumed(1))
        assert not play.client.finished, "that one died before us"
        play.log(self.own(play))
        assert not play.client.finished
        play.log(ev.Resumed(2))
        assert play.client.finished and "another client" in str(play.client.error)
        assert not any(isinstance(event, ev.CancelRequested) for event in play.events())

    def test_input_that_came_in_while_it_looked_needs_nothing(self) -> None:
        play = self.play(SUBMITTED)
        own = self.own(play)
        play.log(ev.InputComplete(0), own)
        assert isinstance(play.client, ResumingClient) and not play.client.lacks_input
        assert play.client.phase is Phase.WAITING

    def test_who_only_looks_drives_nobody_out(self) -> None:
        play = Play()
        play.log(ev.Resumed(1, claims=False))
        assert not play.client.finished

    def test_the_first_client_leaves_too_if_it_lives_after_all(self) -> None:
        play = Play()
        play.log(ev.Resumed(1))
        assert play.client.finished and isinstance(play.client.error, JobLost)

    def test_one_that_only_waits_for_the_output_does_not_mind(self) -> None:
        play = Play(None)
        play.log(SUBMITTED, ev.Resumed(1))
        assert not play.client.finished

    def test_a_mark_or_claim_that_was_confirmed_and_lost_is_made_again(self) -> None:
        play = self.play(SUBMITTED, ev.InputComplete(0))
        play.confirm("event")
        play.wait(PRESENT_EVERY_SECS)
        assert len(self.said(play, claims=False)) == 2
        own = self.own(play)
        play.confirm("event")
        play.wait(PRESENT_EVERY_SECS)
        assert play.events().count(own) == 2
        play.offset = 0  # nothing has happened for so long that it reads the log again
        play.log(SUBMITTED, ev.InputComplete(0), own)
        assert play.client.phase is Phase.WAITING
        play.wait(PRESENT_EVERY_SECS)
        assert play.events().count(own) == 2, "it has come back"

    def test_one_that_was_lost_later_too(self) -> None:
        play = self.play(SUBMITTED, ev.InputComplete(0))
        own = self.own(play)
        play.log(own)
        play.tell(base.Disconnected("the broker lost its data"))
        play.tell(effects.Connected())
        play.offset = 0
        play.log(SUBMITTED, ev.InputComplete(0))
        before = play.events().count(own)
        play.wait(PRESENT_EVERY_SECS)
        assert play.events().count(own) == before + 1
        play.log(ev.Resumed(2))
        assert not play.client.finished, "that one is to leave: our claim comes after it"
        play.log(own, ev.Resumed(2))
        assert not play.client.finished, "a repeat takes nothing away"
        play.log(ev.Resumed(3))
        assert play.client.finished

    def test_after_a_lost_connection_its_claim_still_stands(self) -> None:
        play = self.play(SUBMITTED, ev.Resumed(1))
        own = self.own(play)
        play.log(own)
        play.tell(base.Disconnected("gone"))
        play.tell(effects.Connected())
        play.offset = 0
        play.log(SUBMITTED, ev.Resumed(1), own)
        assert not play.client.finished
        play.log(ev.Resumed(2))
        assert play.client.finished


def test_a_view_follows_each_reading_of_the_log_from_its_start() -> None:
    client, view = Client("j1", None, "/nowhere", "0", random.Random(1), 0.0), JobView()
    client.follow(view)
    play = Play(None, client)
    printed = ev.Printed(0, 0, 1, "w", "hello")
    play.log(SUBMITTED, ev.InputComplete(0), printed)
    assert (view.phase, view.printed_seen) == ("running", 1)
    play.tell(base.Disconnected("gone"))
    play.tell(effects.Connected())
    assert view.phase == "submitting"
    play.offset = 0
    play.log(SUBMITTED, printed)
    assert (view.phase, view.printed_seen) == ("feeding", 1), "what the broker has lost is not known any more"


@pytest.mark.parametrize(("kind", "shares"), [(JobView, True), (OutputView, False)])
def test_a_job_is_folded_once_for_its_client_and_its_view(kind: type[JobView], shares: bool) -> None:
    client, view = Client("j1", None, "/nowhere", "0", random.Random(1), 0.0), kind()
    client.follow(view)
    play = Play(None, client)
    entries = (SUBMITTED, ev.Splits(0, (ev.SplitInput(SPLIT),)), ev.InputComplete(1))
    play.log(*entries)
    assert client.state.stages[0].total == 1 and bool(view.state.splits) is shares
    assert (client.state is view.state) is shares
    play.tell(base.Disconnected("gone"))
    play.tell(effects.Connected())
    assert not client.state.stages and not view.state.stages, "the log is read again, from its start"
    play.offset = 0
    play.log(*entries)
    assert client.state.stages[0].total == 1 and (client.state is view.state) is shares


def test_what_is_sent_twice_is_outstanding_once() -> None:
    sent = Sent("j", "client/", random.Random(1))
    lease = sent.lease(ev.Lease("j", ev.Rank(1, 1), 0, 1, 1))
    sent.log(ev.Present())
    assert [sent.put_back(lease).token, len([*sent.again()])] == [lease.token, 2]
    assert (sent.outstanding("lease"), sent.outstanding("event"), len(sent)) == (1, 1, 2)
    assert sent.take(lease.token) is not None and sent.take(lease.token) is None
    assert (sent.outstanding("lease"), sent.outstanding("event"), len(sent)) == (0, 1, 1)
    sent.forget()
    assert (sent.outstanding("event"), len(sent)) == (0, 0)
