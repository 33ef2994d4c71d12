"""The worker's order of steps: what it logs, what must be confirmed first, and when it acks."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import OUTPUT_BYTES, PIECES_SECS, SEAL_SECS, Attempt, Delivery, Phase
from mapreduce.brokers import base
from mapreduce.coordination.sealer import LAST_PAUSE_SECS
from mapreduce.effects import (
    AppendFailed,
    BlocksChecked,
    CheckBlocks,
    Connected,
    Defer,
    Deferred,
    Execute,
    ExecutorBlock,
    ExecutorDone,
    ExecutorFailed,
    ExecutorPrinted,
    ForgetJob,
    KillExecutor,
    RemoveTree,
    Report,
    Shutdown,
    Tick,
)
from mapreduce.haste import AHEAD, BEHIND, MESSAGES_AHEAD
from mapreduce.haste import LONG_SECS as LONG_TASK_SECS
from mapreduce.known import REMEMBERED_JOBS
from mapreduce.pauses import DISK_PAUSE_SECS, MAX_DISK_PAUSE_SECS
from mapreduce.refs import Block, Carried, Failure, Segment, Split
from mapreduce.slots import Slots
from mapreduce.spec import LONG_SECS, JobSpec
from mapreduce.worker import Worker
from tests.support import handled

SPEC = JobSpec("j", {}, {}, 2, 2)
SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))


class Bench:
    """A worker, what it was told, and what it asked for."""

    def __init__(
        self, slots: int = 1, by_reference: bool = False, queues: tuple[str, ...] = ("tasks",)
    ) -> None:
        self.worker = Worker("w", slots, queues, "/d", by_reference, random.Random(1))
        self.now = 0.0
        self._serial = 0
        self.tell(Connected())
        for queue in queues:
            self.tell(base.Declared(queue))

    def tell(self, event: Any) -> list[Any]:
        return handled(self.worker, event, self.now)

    def deliver(self, tag: str, message: Any, redelivered: bool = False, offset: Any = None) -> list[Any]:
        self._serial += 1
        body = wire.encode(message)
        return self.tell(base.Delivered(tag, base.Receipt(tag, self._serial), body, offset, redelivered))

    def dispatch(
        self, number: int = 7, job: str = "job", redelivered: bool = False, alone: bool = False
    ) -> list[Any]:
        message = ev.Dispatch(job, number, 0, 0, 0, SPLIT, alone=alone)
        return self.deliver("worker/tasks0", message, redelivered)

    def submitted(self, job: str = "job") -> list[Any]:
        return self.deliver(f"worker/job:{job}", ev.Submitted(job, SPEC, "0", 0.0), offset=0)

    def start(self, number: int = 7, job: str = "job") -> list[Any]:
        """A dispatch up to its `Started`."""
        commands = self.dispatch(number, job)
        return commands if logged(commands) else self.submitted(job)

    def run(self) -> Any:
        """One attempt that runs."""
        self.tell(base.Confirmed(published(self.start())[0].token))
        return self.attempt

    @property
    def attempt(self) -> Any:
        (attempt,) = self.worker._attempts.values()
        return attempt

    def wrote(self, attempt: Any, partition: int) -> Any:
        (publish,) = self.tell(
            ExecutorBlock(attempt.slot, attempt.number, partition, 0, Block("/x", 0, 1, 1, 0, ""))
        )
        return publish

    def done(self, attempt: Any) -> list[Any]:
        return self.tell(ExecutorDone(attempt.slot, attempt.number, {}, {}))


def published(commands: list[Any]) -> list[base.Publish]:
    return [command for command in commands if isinstance(command, base.Publish)]


def logged(commands: list[Any]) -> list[str]:
    return [type(wire.decode(command.head)[0]).__name__ for command in published(commands)]


def kinds(commands: list[Any]) -> list[type]:
    return [type(command) for command in commands]


def entry_of(commands: list[Any]) -> Any:
    """The one event that is logged."""
    (publish,) = published(commands)
    return wire.decode(publish.head)[0]


# ---------------------------------------------------------------- the normal order


def test_started_is_confirmed_before_anything_runs() -> None:
    bench = Bench()
    assert kinds(bench.dispatch()) == [base.Consume]
    commands = bench.submitted()
    assert logged(commands) == ["Started"] and Execute not in kinds(commands)
    (execute,) = bench.tell(base.Confirmed(published(commands)[0].token))
    assert isinstance(execute, Execute) and execute.task.attempt == bench.attempt.number


def test_done_is_logged_only_when_the_broker_has_every_block() -> None:
    bench = Bench()
    attempt = bench.run()
    blocks = [bench.wrote(attempt, partition) for partition in (0, 1)]
    assert bench.done(attempt) == []
    assert bench.tell(base.Confirmed(blocks[1].token)) == []
    assert logged(bench.tell(base.Confirmed(blocks[0].token))) == ["Done"]


def test_blocks_confirmed_early_do_not_make_it_done() -> None:
    bench = Bench()
    attempt = bench.run()
    assert bench.tell(base.Confirmed(bench.wrote(attempt, 0).token)) == []
    assert logged(bench.done(attempt)) == ["Done"]


def test_small_output_comes_with_done_and_what_others_read_does_not() -> None:
    def block(seq: int, size: int) -> ExecutorBlock:
        return ExecutorBlock(0, attempt.number, 0, seq, Block("", 0, size, 1, 0, "", bytes(size)))

    bench = Bench()
    attempt = bench.run()
    assert len(published(bench.tell(block(0, 9)))) == 1, "the next stage does not read the log"
    bench = Bench()
    bench.deliver("worker/tasks0", ev.Dispatch("job", 7, 0, 0, 0, SPLIT))
    last = replace(SPEC, stages=1)
    (started,) = published(bench.deliver("worker/job:job", ev.Submitted("job", last, "0", 0.0), offset=0))
    bench.tell(base.Confirmed(started.token))
    attempt = bench.attempt
    assert bench.tell(block(0, OUTPUT_BYTES - 9)) == []
    (publish,) = published(bench.tell(block(1, 10)))
    assert bench.tell(block(2, 9)) == [] and bench.done(attempt) == []
    done = entry_of(bench.tell(base.Confirmed(publish.token)))
    assert done.blocks == {0: 3} and [(each.seq, len(each.data)) for each in done.output] == [
        (0, OUTPUT_BYTES - 9),
        (2, 9),
    ]


def test_blocks_that_come_with_the_answer_are_confirmed_before_done() -> None:
    bench = Bench()
    attempt = bench.run()
    block = Block("", 0, 9, 1, 0, "", b"some data")
    blocks = tuple(Carried(partition, 0, block) for partition in (0, 1))
    first, second = published(bench.tell(ExecutorDone(attempt.slot, attempt.number, {}, {}, blocks=blocks)))
    assert first.to != second.to and bench.tell(base.Confirmed(first.token)) == []
    assert entry_of(bench.tell(base.Confirmed(second.token))).blocks == {0: 1, 1: 1}


def three_done(bench: Bench) -> tuple[list[Any], base.Publish]:
    """Three attempts that have ended at one moment, and what tells of it."""
    attempts = []
    for number in (7, 8, 9):
        (started,) = published(bench.start(number))
        bench.tell(base.Confirmed(started.token))
        attempts.append(bench.worker._attempts[int(started.token.split(":")[1])])
    commands = [
        each
        for a in attempts
        for each in bench.worker.handle(ExecutorDone(a.slot, a.number, {}, {}), bench.now)
    ]
    assert published(commands) == []
    (publish,) = published(bench.worker.handle(Deferred(), bench.now))
    return attempts, publish


def test_what_ends_at_one_moment_is_told_at_once_and_each_is_over_with_the_one_confirm() -> None:
    bench = Bench(slots=3)
    attempts, publish = three_done(bench)
    told = [event for event, _ in wire.decode_all(publish.head)]
    assert [event.attempt for event in told] == [each.number for each in attempts] and publish.messages == 3
    assert len(bench.worker._attempts) == 3
    bench.tell(base.Confirmed(publish.token))
    assert len(bench.worker._attempts) == 0


def test_what_is_too_much_at_once_is_told_one_by_one() -> None:
    bench = Bench(slots=3)
    attempts, publish = three_done(bench)
    apart = published(bench.tell(base.Unroutable(publish.token, "too large")))
    assert [entry_of([each]).attempt for each in apart] == [each.number for each in attempts]
    for each in apart:
        bench.tell(base.Confirmed(each.token))
    assert len(bench.worker._attempts) == 0


def test_a_log_that_is_gone_ends_all_who_told_it_something() -> None:
    bench = Bench(slots=3)
    _, publish = three_done(bench)
    bench.tell(base.Unroutable(publish.token))
    assert len(bench.worker._attempts) == 0


def test_the_dispatch_is_acked_only_when_the_log_has_done() -> None:
    bench = Bench()
    attempt = bench.run()
    commands = bench.done(attempt)
    assert base.Ack not in kinds(commands)
    commands = bench.tell(base.Confirmed(published(commands)[0].token))
    assert commands == [RemoveTree(attempt.folder), base.Ack(base.Receipt("worker/tasks0", 1))]
    assert not bench.worker._attempts


def test_a_slot_is_free_as_soon_as_its_executor_is() -> None:
    bench = Bench()
    attempt = bench.run()
    assert logged(bench.dispatch(8)) == []
    block = bench.wrote(attempt, 0)
    assert logged(bench.done(attempt)) == ["Started"]
    assert logged(bench.tell(base.Confirmed(block.token))) == ["Done"]


def test_a_redelivered_dispatch_is_reported_and_then_acked() -> None:
    bench = Bench()
    commands = bench.dispatch(redelivered=True)
    assert kinds(commands) == [base.Publish] and logged(commands) == ["Lost"]
    assert not bench.worker._attempts
    commands = bench.tell(base.Confirmed(published(commands)[0].token))
    assert commands == [base.Ack(base.Receipt("worker/tasks0", 1))]


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("returned", [1, 2])
def test_however_many_blocks_come_back_the_ack_waits_for_the_failure(returned: int) -> None:
    bench = Bench()
    attempt = bench.run()
    blocks = [bench.wrote(attempt, partition) for partition in (0, 1)]
    commands = bench.tell(base.Unroutable(blocks[0].token))
    assert logged(commands) == ["AttemptFailed"] and KillExecutor in kinds(commands)
    for block in blocks[1:returned]:
        assert bench.tell(base.Unroutable(block.token)) == []
    assert base.Ack in kinds(bench.tell(base.Confirmed(published(commands)[0].token)))


def test_a_failure_is_logged_once_and_frees_its_slot() -> None:
    bench = Bench()
    attempt = bench.run()
    failed = ExecutorFailed(0, attempt.number, Failure("raised", "ValueError"))
    commands = bench.tell(failed)
    assert logged(commands) == ["AttemptFailed"] and base.Ack not in kinds(commands)
    assert bench.tell(failed) == bench.tell(AppendFailed(f"worker/spool:{attempt.number}", "full")) == []
    assert not bench.worker._slots.at_work


def test_without_a_log_nobody_waits_for_it() -> None:
    bench = Bench()
    commands = bench.start()
    commands = bench.tell(base.Unroutable(published(commands)[0].token))
    assert base.Ack in kinds(commands)
    assert not bench.worker._attempts and not bench.worker._slots.at_work


# ---------------------------------------------------------------- handing back


def test_what_is_handed_back_while_its_job_is_fetched_never_gets_a_slot() -> None:
    bench = Bench()
    bench.dispatch()
    bench.now = 301.0
    commands = bench.tell(Tick())
    assert logged(commands) == ["Returned"]
    assert base.Ack in kinds(bench.tell(base.Confirmed(published(commands)[0].token)))
    assert logged(bench.submitted()) == []
    assert not bench.worker._slots.at_work and not bench.worker._attempts
    assert logged(bench.dispatch(8)) == ["Started"]


def test_shutdown_hands_back_what_has_not_started_and_finishes_the_rest() -> None:
    bench = Bench()
    attempt = bench.run()
    bench.dispatch(8)
    commands = bench.tell(Shutdown())
    assert commands[0] == base.Cancel("worker/tasks0") and logged(commands) == ["Returned"]
    bench.tell(base.Confirmed(published(commands)[0].token))
    assert not bench.worker.finished and logged(bench.dispatch(9)) == ["Returned"]
    bench.tell(base.Confirmed(next(iter(bench.worker._losses))))
    bench.tell(base.Confirmed(published(bench.done(attempt))[0].token))
    assert bench.worker.finished


def test_told_to_hurry_it_hands_back_what_runs() -> None:
    bench = Bench()
    bench.run()
    assert logged(bench.tell(Shutdown())) == []
    assert logged(bench.tell(Shutdown())) == [], "it may take as long as before"
    commands = bench.tell(Shutdown(0.0))
    assert KillExecutor in kinds(commands) and logged(commands) == ["Returned"]
    assert not bench.worker.finished
    assert logged(bench.tell(Shutdown(30.0))) == [], "a longer grace comes too late"
    bench.tell(base.Confirmed(published(commands)[0].token))
    assert bench.worker.finished


def test_after_its_grace_a_worker_hands_back_what_runs() -> None:
    bench = Bench()
    bench.run()
    assert logged(bench.tell(Shutdown(30.0))) == []
    bench.now = 29.9
    assert bench.tell(Tick()) == []
    bench.now = 30.0
    commands = bench.tell(Tick())
    assert KillExecutor in kinds(commands) and logged(commands) == ["Returned"]
    assert bench.tell(Tick()) == []
    bench.tell(base.Confirmed(published(commands)[0].token))
    assert bench.worker.finished


def test_what_waits_for_a_slot_does_not_get_the_one_that_stopping_has_freed() -> None:
    bench = Bench()
    bench.run()
    bench.dispatch(8)
    assert logged(bench.tell(Shutdown(0.0))) == ["Returned", "Returned"]


# ---------------------------------------------------------------- nothing is held for long


def reading(bench: Bench) -> None:
    """A dispatch whose input is on its way."""
    bench.deliver("worker/tasks0", ev.Dispatch("job", 7, 1, 0, 0, None))
    bench.submitted()
    assert bench.attempt.phase == Phase.INPUT


def read_on(bench: Bench, until: float) -> None:
    """Time goes by, and the input goes on to come."""
    bench.now = until
    for attempt in bench.worker._attempts.values():
        if attempt.phase == Phase.INPUT:
            bench.deliver(attempt.input_tag, ev.BlockHead(0, 9, 0, 1, 0, ""), offset=0)


def test_an_ack_that_was_overdue_is_given_earlier_from_now_on() -> None:
    bench = Bench()
    told = bench.tell(base.Disconnected("timed out", ack_timeout_secs=6.0))
    assert kinds(told) == [Report]
    bench.tell(Connected())
    attempt = bench.run()
    bench.dispatch(8)
    bench.now = 2.1
    commands = bench.tell(Tick())
    assert logged(commands) == ["Long", "Returned"]
    assert bench.tell(base.Confirmed(attempt.token("long"))) == [base.Ack(base.Receipt("worker/tasks0", 1))]
    assert bench.tell(base.Disconnected("cut", ack_timeout_secs=60.0))[-1:] != told, "only ever less"


def test_who_reads_for_long_goes_on_as_started() -> None:
    bench = Bench()
    reading(bench)
    read_on(bench, 301.0)
    commands = bench.tell(Tick())
    assert logged(commands) == ["Started", "Long"]
    assert bench.tell(base.Confirmed(published(commands)[0].token)) == []
    assert kinds(bench.tell(base.Confirmed(published(commands)[1].token))) == [base.Ack]
    commands = bench.deliver(bench.attempt.input_tag, ev.Seal(0, 0, 1, ()), offset=1)
    assert logged(commands) == ["Started"], "again, with its slot"
    assert kinds(bench.tell(base.Confirmed(published(commands)[0].token))) == [Execute]


def test_who_looks_for_long_at_what_it_will_read_goes_on_as_started() -> None:
    bench = Bench()
    bench.deliver("worker/tasks0", ev.Dispatch("job", 7, 1, 0, 0, None))
    submitted = ev.Submitted("job", JobSpec("j", {}, {}, 2, 2, shared_dir="/shared"), "0", 0.0)
    bench.deliver("worker/job:job", submitted)
    (check,) = bench.deliver(bench.attempt.input_tag, ev.Seal(0, 0, 1, ()))[-1:]
    assert isinstance(check, CheckBlocks)
    bench.now = 301.0
    commands = bench.tell(Tick())
    assert logged(commands) == ["Started", "Long"]
    assert kinds(bench.tell(base.Confirmed(published(commands)[1].token))) == [base.Ack]
    bench.now = 302.0
    assert logged(bench.tell(BlocksChecked(check.key, "", ()))) == ["Started"], "again, with its slot"


def test_who_reads_for_long_while_no_slot_will_be_free_is_handed_back() -> None:
    bench = Bench()
    attempt = bench.run()
    bench.now = 301.0
    commands = bench.tell(Tick())
    bench.tell(base.Confirmed(published(commands)[0].token))
    assert not attempt.held
    bench.deliver("worker/tasks0", ev.Dispatch("job", 8, 1, 0, 0, None))
    read_on(bench, 602.0)
    assert logged(bench.tell(Tick())) == ["Alive", "Returned"]


def test_a_long_attempt_ends_with_its_log_where_no_advice_has_come() -> None:
    bench = Bench()
    attempt = bench.run()
    bench.now = 301.0
    bench.tell(base.Confirmed(published(bench.tell(Tick()))[0].token))
    bench.now = 362.0
    [alive] = published(bench.tell(Tick()))
    assert KillExecutor(attempt.slot, attempt.number) in bench.tell(base.Unroutable(alive.token))
    assert not bench.worker._attempts


def test_slots_are_promised_no_more_often_than_they_are_free() -> None:
    bench = Bench(slots=2)
    bench.run()
    bench.now = 200.0
    for number in (8, 9):
        bench.deliver("worker/tasks0", ev.Dispatch("job", number, 1, 0, 0, None))
    read_on(bench, 501.0)
    commands = bench.tell(Tick())
    assert logged(commands) == ["Long", "Started", "Long", "Returned"]


def test_who_was_promised_a_slot_that_another_has_taken_is_handed_back() -> None:
    bench = Bench()
    reading(bench)
    attempt = bench.attempt
    read_on(bench, 301.0)
    long = published(bench.tell(Tick()))[1]
    assert kinds(bench.tell(base.Confirmed(long.token))) == [base.Ack]
    assert logged(bench.dispatch(8)) == ["Started"]
    commands = bench.deliver(attempt.input_tag, ev.Seal(0, 0, 1, ()), offset=0)
    assert logged(commands) == ["Returned"]
    bench.tell(base.Confirmed(published(commands)[0].token))
    assert attempt.number not in bench.worker._attempts and not bench.worker._attempts.line.waiting


# ---------------------------------------------------------------- input that does not come


def pieces(bench: Bench, first: int = 1) -> str:
    """A dispatch whose two pieces are on their way; the tag that they come on."""
    bench.deliver("worker/tasks0", ev.Dispatch("job", 7, 0, 0, 0, ev.SplitInput(SPLIT.split, first, 2)))
    [consume] = [c for c in bench.submitted() if isinstance(c, base.Consume)]
    assert consume.offset == first
    return consume.tag


def tick_until(bench: Bench, now: float) -> list[Any]:
    commands = []
    while bench.now < now:
        bench.now += 1.0
        commands += bench.tell(Tick())
    return commands


def test_pieces_whose_stream_ends_before_them_are_looked_for_once_and_then_lost() -> None:
    bench = Bench()
    tag = pieces(bench)
    assert tick_until(bench, PIECES_SECS) == []
    bench.deliver(tag, ev.Piece(1), offset=1)
    assert tick_until(bench, 2 * PIECES_SECS) == [], "something came"
    commands = tick_until(bench, 2 * PIECES_SECS + 2)
    assert commands == [base.Cancel(tag), base.Consume(tag, ev.input_stream("job"), 8, "first")]
    commands = tick_until(bench, 3 * PIECES_SECS + 4)
    assert logged(commands) == ["AttemptFailed"]
    assert wire.decode(published(commands)[0].head)[0].failure.kind == "lost"


@pytest.mark.parametrize("end", [ev.Piece(3), ev.EndOfInput(4)])
def test_pieces_that_lie_below_their_numbers_are_found(end: Any) -> None:
    bench = Bench()
    tag = pieces(bench)
    commands = bench.deliver(tag, end, offset=2)
    assert [type(c) for c in commands[1:]] == [base.Cancel, base.Consume] and commands[-1].offset == "first"
    for offset, number in enumerate((1, 2)):
        commands = bench.deliver(tag, ev.Piece(number), offset=offset)
    assert logged(commands) == ["Started"]


def test_a_piece_that_is_nowhere_is_lost() -> None:
    bench = Bench()
    tag = pieces(bench)
    bench.deliver(tag, ev.Piece(2), offset=1)
    assert logged(bench.deliver(tag, ev.Piece(2), offset=0)) == ["AttemptFailed"]


def test_a_seal_that_never_comes_is_lost_before_the_dispatch_is_let_go_of() -> None:
    assert 2 * LAST_PAUSE_SECS < SEAL_SECS < LONG_SECS
    bench = Bench()
    reading(bench)
    assert tick_until(bench, SEAL_SECS) == []
    commands = tick_until(bench, SEAL_SECS + 2)
    assert logged(commands) == ["AttemptFailed"]
    assert wire.decode(published(commands)[0].head)[0].failure.kind == "lost"


def test_nothing_comes_while_the_broker_takes_nothing() -> None:
    bench = Bench()
    tag = pieces(bench)
    bench.tell(base.Blocked("memory"))
    assert tick_until(bench, 2 * PIECES_SECS) == []
    bench.tell(base.Unblocked())
    assert tick_until(bench, 3 * PIECES_SECS) == []
    assert kinds(tick_until(bench, 3 * PIECES_SECS + 2)) == [base.Cancel, base.Consume]
    assert tag == bench.attempt.input_tag


# ---------------------------------------------------------------- a full disk


def test_with_its_disk_full_a_worker_leaves_the_work_to_others_for_a_while() -> None:
    bench = Bench(slots=2)
    attempt = bench.run()
    reading_too = base.Delivered(
        "worker/tasks0", base.Receipt("worker/tasks0", 99), wire.encode(ev.Dispatch("job", 8, 1, 0, 0, None)),
        None, False,
    )  # fmt: skip
    bench.tell(reading_too)
    commands = bench.tell(AppendFailed(f"worker/spool:{attempt.number}", "no space left"))
    assert logged(commands) == ["Returned", "AttemptFailed"]
    assert base.Cancel("worker/tasks0") in commands and Report in kinds(commands)
    assert wire.decode(published(commands)[1].head)[0].failure == Failure("disk", "no space left")
    assert logged(bench.dispatch(9)) == ["Returned"], "it was on its way"
    bench.now = DISK_PAUSE_SECS - 0.1
    assert bench.tell(Tick()) == []
    bench.now = DISK_PAUSE_SECS
    assert bench.tell(Tick()) == [base.Consume("worker/tasks0", "tasks", 3)]
    assert logged(bench.dispatch(10)) == ["Started"]


def test_with_its_disk_full_a_worker_does_not_start_what_waits_for_the_slot() -> None:
    bench = Bench()
    attempt = bench.run()
    assert logged(bench.dispatch(8)) == []
    commands = bench.tell(ExecutorFailed(0, attempt.number, Failure("disk", "no space left")))
    assert logged(commands) == ["Returned", "AttemptFailed"] and not bench.worker._slots.at_work


def test_the_pauses_have_a_limit() -> None:
    bench = Bench()
    for _ in range(8):
        attempt = bench.run()
        failed = bench.tell(ExecutorFailed(0, attempt.number, Failure("disk", "no space left")))
        bench.tell(base.Confirmed(published(failed)[0].token))
        bench.now += MAX_DISK_PAUSE_SECS
        assert base.Consume in kinds(bench.tell(Tick()))


def test_the_pauses_grow_until_a_task_succeeds() -> None:
    bench = Bench()
    pauses = []
    for succeeds in (False, False, True, False):
        attempt = bench.run()
        if succeeds:
            bench.tell(base.Confirmed(published(bench.done(attempt))[0].token))
            continue
        failed = bench.tell(ExecutorFailed(0, attempt.number, Failure("disk", "no space left")))
        bench.tell(base.Confirmed(published(failed)[0].token))
        since = bench.now
        while base.Consume not in kinds(bench.tell(Tick())):
            bench.now += 1.0
        pauses.append(bench.now - since)
    assert pauses == [DISK_PAUSE_SECS, 2 * DISK_PAUSE_SECS, DISK_PAUSE_SECS]


def test_a_worker_with_a_full_disk_stays_away_over_a_lost_connection() -> None:
    bench = Bench()
    attempt = bench.run()
    bench.tell(ExecutorFailed(0, attempt.number, Failure("disk", "no space left")))
    bench.tell(base.Disconnected("cut"))
    bench.tell(Connected())
    assert bench.tell(base.Declared("tasks")) == []
    bench.now = DISK_PAUSE_SECS
    assert kinds(bench.tell(Tick())) == [base.Consume]


def test_a_worker_without_descriptors_has_no_full_disk() -> None:
    bench = Bench()
    attempt = bench.run()
    commands = bench.tell(AppendFailed(f"worker/spool:{attempt.number}", "too many open files", "files"))
    assert logged(commands) == ["AttemptFailed"] and base.Cancel not in kinds(commands)
    assert wire.decode(published(commands)[0].head)[0].failure == Failure("files", "too many open files")
    assert logged(bench.dispatch(8)) == ["Started"]


def test_who_shares_its_process_with_the_client_tries_again_at_once() -> None:
    bench = Bench(by_reference=True)
    attempt = bench.run()
    bench.tell(ExecutorFailed(0, attempt.number, Failure("disk", "no space left")))
    assert logged(bench.dispatch(8)) == ["Started"]


# ---------------------------------------------------------------- what the broker does not take


def test_a_result_that_the_broker_refuses_is_a_failure_with_its_reason() -> None:
    bench = Bench()
    attempt = bench.run()
    done = published(bench.done(attempt))[0]
    commands = bench.tell(base.Unroutable(done.token, "too large"))
    assert logged(commands) == ["AttemptFailed"] and base.Ack not in kinds(commands)
    failed = published(commands)[0]
    assert "too large" in wire.decode(failed.head)[0].failure.message
    assert base.Ack in kinds(bench.tell(base.Unroutable(failed.token, "too large")))
    assert not bench.worker._attempts


def test_a_block_that_cannot_be_read_back_is_this_workers_trouble_not_the_values() -> None:
    bench = Bench()
    attempt = bench.run()
    lost, refused = bench.wrote(attempt, 0), bench.wrote(attempt, 1)
    commands = bench.tell(base.Unroutable(lost.token, "cannot read /x: Input/output error", unreadable=True))
    assert logged(commands) == ["AttemptFailed"] and base.Cancel("worker/tasks0") in commands
    failure = wire.decode(published(commands)[0].head)[0].failure
    assert failure == Failure("disk", "cannot read /x: Input/output error")
    other = Bench()
    other.run()
    commands = other.tell(base.Unroutable(other.wrote(other.attempt, 1).token, "too large"))
    assert wire.decode(published(commands)[0].head)[0].failure.kind == "value"
    assert bench.tell(base.Unroutable(refused.token)) == []


def test_a_blocked_broker_is_reported_and_so_is_its_return() -> None:
    bench = Bench()
    told = [*bench.tell(base.Blocked("low on disk")), *bench.tell(base.Unblocked())]
    assert [(line.level, "low on disk" in line.text) for line in told] == [("warning", True), ("info", False)]


# ---------------------------------------------------------------- lost connections


def test_when_the_link_breaks_everything_at_hand_is_forgotten() -> None:
    bench = Bench(slots=2)
    attempt = bench.run()
    bench.dispatch(8, "other")
    bench.dispatch(9, redelivered=True)
    commands = bench.tell(base.Disconnected("cut"))
    assert KillExecutor(attempt.slot, attempt.number) in commands and RemoveTree(attempt.folder) in commands
    assert not published(commands) and base.Ack not in kinds(commands)
    worker = bench.worker
    assert (dict(worker._attempts), worker._losses, worker._slots.at_work) == ({}, {}, [])
    assert set(worker._attempts.jobs) == {"job"} and worker._attempts.jobs["job"].waiting == []
    assert not worker.finished
    # what its executor, or the old session, still says is for nobody
    assert bench.done(attempt) == bench.tell(base.Confirmed(attempt.token("start"))) == []
    assert logged(bench.tell(Connected())) == ["Back", "Back"]


def test_a_worker_says_that_it_is_back_until_the_log_has_it() -> None:
    bench = Bench()
    bench.run()
    bench.tell(base.Disconnected("cut"))
    assert logged(bench.tell(Connected())) == ["Back"]
    bench.tell(base.Disconnected("cut again, before it was confirmed"))
    (back,) = published(bench.tell(Connected()))
    bench.tell(base.Confirmed(back.token))
    bench.tell(base.Disconnected("cut"))
    assert not logged(bench.tell(Connected()))


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_worker_that_stops_need_not_wait_for_a_broker(asked_first: bool) -> None:
    bench = Bench()
    bench.run()
    events = [Shutdown(), base.Disconnected("cut")]
    for event in events if asked_first else reversed(events):
        assert not bench.worker.finished
        bench.tell(event)
    assert bench.worker.finished


# ---------------------------------------------------------------- ended jobs


def test_a_job_that_has_ended_leaves_nothing() -> None:
    bench = Bench()
    attempt = bench.run()
    commands = bench.deliver("worker/control", ev.StopJob("job"))
    assert commands[:2] == [base.Ack(base.Receipt("worker/tasks0", 1)), KillExecutor(0, attempt.number)]
    assert commands[-2:] == [ForgetJob("job"), RemoveTree("/d/job")]
    assert RemoveTree(attempt.folder) in commands and logged(commands) == []
    assert not bench.worker._attempts.jobs and not bench.worker._attempts


def test_jobs_whose_end_nobody_told_us_are_forgotten_in_the_end() -> None:
    bench = Bench()
    for number in range(REMEMBERED_JOBS + 3):
        commands = bench.start(number, f"job{number}")
        bench.tell(base.Confirmed(published(commands)[0].token))
        closing = bench.done(bench.attempt)
        bench.tell(base.Confirmed(published(closing)[0].token))
    bench.dispatch(99, "job0")  # there is work for it, so it stays
    commands = bench.tell(Tick())
    assert commands == [
        command for n in (1, 2) for command in (ForgetJob(f"job{n}"), RemoveTree(f"/d/job{n}"))
    ]
    assert len(bench.worker._attempts.jobs) == REMEMBERED_JOBS + 1 and "job0" in bench.worker._attempts.jobs
    assert bench.tell(Tick()) == []
    assert kinds(bench.dispatch(100, "job1")) == [base.Consume]  # its code is fetched again


def test_blocks_that_others_read_where_they_lie_stay() -> None:
    bench = Bench(by_reference=True)
    for number in range(REMEMBERED_JOBS + 1):
        commands = bench.start(number, f"job{number}")
        bench.tell(base.Unroutable(published(commands)[0].token))
    assert bench.tell(Tick()) == [ForgetJob("job0")]


def test_a_job_that_is_being_fetched_and_wanted_no_more_is_not_listened_for() -> None:
    bench = Bench()
    bench.dispatch()
    commands = bench.deliver("worker/control", ev.StopJob("job"))
    assert base.Cancel("worker/job:job") in commands
    assert bench.submitted() == [base.Ack(base.Receipt("worker/job:job", 3))]


def test_a_seal_of_a_later_generation_is_a_failed_try_not_an_endless_round() -> None:
    bench = Bench()
    bench.deliver("worker/tasks0", ev.Dispatch("job", 7, 1, 0, 0, None))
    (consume,) = bench.submitted()[-1:]
    assert isinstance(consume, base.Consume)
    commands = bench.deliver(consume.tag, ev.Seal(99, 0, 1, ()), offset=0)
    assert (
        logged(commands) == ["AttemptFailed"] and base.Ack(base.Receipt("worker/tasks0", 1)) not in commands
    )


@pytest.mark.parametrize("job", ["y" * 250, "../..", "", "a/b"])
def test_names_that_no_job_can_have_are_set_aside_and_remove_nothing(job: str) -> None:
    bench = Bench()
    assert logged(bench.dispatch(job=job)) == ["Aside"] and not bench.worker._attempts
    assert bench.deliver("worker/control", ev.StopJob(job)) == []


# ---------------------------------------------------------------- short tasks


def run_short(bench: Bench, number: int) -> None:
    """A task that takes no time."""
    started = published(bench.start(number))
    (execute,) = bench.tell(base.Confirmed(started[0].token))
    attempt = bench.worker._attempts[execute.task.attempt]
    (done,) = bench.done(attempt)
    bench.tell(base.Confirmed(done.token))


def hurry(bench: Bench) -> list[Any]:
    """So many short tasks that the worker works ahead; what it says to that."""
    for number in range(80):
        run_short(bench, 1000 + number)
    return bench.tell(Tick())


def test_while_tasks_are_short_more_are_started_than_there_are_slots_and_run_in_turn() -> None:
    bench = Bench()
    assert base.Consume("worker/tasks0+", "tasks", MESSAGES_AHEAD) in hurry(bench)
    started = [
        publish
        for number in range(100, 101 + AHEAD + BEHIND)
        for publish in published(bench.dispatch(number))
    ]
    assert len(started) == 1 + AHEAD
    given = [command for each in started for command in bench.tell(base.Confirmed(each.token))]
    assert kinds(given) == [Execute] * (1 + BEHIND)
    attempts = [bench.worker._attempts[each.task.attempt] for each in given]
    assert bench.worker._slots.at_work == attempts[:1]
    *first, last = attempts[: BEHIND // 2]
    for attempt in first:
        assert kinds(bench.done(attempt)) == [base.Publish, base.Publish]  # `Done`; one more `Started`
    more = [base.Publish, *[Execute] * (BEHIND // 2), base.Publish]
    assert kinds(bench.done(last)) == more, "when half of what was given is done"


def test_what_comes_together_is_answered_together() -> None:
    """Slots are filled once for all that was heard."""
    bench = Bench(slots=2)
    bench.submitted()
    tokens = [publish.token for number in (100, 101) for publish in published(bench.start(number))]
    said = [bench.worker.handle(base.Confirmed(token), 0.0) for token in tokens]
    assert said == [[Defer()], []]
    assert kinds(bench.worker.handle(Deferred(), 0.0)) == [Execute, Execute]


def test_an_executor_is_given_tasks_of_one_job_and_none_that_has_to_be_careful() -> None:
    def attempt(number: int, job: str, careful: bool = False) -> Attempt:
        dispatch = ev.Dispatch(job, number, 0, number, 0, None, careful)
        return Attempt(number, dispatch, Delivery(base.Receipt("worker/tasks0", number), 1), "/d", 0.0)

    slots = Slots(2)
    ours, theirs, careful = attempt(1, "job"), attempt(2, "another"), attempt(3, "job", careful=True)
    slots.enter(ours, 0, 0.0)
    assert (
        slots.place_for(ours, 1, 0.0)
        == slots.place_for(theirs, 1, 0.0)
        == slots.place_for(careful, 0, 0.0)
        == 1
    )
    slots.enter(theirs, 1, 0.0)
    assert (slots.place_for(ours, 1, 0.0), slots.place_for(theirs, 1, 0.0)) == (0, 1)
    assert slots.place_for(ours, 1, 1.0) is None, "what is at work there takes long"
    assert slots.place_for(ours, 0, 0.0) is slots.place_for(careful, 1, 0.0) is None
    slots.leave(theirs, 0.0)
    slots.enter(careful, 1, 0.0)
    assert slots.place_for(ours, 1, 0.0) == 0 and slots.place_for(theirs, 1, 0.0) is None


def test_behind_a_task_that_takes_long_nothing_waits_that_others_could_do() -> None:
    bench = Bench()
    hurry(bench)
    for number in range(100, 104 + BEHIND):
        for each in published(bench.dispatch(number)):
            bench.tell(base.Confirmed(each.token))
    bench.now += LONG_TASK_SECS + 0.1
    commands = bench.tell(Tick())
    assert base.Cancel("worker/tasks0+") in commands
    assert logged(commands) == ["Returned"] * (2 + BEHIND)
    assert [a.phase for a in bench.worker._attempts.values() if a.phase < Phase.CLOSING] == [
        Phase.RUNNING,
        Phase.STARTED,
    ]


def test_a_worker_that_was_never_in_haste_hands_nothing_back_that_it_may_hold() -> None:
    """A long attempt has let go of its dispatch: the broker sends two more, and would send what comes back again."""
    bench = Bench()
    bench.run()
    bench.now += LONG_SECS + 1
    for each in published(bench.tell(Tick())):
        bench.tell(base.Confirmed(each.token))
    for number in (100, 101):
        bench.dispatch(number)
    for _ in range(40):
        bench.now += 0.25
        assert not logged(bench.tell(Tick()))


def test_what_may_end_its_host_is_started_when_all_before_it_is_logged_and_nothing_ahead_behind_it() -> None:
    bench = Bench()
    hurry(bench)
    first, second = (publish for number in (100, 101) for publish in published(bench.dispatch(number)))
    assert not bench.dispatch(102, alone=True) and not bench.dispatch(103)
    bench.tell(base.Confirmed(first.token))
    bench.tell(base.Confirmed(second.token))
    one, two, three, four = bench.worker._attempts.values()
    (done,) = bench.done(one)
    assert two.phase is Phase.RUNNING
    assert not logged(bench.tell(base.Confirmed(done.token)))
    (done,) = bench.done(
        two
    )  # a slot is free, but if this host died now, the second task would be charged as well
    (started,) = published(bench.tell(base.Confirmed(done.token)))
    assert (three.phase, four.phase) == (Phase.STARTING, Phase.READY)
    bench.tell(base.Confirmed(started.token))
    assert (three.phase, four.phase) == (Phase.RUNNING, Phase.READY)
    assert logged(bench.done(three)) == ["Done", "Started"]


def test_what_may_end_its_host_runs_beside_others_where_there_are_slots() -> None:
    bench = Bench(slots=2)
    hurry(bench)
    assert logged(bench.dispatch(100, alone=True)) == ["Started"]
    assert logged(bench.dispatch(101)) == ["Started"]
    assert not bench.dispatch(102)


def test_nothing_of_a_job_that_has_ended_is_begun_any_more() -> None:
    bench = Bench()
    hurry(bench)
    for number in range(100, 150):
        for each in published(bench.dispatch(number)):
            bench.tell(base.Confirmed(each.token))
    [running] = bench.worker._slots.at_work
    commands = bench.deliver("worker/control", ev.StopJob("job"))
    killed = [each.attempt for each in commands if isinstance(each, KillExecutor)]
    assert len(set(killed)) == 1 + BEHIND and Execute not in kinds(commands)
    assert killed[-1] == running.number, "what has not begun is withdrawn before its executor is killed"
    assert not logged(commands) and not bench.worker._attempts


# ---------------------------------------------------------------- for those who watch


def test_an_attempts_end_says_for_how_long_it_ran_and_where() -> None:
    bench = Bench()
    attempt = bench.run()
    bench.now += 2.5
    done = entry_of(bench.done(attempt))
    assert (done.secs, done.slot) == (2.5, 0)
    bench = Bench()
    attempt = bench.run()
    bench.now += 2.5  # others were answered, too, before this was heard of
    done = entry_of(bench.tell(ExecutorDone(0, attempt.number, {}, {"seconds": 0.25})))
    assert (done.secs, done.slot) == (0.25, 0)
    bench = Bench()
    attempt = bench.run()
    bench.now += 1.5
    failed = entry_of(bench.tell(ExecutorFailed(0, attempt.number, Failure("raised", "no"))))
    assert (failed.secs, failed.slot) == (1.5, 0)


def test_what_an_attempt_prints_is_logged_but_not_piled_up() -> None:
    bench = Bench()
    attempt = bench.run()
    printed = ExecutorPrinted(0, attempt.number, "hello\n", 3)
    assert entry_of(bench.tell(printed)) == ev.Printed(0, 0, attempt.number, "w", "hello\n", 3, 1)
    assert entry_of(bench.tell(printed)).part == 2
    bench.tell(base.Blocked("memory"))
    assert bench.tell(printed) == []
    bench.tell(base.Unblocked())
    (publish,) = published(bench.tell(printed))
    assert bench.tell(base.Unroutable(publish.token)) == []  # the attempt goes on
    bench.done(attempt)
    assert bench.tell(printed) == []
