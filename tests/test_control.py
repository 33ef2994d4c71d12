"""`mr jobs`, `workers`, `drain`, `doctor`, completion: against real workers, silent ones, none, and no broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from mapreduce import events as ev
from mapreduce import shared, wire
from mapreduce.brokers import base, open_broker
from mapreduce.brokers.base import Kind
from mapreduce.census import Census, take_census
from mapreduce.commands import main, naming
from mapreduce.doctor import examination
from mapreduce.doctor.folders import check_folders, list_folders, measure
from mapreduce.node import PrivateNode
from mapreduce.spec import JobSpec
from tests.contract.harness import Session
from tests.gates import Gates
from tests.support import DEADLINE_SECS, workers

NOWHERE = "amqp://127.0.0.1:1/"


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def plain(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


Mr = Callable[..., Said]


@pytest.fixture
def mr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mr:
    """Runs a command in this process, as `mr` does."""

    def run(*args: Any) -> Said:
        monkeypatch.setattr(sys, "argv", ["mr", *map(str, args)])
        capsys.readouterr()
        return Said(main._run(), *capsys.readouterr())

    return run


def until(url: str, question: str, condition: Callable[[Census], bool]) -> Census:
    """Ask until the answers are as they should be."""
    deadline = time.monotonic() + DEADLINE_SECS
    while True:
        census = take_census(url, question)
        if condition(census):
            return census
        assert time.monotonic() < deadline, census


def begin(url: str) -> Session:
    session = Session(open_broker(url))
    session.broker.connect()
    return session


def of(check: str, said: Said) -> list[tuple[str, str]]:
    """Level and text of what was found out about something."""
    return [(each["level"], each["text"]) for each in said.plain["findings"] if each["check"] == check]


# ---------------------------------------------------------------- with workers


def test_jobs_and_workers_are_seen_and_steered(own_node: PrivateNode, tmp_path: Path, mr: Mr) -> None:
    url = own_node.url
    broker = ("--broker", url)
    gates = Gates(tmp_path / "gates")
    text = tmp_path / "text"
    text.write_text("a b a\n")
    with workers(url, 2, executors=1) as (one, two):
        until(url, "workers", lambda census: len(census.workers) == 2 and not census.silent)
        assert mr("jobs", *broker) == (0, "", "mr: there is no job\n")
        first, second = (
            mr("run", gates.job, text, "--detach", "-q", "--retain", "60s", *broker).out.strip()
            for _ in range(2)
        )
        census = until(url, "workers", lambda census: all(each.running for each in census.workers))
        at_work = {each.running[0].job: each.worker for each in census.workers}
        assert at_work.keys() == {first, second}
        assert all(each.memory_bytes > 5 << 20 for each in census.workers)

        heads, *rows = mr("jobs", *broker).out.splitlines()
        assert heads.split()[:2] == ["JOB", "PHASE"]
        assert [row.split()[:4] for row in rows] == [
            [job, "running", "0/1", "0/?"] for job in (first, second)
        ]
        plain = mr("workers", "--json", *broker).plain
        assert {each["running"][0]["job"] for each in plain["workers"]} == {first, second}
        assert f"{first} stage 0 task 0" in mr("workers", *broker).out
        several = mr("cancel", gates.name, *broker)
        assert several.code == 2 and f"{first} (running), {second} (running)" in several.err

        # one is suspended: it is counted, and a job that nobody knows may be its own
        two.popen.send_signal(signal.SIGSTOP)
        try:
            said = mr("workers", *broker)
            assert said.code == 0 and len(said.out.splitlines()) == 2
            assert said.err.startswith("mr: 1 worker did not answer")
            unknown = mr("results", "nosuch", *broker)
            assert unknown.code == 9 and "but 1 worker did not answer" in unknown.err
            doctor = mr("doctor", "--json", "--clean", "dead-00000001", *broker)
            assert doctor.code == 0 and of("workers", doctor)[0][0] == "warning"
            text_of = dict(of("leftovers", doctor))
            assert text_of.keys() == {"note"} and "while workers do not answer" in text_of["note"]
        finally:
            two.popen.send_signal(signal.SIGCONT)

        # told to leave, it finishes what it has begun first
        until(url, "workers", lambda census: not census.silent and len(census.workers) == 2)
        leaving = at_work[first]
        process = next(each for each in (one, two) if f":{each.popen.pid}:" in leaving)
        said = mr("drain", leaving.rpartition(":")[2], *broker)
        assert said.code == 0 and f"worker {leaving} takes nothing new, and leaves when 1 task" in said.err
        assert "leaves when that is done" in mr("workers", *broker).out
        assert process.popen.poll() is None
        gates.open("map", "reduce")
        assert process.popen.wait(DEADLINE_SECS) == 0
        census = until(url, "jobs", lambda census: {each.phase for each in census.jobs} == {"ready"})
        assert [each.job for each in census.jobs] == [first, second]
        assert mr("results", "@", *broker).out == "b\t1\na\t2\n"
        assert mr("results", first, *broker).out == "b\t1\na\t2\n"
        assert f"{second}  done" in mr("jobs", *broker).out
        assert mr("drain", leaving, *broker).code == 2

        completing = naming.complete_job(_Context(url), _Context(url), gates.name)  # type: ignore[arg-type]
        assert [item.value for item in completing] == [second, first]
        (item,) = naming.complete_worker(_Context(url), _Context(url), "")  # type: ignore[arg-type]
        assert item.value == at_work[second].rpartition(":")[2]


class _Context:
    """As much of click's as the completion of a name looks at."""

    def __init__(self, url: str) -> None:
        self.params = {"broker": url}


# ---------------------------------------------------------------- without any


def test_without_workers_it_is_said_and_leftovers_are_found(own_node: PrivateNode, mr: Mr) -> None:
    url = own_node.url
    broker = ("--broker", url)
    assert mr("jobs", *broker).err.startswith("mr: no worker is there, and without one nobody knows of a job")
    assert mr("workers", *broker) == (0, "", "mr: no worker is there (mr worker)\n")
    assert mr("drain", "x", *broker).code == 2
    assert "only a whole id finds a job" in mr("cancel", "x", *broker).err
    fresh = mr("doctor", "--json", *broker)
    assert fresh.code == 0 and fresh.plain["ok"]
    assert [of(each, fresh)[0][0] for each in ("broker", "streams", "rights", "workers", "leftovers")] == [
        "ok", "ok", "ok", "warning", "ok"
    ]  # fmt: skip

    session = begin(url)
    queue, jobs = ev.tasks_queue("default", "cp39"), session.declare(ev.JOBS, Kind.QUEUE)
    session.declare(queue, Kind.PRIORITY)
    for job in ("gone-00000001", "lost-00000002"):
        session.publish(queue, wire.encode(ev.Dispatch(job, 1, 1, 0, 0, None)))
    session.publish(session.declare(ev.ASIDE, Kind.QUEUE), wire.encode(ev.Aside(queue, "it is odd"), b"?!"))
    log = session.declare(ev.log_stream("lost-00000002"), Kind.STREAM)
    spec = JobSpec("lost", {}, {}, 2, 3)
    session.publish(log, wire.encode(ev.Submitted("lost-00000002", spec, "0", 0.0)))
    session.publish(log, wire.encode(ev.Took(ev.Rank(5, 99), "dead")))
    remains = [session.declare(name, Kind.STREAM) for name in ev.data_streams("dead-00000003", 2, 2)]
    waits = wire.encode(ev.Lease("waits-00000004", ev.Rank(1, 1), 0, 2, 2))
    session.publish(jobs, waits)

    ids = ("dead-00000003", "waits-00000004")
    found = mr("doctor", "--json", *ids, *broker)
    warnings = [text for level, text in of("leftovers", found) if level == "warning"]
    assert len(warnings) == 4 and found.code == 0
    assert warnings[0] == f"1 task of jobs that are over, in {queue}: gone-00000001"
    assert warnings[1] == "1 message on mr.1.aside that nobody could read"
    assert warnings[2] == "4 streams of job dead-00000003, whose log is gone"
    assert warnings[3] == "job lost-00000002 has streams, and nobody coordinates it"
    assert ("ok", "job waits-00000004 is coordinated, or waits for a worker") in of("leftovers", found)
    assert of("aside", found) == [("note", f"2 bytes from {queue}: it is odd")]
    assert of("queues", found)[0][1].endswith("from which no worker takes (jobs lost-00000002)")
    session.until_depth(queue, ready=2, consumers=0)  # nothing was taken

    cleaned = mr("doctor", "--clean", "--json", *ids, *broker)
    assert {level for level, _ in of("leftovers", cleaned)} == {"ok"}
    session.until_depth(queue, ready=1)
    session.until_depth(ev.ASIDE, ready=0)
    assert [session.depth(name).ready for name in remains] == [-1] * 4
    session.do(base.Consume("c", ev.JOBS, 10))
    first, second = (wire.decode(each.body)[0] for each in session.wait_for(2, base.Delivered))
    assert wire.encode(first) == waits
    assert (second.job, second.rank.renewals, second.stages, second.partitions) == ("lost-00000002", 6, 2, 3)
    session.broker.close(1.0)


def share(shared_dir: Path, job: str) -> Path:
    """The folder of a job, with a file of one attempt."""
    folder = Path(shared.folder_of(str(shared_dir), job))
    shared.make_job_folder(str(folder))
    descriptor, _ = shared.new_file(shared.attempt_folder(str(folder), 7))
    os.write(descriptor, b"block")
    os.close(descriptor)
    return folder


def test_folders_of_jobs_that_are_not_there_are_removed_when_they_are_named(tmp_path: Path) -> None:
    lives, gone, going, other = (share(tmp_path, job) for job in ("lives", "gone", "going", "other"))
    going = going.rename(f"{going}.gone")
    for age, folder in enumerate((gone, going, lives)):
        for each in (folder, *folder.rglob("*")):
            os.utime(each, (age, age))
    (tmp_path / "mr-link").symlink_to(other)
    (tmp_path / "mr-file").touch()
    (going / "mine").touch()
    found = measure(list_folders(str(tmp_path)))
    assert [(each.job, each.files, each.size) for each in found] == [
        ("gone", 1, 5), ("lives", 1, 5), ("other", 1, 5), ("going", 2, 5)
    ]  # fmt: skip

    def check(unsure: bool, clean: bool) -> list[str]:
        named = ("gone", "going", "lives")
        return [each.level for each in check_folders(found, {"lives"}, unsure, named, clean)]

    assert check(False, False) == ["warning", "ok", "warning", "warning"]
    assert check(True, True) == ["note", "ok", "note", "note"]
    assert gone.exists()
    assert check(False, True) == ["ok", "ok", "warning", "warning"], "what no attempt has made is left"
    assert not gone.exists() and lives.exists() and other.exists() and [*going.iterdir()] == [going / "mine"]


def test_what_is_being_removed_counts_with_what_is_there_again(tmp_path: Path) -> None:
    going = share(tmp_path, "twice")
    going = going.rename(f"{going}.gone")
    again = share(tmp_path, "twice")
    tomorrow = time.time() + 86400.0  # by the file server's clock
    os.utime(again, (tomorrow, tomorrow))
    found = measure(list_folders(str(tmp_path)))
    assert [(each.job, each.paths, each.files, each.size) for each in found] == [
        ("twice", (str(again), str(going)), 2, 10)
    ]
    (finding,) = check_folders(found, (), False, ("twice",), True)
    assert finding.text == f"removed {again} and {going}: 2 files, 10 B"
    assert not again.exists() and not going.exists()


def test_only_what_is_named_or_stands_in_a_task_is_cleaned(
    rabbit_url: str, mr: Mr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what only has a folder in DIR."""
    jobs = ("other-0000000a", "named-0000000b")
    monkeypatch.setenv("MR_SHARED_DIR", str(tmp_path))
    session = begin(rabbit_url)
    for job in jobs:
        share(tmp_path, job)
        session.declare(ev.output_stream(job), Kind.STREAM)
    other, named = (ev.output_stream(job) for job in jobs)
    try:
        said = mr("doctor", jobs[1], "--clean", "--json", "--broker", rabbit_url)
        assert (session.depth(other).ready, session.depth(named).ready) == (0, -1)
    finally:
        session.do(base.Delete(other), base.Delete(named))
        session.wait_for(2, base.Deleted)
        session.broker.close(1.0)
    (advice,) = (
        each["advice"]
        for each in said.plain["findings"]
        if jobs[0] in each["text"] and each["check"] == "leftovers"
    )
    assert advice == f"mr doctor --clean {jobs[0]} removes them"


def test_a_folder_whose_job_has_a_log_is_not_removed(rabbit_url: str, mr: Mr, tmp_path: Path) -> None:
    gone, lives = share(tmp_path, "gone-0000000a"), share(tmp_path, "lives-0000000d")
    session = begin(rabbit_url)
    log = session.declare(ev.log_stream("lives-0000000d"), Kind.STREAM)
    try:
        said = mr("doctor", gone.name[3:], lives.name[3:], "--clean", "--json", "--broker", rabbit_url,
                  "--shared-dir", tmp_path)  # fmt: skip
    finally:
        session.do(base.Delete(log))
        session.wait_for(1, base.Deleted)
        session.broker.close(1.0)
    assert [level for level, _ in of("folders", said)] == ["ok", "ok"]
    assert lives.exists() and not gone.exists()
    (text,) = (text for level, text in of("leftovers", said) if level == "failed")
    assert text.startswith("job lives-0000000d has streams, and nobody coordinates it: ")


def test_a_shared_folder_that_is_not_there_is_a_wrong_option(mr: Mr, tmp_path: Path) -> None:
    said = mr("doctor", "--broker", NOWHERE, "--shared-dir", tmp_path / "none")
    assert said.code == 2 and "none (--shared-dir): No such file or directory" in said.err


def test_a_usual_shared_folder_that_is_not_there_is_noted(
    rabbit_url: str, mr: Mr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MR_SHARED_DIR", str(tmp_path / "none"))
    said = mr("doctor", "--json", "--broker", rabbit_url)
    assert said.code == 0 and of("unseen", said)
    assert of("folders", said) == [
        ("note", f"cannot look into {tmp_path / 'none'} (MR_SHARED_DIR): No such file or directory")
    ]


def test_what_is_known_is_shown_before_files_are_looked_at(
    rabbit_url: str, mr: Mr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server may hang."""

    def hang(*args: Any) -> Any:
        raise KeyboardInterrupt

    share(tmp_path, "lives")
    monkeypatch.setattr(examination, "measure", hang)
    said = mr("doctor", "--broker", rabbit_url, "--shared-dir", tmp_path)
    shown = [line[8:].split()[0] for line in said.out.splitlines() if not line.startswith(" ")]
    assert said.code == 130 and shown[0] == "broker" and shown[-1] == "unseen"


def test_a_right_that_is_missing_is_named(own_node: PrivateNode, mr: Mr) -> None:
    own_node.control("add_user", "poor", "poor")
    own_node.control("set_permissions", "poor", r"^mr\..*", r"^mr\..*", r"^mr\..*")
    url = f"amqp://poor:poor@127.0.0.1:{own_node.port}/"
    said = mr("doctor", "--broker", url)
    assert said.code == 7 and "failed  rights" in said.out and "cannot write to mr.1.doctor." in said.out
    assert r"amq\.default" in said.out.splitlines()[-1]
    own_node.control("delete_user", "poor")


# ---------------------------------------------------------------- without a broker


@pytest.mark.parametrize(
    "command", [["jobs"], ["workers"], ["drain", "x"], ["results", "x"], ["cancel", "@"], ["doctor"]]
)
def test_a_dead_broker_is_one_line_and_exit_code_6(mr: Mr, command: list[str]) -> None:
    said = mr(*command, "--broker", NOWHERE)
    assert said.code == 6
    assert (
        "cannot reach RabbitMQ at 127.0.0.1:1" in said.err + said.out
        and (said.err + said.out).count("\n") == 1
    )


@pytest.mark.parametrize("command", [["jobs"], ["workers"], ["drain", "x"], ["doctor"]])
def test_no_broker_at_all(mr: Mr, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.delenv("MR_BROKER", raising=False)
    said = mr(*command)
    assert said.code == 2 and "no broker: give --broker" in said.err


def test_the_tab_key_does_not_complain() -> None:
    context: Any = _Context(NOWHERE)
    assert naming.complete_job(context, context, "") == []


def test_a_shell_completes_commands_and_options() -> None:
    """A real bash, with the script that is printed for it."""
    script = """
        eval "$(mr completion bash)"
        complete_at() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _mr_completion mr; echo "${COMPREPLY[@]}"
        }
        complete_at mr do; complete_at mr doctor --cl; complete_at mr completion z
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("MR_BROKER", None)
    said = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=DEADLINE_SECS
    )
    assert said.stdout.split("\n") == ["doctor", "--clean", "zsh", ""], said.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(mr: Mr, shell: str) -> None:
    said = mr("completion", shell)
    assert said.code == 0 and f"_MR_COMPLETE={shell}_complete" in said.out
