"""User code that does its worst: each attempt ends in an error with a name or in right output, and the next task on
that slot is right.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import hot_key
from mapreduce import surroundings
from mapreduce.effects import ExecutorDone
from mapreduce.refs import Skipped
from mapreduce.sort import read_blocks

from .support import mr, mr_ok
from .test_executor import Bench, eventually, gone

JOBS = Path(__file__).with_name("user_code_jobs.py")
MIB = 1024 * 1024
TEXT = "".join(f"line {n}\n" for n in range(20)) + "poison\n" + "".join(f"more {n}\n" for n in range(20))
BEFORE = TEXT.index("poison")
POSITION = 20
RIGHT = [(line, "done" if line == "poison" else len(line)) for line in TEXT.split("\n")[:-1]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, jobs=JOBS)
    yield made
    made.pool.close()


def state(bench: Bench, name: str) -> Any:
    """What a task of the job finds, and whether it ran as it should."""
    ((_, first), rest) = bench.output(name, "state\nabc\n")
    assert rest == ("abc", 3)
    return first


def pids(bench: Bench) -> list[int]:
    return [child.process.pid for child in bench.pool._children()]


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("name", ["job_spin", "job_spin_in_c"])
def test_an_attempt_that_runs_too_long_is_ended(tmp_path: Path, name: str) -> None:
    with Bench(tmp_path, jobs=JOBS, task_timeout_secs=1.5).pool_closed() as bench:
        failure = bench.failure(name, text=TEXT, careful=True)
        assert failure.kind == "timeout"
        assert failure.message == "the attempt ran for more than 1.5 s, the limit that --task-timeout sets"
        assert (failure.position, failure.source, failure.offset) == (POSITION, "input.txt", BEFORE)
        assert failure.record == "'poison'"
        assert len(bench.output(name, TEXT, careful=True, skip=(POSITION,))) == 40


@pytest.mark.parametrize("name", ["job_grow", "job_grow_in_children"])
def test_memory_is_measured_with_all_that_was_started(tmp_path: Path, name: str) -> None:
    with Bench(tmp_path, jobs=JOBS, max_memory=150 * MIB).pool_closed() as bench:
        failure = bench.failure(name, text=TEXT, careful=True)
        assert failure.kind == "memory" and failure.position == POSITION
        assert "150 MiB" in failure.message and "--max-memory" in failure.message
        assert len(bench.output(name, "abc\n")) == 1


def test_one_huge_allocation_is_an_error_in_user_code(tmp_path: Path) -> None:
    with Bench(tmp_path, jobs=JOBS, max_memory=150 * MIB).pool_closed() as bench:
        before = pids(bench)
        failure = bench.failure("job_allocate", text=TEXT, careful=True, skip_limit=5)
        assert failure.kind == "memory" and failure.position == POSITION
        assert failure.message == "MemoryError: it would have taken more than 150 MiB (--max-memory)"
        assert failure.record == "'poison'" and "in allocate" in failure.traceback
        failure = bench.failure("job_allocate", text=TEXT)
        assert (failure.kind, failure.record, failure.offset) == ("memory", "'poison'", BEFORE)
        assert pids(bench) == before  # no need for a new one
        assert len(bench.output("job_allocate", "abc\n")) == 1


def test_memory_that_forks_share_counts_once(tmp_path: Path) -> None:
    with Bench(tmp_path, jobs=JOBS, max_memory=250 * MIB).pool_closed() as bench:
        assert dict(bench.output("job_fork_and_share", TEXT))["poison"] == 60 * MIB


# ---------------------------------------------------------------- deaths


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("job_abort", "killed by SIGABRT"),
        ("job_segfault", "killed by SIGSEGV"),
        ("job_kill", "killed by SIGKILL"),
        ("job_alarm_to_death", "killed by SIGALRM"),
        ("job_leave", "exited with status 5"),
        ("job_leave_with_child", "exited with status 5"),
    ],
)
def test_a_careful_attempt_knows_the_record_that_killed_it(bench: Bench, name: str, says: str) -> None:
    failure = bench.failure(name, text=TEXT, careful=True, skip_limit=3)
    assert failure.kind == "died" and says in failure.message
    assert (failure.position, failure.source, failure.offset) == (POSITION, "input.txt", BEFORE)
    assert failure.record == "'poison'"
    *_, done = bench.wait(bench.submit(name, TEXT, careful=True, skip=(POSITION,)))
    assert done.skipped == (Skipped(POSITION, "input.txt", BEFORE, "'poison'", "ended an earlier attempt"),)
    assert done.stats["records_out"] == 40


def test_so_does_one_of_a_whole_function_a_reduce_and_a_combine(bench: Bench) -> None:
    failure = bench.failure("job_poisoned", text=TEXT, careful=True)
    assert (failure.kind, failure.position, failure.offset) == ("died", POSITION, BEFORE)
    text = "and poison but" + " poison" * 9 + "\n"
    events = bench.wait(bench.submit("job_deadly", text))
    by_part: dict[int, list[Any]] = {}
    for event in events[:-1]:
        by_part.setdefault(event.partition, []).append(event.block)
    (blocks,) = (b for b in by_part.values() if any("poison" in keys for keys, _ in read_blocks(b)))
    failure = bench.failure("job_deadly", blocks=blocks, careful=True)
    keys = sorted({key for keys, _ in read_blocks(blocks) for key in keys})
    assert (failure.kind, failure.position) == ("died", keys.index("poison"))
    assert failure.source == "key 'poison'"
    failure = bench.failure("job_deadly_combine", text=text, careful=True)
    assert (failure.kind, failure.position, failure.source) == ("died", -1, "key 'poison'")


def test_closing_all_files_is_a_death_with_a_reason(bench: Bench) -> None:
    for name in ("job_close_all", "job_scribble"):
        failure = bench.failure(name, text=TEXT, careful=True)
        assert failure.kind in ("died", "raised")
        assert "open file descriptors alone" in failure.message
        assert len(bench.output(name, "abc\n")) == 1
    assert not any("Traceback" in each.text for each in bench.printed)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("exit", "raised", "SystemExit: enough"),
        ("interrupt", "raised", "KeyboardInterrupt"),
        ("generator_exit", "raised", "GeneratorExit"),
        ("recurse", "raised", "RecursionError: maximum recursion depth exceeded"),
        ("no_recursion", "raised", "RecursionError"),
        ("not_encodable", "value", "_thread.lock cannot be encoded"),
        ("circle", "value", "nested more than 100 deep (or inside itself)"),
        (
            "raise_unprintable",
            "raised",
            "user_code_jobs.Unprintable: <its text cannot be made: RuntimeError>",
        ),
        ("count_all", "counters", "more than 1000 different counters in one task, the last one '1000'"),
        ("count_quietly", "counters", "more than 1000 different counters in one task, the last one '"),
        ("count_novels", "counters", "the name of a counter has at most 200 characters, this one 201"),
        ("hard_limits", "", ""),
    ],
)
def test_an_error_is_told_and_the_record_can_be_left_out(
    bench: Bench, name: str, kind: str, says: str
) -> None:
    before = state(bench, f"job_{name}")
    if kind:
        failure = bench.failure(f"job_{name}", text=TEXT)
        assert failure.kind == kind and failure.message.startswith(says)
        assert "\n" not in failure.message
    if kind in ("raised", "value"):
        left_out = bench.output(f"job_{name}", TEXT, careful=True, skip_limit=1)
        assert left_out == [pair for pair in RIGHT if pair[0] != "poison"]
    assert state(bench, f"job_{name}") == before


# ---------------------------------------------------------------- what stays behind


@pytest.mark.parametrize(
    "name",
    [
        "signals", "alarm", "limits", "hard_limits", "limits_from_outside", "in_c", "settings", "zone", "close_streams",
        "close_files", "replace_streams", "close_then_print", "leave_thread", "leave_raw_thread", "leave_child",
        "leave_daemon", "leave_shell", "come_back", "no_collector", "at_exit", "faults", "shout", "trace",
        "patch_print", "leave_tracker", "leak_files", "keep_connections", "delete_streams", "odd_stream",
        "replace_environ",
    ],
)  # fmt: skip
def test_the_task_is_right_and_so_is_the_next(tmp_path: Path, name: str) -> None:
    with Bench(tmp_path, jobs=JOBS).pool_closed() as bench:
        job = f"job_{name}"
        before = state(bench, job)
        if name == "trace":
            assert "ZeroDivisionError" in bench.failure(job, text=TEXT).message
        else:
            assert bench.output(job, TEXT) == RIGHT
        assert state(bench, job) == before
    assert not any("Traceback" in each.text for each in bench.printed)


@pytest.mark.parametrize("name", ["leave_thread", "leave_raw_thread"])
def test_threads_that_are_left_behind_end_with_the_executor(bench: Bench, name: str) -> None:
    (before,) = pids(bench)
    assert bench.output(f"job_{name}", TEXT) == RIGHT
    assert pids(bench) != [before] and eventually(lambda: gone(before))


@pytest.mark.parametrize("name", ["leave_child", "leave_daemon", "leave_shell", "leave_tracker"])
def test_processes_that_are_left_behind_are_ended(bench: Bench, name: str) -> None:
    (group,) = pids(bench)
    assert bench.output(f"job_{name}", TEXT) == RIGHT
    assert pids(bench) != [group]
    assert eventually(lambda: not _group(group))


@pytest.mark.parametrize(("name", "stays"), [("leak_files", False), ("keep_connections", True)])
def test_a_leak_of_files_ends_with_the_executor(bench: Bench, name: str, stays: bool) -> None:
    before = pids(bench)
    assert bench.output(f"job_{name}", TEXT) == RIGHT
    assert (pids(bench) == before) == stays


def _group(number: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for pid, group, stat in rows if int(group) == number and "Z" not in stat]


@pytest.mark.parametrize("name", ["patch_len", "patch_sorted", "patch_map"])
def test_builtins_that_the_engine_needs_are_not_replaced_unseen(bench: Bench, name: str) -> None:
    before = state(bench, f"job_{name}")
    failure = bench.failure(f"job_{name}", text=TEXT)
    assert failure.kind == "raised" and f"replaced the builtin {name[6:]}" in failure.message
    assert state(bench, f"job_{name}") == before


def test_a_folder_that_is_gone_is_an_error(bench: Bench) -> None:
    failure = bench.failure("job_remove_folder", text=TEXT)
    assert failure.kind == "disk" and str(bench.folder) in failure.message, failure
    assert len(bench.output("job_remove_folder", "abc\n")) == 1


# ---------------------------------------------------------------- a lot


@pytest.mark.parametrize("careful", [False, True])
def test_a_record_of_100_mib_takes_no_memory_in_the_parent(bench: Bench, careful: bool) -> None:
    source = bench.folder / "enormous"
    with source.open("wb") as file:
        for _ in range(100):
            file.write(b"x" * MIB)
    bench.spec("job_enormous")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    *wrote, done = bench.wait(bench.submit("job_enormous", source, careful=careful))
    assert isinstance(done, ExecutorDone) and done.stats["records_out"] == 1
    assert sum(event.block.length for event in wrote) > 100 * MIB
    assert _peak() - before < 20 * MIB


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# ---------------------------------------------------------------- disk full


def test_a_full_disk_is_told_with_its_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 2 * MIB) as folder, Bench(folder, jobs=JOBS).pool_closed() as bench:
        failure = bench.failure("job_pad", text="word " * 200_000 + "\n")
        assert failure.kind == "disk"
        assert str(folder) in failure.message and "No space left on device" in failure.message
        assert "TMPDIR" in failure.message


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of ``size`` bytes at ``folder``."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()):
        pytest.skip(f"no right to mount a small disk: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        assert libc.umount2(os.fsencode(folder), 2) == 0


# ---------------------------------------------------------------- end to end


@pytest.mark.parametrize(
    ("options", "name", "says"),
    [
        (["--task-timeout", "1.5"], "job_spin_in_c", "the attempt ran for more than 1.5 s"),
        (["--max-memory", "150M"], "job_grow", "--max-memory"),
        (["--max-memory", "150M"], "job_allocate", "MemoryError"),
        ([], "job_count_all", "more than 1000 different counters in one task"),
        ([], "job_patch_len", "user code has replaced the builtin len"),
        ([], "job_abort", "killed by SIGABRT"),
    ],
)
def test_a_run_ends_with_the_reason_and_leaves_nothing(
    tmp_path: Path, options: list[str], name: str, says: str
) -> None:
    source, folder = tmp_path / "input.txt", tmp_path / "tmp"
    source.write_text(TEXT)
    folder.mkdir()
    run = mr(
        "run", f"{JOBS}:{name}", source, "--tries", "1", "-c", "1", *options, env={"TMPDIR": str(folder)}
    )
    said = run.stderr.decode()
    assert run.returncode == 1 and says in said, said
    assert "task.py" not in said and not run.stdout
    assert not list(folder.iterdir())


def test_a_run_on_a_full_disk_says_so_and_gives_the_room_back(tmp_path: Path) -> None:
    source = tmp_path / "input.txt"
    source.write_text("word " * 20_000 + "\n")
    with small_disk(tmp_path / "small", 2 * MIB) as folder:
        run = mr("run", f"{JOBS}:job_pad", source, "--tries", "1", "-c", "1", env={"TMPDIR": str(folder)})
        said = run.stderr.decode()
        assert run.returncode and "No space left on device" in said and str(folder) in said, said
        assert "Traceback" not in said and not list(folder.iterdir())


@pytest.mark.parametrize("name", ["job_shout", "job_leave_daemon", "job_close_streams", "job_fork_and_share"])
def test_a_run_is_right_whatever_user_code_leaves_behind(tmp_path: Path, name: str) -> None:
    source = tmp_path / "input.txt"
    source.write_text(TEXT)
    lines = mr_ok("run", f"{JOBS}:{name}", source, "-c", "1").decode().splitlines()
    found = "62914560" if name == "job_fork_and_share" else "done"
    assert lines == [f"{line}\t{found if line == 'poison' else n}" for line, n in RIGHT]


# ---------------------------------------------------------------- one key has it all


def test_a_hot_key_larger_than_the_executor_is_reduced() -> None:
    seconds, peaks = hot_key.run(0.3, "200M")
    assert seconds > 0 and max(peaks) < 200


@pytest.mark.parametrize("size_tells", [True, False])
def test_open_files_are_counted_with_or_without_the_size_of_their_folder(
    monkeypatch: pytest.MonkeyPatch, size_tells: bool
) -> None:
    if size_tells and not surroundings._SIZE_TELLS:
        pytest.skip("this system does not say it so")
    monkeypatch.setattr(surroundings, "_SIZE_TELLS", size_tells)
    folder = surroundings._Folder(surroundings._DESCRIPTORS)
    before = surroundings._count_open_files(folder)
    with open(os.devnull), open(os.devnull):
        assert surroundings._count_open_files(folder) == (before + 2 if surroundings._DESCRIPTORS else 0)
    assert surroundings._count_open_files(folder) == before


_TELLING = """
import os, resource, subprocess, sys
from mapreduce import surroundings
here, limits = os.open(".", os.O_RDONLY), resource.getrlimit(resource.RLIMIT_NOFILE)
told = []
sys.addaudithook(lambda event, _: told.append(event))
for names, call in (
    (surroundings._CHANGES_FOLDER, lambda: os.chdir(".")),
    (surroundings._CHANGES_FOLDER, lambda: os.fchdir(here)),
    (surroundings._CHANGES_LIMITS, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)),
    (surroundings._CHANGES_LIMITS, lambda: resource.prlimit(0, resource.RLIMIT_NOFILE, limits)),
    (surroundings._STARTS_PROCESS, lambda: os.fork() or os._exit(0)),
    (surroundings._STARTS_PROCESS, lambda: os.forkpty()[0] or os._exit(0)),
    (surroundings._STARTS_PROCESS, lambda: os.system("true")),
    (surroundings._STARTS_PROCESS, lambda: os.posix_spawn("/bin/true", ["true"], {})),
    (surroundings._STARTS_PROCESS, lambda: os.posix_spawnp("true", ["true"], {})),
    (surroundings._STARTS_PROCESS, lambda: subprocess.run(["true"])),
    (surroundings._IMPORTS, lambda: __import__("this_is_no_module")),
    (surroundings._IMPORTS, lambda: __import__("_ctypes")),
):
    told.clear()
    try:
        call()
    except ImportError:
        pass
    assert not names.isdisjoint(told), (names, told)
"""


def test_python_tells_of_all_that_an_executor_looks_at_only_then() -> None:
    """It is what `surroundings` relies on, of this version of CPython."""
    subprocess.run([sys.executable, "-c", _TELLING], check=True)
