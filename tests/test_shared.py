"""Blocks in a folder that client and workers all see: the files, the roles' part, and whole jobs over RabbitMQ."""

from __future__ import annotations

import errno
import os
import random
import shlex
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapreduce import codec, effects, runs, shared, wire
from mapreduce import events as ev
from mapreduce.blame import Blame
from mapreduce.brokers import base
from mapreduce.client import Client
from mapreduce.client.collecting import LOOK_EVERY_SECS, UNSEEN_SECS
from mapreduce.client.submitting import SHARE
from mapreduce.coordination.ending import Ending
from mapreduce.errors import OutputError
from mapreduce.job import Stage
from mapreduce.pauses import FOLDER_PAUSE_SECS, MAX_FOLDER_PAUSE_SECS
from mapreduce.refs import Block, Failure, Segment, Split
from mapreduce.spec import JobSpec
from mapreduce.state import JobState
from mapreduce.worker import Worker
from tests.gates import Gates
from tests.support import JOBS, ROOT, Process, count_words, handled, make_text, mr, mr_ok, workers

ATTEMPT = 0xA1
SPEC = JobSpec("j", {}, {}, 2, 2, shared_dir="/shared")
FOLDER = "/shared/mr-job"
SPLIT = ev.SplitInput(Split((Segment("f", "f", 0, 1, 0, True),)))


# ---------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = shared.folder_of(str(tmp_path), "job")
    shared.make_job_folder(path)
    return path


def write(folder: str, attempt: int = ATTEMPT, pairs: int = 100) -> list[Block]:
    """Two blocks of an attempt."""
    blocks: list[Block] = []
    writer = runs.BlockWriter(
        shared.attempt_folder(folder, attempt), lambda _, block: blocks.append(block), is_shared=True
    )
    for run in (0, 1):
        writer.write(0, run, "int", list(range(pairs)), [run] * pairs)
    writer.close()
    return blocks


def test_blocks_that_are_as_they_were_written_are_found_by_what_messages_say_of_them(folder: str) -> None:
    blocks = write(folder)
    sent = [shared.as_sent(block) for block in blocks]
    assert all("/" not in block.path for block in sent)
    found = [shared.as_found(block, folder, ATTEMPT) for block in sent]
    assert found == blocks and shared.lost(found, 0.0) == []
    assert [values for _, values in runs.read_blocks(found)] == [[0] * 100, [1] * 100]


def test_what_a_message_says_of_a_file_leads_nowhere_but_to_its_attempt() -> None:
    told = Block("../../../etc/passwd", 0, 1, 1, 0, "", crc=1)
    assert shared.as_found(told, FOLDER, ATTEMPT).path == f"{FOLDER}/{ATTEMPT:016x}/passwd"


@pytest.mark.parametrize("harm", ["removed", "cut", "changed", "folder"])
def test_what_is_not_as_it_was_is_lost(folder: str, harm: str) -> None:
    first, second = write(folder)
    path = Path(first.path)
    if harm == "removed":
        path.unlink()
    elif harm == "cut":
        os.truncate(path, second.offset + 1)
    elif harm == "changed":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        shared.remove_job_folder(folder)
    lost = [first, second] if harm in ("removed", "folder") else [second]
    assert shared.lost([first, second], 0.0) == lost
    assert {shared.writer_of(block) for block in lost} == {ATTEMPT}
    with pytest.raises(OSError):  # also if it happens between that and the reading
        list(runs.read_blocks([second]))


def test_what_has_become_a_pipe_is_lost_and_holds_up_nobody(folder: str) -> None:
    blocks = write(folder)
    os.unlink(blocks[0].path)
    os.mkfifo(blocks[0].path)
    assert shared.lost(blocks, 0.0) == blocks
    with pytest.raises(OSError):
        shared.copied(blocks, f"{folder}/copy")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOMEM, errno.EIO, errno.ETIMEDOUT, errno.EACCES])
def test_trouble_with_reading_does_not_make_a_file_lost(
    folder: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Any, block: Block) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(shared, "checksum_in", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        shared.lost(write(folder), 0.0)


@pytest.mark.parametrize(
    "harm", [{"path": "a\0b"}, {"path": "n" * 300}, {"offset": -1}, {"offset": 1 << 70}, {"length": 1 << 70}]
)
def test_what_names_no_file_or_no_place_in_one_is_lost(folder: str, harm: dict[str, Any]) -> None:
    told = shared.as_sent(write(folder)[0])._replace(**harm)
    found = shared.as_found(told, folder, ATTEMPT)
    assert shared.lost([found], 0.0) == [found]


def test_a_name_that_comes_late_is_waited_for(folder: str) -> None:
    blocks = write(folder)
    os.rename(blocks[0].path, f"{folder}/elsewhere")
    timer = threading.Timer(0.1, os.rename, (f"{folder}/elsewhere", blocks[0].path))
    timer.start()
    assert shared.lost(blocks, 30.0) == []
    timer.join()


def test_formatted_output_that_was_changed_is_not_read_to_its_end(folder: str) -> None:
    blocks: list[Block] = []
    writer = runs.BlockWriter(
        shared.attempt_folder(folder, ATTEMPT), lambda _, b: blocks.append(b), is_shared=True
    )
    writer.write_formatted("text", b"a\t1\n", 1)
    writer.close()
    assert b"".join(runs.read_formatted(blocks)) == b"a\t1\n"
    Path(blocks[0].path).write_bytes(b"a\t2\n")
    with pytest.raises(OSError, match="not what was written"):
        next(iter(runs.read_formatted(blocks)))


def test_what_was_changed_is_not_read_at_all(folder: str) -> None:
    block = write(folder)[0]
    path = Path(block.path)
    data = bytearray(path.read_bytes())
    data[block.offset + 7] ^= 0x80  # the length of the first chunk: more than there is memory
    path.write_bytes(data)
    with pytest.raises(OSError, match="not what was written"):
        next(runs.read_blocks([block]))
    with pytest.raises(OSError, match="longer than the block"):
        next(runs.read_blocks([block._replace(crc=None)]))


@pytest.mark.parametrize(
    "shape",
    [5, [], [[0, [1]]], [[0, 1], [0, 1]], [[0, [1]], []], [[0, [1]], [2, 1]], [[0, [1]], [2, 1, ["x"]]],
     [[0, [1]], [0, [1, 2]]], [[1, 5], [0, [1]]], [None, None]],
)  # fmt: skip
def test_what_is_no_chunk_is_a_value_error(shape: Any) -> None:
    with pytest.raises(ValueError):
        codec.decode_chunk(codec.pack(shape))


def test_all_is_private_unless_the_folder_is_one_for_a_group(tmp_path: Path) -> None:
    for name, mode, file_mode in (("mine", 0o700, 0o600), ("ours", 0o2770, 0o640)):
        directory = tmp_path / name
        directory.mkdir()
        directory.chmod(mode)
        folder = shared.folder_of(str(directory), "job")
        shared.make_job_folder(folder)
        path = Path(write(folder)[0].path)
        assert [stat.S_IMODE(os.stat(each).st_mode) for each in (folder, path.parent)] == [mode, mode]
        assert stat.S_IMODE(path.stat().st_mode) == file_mode


def test_who_writes_after_the_end_leaves_nothing(folder: str) -> None:
    write(folder)
    shared.remove_job_folder(folder)
    with pytest.raises(FileNotFoundError):
        write(folder)
    assert os.listdir(os.path.dirname(folder)) == []


def test_what_a_killed_process_has_removed_half_is_removed(folder: str) -> None:
    os.rename(folder, f"{folder}.gone")
    shared.remove_job_folder(folder)
    assert os.listdir(os.path.dirname(folder)) == []


def test_a_folder_that_cannot_be_renamed_is_emptied_and_goes(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    write(folder)
    monkeypatch.setattr(os, "rename", refuse)
    shared.remove_job_folder(folder)
    assert os.listdir(os.path.dirname(folder)) == []


def test_a_folder_is_removed_beside_what_is_left_of_another_removal(folder: str) -> None:
    write(folder)
    write_to = shared.attempt_folder(f"{folder}.gone", ATTEMPT)
    os.makedirs(write_to)
    shared.remove_job_folder(folder)
    assert os.listdir(os.path.dirname(folder)) == []


def test_what_attempts_have_not_made_is_not_removed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    Path(folder, "thesis.txt").write_text("years of work")
    with pytest.raises(OSError):
        shared.remove_job_folder(folder)
    assert os.listdir(folder) == ["thesis.txt"]
    monkeypatch.chdir(os.path.dirname(folder))
    for named in (os.path.basename(folder), f"{folder}\0"):
        with pytest.raises(ValueError):
            shared.remove_job_folder(named)


def test_a_full_folder_is_named(folder: str) -> None:
    attempt = shared.attempt_folder(folder, ATTEMPT)
    blame = Blame(Stage(str, None, None, None), 0, 1, "/scratch", 0, attempt)
    failure = blame.failure(OSError(28, "No space left on device", f"{attempt}/tmp.blocks"))
    assert failure.kind == "folder"
    assert failure.message.startswith(f"{attempt}/tmp.blocks: No space left on device, in the folder that")
    assert "--shared-dir" not in blame.failure(OSError(28, "No space left on device")).message


# ---------------------------------------------------------------- roles


class Bench:
    """A worker with one task of the second stage, whose input is one block in the shared folder."""

    def __init__(self) -> None:
        self.worker = Worker("host:1:2", 1, ("tasks",), "/d", False, random.Random(1))
        self.now = 0.0
        self.tell(effects.Connected())
        self.tell(base.Declared("tasks"))

    def tell(self, event: Any) -> list[Any]:
        return handled(self.worker, event, self.now)

    def deliver(self, tag: str, *messages: Any) -> list[Any]:
        said = []
        for offset, message in enumerate(messages):
            delivery = base.Delivered(tag, base.Receipt(tag, offset), wire.encode(message), offset, False)
            said += self.tell(delivery)
        return said

    def read(self, dispatch: int = 7) -> effects.CheckBlocks:
        """The task's input, as far as it travels."""
        said = self.deliver("worker/tasks0", ev.Dispatch("job", dispatch, 1, 0, 0, None))
        if dispatch == 7:
            said = self.deliver("worker/job:job", ev.Submitted("job", SPEC, "0", 0.0))
        (tag,) = (command.tag for command in said if isinstance(command, base.Consume))
        ref = Block("tmp.blocks", 5, 6, 1, 0, "", crc=1)
        head = ev.BlockHead(3, ATTEMPT, 0, 1, 0, "", ref)
        said = self.deliver(tag, head, ev.Seal(0, 0, 1, (ev.SealEntry(3, ATTEMPT, 1),)))
        assert not published(said)  # nothing is started yet
        (check,) = (command for command in said if isinstance(command, effects.CheckBlocks))
        return check

    def start(self, check: effects.CheckBlocks) -> effects.Execute:
        (started,) = published(self.tell(effects.BlocksChecked(check.key, "", ())))
        said = self.tell(base.Confirmed(started.token))
        (execute,) = (command for command in said if isinstance(command, effects.Execute))
        return execute

    def run(self) -> effects.Execute:
        return self.start(self.read())


def published(commands: list[Any]) -> list[base.Publish]:
    return [command for command in commands if isinstance(command, base.Publish)]


def said_of(commands: list[Any]) -> list[Any]:
    return [wire.decode(command.head)[0] for command in published(commands)]


def removed(commands: list[Any]) -> set[str]:
    return {command.path for command in commands if isinstance(command, effects.RemoveTree)}


def test_a_task_starts_when_what_it_reads_was_looked_for() -> None:
    check = Bench().read()
    assert check.folder == FOLDER
    assert check.blocks == (Block(f"{FOLDER}/{ATTEMPT:016x}/tmp.blocks", 5, 6, 1, 0, "", crc=1),)
    task = Bench().run().task
    assert task.blocks == check.blocks and task.shared == f"{FOLDER}/{task.attempt:016x}"


def test_lost_blocks_are_reported_as_lost_messages_are() -> None:
    bench = Bench()
    check = bench.read()
    (missing,) = said_of(bench.tell(effects.BlocksChecked(check.key, "", (ATTEMPT,))))
    assert missing == ev.Missing(7, 1, 0, 0, (ATTEMPT,))


def test_a_worker_that_does_not_see_the_folder_says_so_and_leaves_the_work_to_others_for_a_moment() -> None:
    bench = Bench()
    check = bench.read()
    said = bench.tell(effects.BlocksChecked(check.key, "is not there", ()))
    (failed,) = said_of(said)
    text = f"{FOLDER}, which the job shares (--shared-dir), is not there on host"
    assert isinstance(failed, ev.AttemptFailed) and failed.failure == Failure("folder", text)
    assert base.Cancel("worker/tasks0") in said
    assert FOLDER_PAUSE_SECS < MAX_FOLDER_PAUSE_SECS
    bench.now = FOLDER_PAUSE_SECS
    assert any(isinstance(command, base.Consume) for command in bench.tell(effects.Tick()))


def test_a_full_folder_of_one_job_keeps_a_worker_from_others_for_a_moment_only() -> None:
    bench = Bench()
    task = bench.run().task
    bench.deliver("worker/tasks0", ev.Dispatch("other", 8, 0, 0, 0, SPLIT))
    said = bench.tell(effects.ExecutorFailed(0, task.attempt, Failure("folder", "no space left")))
    assert [type(each) for each in said_of(said)] == [ev.AttemptFailed], "nothing else is handed back"
    assert base.Cancel("worker/tasks0") in said
    bench.now = MAX_FOLDER_PAUSE_SECS
    assert any(isinstance(command, base.Consume) for command in bench.tell(effects.Tick()))


def test_a_folder_that_stays_full_is_left_alone_for_longer_each_time_although_it_is_seen() -> None:
    bench = Bench()
    check = bench.read()
    pauses = []
    for number in range(8, 12):
        task = bench.start(check).task
        bench.tell(effects.ExecutorFailed(0, task.attempt, Failure("folder", "no space left")))
        begin = bench.now
        while not any(isinstance(command, base.Consume) for command in bench.tell(effects.Tick())):
            bench.now += 0.5
        pauses.append(bench.now - begin)
        check = bench.read(number)
    assert pauses == [1.0, 2.0, 4.0, 4.0] and MAX_FOLDER_PAUSE_SECS == 4.0
    bench.tell(effects.ExecutorDone(0, bench.start(check).task.attempt, {}, {}))
    task = bench.start(bench.read(12)).task
    said = bench.tell(effects.ExecutorFailed(0, task.attempt, Failure("folder", "no space left")))
    (report,) = (each for each in said if isinstance(each, effects.Report))
    assert report.text.endswith("taking no task for 1 s")


def test_an_answer_that_comes_late_means_nothing() -> None:
    bench = Bench()
    check = bench.read()
    bench.tell(base.Disconnected("gone"))
    assert bench.tell(effects.BlocksChecked(check.key, "", (ATTEMPT,))) == []


def test_a_message_names_the_file_and_a_small_block_travels_whole() -> None:
    bench = Bench()
    task = bench.run().task
    at = Block(f"{task.shared}/tmp.blocks", 0, 9, 1, 0, "", crc=2)
    small = Block("", 0, 1500, 1, 0, "", b"abc" * 500)
    for seq, block in enumerate((at, small)):
        (publish,) = published(bench.tell(effects.ExecutorBlock(0, task.attempt, 0, seq, block)))
        head, body = wire.decode(publish.head)
        if block is at:
            assert head.ref == at._replace(path="tmp.blocks") and not body and publish.body is None
        else:
            assert head.ref is None and bytes(body) == small.data


def test_what_has_failed_removes_its_files_and_what_may_have_won_does_not() -> None:
    bench = Bench()
    task = bench.run().task
    (failed,) = published(
        bench.tell(effects.ExecutorFailed(0, task.attempt, Failure("disk", "no space left")))
    )
    assert task.shared in removed(bench.tell(base.Confirmed(failed.token)))
    bench = Bench()
    task = bench.run().task
    bench.tell(effects.ExecutorDone(0, task.attempt, {}, {}))
    assert removed(bench.tell(base.Disconnected("gone"))) == {os.path.dirname(task.directory)}


def test_a_worker_removes_the_folder_that_it_is_told_to() -> None:
    bench = Bench()
    advice = wire.encode(ev.StopJob("job", 0, "/shared"))
    said = bench.tell(base.Delivered("worker/control", base.Receipt("", 0), advice, None, False))
    assert effects.RemoveShared(FOLDER) in said
    advice = wire.encode(ev.StopJob("job", 0))
    said = bench.tell(base.Delivered("worker/control", base.Receipt("", 0), advice, None, False))
    assert not any(isinstance(command, effects.RemoveShared) for command in said)


def test_the_folder_goes_with_the_streams_and_no_sooner() -> None:
    lease = ev.Lease("job", ev.Rank(1, 1), 0, 2, 2, shared_dir="/shared")
    state = JobState()
    state.apply(ev.Submitted("job", replace(SPEC, keep_secs=9.0), "0", 0.0))
    state.apply(ev.Failed(Failure("raised", "no"), 0, 0, 4))
    ending = Ending(lease, "log")
    for now in (0.0, 5.0):
        assert effects.RemoveShared(FOLDER) not in ending.step(now, state, False)
    state.apply(ev.Expired(0))
    said = ending.step(6.0, state, False)
    assert said.index(effects.RemoveShared(FOLDER)) < said.index(base.Delete(ev.input_stream("job")))
    told = [wire.decode(command.body)[0] for command in said if isinstance(command, base.Broadcast)]
    assert told == [ev.StopJob("job", 0, "/shared")]


class Play:
    """A client whose output is one block in the shared folder, and sealed."""

    def __init__(self, **options: Any) -> None:
        spec = replace(SPEC, stages=1, **options)
        self.client = Client("job", spec, "/nowhere", "0", random.Random(1), 0.0)
        self.now = 0.0
        self.said: list[Any] = []
        self.tell(effects.Connected())
        for kind in ("lease", "submitted"):
            self.confirm(kind)
        done = ev.Done(1, 0, 0, 0, ATTEMPT, "w", {0: 1}, {}, {}, ())
        self.log: tuple[Any, ...] = (
            ev.Submitted("job", spec, "0", 0.0), ev.Splits(0, (SPLIT,)), ev.InputComplete(1), done,
            ev.StageSealed(1, 0),
        )  # fmt: skip
        head = ev.BlockHead(0, ATTEMPT, 0, 1, 0, "", Block("tmp.blocks", 0, 6, 1, 0, "", crc=1))
        self.read(ev.log_stream("job"), *self.log)
        self.read(ev.output_stream("job"), head, ev.Seal(0, 0, 1, (ev.SealEntry(0, ATTEMPT, 1),)))

    def tell(self, event: Any) -> list[Any]:
        said = self.client.handle(event, self.now)
        self.said += said
        return said

    def confirm(self, kind: str) -> list[Any]:
        """The last publication of this kind is stored."""
        token = next(c.token for c in reversed(published(self.said)) if kind in c.token)
        return self.tell(base.Confirmed(token))

    def read(self, stream: str, *messages: Any) -> list[Any]:
        """Whoever reads the stream gets this from its start."""
        consumes = (c for c in reversed(self.said) if isinstance(c, base.Consume) and c.name == stream)
        tag, said = next(consumes).tag, []
        for offset, message in enumerate(messages):
            body = wire.encode(message)
            said += self.tell(base.Delivered(tag, base.Receipt(tag, offset), body, offset, False))
        return said

    @property
    def checks(self) -> list[effects.CheckBlocks]:
        return [command for command in self.said if isinstance(command, effects.CheckBlocks)]

    def check(self, trouble: str, attempts: tuple[int, ...]) -> list[Any]:
        """The answer to its last look."""
        return self.tell(effects.BlocksChecked(self.checks[-1].key, trouble, attempts))

    def wait(self, secs: float) -> list[Any]:
        self.now += secs
        return self.tell(effects.Tick())


def test_a_client_makes_the_folder_when_it_has_an_owner_and_looks_there_for_the_output() -> None:
    play = Play()
    made = play.said.index(effects.ShareFolder(SHARE, FOLDER))
    tokens = [command.token if isinstance(command, base.Publish) else "" for command in play.said]
    assert next(n for n, token in enumerate(tokens) if "lease" in token) < made
    assert made < next(n for n, token in enumerate(tokens) if "submitted" in token)
    assert made > play.said.index(base.Declare(ev.output_stream("job"), base.Kind.STREAM))
    (check,) = play.checks
    assert play.client.collected is None
    play.check("", ())
    assert play.client.collected is not None
    assert play.client.collected.parts == [(0, list(check.blocks))]


def test_output_that_is_not_there_is_written_once_more() -> None:
    play = Play()
    assert said_of(play.check("", (ATTEMPT,))) == [ev.Missing(0, 1, 0, 0, (ATTEMPT,))]
    assert play.client.collected is None


def test_an_answer_for_an_earlier_reading_of_the_log_means_nothing_and_all_is_looked_for_again() -> None:
    play = Play()
    play.tell(base.Disconnected("gone"))
    play.tell(effects.Connected())
    assert play.check("", (ATTEMPT,)) == [], "nothing is known yet of what that would be missing from"
    play.read(ev.log_stream("job"), *play.log)
    first, second = play.checks
    assert first.key != second.key and first.blocks == second.blocks
    assert play.tell(effects.BlocksChecked(first.key, "", ())) == [] and play.client.collected is None
    assert said_of(play.check("", (ATTEMPT,))) == [ev.Missing(0, 1, 0, 0, (ATTEMPT,))]


def test_a_client_that_does_not_see_the_folder_looks_for_a_minute_and_leaves_the_job_as_it_is() -> None:
    play = Play()
    while play.now < UNSEEN_SECS - 2 * LOOK_EVERY_SECS:
        play.check("is not there", ())
        assert not play.client.finished
        play.wait(LOOK_EVERY_SECS)
    assert len(play.checks) > UNSEEN_SECS / LOOK_EVERY_SECS / 2
    play.now = UNSEEN_SECS
    play.check("is not there", ())
    assert play.client.finished and isinstance(play.client.error, OutputError)
    assert f"lies in {FOLDER}, which is not there on this host" in str(play.client.error)
    assert not {ev.Missing, ev.CancelRequested, ev.Delivered} & set(map(type, said_of(play.said)))


def test_a_folder_that_is_seen_again_was_never_away() -> None:
    play = Play()
    play.check("is not there", ())
    play.wait(LOOK_EVERY_SECS)
    play.check("", ())
    assert play.client.collected is not None and play.client.error is None


def test_a_folder_that_cannot_be_made_leaves_no_stream_behind() -> None:
    """The host makes it as soon as it is asked to, before it looks at the next command."""
    client = Client("job", SPEC, "/nowhere", "0", random.Random(1), 0.0)
    (lease,) = published(client.handle(effects.Connected(), 0.0))
    done: list[Any] = []
    for command in client.handle(base.Confirmed(lease.token), 0.0):
        done.append(command)
        if isinstance(command, effects.ShareFolder):
            done += client.handle(effects.AppendFailed(SHARE, "no space left"), 0.0)
    declared = [n for n, command in enumerate(done) if isinstance(command, base.Declare)]
    said = {type(wire.decode(c.head)[0]): n for n, c in enumerate(done) if isinstance(c, base.Publish)}
    assert len(declared) == 1 + len(ev.data_streams("job", SPEC.stages, SPEC.partitions))
    assert max(declared) < said[ev.Cancelled] < said[ev.Delivered]
    taken_back = next(c.token for c in published(done) if "taken_back" in c.token)
    (lease,) = published(client.handle(base.Confirmed(taken_back), 0.0))
    assert wire.decode(lease.head)[0].rank.renewals == 1, "one that is acted on at once"
    assert client.handle(base.Confirmed(lease.token), 0.0) == [effects.RemoveShared(FOLDER)]
    assert client.finished and isinstance(client.error, OutputError)


@pytest.mark.parametrize("end", ["delivered", "cancelled", "failed", "kept"])
def test_a_client_that_ends_removes_the_folder_for_perhaps_no_worker_sees_it(end: str) -> None:
    play = Play(keep_secs=60.0 if end == "kept" else 0.0)
    play.confirm("lease")
    if end == "delivered":
        play.check("", ())
        for command in play.client.deliver():
            play.said.append(command)
    else:
        last = ev.Cancelled("enough") if end == "cancelled" else ev.Failed(Failure("raised", "no"), 0, 0, 4)
        said = play.read(ev.log_stream("job"), *play.log, last)
        if end == "kept":
            (mark,) = (each for each in said_of(said) if isinstance(each, ev.Marked))
            play.read(ev.log_stream("job"), *play.log, last, mark)
    assert not any(isinstance(command, effects.RemoveShared) for command in play.said)
    gone = play.confirm("delivered")
    assert play.client.finished and gone == ([] if end == "kept" else [effects.RemoveShared(FOLDER)])


# ---------------------------------------------------------------- whole jobs

WORDCOUNT = JOBS / "wordcount.py"
SMALL_SPLITS = ("--split-size", "256K")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 1_000_000)


@pytest.fixture(scope="module")
def pool(rabbit_url: str) -> Iterator[tuple[str, ...]]:
    """Options of a job that two workers will run, whose tests leave them alone."""
    name = f"shared-{os.getpid()}"
    with workers(rabbit_url, 2, 1, name):
        yield ("--broker", rabbit_url, "--pool", name)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Empty at the end: what a job has shared goes with its streams."""
    path = tmp_path / "shared"
    path.mkdir()
    yield path
    wait_until(lambda: not list(path.iterdir()))


def wait_until(condition: Any, secs: float = 30.0) -> None:
    until = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.02)


def block_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("mr-*/*/*.blocks"))


@pytest.mark.parametrize("job", ["wordcount", "top_words", "sort"])
def test_same_bytes(pool: tuple[str, ...], text: Path, directory: Path, job: str) -> None:
    args = ("run", JOBS / f"{job}.py", text, *SMALL_SPLITS)
    assert mr_ok(*args, *pool, "--shared", "--shared-dir", directory) == mr_ok(*args, "--local", "-c", 1)


def test_results_of_a_detached_job_lie_there_until_they_are_fetched(
    pool: tuple[str, ...], text: Path, directory: Path
) -> None:
    env = {"MR_SHARED_DIR": str(directory)}
    job = mr_ok("run", WORDCOUNT, text, *pool, *SMALL_SPLITS, "--detach", env=env).decode().strip()
    assert mr_ok("results", job, *pool[:2]) == count_words(text)


def test_pairs_in_python_are_there_when_the_job_has_gone(
    pool: tuple[str, ...], text: Path, directory: Path, tmp_path: Path
) -> None:
    _, url, _, name = pool
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(JOBS)!r})\n"
        "from wordcount import job\n"
        f"result = job.run({str(text)!r}, broker={url!r}, pool={name!r}, shared_dir={str(directory)!r})\n"
        f"while os.listdir({str(directory)!r}):\n"
        "    time.sleep(0.02)\n"
        "print(sum(count for _, count in result))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.check_output([sys.executable, script], env=env, timeout=60)
    assert int(output) == len(text.read_text().split())


def test_files_that_vanish_or_change_under_the_job_are_written_once_more(
    rabbit_url: str, directory: Path, tmp_path: Path
) -> None:
    text = make_text(tmp_path / "text.txt", 750_000)
    gates = Gates(tmp_path / "gates")
    gates.open("map")
    with workers(rabbit_url, 1, 1, "shared-vanish") as (worker,):
        job = Process(
            "run", gates.job, text, "--broker", rabbit_url, "--pool", "shared-vanish", *SMALL_SPLITS,
            "--shared-dir", directory,
        )  # fmt: skip
        try:
            worker.wait_for("at reduce")
            removed, cut, changed = block_files(directory)
            removed.unlink()
            os.truncate(cut, cut.stat().st_size - 1)
            data = bytearray(changed.read_bytes())
            data[len(data) // 2] ^= 1
            changed.write_bytes(data)
            gates.open("reduce")
            assert job.output() == count_words(text)
            wait_until(lambda: not list(directory.iterdir()))
        finally:
            job.stop()


def test_kill_9_of_a_worker_and_of_the_client(rabbit_url: str, directory: Path, tmp_path: Path) -> None:
    """What the dead have left there goes with the rest."""
    text = make_text(tmp_path / "text.txt", 750_000)
    gates = Gates(tmp_path / "gates")
    pool = ("--broker", rabbit_url, "--pool", "shared-kill")
    with workers(rabbit_url, 2, 1, "shared-kill") as (first, second):
        job = Process("run", gates.job, text, *pool, *SMALL_SPLITS, "--shared-dir", directory)
        said = job.wait_for("is submitted")
        first.wait_for("at map")
        first.kill()
        gates.open("map")
        second.wait_for("at reduce")
        job.kill()
        gates.open("reduce")
        name = said.split()[-3]
        assert mr_ok("run", "--resume", name, "--broker", rabbit_url) == count_words(text)
        wait_until(lambda: not list(directory.iterdir()))
        job.stop()


def test_a_failed_job_is_kept_with_its_files_and_can_go_on(
    pool: tuple[str, ...], text: Path, directory: Path, tmp_path: Path
) -> None:
    source = WORDCOUNT.read_text()
    (tmp_path / "wrong").mkdir()
    wrong = tmp_path / "wrong" / "wordcount.py"
    wrong.write_text(
        source.replace("    yield word, sum(counts)", "    yield word, sum(counts) / (word[0] != 'e')")
    )
    assert wrong.read_text() != source
    wrong.write_text(wrong.read_text().replace(", combine=total", ""))
    failed = mr(
        "run", wrong, text, *pool, *SMALL_SPLITS, "--tries", 1, "--keep", "5m", "--shared-dir", directory
    )
    assert failed.returncode == 1 and b"ZeroDivisionError" in failed.stderr, failed.stderr
    (folder,) = directory.iterdir()
    assert block_files(directory)
    job = folder.name[len("mr-") :]
    debugged = mr("debug", job, *pool[:2], stdin=b"q\n")
    assert b"ZeroDivisionError" in debugged.stderr, debugged.stderr
    right = tmp_path / "wordcount.py"
    right.write_text(source.replace(", combine=total", ""))
    assert mr_ok("retry", job, right, *pool[:2]) == count_words(text)


def test_a_cancelled_job_leaves_nothing(rabbit_url: str, text: Path, directory: Path, tmp_path: Path) -> None:
    gates = Gates(tmp_path / "gates")
    gates.open("map")
    with workers(rabbit_url, 1, 1, "shared-cancel") as (worker,):
        pool = ("--broker", rabbit_url, "--pool", "shared-cancel")
        job = Process("run", gates.job, text, *pool, *SMALL_SPLITS, "--shared-dir", directory)
        try:
            worker.wait_for("at reduce")
            assert list(directory.iterdir())
            (folder,) = directory.iterdir()
            mr_ok("cancel", folder.name[len("mr-") :], "--broker", rabbit_url)
            wait_until(lambda: not list(directory.iterdir()))
        finally:
            job.stop()


def test_a_worker_without_the_folder_leaves_the_job_to_one_that_has_it(
    rabbit_url: str, text: Path, directory: Path
) -> None:
    args = ("worker", "--broker", rabbit_url, "-c", "1", "--pool", "shared-blind")
    hidden = f"mount -t tmpfs none {shlex.quote(str(directory))}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", hidden], capture_output=True).returncode:
        pytest.skip("no mount namespaces here (unshare -rm)")
    command = f"{hidden} && exec {shlex.join([sys.executable, '-m', 'mapreduce.cli', *args])}"
    script = f"import os; os.execvp('unshare', ['unshare', '-rm', 'sh', '-c', {command!r}])"
    blind = Process(script=("-c", script))
    try:
        blind.wait_for("ready")
        pool = ("--broker", rabbit_url, "--pool", "shared-blind")
        job = Process("run", WORDCOUNT, text, *pool, *SMALL_SPLITS, "--shared-dir", directory)
        blind.wait_for("is not there on")
        with workers(rabbit_url, 1, 2, "shared-blind"):
            assert job.output() == count_words(text)
            wait_until(lambda: not list(directory.iterdir()))
        job.stop()
    finally:
        blind.stop()


def test_a_folder_that_is_not_there_is_a_wrong_option(rabbit_url: str, text: Path, tmp_path: Path) -> None:
    result = mr("run", WORDCOUNT, text, "--broker", rabbit_url, "--shared-dir", tmp_path / "none")
    assert result.returncode == 2
    assert f"there is no folder {tmp_path / 'none'}".encode() in result.stderr
