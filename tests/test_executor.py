"""Executors as real child processes: what user code does to them, and what becomes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Union

import pytest

from mapreduce import code, executor, interpreters, limits, pool
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed, ExecutorPrinted
from mapreduce.errors import UsageError
from mapreduce.interpreters import Interpreter
from mapreduce.pool import ExecutorPool
from mapreduce.refs import Block, Segment, Split, TaskSpec
from mapreduce.sort import read_blocks
from mapreduce.spec import JobSpec

JOBS = Path(__file__).with_name("executor_jobs.py")
ROOT = str(Path(pool.__file__).parent.parent)
PATIENCE_SECS = 30.0


class Bench:
    """A pool, and attempts to run in it."""

    def __init__(
        self,
        folder: Path,
        count: int = 1,
        jobs: Path = JOBS,
        interpreter: Optional[Interpreter] = None,
        ahead: Optional[int] = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self._jobs, self._settings = jobs, settings
        self.pool = ExecutorPool(count, interpreter, ahead=ahead)
        self.printed: list[ExecutorPrinted] = []  #: by all attempts
        self._attempts = 0
        self._specs: dict[str, JobSpec] = {}

    @contextlib.contextmanager
    def pool_closed(self) -> Iterator[Bench]:
        """Close the pool at the end."""
        with self.pool:
            yield self

    def spec(self, name: str) -> JobSpec:
        if name not in self._specs:
            job, bundle = code.from_file(f"{self._jobs}:{name}")
            self._specs[name] = JobSpec(
                name, bundle, {}, len(job.stages), **{"partitions": 2, **self._settings}
            )
        return self._specs[name]

    def submit(
        self, name: str, text: Union[str, Path] = "a b a\n", slot: int = 0, blocks: Any = (), **fields: Any
    ) -> int:
        """Start an attempt on a text, or on a file that holds one."""
        self._attempts += 1
        directory = self.folder / str(self._attempts)
        directory.mkdir()
        source = text if isinstance(text, Path) else directory / "input.txt"
        if isinstance(text, str):
            source.write_text(text)
        segment = Segment("input.txt", str(source), 0, source.stat().st_size, 0, True)
        split = None if blocks else Split((segment,))
        stage = 1 if blocks else 0
        task = TaskSpec(name, stage, 0, self._attempts, str(directory), split, tuple(blocks), **fields)
        self.pool.submit(slot, name, self.spec(name), task)
        return self._attempts

    def begin(self, name: str, text: str = "a b a\n", slot: int = 0) -> Any:
        """Start an attempt; the child that has it, as soon as one has."""
        self.submit(name, text, slot)
        assert eventually(lambda: self.pool.poll() == [] and slot in self.pool._running)
        return self.pool._running[slot]

    def wait(self, attempt: int) -> list[Any]:
        """The events of one attempt, up to its end."""
        return list(self.events(attempt))

    def events(self, attempt: int, printed: bool = False) -> Iterator[Any]:
        """The same, each as it comes; ``printed``: with those of what is printed."""
        deadline = time.monotonic() + PATIENCE_SECS
        while time.monotonic() < deadline:
            for event in self.poll():
                if event.attempt == attempt and (printed or not isinstance(event, ExecutorPrinted)):
                    yield event
                    if isinstance(event, (ExecutorDone, ExecutorFailed)):
                        return
        raise AssertionError("the attempt does not end")

    def poll(self) -> list[Any]:
        """What happens within a second."""
        patience = self.pool.wait_secs()
        if not (events := self.pool.poll()):
            select.select(self.pool.filenos(), [], [], 1.0 if patience is None else patience)
            events = self.pool.poll()
        self.printed += [event for event in events if isinstance(event, ExecutorPrinted)]
        return events

    def output(self, name: str, text: str = "a b a\n", **fields: Any) -> list[Any]:
        """Keys and values that an attempt writes."""
        *wrote, done = self.wait(self.submit(name, text, **fields))
        assert isinstance(done, ExecutorDone), done
        return [pair for ks, vs in read_blocks([e.block for e in wrote]) for pair in zip(ks, vs)]

    def said(self, attempt: int) -> str:
        """What an attempt has printed, as far as it is known."""
        return "".join(event.text for event in self.printed if event.attempt == attempt)

    def failure(self, name: str, **options: Any) -> Any:
        event = self.wait(self.submit(name, **options))[-1]
        assert isinstance(event, ExecutorFailed), event
        return event.failure


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.pool.close()


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has reaped counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_SECS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


# ---------------------------------------------------------------- the normal case


def test_a_task_reports_its_blocks_then_that_it_is_done(bench: Bench) -> None:
    *wrote, done = bench.wait(bench.submit("wordcount"))
    assert all(isinstance(event, ExecutorBlock) for event in wrote)
    assert done.counters == {"words": 3}
    assert (done.stats["records_in"], done.stats["records_out"]) == (1, 2)
    assert {event.seq for event in wrote} == {0}


def test_the_next_stage_reads_what_the_first_wrote(bench: Bench) -> None:
    *wrote, _ = bench.wait(bench.submit("wordcount"))
    blocks = [event.block for event in wrote]
    *wrote, done = bench.wait(bench.submit("wordcount", blocks=blocks))
    pairs = [pair for ks, vs in read_blocks([e.block for e in wrote]) for pair in zip(ks, vs)]
    assert pairs == [("a", 2), ("b", 1)]
    assert done.stats["records_in"] == 2


def test_a_child_is_kept_for_its_job_and_not_given_to_another(bench: Bench) -> None:
    ((_, first),) = bench.output("job_where")
    ((_, second),) = bench.output("job_where")
    bench.output("wordcount")
    ((_, third),) = bench.output("job_where")
    assert first == second == third
    assert len(list(bench.pool._children())) == 2


def test_idle_children_are_bounded(bench: Bench) -> None:
    for name in ("job_where", "wordcount", "job_make_a_mess", "job_fork"):
        bench.output(name)
    assert len(list(bench.pool._children())) <= 2


def test_children_of_a_job_that_has_ended_go(bench: Bench) -> None:
    ((_, first),) = bench.output("job_where")
    bench.output("wordcount")
    ended, other = (child.process.pid for child in bench.pool._children())
    bench.pool.forget("job_where")
    assert eventually(lambda: gone(ended))
    assert [child.process.pid for child in bench.pool._children()] == [other]
    bench.pool.forget("wordcount")
    (blank,) = bench.pool._children()
    assert blank.job is None and eventually(lambda: gone(other))
    ((_, second),) = bench.output("job_where")
    assert first != second


def test_forgetting_a_job_leaves_what_runs(bench: Bench) -> None:
    attempt = bench.submit("wordcount")
    bench.pool.forget("wordcount")
    assert isinstance(bench.wait(attempt)[-1], ExecutorDone)


def test_slots_run_at_the_same_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    spinning = bench.submit("job_spin", slot=0)
    bench.wait(bench.submit("wordcount", slot=1))
    with pytest.raises(ValueError, match="slot 0 is busy"):
        bench.submit("wordcount", slot=0)
    bench.pool.kill(0, spinning)
    *_, done = bench.wait(bench.submit("wordcount", slot=0))
    assert isinstance(done, ExecutorDone) and done.attempt != spinning
    bench.pool.close()


def test_small_blocks_are_told_of_while_the_task_goes_on(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with Bench(tmp_path, partitions=1000).pool_closed() as bench:
        attempt = bench.submit("spilling", f"{end}\n")
        seen = []
        for event in bench.events(attempt):
            seen.append(event)
            end.touch()
    *blocks, done = seen
    assert isinstance(done, ExecutorDone)
    assert 0 < max(event.block.length for event in blocks) < executor._SMALL_BYTES


def test_a_bundle_larger_than_the_pipe_arrives(bench: Bench) -> None:
    spec = bench.spec("wordcount")
    spec.bundle["files"]["ballast.py"] = "#" * 5_000_000
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]


# ---------------------------------------------------------------- user code that ends its process


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("job_segfault", "the executor was killed by SIGSEGV in the middle of the task"),
        ("job_os_exit", "the executor exited with status 3 in the middle of the task"),
        (
            "job_kill_oneself",
            "the executor was killed by SIGKILL in the middle of the task; was there too li",
        ),
        ("job_close_pipe", "user code closed the executor's pipe"),
        ("job_write_pipe", "user code wrote into the executor's pipe"),
        ("job_flood_pipe", "user code wrote into the executor's pipe"),
    ],
)
def test_a_death_is_a_failed_attempt(bench: Bench, name: str, says: str) -> None:
    failure = bench.failure(name)
    assert failure.kind == "died"
    assert failure.message.startswith(says)
    # and the slot serves on
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]


def test_a_death_in_a_process_that_ignores_its_children_is_a_failed_attempt(bench: Bench) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        failure = bench.failure("job_os_exit")
        assert failure.kind == "died" and "ignores SIGCHLD" in failure.message
        assert bench.output("wordcount")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_executor_that_the_system_has_reaped_is_not_killed_by_its_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: killed.append(pid))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        bench.failure("job_os_exit")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert killed == []


def test_mr_hears_of_its_children_also_when_its_parent_ignored_its_own(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("a\n")
    command = [
        sys.executable,
        "-m",
        "mapreduce.cli",
        "run",
        f"{JOBS}:job_os_exit",
        str(tmp_path / "input.txt"),
    ]
    run = subprocess.run(
        ["sh", "-c", 'trap "" CHLD; exec "$@"', "sh", *command, "--tries", "1"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert run.returncode == 1 and "exited with status 3" in run.stderr, run.stderr


def test_what_the_environment_is_given_at_import_is_there_for_every_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_AT_IMPORT", "before")
    file = tmp_path / "job.py"
    file.write_text(
        "import os\nfrom mapreduce import Job\nos.environ['SET_AT_IMPORT'] = 'yes'\n"
        "def mapper(line):\n    yield line, os.environ.pop('SET_AT_IMPORT')\njob = Job(mapper)\n"
    )
    with Bench(tmp_path, jobs=file).pool_closed() as bench:
        assert bench.output("job", "a\n") == bench.output("job", "a\n") == [("a", "yes")]


@pytest.mark.parametrize(
    ("at_the_top", "in_the_function", "draw"),
    [
        ("import random", "", "random.random()"),
        ("from random import random", "", "random()"),
        ("", "import random", "random.random()"),
        ("", "from random import random", "random()"),
        ("import sys", "", "vars(sys.modules['random'])['random']()"),
    ],
)
def test_random_is_seeded_for_each_task_whoever_asks_for_it_first(
    tmp_path: Path, at_the_top: str, in_the_function: str, draw: str
) -> None:
    file = tmp_path / "job.py"
    file.write_text(
        f"{at_the_top}\nfrom mapreduce import Job\n"
        "def mapper(line):\n"
        f"    if line == 'draw':\n        {in_the_function}\n        line = {draw}\n"
        "    yield line, 1\n"
        "job = Job(mapper)\n"
    )
    drawn = [(random.Random("0.0").random(), 1)]
    with Bench(tmp_path, jobs=file).pool_closed() as bench:
        outputs = [bench.output("job", text) for text in ("quiet\n", "draw\n", "draw\n", "quiet\n", "draw\n")]
    assert outputs == [[("quiet", 1)], drawn, drawn, [("quiet", 1)], drawn]


def test_what_user_code_forks_draws_something_else(tmp_path: Path) -> None:
    file = tmp_path / "job.py"
    file.write_text(
        "import os\nfrom mapreduce import Job\n"
        "def mapper(line):\n"
        "    ours, theirs = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        import random\n"
        "        os.write(theirs, repr(random.random()).encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    yield line, float(os.read(ours, 100))\n"
        "job = Job(mapper)\n"
    )
    with Bench(tmp_path, jobs=file).pool_closed() as bench:
        ((_, first),) = bench.output("job", "a\n")
        ((_, second),) = bench.output("job", "a\n")
    assert len({first, second, random.Random("0.0").random()}) == 3


@pytest.mark.parametrize(
    ("name", "says"), [("deep_exit", "SystemExit: 7"), ("interrupt", "KeyboardInterrupt")]
)
def test_exit_is_a_failed_try_and_no_more(bench: Bench, name: str, says: str) -> None:
    failure = bench.failure(f"job_{name}")
    assert (failure.kind, failure.message, failure.function) == ("raised", says, "map mapper")
    assert (failure.source, failure.offset, failure.record) == ("input.txt", 0, "'a b a'")
    assert f"in {name}" in failure.traceback and "task.py" not in failure.traceback


def test_a_job_that_does_not_load_says_so_each_time(bench: Bench) -> None:
    spec = bench.spec("wordcount")
    spec.bundle["files"]["executor_jobs.py"] = "import nothing_like_that\n"
    for _ in range(2):
        failure = bench.failure("wordcount")
        assert failure.kind == "code"
        assert "needs the module 'nothing_like_that'" in failure.message
        assert "import nothing_like_that" in failure.traceback


def test_a_lazy_import_that_fails_when_it_is_looked_at_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "job.py"
    file.write_text("from mapreduce import Job\njob = Job(lambda line: [(line, 1)])\n")
    lazy = (
        "import sys, types\n"
        "class Lazy(types.ModuleType):\n"
        "    def __getattribute__(self, name):\n        raise ImportError('not installed')\n"
        "class Proxy:\n    __dict__ = property(lambda self: 1 / 0)\n"
        "    def __getattr__(self, name):\n        raise ImportError('not installed')\n"
        "sys.modules['lazy'], sys.modules['lazy.proxy'] = Lazy('lazy'), Proxy()\n"
    )
    with Bench(tmp_path, jobs=file).pool_closed() as bench:
        files = bench.spec("job").bundle["files"]
        files["job.py"] = lazy + files["job.py"]
        assert bench.output("job", "a\n") == [("a", 1)]


def test_a_python_that_cannot_run_us_is_a_failed_attempt_and_why_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no encodings >&2\nprintf 'at all\\033' >&2\nexit 1\n")
    broken.chmod(0o755)
    warnings: list[str] = []
    bench = Bench(tmp_path)
    bench.pool.close()
    how = "the executor exited with status 1 before it was ready"
    bench.pool = ExecutorPool(1, dataclasses.replace(interpreters.this(), path=str(broken)), warnings.append)
    try:
        assert eventually(
            lambda: bench.pool.poll() == [] and len(warnings) > 0
        )  # the one that was started ahead
        failure = bench.failure("wordcount")
        assert (failure.kind, failure.message) == ("died", how)
    finally:
        bench.pool.close()
    assert warnings == [f"{how}; its last words: no encodings | at all\\x1b"] * 2
    assert "".join(each.text for each in bench.printed) == "no encodings\nat all\033"


def test_a_python_that_never_comes_up_is_a_failed_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "READY_SECS", 0.5)
    endless = tmp_path / "python"
    endless.write_text("#!/bin/sh\necho where am I\nexec sleep 600\n")
    endless.chmod(0o755)
    warnings: list[str] = []
    bench = Bench(tmp_path, ahead=0)
    bench.pool = ExecutorPool(1, dataclasses.replace(interpreters.this(), path=str(endless)), warnings.append)
    (child,) = bench.pool._children()
    how = "the executor was not ready within 0.5 s"
    with bench.pool_closed():
        failure = bench.failure("wordcount")
        assert (failure.kind, failure.message) == ("died", how)
        assert warnings == [f"{how}; its last words: where am I"]
        assert eventually(lambda: gone(child.process.pid))


def test_a_python_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot start /no/such/python"):
        ExecutorPool(1, dataclasses.replace(interpreters.this(), path="/no/such/python"))


# ---------------------------------------------------------------- user code that behaves badly


def test_what_a_task_did_to_the_process_is_undone(bench: Bench) -> None:
    ((_, first),) = bench.output("job_make_a_mess")
    ((_, second),) = bench.output("job_make_a_mess")
    assert first == second == [os.getcwd(), "None", "False"]
    assert bench.said(1) == bench.said(2) == "to standard output\nfrom a shell\n"


@pytest.mark.parametrize("name", ["job_fork", "job_fork_and_exit"])
def test_a_fork_does_not_speak_for_the_executor(bench: Bench, name: str) -> None:
    text = "".join(f"line {n}\n" for n in range(5))
    assert bench.output(name, text) == [(f"line {n}", "parent") for n in range(5)]
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]


def test_a_fork_that_has_written_is_noticed(bench: Bench) -> None:
    failure = bench.failure("job_fork_and_write", text="first\n" + "next\n" * 100)
    assert failure.kind == "disk" and "does user code fork?" in failure.message


def test_an_attempt_begins_in_the_first_child_that_is_up(tmp_path: Path) -> None:
    with Bench(tmp_path, 2).pool_closed() as bench:
        bench.begin("job_spin", slot=0)
        assert eventually(lambda: bench.pool.poll() == [] and all(c.ready for c in bench.pool._children()))
        (up,) = bench.pool._idle
        bench.pool.kill(0, bench.pool._running[0].attempt)  # a blank child takes its place, and is not up yet
        bench.submit("wordcount", slot=1)
        assert bench.pool._running == {1: up}


def test_a_child_that_is_free_takes_what_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SHORT_SECS", PATIENCE_SECS)
    with Bench(tmp_path, 2, ahead=1).pool_closed() as bench:
        bench.wait(bench.submit("wordcount", slot=0))
        (child,) = bench.pool._children()
        attempts = [bench.submit("wordcount", slot=slot) for slot in (0, 1)]
        assert bench.pool._waiting.keys() == {1} and list(bench.pool._children()) == [child]
        done = bench.wait(attempts[1])[-1]
        assert isinstance(done, ExecutorDone) and done.slot == 1
        assert list(bench.pool._children()) == [child], "so short an attempt is worth no start"


def test_what_waits_behind_a_long_attempt_gets_a_child(tmp_path: Path) -> None:
    with Bench(tmp_path, 2, ahead=1).pool_closed() as bench:
        bench.wait(bench.submit("wordcount", slot=0))
        bench.begin("job_spin", slot=0)
        assert isinstance(bench.wait(bench.submit("wordcount", slot=1))[-1], ExecutorDone)


def test_what_waits_can_be_ended(bench: Bench) -> None:
    bench.pool.kill(0, bench.submit("wordcount"))
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("name", ["job_print_for_ever", "job_spin", "job_ignore_all"])
def test_kill_ends_what_does_not_end(bench: Bench, name: str) -> None:
    child = bench.begin(name)
    time.sleep(0.3)
    bench.pool.kill(0, child.attempt)
    assert eventually(lambda: gone(child.process.pid))
    assert bench.pool.poll() == []
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]


def test_kill_takes_along_what_user_code_started(bench: Bench, tmp_path: Path) -> None:
    pids = start_sleeper(bench, tmp_path)
    bench.pool.kill(0, bench.pool._running[0].attempt)
    assert eventually(lambda: all(map(gone, pids)))


def start_sleeper(bench: Bench, folder: Path) -> list[int]:
    note = folder / "pids"
    bench.begin("job_start_sleeper", f"{note}\n")
    assert eventually(lambda: note.exists() and note.read_text().endswith("\n"))
    return [int(pid) for pid in note.read_text().split()]


def test_close_leaves_nothing_behind(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    pids = start_sleeper(bench, tmp_path) + [child.process.pid for child in bench.pool._children()]
    bench.pool.close()
    bench.pool.close()
    assert eventually(lambda: all(map(gone, pids)))


PARENT = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_executor import Bench, start_sleeper
folder = Path({folder!r})
bench = Bench(folder, 2)
pids = start_sleeper(bench, folder)
bench.begin("job_spin", slot=1)
pids += [child.process.pid for child in bench.pool._children()]
time.sleep(0.2)
print(*pids, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_executors_die_with_their_parent(tmp_path: Path, number: int) -> None:
    text = PARENT.format(root=ROOT, tests=str(JOBS.parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4 and not any(map(gone, pids))
        parent.send_signal(number)
        parent.wait()
    assert eventually(lambda: all(map(gone, pids)))


def test_ctrl_c_of_a_terminal_does_not_reach_executors(bench: Bench) -> None:
    (child,) = bench.pool._children()
    assert os.getpgid(child.process.pid) == os.getsid(child.process.pid) == child.process.pid


def test_a_file_in_the_current_folder_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('wrong module')")
    monkeypatch.chdir(tmp_path)
    bench = Bench(tmp_path)
    assert sorted(bench.output("wordcount")) == [("a", 2), ("b", 1)]
    bench.pool.close()


def test_hashes_are_the_same_in_every_executor(bench: Bench) -> None:
    (child,) = bench.pool._children()
    environment = Path(f"/proc/{child.process.pid}/environ")  # empty for a moment while it starts
    assert eventually(lambda: b"PYTHONHASHSEED=0" in environment.read_bytes().split(b"\0"))


def test_blocks_are_named_as_they_lie(bench: Bench) -> None:
    *wrote, _ = bench.wait(bench.submit("wordcount"))
    for event in wrote:
        assert isinstance(event.block, Block)
        assert Path(event.block.path).stat().st_size >= event.block.offset + event.block.length


# ---------------------------------------------------------------- limits


def look_now(pool: ExecutorPool) -> list[Any]:
    """A poll in which the selector has nothing, and running times are looked at."""
    pool._next_look = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool._selector, "select", lambda timeout: [])
        return pool.poll()


def test_an_attempt_that_has_ended_in_time_is_not_ended_again(bench: Bench) -> None:
    child = bench.begin("wordcount")
    assert eventually(lambda: b"Done" in peek(child.socket))
    child.deadline = 0.0
    *_, done = look_now(bench.pool)
    assert isinstance(done, ExecutorDone)


def peek(pipe: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return pipe.recv(1 << 16, socket.MSG_PEEK)
    return b""


def test_time_in_which_everything_was_stopped_is_not_the_attempts(bench: Bench) -> None:
    child = bench.begin("job_spin")
    child.deadline = time.monotonic() - 1.0
    bench.pool._looked_at = time.monotonic() - 100.0
    assert look_now(bench.pool) == []
    child.deadline -= 200.0
    (failed,) = look_now(bench.pool)
    assert failed.failure.kind == "timeout"


def test_where_measuring_takes_long_it_is_done_less_often(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]

    def used_memory(groups: Any) -> dict[int, int]:
        now[0] += 0.5
        return {}

    child = bench.begin("job_spin")
    child.max_memory = 1
    monkeypatch.setattr(pool, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(limits, "used_memory", used_memory)
    look_now(bench.pool)
    for at, measured in ((1005.0, False), (1013.0, True)):
        now[0] = at
        look_now(bench.pool)
        assert (now[0] > at) == measured


def test_a_process_that_ends_while_it_is_looked_at_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "open", lambda *_: io.BytesIO(b"1 (x) "), raising=False)
    assert limits.used_memory([1]) == {}
