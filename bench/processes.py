"""Runs commands for the benchmarks: how long they take, and how much memory each of their processes needs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
MR = (sys.executable, "-m", "mapreduce.cli")
START_SECS = 120.0
STOP_SECS = 60.0
SAMPLE_SECS = 0.02


def timed(command: Sequence[str]) -> float:
    """Run a command to its end; seconds. Ends this program if it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"exit {done.returncode} of {' '.join(command)}")
    return seconds


@contextlib.contextmanager
def background(command: Sequence[str], sign: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command that serves until the block ends, and the first line in which it has said ``sign``."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process, _wait_for(process, said, sign)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECS)


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
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECS):
            for pid in _family(self._root):
                with contextlib.suppress(OSError):  # it has ended
                    _reset_or_read(pid, self.peaks)


def _reset_or_read(pid: int, peaks: dict[int, float]) -> None:
    """Note the high-water mark of a process; set it back when the process is seen for the first time."""
    if pid not in peaks:
        # what a process that serves on needed before does not count
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            peaks[pid] = max(peaks.get(pid, 0.0), int(line.split()[1]) * 1024 / 1e6)


def _family(root: int) -> list[int]:
    """A process and its descendants."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def measured(command: Sequence[str], others: Sequence[int] = ()) -> tuple[float, list[list[float]]]:
    """Run a command; seconds, and the peaks in MB of its processes and of those of each of ``others``.

    The first of each list is the process that started the rest of it.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(PeakMemory(pid)) for pid in (process.pid, *others)]
        code = process.wait()
    if code:
        sys.exit(f"exit {code} of {' '.join(command)}")
    return time.perf_counter() - start, [list(watch.peaks.values()) for watch in watches]


def _wait_for(process: subprocess.Popen[bytes], said: IO[bytes], sign: str) -> str:
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        # pread: the file's position is the child's, who writes there
        text = os.pread(said.fileno(), 1_000_000, 0).decode(errors="replace")
        for line in text.splitlines(keepends=True):
            if sign in line and line.endswith("\n"):
                return line.strip()
        time.sleep(0.05)
    text = os.pread(said.fileno(), 1_000_000, 0).decode(errors="replace")
    sys.exit(f"{' '.join(process.args)} never said {sign!r}:\n{text}")  # type: ignore[arg-type]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MR_BROKER"}
    return {**kept, "PYTHONPATH": str(ROOT)}
