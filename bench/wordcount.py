"""Word count of 200 MB on two cores: by hand, with `mr run` alone, and with `mr run` over RabbitMQ.

    python -m bench.wordcount                   five rounds, then memory; about ten minutes
    python -m bench.wordcount --mb 50 --rounds 1 --no-memory

All run in turn within each round, so that what else the machine does is spread over them; the ratios are of
each round's own times. Their answers must be equal. Memory is the peak of every process of `mr`, for inputs of
growing size: it should not grow with them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from bench import data
from bench.processes import MR, ROOT, background, measured, timed

Command = list[str]

BY_HAND, ALONE, BROKER = "by hand (multiprocessing.Pool)", "mr run", "mr run over RabbitMQ"
#: how many times the time of BY_HAND is acceptable
BOUNDS = {ALONE: 1.5, BROKER: 2.0}
MEMORY_MB = (50, 100, 200)


def main() -> None:
    options = arguments()
    with (
        tempfile.TemporaryDirectory(prefix="bench-wordcount-") as folder,
        private_rabbitmq(folder) as (url, worker),
    ):
        commands: dict[str, Callable[[Path, str], Command]] = {
            BY_HAND: by_hand,
            ALONE: alone,
            BROKER: functools.partial(over_broker, url),
        }
        times = race(commands, data.text(options.mb), Path(folder), options.rounds)
        report_times(times, options.mb)
        if options.memory:
            report_memory(commands, worker, Path(folder))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Word count by hand, with mr, and with mr over RabbitMQ.")
    parser.add_argument("--mb", type=int, default=200, choices=range(1, 201), metavar="1..200")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    return parser.parse_args()


def by_hand(source: Path, output: str) -> Command:
    return [sys.executable, str(ROOT / "bench" / "pool_wordcount.py"), str(source), output, "2"]


def alone(source: Path, output: str) -> Command:
    return [*MR, "run", "jobs/wordcount.py", str(source), "-o", output, "-c", "2"]


def over_broker(url: str, source: Path, output: str) -> Command:
    return [*MR, "run", "jobs/wordcount.py", str(source), "-o", output, "--broker", url]


@contextlib.contextmanager
def private_rabbitmq(folder: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A RabbitMQ of our own and one worker with two executors: the URL and the worker."""
    with (
        background([*MR, "broker", "--dir", f"{folder}/broker"], "amqp://") as (_, url),
        background([*MR, "worker", "--broker", url, "-c", "2"], "ready") as (worker, _),
    ):
        yield url, worker


def race(
    commands: dict[str, Callable[[Path, str], Command]], source: Path, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each command in each round. Ends this program if their answers differ."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    answer = None
    for number in range(1, rounds + 1):
        for name, command in commands.items():
            output = folder / "output"
            seconds = timed(command(source, str(output)))
            times[name].append(seconds)
            print(f"round {number}: {name}: {seconds:.1f} s", file=sys.stderr)
            found = counts_of(output)
            shutil.rmtree(output)
            if answer is None:
                answer = found
            elif found != answer:
                sys.exit(f"round {number}: {name} has another answer than {BY_HAND}")
    print(f"all answers equal: {len(answer or ())} words\n")
    return times


def counts_of(output: Path) -> list[bytes]:
    """All lines of all parts; how words are spread over parts is each program's own affair."""
    return sorted(line for part in output.glob("part-*") for line in part.read_bytes().splitlines())


def report_times(times: dict[str, list[float]], megabytes: int) -> None:
    print(f"word count of {megabytes} MB, 2 processes, {len(times[BY_HAND])} rounds")
    print(f"{'':32}{'median':>8}{'min':>8}{'max':>8}   ratio to by hand (min … max)")
    for name, seconds in times.items():
        ratios = sorted(one / hand for one, hand in zip(seconds, times[BY_HAND]))
        ratio = statistics.median(ratios)
        verdict = ""
        if name in BOUNDS:
            verdict = f", {'within' if ratio <= BOUNDS[name] else 'NOT within'} {BOUNDS[name]}"
        print(
            f"{name:32}{statistics.median(seconds):7.1f}s{min(seconds):7.1f}s{max(seconds):7.1f}s"
            f"   {ratio:.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f}){verdict}"
        )


def report_memory(
    commands: dict[str, Callable[[Path, str], Command]], worker: subprocess.Popen[bytes], folder: Path
) -> None:
    print("\npeak resident memory of every process, MB")
    for name, others in ((ALONE, ()), (BROKER, (worker.pid,))):
        for megabytes in MEMORY_MB:
            output = folder / "output"
            _, peaks = measured(commands[name](data.text(megabytes), str(output)), others)
            shutil.rmtree(output)
            labels = ("client" if others else "mr run", "worker")
            parts = [
                f"{label} {parent:.0f}, executors {' '.join(f'{peak:.0f}' for peak in children) or '-'}"
                for label, (parent, *children) in zip(labels, peaks)
            ]
            print(f"{name:24}{megabytes:4} MB: {'; '.join(parts)}")


if __name__ == "__main__":
    main()
