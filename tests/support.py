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

from mapreduce import effects, order

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "jobs"
DEADLINE_SECS = 90.0  # less than a test may take: what hangs should get to say where
#: SIGABRT makes such a Python say where all its threads are, and ends it
_TELLING = (sys.executable, "-X", "faulthandler")
#: processes in the background that may still run, for what is said of a test that fails
background: list[Process] = []


def handled(role: effects.Role, event: Any, now: float) -> list[effects.Command]:
    """What a role asks for, at once and when all is handled."""
    commands = role.handle(event, now)
    if effects.Defer() not in commands:
        return commands
    return [*(each for each in commands if each != effects.Defer()), *role.handle(effects.Deferred(), now)]


def mr(
    *args: Any,
    stdin: Optional[bytes] = None,
    stdout: Any = subprocess.PIPE,
    env: Optional[dict[str, str]] = None,
) -> Any:
    """Run `mr` to its end; a CompletedProcess with bytes. If there is none, fails the test with what it said, and where
    it hangs.
    """
    command = [*_TELLING, "-m", "mapreduce.cli", *map(str, args)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    ) as process:
        try:
            output, errors = process.communicate(stdin, DEADLINE_SECS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            said = process.communicate()[1].decode(errors="replace")[-8000:]
            raise AssertionError(f"mr {args[0]} has not ended after {DEADLINE_SECS:.0f} s:\n{said}") from None
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


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
        self.title = " ".join(map(str, args[:1]))
        self.popen = subprocess.Popen(
            [*_TELLING, *script, *map(str, args)],
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
        background.append(self)

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._news:
                self.errors.append(line.decode(errors="replace").rstrip())
                self._news.notify_all()
        with self._news:
            self.errors.append("(end)")
            self._news.notify_all()

    def wait_for(self, pattern: str, timeout: float = DEADLINE_SECS, since: int = 0) -> str:
        """Wait until a line of its standard error, from number ``since`` on, matches; that line."""

        def found() -> Optional[str]:
            return next((line for line in self.errors[since:] if re.search(pattern, line)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or "(end)" in self.errors, timeout)
            line = found()
            assert line is not None, f"never said {pattern!r}: {self.errors}"
            return line

    def output(self, timeout: float = DEADLINE_SECS) -> bytes:
        """Wait for its end; its standard output. Fails the test if it failed."""
        assert self.popen.stdout is not None
        timer = threading.Timer(timeout, self.popen.send_signal, [signal.SIGABRT])
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

    @property
    def over(self) -> bool:
        """It has ended, and been read to its end."""
        return not self._reader.is_alive()


@contextlib.contextmanager
def workers(url: str, count: int = 1, executors: int = 2, pool: str = "default") -> Iterator[list[Process]]:
    """``count`` workers, ready; stopped at the end."""
    started = [Process("worker", "--broker", url, "-c", executors, "--pool", pool) for _ in range(count)]
    try:
        for worker in started:
            worker.wait_for("ready")
        yield started
    except BaseException:
        for worker in started:  # whatever went wrong, where they were may tell why
            worker.popen.send_signal(signal.SIGABRT)
        raise
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
