"""Runs commands for the benchmarks: how long they take, how much they compute, how much memory they need."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Optional

ROOT = Path(__file__).parent.parent
MR = (sys.executable, "-m", "mapreduce.cli")
START_SECS = 120.0
STOP_SECS = 60.0
SAMPLE_SECS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
#: of <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Processes whose parents have ended become ours, so that `run` counts what they have used, and ends them.

    Ray and the JVM of Spark leave some behind. Only on Linux; elsewhere they stay.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class CommandFailed(Exception):
    """A command ended with another code than 0, or not in time; the text says what it said last."""


@dataclass(frozen=True)
class Outcome:
    """What one run of a command took."""

    seconds: float
    #: user and system, of the command with all its children, and what its services have used meanwhile
    cpu_seconds: float
    said: str  #: its standard output, unless that went to a file
    #: MB, the peaks of its own processes (the one that was started comes first) and of those of each service
    own_peaks: list[float] = field(default_factory=list)
    service_peaks: list[list[float]] = field(default_factory=list)


def run(
    command: Sequence[str],
    *,
    services: Sequence[int] = (),
    memory: bool = False,
    output: Optional[Path] = None,
    variables: Optional[Mapping[str, str]] = None,
    limit_secs: Optional[float] = None,
) -> Outcome:
    """Run a command to its end.

    ``services``: processes that work for it, whose time (and memory) counts as well. ``memory``: watch that.
    ``output``: a file for its standard output. ``limit_secs``: then it is killed. Raises `CommandFailed`.
    """
    with contextlib.ExitStack() as stack:
        said: IO[bytes] = stack.enter_context(open(output, "wb") if output else tempfile.TemporaryFile())  # noqa: SIM115
        complained = stack.enter_context(tempfile.TemporaryFile())
        before, others = sum(map(cpu_seconds, services)), set(_children(os.getpid()))
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**_environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )
        stack.callback(_end_group, process)
        pids = (process.pid, *services)
        watches = [stack.enter_context(PeakMemory(pid)) for pid in pids] if memory else []
        timer = threading.Timer(limit_secs or threading.TIMEOUT_MAX, _end_group, [process])
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        used = (
            sum(map(cpu_seconds, services)) - before + usage.ru_utime + usage.ru_stime + _end_orphans(others)
        )
        peaks = [list(watch.peaks.values()) for watch in watches] or [[] for _ in pids]
        text = "" if output else _text_of(said)
        if process.returncode:
            killed = limit_secs is not None and seconds >= limit_secs
            what = f"not done in {seconds:.0f} s" if killed else f"exit {process.returncode}"
            raise CommandFailed(f"{what}: {_last_lines(_text_of(complained) or text)}")
    return Outcome(seconds, used, text, peaks[0], peaks[1:])


def measured(command: Sequence[str]) -> tuple[float, list[float]]:
    """Run a command; seconds, and the peaks in MB of its processes, first of the one that started the others.

    Ends this program if it fails.
    """
    try:
        outcome = run(command, memory=True)
    except CommandFailed as failure:
        sys.exit(f"{' '.join(command)}: {failure}")
    return outcome.seconds, outcome.own_peaks


@contextlib.contextmanager
def background(
    command: Sequence[str], sign: str, variables: Optional[Mapping[str, str]] = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command that serves until the block ends, and the first line in which it has said ``sign``."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**_environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process, _wait_for(process, said, sign)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class PeakMemory:
    """Watches a process and its descendants; `peaks` holds the largest resident size of each, in MB.

    From what Linux notes for each process as long as it lives, so only its very last moments can be missed.
    """

    def __init__(self, root: int) -> None:
        self.peaks: dict[int, float] = {}
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        # what a process that serves on needed before does not count
        for pid in family(self._root):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECS):
            for pid in family(self._root):
                with contextlib.suppress(OSError):  # it has ended
                    self._note(pid)

    def _note(self, pid: int) -> None:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peaks[pid] = max(self.peaks.get(pid, 0.0), int(line.split()[1]) * 1024 / 1e6)


def family(root: int) -> list[int]:
    """A process and its descendants."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended, or this is not Linux
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def cpu_seconds(root: int) -> float:
    """What a process, its descendants, and those of them that have ended, have computed so far."""
    ticks = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            # after the name, which may hold anything: state is field 3, the four times are fields 14 to 17
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / _TICKS


def _end_orphans(others: set[int]) -> float:
    """End our children but for ``others``, and theirs, which then are ours; what they have computed."""
    seconds = 0.0
    while orphans := set(_children(os.getpid())) - others:
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
            _, _, usage = os.wait4(pid, 0)
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever it has started and left running goes, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _text_of(file: IO[bytes]) -> str:
    # pread: the file's position is the child's, who writes there
    return os.pread(file.fileno(), 1_000_000, 0).decode(errors="replace")


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:])


def _wait_for(process: subprocess.Popen[bytes], said: IO[bytes], sign: str) -> str:
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        for line in _text_of(said).splitlines(keepends=True):
            if sign in line and line.endswith("\n"):
                return line.strip()
        time.sleep(0.05)
    raise CommandFailed(f"never said {sign!r}: {_last_lines(_text_of(said))}")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MR_BROKER"}
    return {**kept, "PYTHONPATH": str(ROOT)}
