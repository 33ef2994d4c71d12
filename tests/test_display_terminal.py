"""What users see of a job, in a real terminal emulator: `mr run` and `mr attach`, whatever happens to them."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import DEADLINE_SECS, ROOT, Process, mr, workers
from tests.terminal import Terminal, mr_in_terminal

#: what changes the state of a terminal for longer than a frame: modes, among them the cursor and the other screen
MODES = re.compile(rb"\x1b\[\?\d+[hl]|\x1b[=>c]|\x1b\[[\d;]*r")
COLOURS = re.compile(rb"\x1b\[(?:\d;)*[349]\d")

_JOB = """
import os, time
from mapreduce import Job

def wait_at(gate):
    if not os.path.exists(os.path.join({folder!r}, gate)):
        print("at", gate)
        while not os.path.exists(os.path.join({folder!r}, gate)):
            time.sleep(0.02)

def words(line):
    wait_at("map")
    for word in line.split():
        yield word, 1

def total(word, counts):
    wait_at("reduce")
    yield word, sum(counts)

job = Job(words, reduce=total)
"""


class Gates:
    """A word count whose functions say, as user code does, that they wait until a test lets them go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"waits{secrets.token_hex(4)}"
        self.job = folder / f"{self.name}.py"
        self.job.write_text(_JOB.format(folder=str(folder)))

    def open(self, *names: str) -> None:
        for name in names:
            (self._folder / name).touch()


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    (tmp_path / "gates").mkdir()
    return Gates(tmp_path / "gates")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("to be\nor not\nto be\n")
    return path


def run(gates: Gates, text: Path, *args: str, **options: object) -> Terminal:
    """A run of six tasks whose first stage waits at its gate."""
    return mr_in_terminal("run", gates.job, text, "--split-size", 7, "-c", 1, *args, **options)


def assert_left_clean(terminal: Terminal) -> None:
    """The cursor is to be seen, at the start of a line, and nothing of the terminal is other than it was."""
    assert not terminal.cursor_hidden and terminal.column == 0 and not MODES.search(terminal.raw)


def test_a_job_is_shown_while_it_runs_then_its_results_then_what_it_took(gates: Gates, text: Path) -> None:
    with run(gates, text, "--summary") as terminal:
        terminal.wait_for(r"^map +─+ +0/3  1 running  2 waiting")
        lines = terminal.screen
        assert lines[0] == "[map 0] at map" and lines[1].startswith(gates.name)
        assert COLOURS.search(terminal.raw)
        gates.open("map")
        terminal.wait_for(r"^map +━+ +3/3$")
        terminal.wait_for(r"^\[reduce \d\] at reduce")
        terminal.wait_for(r"^reduce .* 0/3  1 running  2 waiting")
        gates.open("reduce")
        assert terminal.end() == 0
        shown = re.sub(r"^\[.*\n", "", terminal.text, flags=re.MULTILINE).splitlines()
        assert sorted(shown[:4]) == ["be      2", "not     1", "or      1", "to      2"]
        assert re.fullmatch(rf"job {gates.name}-\w+ done after .* s", shown[4])
        assert "6 tasks, each at the first try" in terminal.text and "running" not in terminal.text
        assert_left_clean(terminal)


def test_narrow_terminals_other_sizes_and_no_colours(gates: Gates, text: Path) -> None:
    with run(gates, text, "--no-summary", columns=100, env={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for(r"^map +─+ +0/3")
        terminal.resize(40, 24)
        terminal.wait_for(r"^map +0/3  1 running  2 waiting$")
        assert sum("0/3" in line for line in terminal.screen) == 1
        terminal.resize(90, 24)
        terminal.wait_for(r"^map +─+ +0/3")
        assert sum("0/3" in line for line in terminal.screen) == 1
        gates.open("map", "reduce")
        assert terminal.end() == 0
        assert not COLOURS.search(terminal.raw) and "done after" not in terminal.text
        assert_left_clean(terminal)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(gates: Gates, text: Path) -> None:
    with run(gates, text, "--summary", env={"TERM": "dumb"}) as terminal:
        terminal.wait_for(r"^\[map 0\] at map$")
        gates.open("map", "reduce")
        assert terminal.end() == 0
        assert "done after" in terminal.text and b"\x1b" not in terminal.raw


def test_results_in_a_pipe_are_results_alone(gates: Gates, text: Path) -> None:
    read, write = os.pipe()
    with run(gates, text, "--no-summary", stdout=write) as terminal, open(read) as output:
        os.close(write)
        terminal.wait_for(r"^map +─+ +0/3")
        gates.open("map", "reduce")
        assert terminal.end() == 0
        assert sorted(output) == ["be\t2\n", "not\t1\n", "or\t1\n", "to\t2\n"]
        assert "be" not in terminal.text


@pytest.mark.parametrize(
    ("how", "code"), [("ctrl-c", 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_whatever_ends_it_the_terminal_is_as_before(gates: Gates, text: Path, how: object, code: int) -> None:
    with run(gates, text) as terminal:
        terminal.wait_for(r"^map +─+ +0/3")
        if isinstance(how, signal.Signals):
            terminal.popen.send_signal(how)
        else:
            terminal.send("\x03")
        assert terminal.end() == code
        assert_left_clean(terminal)
        if code > 0:
            assert "mr: the job was cancelled: SIG" in terminal.text and "0/3  1" not in terminal.text


def test_a_window_that_is_closed_cancels_the_job(gates: Gates, text: Path) -> None:
    """The end of a terminal is SIGHUP, and an error for whoever still writes to it."""
    master, theirs = pty.openpty()
    command = [sys.executable, "-m", "mapreduce.cli", "run", str(gates.job), str(text), "-c", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    try:
        os.close(theirs)
        shown = b""
        while b"at work" not in shown:
            shown += os.read(master, 65536)
        os.close(master)
        assert process.wait(DEADLINE_SECS) == 129
    finally:
        process.kill()
        process.wait()


def test_stopped_in_the_background_and_back(gates: Gates, text: Path) -> None:
    """What the shell and others write meanwhile stays, and a job in the background draws nothing."""
    with Terminal("bash", "--norc", "-i", env={"PS1": "shell: "}) as terminal:
        terminal.wait_for("^shell:")
        command = f"{sys.executable} -m mapreduce.cli run {gates.job} {text} --split-size 7 -c 1 --no-summary"
        terminal.send(f"{command} -o {gates.job}.counts\n")
        terminal.wait_for(r"^map +─+ +0/3")
        terminal.send("\x1a")
        terminal.wait_for("Stopped")
        terminal.send("echo one $((1 + 1))\n")
        terminal.wait_for("^one 2")
        terminal.send("fg\n")
        terminal.wait_for(r"(?s)^one 2\n.*^map +─+ +0/3")
        terminal.send("\x1a")
        terminal.wait_for("(?s)Stopped.*Stopped")
        terminal.send("bg\n")
        gates.open("map")
        terminal.wait_for(r"(?s)Stopped.*Stopped.*\[reduce \d\] at reduce")
        gates.open("reduce")
        terminal.send("wait; echo two $((1 + 2))\n")
        shown = terminal.wait_for("^two 3")
        after = shown[shown.rindex("Stopped") :]
        assert not re.search(r"^(map|reduce) +[─━]", after, re.MULTILINE)
        terminal.send("exit\n")
        assert terminal.end() == 0


def test_what_failed_stands_last(tmp_path: Path, text: Path) -> None:
    job = tmp_path / "fails.py"
    job.write_text(
        "from mapreduce import Job\n"
        "def words(line):\n"
        "    print('reading', line)\n"
        "    raise ValueError('no \\x1b[2J' + line)\n"
        "    yield\n"
        "job = Job(words, fold=sum)\n"
    )
    with mr_in_terminal("run", job, text, "--tries", 2, "-c", 1, "--summary", rows=40) as terminal:
        assert terminal.end() == 1
        shown = terminal.text
        assert shown.count("[map 0] reading to be") == 2 and shown.count("! map 0 failed on local") == 2
        assert re.search(r"^job fails-\w+ failed after", shown, re.MULTILINE)
        assert shown.index("failed after") < shown.index("mr: ValueError: no")
        assert shown.splitlines()[-1].startswith("ValueError: no")
        assert b"\x1b[2J" not in terminal.raw
        assert_left_clean(terminal)


def test_quiet_and_json(tmp_path: Path, text: Path) -> None:
    job = tmp_path / "prints.py"
    job.write_text(
        "from mapreduce import Job, count\n"
        "def words(line):\n"
        "    print('hello')\n"
        "    count('lines')\n"
        "    yield line, 1\n"
        "job = Job(words, fold=sum)\n"
    )
    said = mr("run", job, text, "-q", "--counters")
    assert (said.returncode, said.stderr) == (0, b"lines\t3\n")
    said = mr("run", job, text, "--json")
    events = [json.loads(line) for line in said.stderr.splitlines()]
    names = [each["event"] for each in events]
    assert said.returncode == 0 and names[0] == "submitted" and names[-1] == "summary"
    assert {"input_complete", "coordinated", "started", "printed", "done", "sealed"} < set(names)
    assert "".join(each["text"] for each in events if each["event"] == "printed") == "hello\n" * 3
    assert events[-1]["counters"] == {"lines": 3} and events[-1]["phase"] == "done"
    said = mr("run", job, tmp_path / "nowhere", "--json")
    (error,) = [json.loads(line) for line in said.stderr.splitlines()]
    assert (error["event"], error["exit_code"], said.returncode) == ("error", 4, 4)
    assert mr("run", job, text, "-q", "--summary").returncode == 2


# ---------------------------------------------------------------- over a broker


@pytest.fixture(scope="module")
def pool(rabbit_url: str) -> Iterator[str]:
    """A pool with one worker, and one executor; of its own, for the broker is everybody's."""
    name = f"displays-{secrets.token_hex(4)}"
    with workers(rabbit_url, executors=1, pool=name):
        yield name


@pytest.mark.broker
def test_attached_to_a_detached_job(pool: str, rabbit_url: str, gates: Gates, text: Path) -> None:
    """Shown from its first task on, also once Ctrl-C has left it alone; its output goes to whoever stays."""
    submitted = mr(
        "run", gates.job, text, "--split-size", 7, "--pool", pool, "--broker", rabbit_url, "--detach"
    )
    job = submitted.stdout.decode().strip()
    with mr_in_terminal("attach", job, "--broker", rabbit_url) as terminal:
        terminal.wait_for(r"^map +─+ +0/3  1 running")
        terminal.wait_for("at work on 1 worker")
        terminal.send("\x03")
        assert terminal.end() == 130
        assert f"job {job} goes on" in terminal.text
        assert_left_clean(terminal)
    with mr_in_terminal("attach", job, "--broker", rabbit_url, "--summary") as terminal:
        terminal.wait_for(r"^\[map 0\] at map$")
        terminal.wait_for(r"^map +─+ +0/3  1 running")
        gates.open("map", "reduce")
        assert terminal.end() == 0
        shown = terminal.text
        assert "be      2" in shown and f"job {job} done after" in shown and "through the broker" in shown
        assert_left_clean(terminal)


@pytest.mark.broker
def test_attached_to_a_job_that_has_a_client(pool: str, rabbit_url: str, gates: Gates, text: Path) -> None:
    """Whoever looks on takes nothing away from it."""
    arguments = ("run", gates.job, text, "--pool", pool, "--broker", rabbit_url, "--retain", "60")
    client = Process(*arguments)
    try:
        job = re.findall(r"job (\S+) is submitted", client.wait_for("is submitted"))[0]
        with mr_in_terminal("attach", job, "--broker", rabbit_url) as terminal:
            terminal.wait_for(r"^map +─+ +0/1  1 running")
            gates.open("map", "reduce")
            assert terminal.end() == 0
            assert f"job {job} is done; its output went to the client" in " ".join(terminal.text.split())
        assert sorted(client.output().splitlines()) == [b"be\t2", b"not\t1", b"or\t1", b"to\t2"]
    finally:
        client.stop()


@pytest.mark.broker
def test_attached_to_a_job_that_is_cancelled(pool: str, rabbit_url: str, gates: Gates, text: Path) -> None:
    submitted = mr("run", gates.job, text, "--pool", pool, "--broker", rabbit_url, "--detach")
    job = submitted.stdout.decode().strip()
    with mr_in_terminal("attach", job, "--broker", rabbit_url, "--summary") as terminal:
        terminal.wait_for(r"^map +─+ +0/1  1 running")
        assert mr("cancel", job, "--broker", rabbit_url).returncode == 0
        assert terminal.end() == 130
        assert f"job {job} was cancelled after" in terminal.text
        assert_left_clean(terminal)


@pytest.mark.broker
def test_attached_to_nothing(rabbit_url: str) -> None:
    said = mr("attach", "nosuch-12345678", "--broker", rabbit_url, "--json")
    assert said.returncode == 9 and json.loads(said.stderr)["exit_code"] == 9
