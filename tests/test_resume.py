"""Clients that are killed, and jobs that go on without them: `mr run --resume` with real processes and RabbitMQ."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Job, splits, wire
from mapreduce import events as ev
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from mapreduce.client import Client, Phase, ResumingClient
from mapreduce.effects import Connected, InputEnd, InputPiece, InputSplit, InputSplits, ReadInput, Report
from mapreduce.errors import InputError
from mapreduce.refs import Segment, Split
from mapreduce.spec import InputFormat, JobSpec
from mapreduce.state import JobState
from mapreduce.submission import Options, find_again, find_inputs, make_spec
from tests.chaos_log import read
from tests.support import JOBS, Process, count_words, make_text, mr, mr_ok, workers

WORDCOUNT = JOBS / "wordcount.py"
LINES = InputFormat()


def submitted(process: Process) -> str:
    """The id of its job, as soon as it says so."""
    return process.wait_for("is submitted").split()[2]


class TestTheInputOnceMore:
    """Which splits are still to come, and whether they are what they were."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "data").mkdir()
        for name in "abc":
            make_text(tmp_path / "data" / name, 5000, ord(name))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def submit(self, *names: str) -> tuple[JobSpec, list[Split]]:
        found = find_inputs(names, LINES, 1000, "spool")
        spec = make_spec(Job(lambda line: [(line, 1)]), {}, LINES, Options(split_bytes=1000), found)
        return spec, list(found.splits)

    @pytest.mark.parametrize(
        "names", [("data",), ("data/*",), ("./data/a", "data/../data/b"), ("data/c", "data/c")]
    )
    def test_the_same_splits_from_anywhere(
        self, folder: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec, planned = self.submit(*names)
        monkeypatch.chdir("/")
        assert list(find_again("j", spec, (), "spool")) == planned

    def test_named_once_more_they_have_to_be_the_same(self, folder: Path) -> None:
        spec, planned = self.submit("data/a", "data/b")
        assert list(find_again("j", spec, ("data/a", "data/b"), "spool")) == planned
        with pytest.raises(InputError, match=r"is not what it was: 2 files of .* then, 1 of"):
            find_again("j", spec, ("data/a",), "spool")

    def test_a_file_that_has_changed(self, folder: Path) -> None:
        spec, _ = self.submit("data")
        make_text(folder / "data" / "b", 5000, 99)
        with pytest.raises(InputError, match="is not what it was"):
            find_again("j", spec, (), "spool")

    def test_a_file_that_is_gone(self, folder: Path) -> None:
        spec, _ = self.submit("data/a", "data/b")
        (folder / "data" / "b").unlink()
        with pytest.raises(InputError, match="no such file"):
            find_again("j", spec, (), "spool")

    def test_what_can_be_read_once_only(self, folder: Path) -> None:
        assert splits.digest(splits.list_inputs(["-", "data"])) == ""
        with pytest.raises(InputError, match="cannot be read again"):
            find_again("j", JobSpec("j", {}, {}, 1, inputs=("-",)), (), "spool")


class Front:
    """A client at the memory broker, and the input that it reads."""

    def __init__(self, client: Client, server: MemoryServer, items: list[Any]) -> None:
        self.client = client
        self.items = items
        self.broker = MemoryBroker(server)
        self.broker.connect()
        self.perform(client.handle(Connected(), 0.0))

    def perform(self, commands: list[Any]) -> None:
        for command in commands:
            if isinstance(command, ReadInput) and self.items:
                self.perform(self.client.handle(self.items.pop(0), 0.0))
            elif not isinstance(command, (ReadInput, Report)):
                self.broker.perform(command)

    def step(self) -> bool:
        """Take one batch of what has happened; False if nothing has."""
        happened = self.broker.poll()
        for event in happened:
            self.perform(self.client.handle(event, 0.0))
        return bool(happened)


def items_of(pieces: list[int]) -> list[Any]:
    """Splits of so many pieces each (0: by reference), every piece with bytes of its own."""
    items: list[Any] = []
    for split, count in enumerate(pieces):
        items += [InputPiece(f"{split}.{n} ".encode()) for n in range(count)]
        whole = Split((Segment(f"f{split}", "", 0, 1, 0, True),))
        items.append(InputSplit(whole) if count else InputSplits((ev.SplitInput(whole),)))
    return [*items, InputEnd()]


def bodies(server: MemoryServer, name: str) -> list[tuple[Any, memoryview]]:
    place: Any = server.places[name]
    return [wire.decode(body) for body, _ in place.ready]


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    kills=st.lists(st.integers(0, 30), min_size=1, max_size=3),
)
def test_wherever_clients_die_the_input_arrives_once_and_whole(pieces: list[int], kills: list[int]) -> None:
    server, items = MemoryServer(), items_of(pieces)
    rng = random.Random(1)
    front = Front(Client("j", JobSpec("j", {}, {}, 1, 1), "", "0", rng, 0.0), server, list(items))
    while front.client.phase is Phase.SUBMITTING:
        assert front.step()
    for steps in [*kills, 10_000]:
        for _ in range(steps):
            if not front.step():
                break
            client = front.client
            if isinstance(client, ResumingClient) and client.looked:
                front.perform(client.claim())
            if isinstance(client, ResumingClient) and client.lacks_input:
                behind = [n for n, item in enumerate(items) if isinstance(item, (InputSplit, InputSplits))][
                    : client.fed
                ]
                front.items = items[behind[-1] + 1 :] if behind else list(items)
                front.perform(client.feed())
        if steps < 10_000:
            front.broker.close(0)  # kill -9
            front = Front(ResumingClient("j", "", "0", rng), server, [])
    state = JobState()
    for entry, _ in bodies(server, ev.log_stream("j")):
        state.apply(entry)
    assert state.stages[0].total == len(pieces) and sorted(state.splits) == list(range(len(pieces)))
    stream = bodies(server, ev.input_stream("j"))
    for number, split in state.splits.items():
        wanted, got = split.first_piece, b""
        for msg, body in stream[split.first_piece :]:  # as a worker reads it
            if (
                wanted < split.first_piece + split.pieces
                and isinstance(msg, ev.Piece)
                and msg.number >= wanted
            ):
                assert msg.number == wanted
                got, wanted = got + bytes(body), wanted + 1
        assert split.pieces == pieces[number]
        assert got == b"".join(f"{number}.{n} ".encode() for n in range(split.pieces))


def stop_in_the_middle(process: Process, url: str, job: str) -> list[Any]:
    """Stop the client for good after some tasks are done and before its input is all in; the job's log by then."""
    while True:
        process.popen.send_signal(signal.SIGSTOP)
        log = read(url, job, 0.5)
        assert not any(isinstance(entry, ev.InputComplete) for entry in log), (
            "too small an input to stop in time"
        )
        listed = sum(len(entry.splits) for entry in log if isinstance(entry, ev.Splits))
        if listed >= 5:
            break
        process.popen.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    while sum(isinstance(entry, ev.Done) for entry in log) < listed:  # the workers go on without it
        log = read(url, job, 0.5)
    process.kill()
    return log


def test_a_killed_clients_job_goes_on_and_what_was_done_is_not_done_again(
    rabbit_url: str, tmp_path: Path
) -> None:
    text = make_text(tmp_path / "text", 400_000)
    options = (
        "--broker",
        rabbit_url,
        "--pool",
        "resume",
        "--split-size",
        "1000",
        "--retain",
        "60",
        "--no-copies",
    )
    with workers(rabbit_url, 1, 2, "resume"):
        client = Process("run", WORDCOUNT, "text", *options, cwd=tmp_path)
        try:
            job = submitted(client)
            before = stop_in_the_middle(client, rabbit_url, job)
        finally:
            client.stop()
        assert mr_ok("run", "--resume", job, "--broker", rabbit_url) == count_words(text)
    log = read(rabbit_url, job)
    done = {entry.index for entry in before if isinstance(entry, ev.Done) and entry.stage == 0}
    again = {
        entry.index for entry in log[len(before) :] if isinstance(entry, ev.Started) and entry.stage == 0
    }
    listed = [n for e in log if isinstance(e, ev.Splits) for n in range(e.first, e.first + len(e.splits))]
    assert len(done) >= 5 and again and not done & again
    assert sorted(listed) == sorted(set(listed)) == list(range(len(listed)))
    assert sum(isinstance(entry, ev.Resumed) and entry.claims for entry in log) == 1


def test_input_that_is_all_in_needs_no_files_and_the_format_is_remembered(
    rabbit_url: str, tmp_path: Path
) -> None:
    text = make_text(tmp_path / "text", 50_000)
    words = b"key,value\n" + count_words(text, partitions=1).replace(b"\t", b",")
    place = ("--broker", rabbit_url, "--pool", "all-in")
    client = Process("run", WORDCOUNT, text, *place, "--format", "csv", "--partitions", 1)
    try:
        client.wait_for("waits: no worker")
        job = submitted(client)
    finally:
        client.kill()
        client.stop()
    text.unlink()
    with workers(rabbit_url, pool="all-in"):
        assert mr_ok("run", "--resume", job, "--broker", rabbit_url, "-o", tmp_path / "out") == b""
    assert b"".join(part.read_bytes() for part in sorted((tmp_path / "out").glob("part-*"))) == words
    over = mr("run", "--resume", job, "--broker", rabbit_url)
    assert over.returncode == 9 and over.stderr.count(b"\n") == 1, over.stderr


def test_who_cannot_go_on_does_no_harm_to_a_client_that_lives(rabbit_url: str, tmp_path: Path) -> None:
    options = ("--broker", rabbit_url, "--pool", "stdin", "--split-size", "100K", "-o", tmp_path / "out")
    client = Process("run", WORDCOUNT, "-", *options, stdin=subprocess.PIPE)
    try:
        assert client.popen.stdin is not None
        client.popen.stdin.write(b"some words\n" * 50_000)  # and no end yet
        job = submitted(client)
        result = mr("run", "--resume", job, "--broker", rabbit_url)
        assert result.returncode == 4 and result.stderr.count(b"\n") == 1, result.stderr
        assert b"cannot be read again" in result.stderr
        result = mr("run", "--resume", job, "--broker", rabbit_url, "--format", "jsonl")
        assert result.returncode == 2 and result.stderr.count(b"\n") == 1, result.stderr
        assert b"submitted with --format text" in result.stderr
        client.popen.stdin.close()
        with workers(rabbit_url, pool="stdin"):
            assert client.popen.wait(60) == 0, client.errors
    finally:
        client.stop()
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert sorted(b"".join(part.read_bytes() for part in parts).splitlines()) == [
        b"some\t50000",
        b"words\t50000",
    ]


def test_a_detached_job_brings_no_output_and_remembers_its_format(rabbit_url: str, tmp_path: Path) -> None:
    text = make_text(tmp_path / "text", 1000)
    place = ("--broker", rabbit_url, "--pool", "no-output", "--partitions", 1, "--format", "csv")
    job = mr_ok("run", WORDCOUNT, text, "--detach", *place).decode().strip()
    out = tmp_path / "out"
    result = mr("run", "--resume", job, "-o", out, "--broker", rabbit_url)
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1 and not out.exists()
    assert f"mr results {job} -o DIR".encode() in result.stderr
    assert not any(isinstance(entry, ev.Resumed) and entry.claims for entry in read(rabbit_url, job, 0.5))
    with workers(rabbit_url, pool="no-output"):
        words = b"key,value\n" + count_words(text, partitions=1).replace(b"\t", b",")
        assert mr_ok("results", job, "--broker", rabbit_url) == words


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("run", "--resume", "no-such-job"), 9, b"there is no job no-such-job"),
        (("run", "--resume", "a/b"), 9, b"no job can have such a name"),
        (("run", "--resume", "j", "--tries", "3"), 2, b"--tries does not go with it"),
        (("run", "--resume", "j", "-p", "a=1"), 2, b"--param does not go with it"),
    ],
)
def test_what_cannot_be_resumed(rabbit_url: str, args: tuple[str, ...], code: int, says: bytes) -> None:
    result = mr(*args, "--broker", rabbit_url)
    assert result.returncode == code and says in result.stderr and result.stderr.count(b"\n") == 1, (
        result.stderr
    )
