"""How `mr run` ends when it is told to, or cannot go on: its exit code, its one line, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapreduce import events as ev
from mapreduce.brokers import base, open_broker
from mapreduce.brokers.url import parse
from mapreduce.client.outcome import error_of
from mapreduce.commands.options import NonNegative
from mapreduce.node import PrivateNode
from mapreduce.refs import Failure
from mapreduce.state import JobState
from tests.support import JOBS, ROOT, Process, make_text, mr, mr_ok, workers
from tests.test_executor import eventually

WORDCOUNT = JOBS / "wordcount.py"
NAP = (
    "import time\nfrom mapreduce import Job\ndef nap(line):\n    print('napping', flush=True)\n"
    "    time.sleep(100)\n    yield line, 1\njob = Job(nap)\n"
)


@pytest.fixture
def nap(tmp_path: Path) -> Path:
    path = tmp_path / "nap.py"
    path.write_text(NAP)
    (tmp_path / "lines").write_text("a\nb\n")
    return path


@pytest.mark.parametrize(
    ("kind", "code"), [("raised", 1), ("folder", 1), ("input", 4), ("room", 5), ("lost", 9)]
)
def test_the_exit_code_says_what_has_failed(kind: str, code: int) -> None:
    error = error_of(ev.Failed(Failure(kind, "no"), 0, 0, 0), JobState())
    assert (error.exit_code, str(error)) == (code, "no\n  (split 0)")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"cannot mount here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def exists(url: str, name: str) -> bool:
    """Whether there is such a queue or stream."""
    broker = open_broker(url)
    broker.connect()
    try:
        broker.perform(base.Inspect(name))
        while True:
            for event in broker.poll():
                if isinstance(event, base.Depth):
                    return event.ready >= 0
                assert not isinstance(event, base.Disconnected), event.reason
    finally:
        broker.close(1.0)


def job_of(process: Process) -> str:
    return process.wait_for("is submitted").split()[2]


def one_line(result: subprocess.CompletedProcess[bytes], code: int) -> str:
    """What it said, but for the name of its job."""
    lines = [line for line in result.stderr.decode().splitlines() if "is submitted" not in line]
    assert result.returncode == code and len(lines) == 1, (result.returncode, lines)
    return lines[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job_and_its_tasks(rabbit_url: str, nap: Path, number: int, code: int) -> None:
    pool = f"signal{code}"
    with workers(rabbit_url, 1, 2, pool):
        client = Process("run", nap, nap.parent / "lines", "--broker", rabbit_url, "--pool", pool)
        try:
            job = job_of(client)
            client.wait_for("napping")
            client.popen.send_signal(number)
            assert client.popen.wait(60) == code
            client.wait_for(f"the job was cancelled: {signal.Signals(number).name}")
        finally:
            client.stop()
        names = [ev.log_stream(job), *ev.data_streams(job, 1, 8)]
        while any(exists(rabbit_url, name) for name in names):
            pass  # the test's own time limit ends it
        # its slots are free again: this would wait for a hundred seconds
        assert mr_ok("run", WORDCOUNT, nap.parent / "lines", "--broker", rabbit_url, "--pool", pool)


def test_a_second_interrupt_leaves_at_once(rabbit_url: str, nap: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    client = Process(
        *("run", nap, nap.parent / "lines", "--broker", rabbit_url, "--pool", "nobody-here"),
        env={"TMPDIR": str(tmp_path / "tmp")},
    )
    try:
        client.wait_for("waits: no worker")  # so nobody will confirm the first one
        client.popen.send_signal(signal.SIGINT)
        client.popen.send_signal(signal.SIGINT)
        assert client.popen.wait(60) == 130
    finally:
        client.stop()
    assert not list((tmp_path / "tmp").iterdir())


def test_a_full_disk_while_collecting(rabbit_url: str, tmp_path: Path, small_disk: Path) -> None:
    text = make_text(tmp_path / "text", 4_000_000)
    job = tmp_path / "copy.py"
    job.write_text("from mapreduce import Job\ndef copy(line):\n    yield line, 1\njob = Job(copy)\n")
    env = {"TMPDIR": str(small_disk)}
    pool = ("--broker", rabbit_url, "--pool", "full")
    with workers(rabbit_url, pool="full"):
        said = one_line(mr("run", job, text, *pool, env=env), 5)
        assert "No space left on device" in said and not list(small_disk.iterdir())
        name = mr_ok("run", job, text, *pool, "--detach").decode().strip()
        said = one_line(mr("results", name, "--broker", rabbit_url, "-o", tmp_path / "out", env=env), 5)
        assert "No space left" in said and not (tmp_path / "out").exists() and not list(small_disk.iterdir())
        assert mr_ok("results", name, "--broker", rabbit_url, "--format", "jsonl").count(
            b"\n"
        ) == text.read_text().count("\n")


#: `mr` with a Ctrl-C that comes when the first streams are declared, and not all
INTERRUPTED = """
import os, signal
from mapreduce.cli import main
from mapreduce.client.declaring import Declaring
begin, calls = Declaring.next, []
def next(self):
    calls.append(self)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return begin(self)
Declaring.next = next
main()
"""


def test_ctrl_c_while_hundreds_of_streams_are_declared_leaves_none(
    shared_node: PrivateNode, nap: Path
) -> None:
    def streams() -> list[str]:
        names = shared_node.control("list_queues", "--silent", "name").split()
        return [name for name in names if ".job.many-" in name]

    many = nap.with_name("many.py")
    many.write_text(NAP.replace("Job(nap)", "Job(nap, reduce=lambda key, values: [])"))
    options = ("--broker", shared_node.url, "--pool", "many", "--partitions", 1000)
    with workers(shared_node.url, pool="many"):
        run = Process("run", many, nap.with_name("lines"), *options, script=("-c", INTERRUPTED))
        assert run.popen.wait(20) == 130, run.errors
        assert not any("is submitted" in line for line in run.errors), "else this tests nothing"
        run.stop()
        assert eventually(lambda: not streams(), 30.0)


def test_a_full_disk_of_a_run_without_a_broker_is_tried_as_often_as_was_said(
    tmp_path: Path, small_disk: Path
) -> None:
    text = make_text(tmp_path / "text", 4_000_000)
    job = tmp_path / "copy.py"
    job.write_text("from mapreduce import Job\ndef copy(line):\n    yield line, 1\njob = Job(copy)\n")
    result = mr("run", job, text, "--local", "--tries", 2, env={"TMPDIR": str(small_disk)})
    said = result.stderr.decode()
    assert result.returncode == 5 and "No space left" in said and "2 tries" in said, said
    assert not list(small_disk.iterdir())


def test_a_full_disk_while_writing(tmp_path: Path, small_disk: Path) -> None:
    text = make_text(tmp_path / "text", 4_000_000)
    job = tmp_path / "copy.py"
    job.write_text("from mapreduce import Job\ndef copy(line):\n    yield line, 1\njob = Job(copy)\n")
    said = one_line(mr("run", job, text, "--local", "-o", small_disk / "out"), 5)
    assert "No space left on device" in said and not list(small_disk.iterdir())


def test_no_room_for_a_temporary_folder(nap: Path) -> None:
    code = (
        "import tempfile, sys; tempfile.tempdir = '/proc/none'; from mapreduce.cli import main; "
        f"sys.argv[1:] = ['run', '--local', {str(nap)!r}, {str(nap)!r}]; main()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, timeout=60)
    assert "cannot make a temporary folder" in one_line(result, 5)


def test_the_broker_takes_no_messages_for_a_while_then_refuses_the_login(
    own_node: PrivateNode, tmp_path: Path
) -> None:
    text = make_text(tmp_path / "text", 300_000)
    (tmp_path / "tmp").mkdir()
    client = Process(
        *("run", WORDCOUNT, text, "--broker", own_node.url, "--split-size", "10K"),
        *(
            "--client-timeout",
            "4",
        ),  # it speaks each second: the broker tells of an alarm only whoever publishes
        env={"TMPDIR": str(tmp_path / "tmp")},
    )
    try:
        client.wait_for("waits: no worker")
        own_node.control("set_disk_free_limit", "9999GB")
        client.wait_for("takes no messages for now .*disk")
        own_node.control("set_disk_free_limit", "50MB")
        client.wait_for("takes messages again")
        assert sum("takes no messages" in line for line in client.errors) == 1
        address = parse(own_node.url)
        own_node.control("change_password", address.user, "another")
        own_node.control("close_all_connections", "moved")
        assert client.popen.wait(60) == 7
        assert sum("refuse" in line.lower() for line in client.errors) == 1, client.errors
    finally:
        client.stop()
        own_node.control("set_disk_free_limit", "50MB")
        own_node.control("change_password", parse(own_node.url).user, parse(own_node.url).password)
    assert not list((tmp_path / "tmp").iterdir())


def test_threads_that_a_job_file_leaves_behind_do_not_keep_it_alive(nap: Path) -> None:
    job = nap.parent / "threads.py"
    job.write_text(
        "import threading\nfrom mapreduce import Job\nthreading.Thread(target=threading.Event().wait).start()\n"
        "def once(line):\n    yield line, 1\njob = Job(once)\n"
    )
    assert mr_ok("run", "--local", job, nap.parent / "lines", "-c", 1) == b"a\t1\nb\t1\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "--nonsense"), "No such option"),
        (("nonsense",), "No such command"),
        (("run",), "no job"),
        (("run", "", "i"), "the name of the job file is empty"),
        (("run", "j", "i", "--tries", "x=1"), "neither N nor STAGE=N"),
        (("run", "j", "i", "--task-timeout", "soon"), "not a time such as"),
        (("run", "j", "i", "--max-memory", "lots"), "not a size such as"),
        (("run", WORDCOUNT, WORDCOUNT, "-i", "fixed:0"), "input format 'fixed:0': choose"),
        (("run", "j", "i", "--skip-bad", "-1"), "skip-bad"),
        (("run", "j", "i", "--tries", "9" * 5000), "neither N nor STAGE=N"),
        (("run", "j", "i", "--tries", "0=0"), "neither N nor STAGE=N"),
        (("run", "j", "i", "--retain", "-1"), "not a time such as"),
        (("worker", "--grace", "nan"), "not a time such as"),
        (("worker", "--grace", "inf"), "not a time such as"),
        (("results",), "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(args: tuple[str, ...], says: str) -> None:
    assert says in one_line(mr(*args), 2)


@pytest.mark.parametrize("text", ["0", "0s", "0.0", " 0m "])
def test_no_time_at_all(text: str) -> None:
    assert NonNegative().convert(text, None, None) == 0.0


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    job = tmp_path / "numbers.py"
    job.write_text("from mapreduce import Job\ndef parse(line):\n    yield int(line), 1\njob = Job(parse)\n")
    data = tmp_path / "data"
    data.write_text("1\ntwo\n3\nfour\n")
    result = mr("run", "--local", job, data, "-c", 1, "--skip-bad", 3, "--tries", 2)
    assert (result.returncode, result.stdout) == (0, b"1\t1\n3\t1\n"), result.stderr
    said = result.stderr.decode().splitlines()
    assert said[0] == "mr: left out 2 records:" and len(said) == 3
    assert said[1].startswith(f"mr:   {data} at byte 2: map parse: ValueError: invalid literal")
    assert said[2].startswith(f"mr:   {data} at byte 8: ")
    too_many = mr("run", "--local", job, data, "-c", 1, "--skip-bad", 1, "--tries", 2)
    assert too_many.returncode == 1 and b"byte 8" in too_many.stderr


def test_files_without_a_size_are_read(tmp_path: Path) -> None:
    said = mr_ok("run", "--local", WORDCOUNT, "/proc/version", "-c", 1)
    assert said.split(b"\n")[0].count(b"\t") == 1
