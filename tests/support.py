"""What end-to-end tests need: `mr` as a process, workers as processes, data, and the oracle."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from mapreduce import order

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "jobs"
DEADLINE_SECS = 90.0  # less than a test may take: what hangs should get to say where


def mr(*args: Any, stdin: Optional[bytes] = None, env: Optional[dict[str, str]] = None) -> Any:
    """Run `mr` to its end; a CompletedProcess with bytes. Fails the test with what it said if there is none."""
    try:
        return subprocess.run(
            [sys.executable, "-m", "mapreduce.cli", *map(str, args)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=DEADLINE_SECS,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"").decode(errors="replace")[-4000:]
        raise AssertionError(
            f"mr {args[0]} has not ended after {DEADLINE_SECS:.0f} s; it said:\n{said}"
        ) from None


def mr_ok(*args: Any, **options: Any) -> bytes:
    """Run `mr`; its standard output. Fails the test with what it said if it fails."""
    result = mr(*args, **options)
    assert result.returncode == 0, result.stderr.decode()
    output: bytes = result.stdout
    return output


class Process:
    """An `mr` process in the background; its standard error is read all the time, so that it never blocks."""

    def __init__(
        self,
        *args: Any,
        script: Sequence[str] = ("-m", "mapreduce.cli"),
        cwd: Any = None,
        stdin: int = subprocess.DEVNULL,
        env: Optional[dict[str, str]] = None,
    ) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *script, *map(str, args)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._news:
                self.errors.append(line.decode(errors="replace").rstrip())
                self._news.notify_all()
        with self._news:
            self.errors.append("(end)")
            self._news.notify_all()

    def wait_for(self, pattern: str, timeout: float = DEADLINE_SECS) -> str:
        """Wait until a line of its standard error matches; that line."""

        def found() -> Optional[str]:
            return next((line for line in self.errors if re.search(pattern, line)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or "(end)" in self.errors, timeout)
            line = found()
            assert line is not None, f"never said {pattern!r}: {self.errors}"
            return line

    def output(self, timeout: float = DEADLINE_SECS) -> bytes:
        """Wait for its end; its standard output. Fails the test if it failed."""
        assert self.popen.stdout is not None
        timer = threading.Timer(timeout, self.popen.kill)
        timer.start()
        try:
            data: bytes = self.popen.stdout.read()
            code = self.popen.wait()
        finally:
            timer.cancel()
        self._reader.join()
        assert code == 0, f"exit {code}: {self.errors}"
        return data

    def kill(self) -> None:
        """kill -9, of this process alone."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """SIGTERM, then wait; kill -9 if it does not go."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def workers(url: str, count: int = 1, executors: int = 2, pool: str = "default") -> Iterator[list[Process]]:
    """``count`` workers, ready; stopped at the end."""
    started = [Process("worker", "--broker", url, "-c", executors, "--pool", pool) for _ in range(count)]
    try:
        for worker in started:
            worker.wait_for("ready")
        yield started
    finally:
        for worker in started:
            worker.stop()


def make_text(path: Path, size: int, seed: int = 1) -> Path:
    """``size`` bytes or a little more of lines of made-up words, the same for the same seed."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(5000)]
    written = 0
    with path.open("w", newline="") as file:
        while written < size:
            line = " ".join(rng.choices(vocabulary, k=rng.randint(0, 15))) + "\n"
            written += file.write(line)
    return path


def count_words(*paths: Path, partitions: int = 8) -> bytes:
    """The oracle: what the word count must print, by plain Python: partitions in order, keys sorted in each."""
    counts = Counter(word for path in paths for word in path.read_text().split())
    parts: list[list[str]] = [[] for _ in range(partitions)]
    for word in sorted(counts):
        parts[order.partition(word, partitions)].append(f"{word}\t{counts[word]}\n")
    return "".join(line for part in parts for line in part).encode()
