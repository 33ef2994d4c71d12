"""One of four workers is ten times slower: what that costs, with copies of its tasks and without.

    python -m bench.stragglers                  five rounds of both set-ups; about ten minutes
    python -m bench.stragglers --rounds 1 --only waits

Two set-ups, each a map over 120 tasks of a quarter of a second, then a small reduce, on four `mr worker -c 1`:

waits       a task sleeps; so these are four true machines, however few cores there are. On the slow one each record
            takes ten times as long. It cannot do its share, so that even perfect scheduling takes 4 / 3.1 of the time.
computes    a task computes, and the slow worker and its executor are stopped for 90 % of the time. Where there are
            fewer cores than workers, the others get what the slow one does not use: perfect scheduling costs nothing.

In each round all run in turn. The MapReduce paper's figure: without copies, a sort takes 44 % longer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import straggler_jobs
from bench.processes import MR, background
from mapreduce.job import Job
from mapreduce.node import PrivateNode

WORKERS = 4
FACTOR = 10
TASKS, RECORDS_PER_TASK = 120, 25
LINE = "{:07}\n"
#: of the duty cycle: on for a tenth of it
PERIOD_SECS = 0.5

HEALTHY, COPIES, NO_COPIES = "all healthy", "one slow, copies", "one slow, no copies"
JOBS: dict[str, Job] = {"waits": straggler_jobs.waits, "computes": straggler_jobs.computes}
#: times a perfect scheduler would need, as a multiple of HEALTHY; the rest of a slow worker is of use to the others
#: only where they share its cores
IDEAL = {"waits": WORKERS / (WORKERS - 1 + 1 / FACTOR), "computes": 1.0}


class Set:
    """Four workers, the last of which can be slowed down."""

    def __init__(self, url: str, slow: subprocess.Popen[bytes], factor: Path, source: Path) -> None:
        self._url = url
        self._slow = slow
        self._factor = factor
        self._source = source

    def seconds(self, name: str, case: str) -> float:
        """How long one run of the job takes. Ends this program if the answer is wrong."""
        slowed = case != HEALTHY
        self._factor.write_text(str(FACTOR if slowed and name == "waits" else 1))
        stopped = on_and_off(self._slow.pid) if slowed and name == "computes" else contextlib.nullcontext()
        options: dict[str, Any] = {"broker": self._url, "split_bytes": RECORDS_PER_TASK * len(LINE.format(0))}
        with stopped:
            began = time.monotonic()
            with JOBS[name].run(str(self._source), copies=case != NO_COPIES, **options) as result:
                took = time.monotonic() - began
                if dict(result) != dict.fromkeys(range(100), TASKS * RECORDS_PER_TASK // 100):
                    sys.exit(f"{name}, {case}: a wrong answer")
        return took


@contextlib.contextmanager
def on_and_off(pid: int) -> Iterator[None]:
    """A worker and its executors run for a tenth of the time."""
    over = threading.Event()
    thread = threading.Thread(target=_duty_cycles, args=(pid, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _duty_cycles(pid: int, over: threading.Event) -> None:
    while not over.is_set():
        family = [pid, *_children(pid)]
        _signal(family, signal.SIGSTOP)
        over.wait(PERIOD_SECS * (1 - 1 / FACTOR))
        _signal(family, signal.SIGCONT)
        over.wait(PERIOD_SECS / FACTOR)


def _children(pid: int) -> list[int]:
    """A worker starts its executors from its main thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)


@contextlib.contextmanager
def workers(folder: Path) -> Iterator[Set]:
    """A private RabbitMQ, four workers, and their input."""
    factor, source = folder / "factor", folder / "records"
    factor.write_text("1")
    source.write_text("".join(map(LINE.format, range(TASKS * RECORDS_PER_TASK))))
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(PrivateNode(folder / "broker"))
        command = [*MR, "worker", "--broker", node.url, "-c", "1"]
        for number in range(WORKERS):
            if number == WORKERS - 1:
                command = ["env", f"STRAGGLER={factor}", *command]
            process, _ = stack.enter_context(background(command, "ready"))
        yield Set(node.url, process, factor, source)


def main() -> None:
    parser = argparse.ArgumentParser(description="What one slow worker of four costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=sorted(JOBS))
    options = parser.parse_args()
    names = [options.only] if options.only else list(JOBS)
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-stragglers-") as folder, workers(Path(folder)) as four:
        for name in names:
            four.seconds(name, HEALTHY)  # what is slow the first time
            for number in range(1, options.rounds + 1):
                for case in (HEALTHY, COPIES, NO_COPIES):
                    times.setdefault((name, case), []).append(four.seconds(name, case))
                    last = times[name, case][-1]
                    print(f"round {number}: {name}, {case}: {last:.1f} s", file=sys.stderr)
    for name in names:
        report(name, {case: times[name, case] for case in (HEALTHY, COPIES, NO_COPIES)}, options.rounds)


def report(name: str, times: dict[str, list[float]], rounds: int) -> None:
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"\n{name}: {TASKS} tasks, {WORKERS} workers, {cores} cores, {rounds} rounds, load {load:.1f}")
    print(
        f"{'':24}{'median':>8}{'min':>8}{'max':>8}   to healthy   to the ideal ({IDEAL[name]:.2f} × healthy)"
    )
    for case, seconds in times.items():
        ratio = statistics.median(one / healthy for one, healthy in zip(seconds, times[HEALTHY]))
        ideal = f"{ratio / IDEAL[name] - 1:+14.0%}" if case != HEALTHY else ""
        print(
            f"{case:24}{statistics.median(seconds):7.1f}s{min(seconds):7.1f}s{max(seconds):7.1f}s"
            f"{ratio - 1:+13.0%}{ideal}"
        )


if __name__ == "__main__":
    main()
