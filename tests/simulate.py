"""Play many schedules, or one of them again with its trace.

python -m tests.simulate --seeds 0:100000 --processes 2
python -m tests.simulate --replay 4711
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, Optional

from tests.simulation import play

CHUNK = 50


class Chunk(NamedTuple):
    """What came of some schedules."""

    played: int
    virtual_secs: float
    counts: Counter[str]
    failed: list[tuple[int, str]]


def play_chunk(seeds: range) -> Chunk:
    """Play these schedules, one after the other."""
    counts: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    virtual = 0.0
    for seed in seeds:
        try:
            world = play.run(seed)
        except Exception as error:
            failed.append((seed, explain(error)))
        else:
            counts.update(world.counts)
            virtual += world.now
    return Chunk(len(seeds), virtual, counts, failed)


def explain(error: BaseException) -> str:
    """One line."""
    if isinstance(error, play.Wrong):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.basename(frame.filename)}:{frame.lineno})"


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", default="0:2000", help="FIRST:END, or how many from 0")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--secs", type=float, default=float("inf"), help="begin nothing new after so long")
    parser.add_argument("--stop", type=int, default=20, help="stop after so many failing seeds")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play one schedule and print its trace")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        text, error = play.replay(options.replay)
        print(text)
        if error is not None and not isinstance(error, play.Wrong):
            traceback.print_exception(type(error), error, error.__traceback__)
        return 1 if error is not None else 0
    first, _, end = options.seeds.rpartition(":")
    return play_all(range(int(first or 0), int(end)), options.processes, options.secs, options.stop)


def play_all(seeds: range, processes: int, secs: float, stop: int) -> int:
    """Play them all, on several processes; print what came of it. The exit code."""
    began = time.monotonic()
    chunks = (range(start, min(start + CHUNK, seeds.stop)) for start in range(seeds.start, seeds.stop, CHUNK))
    played, virtual, counts, failed = 0, 0.0, Counter[str](), list[tuple[int, str]]()
    said = began
    with ProcessPoolExecutor(processes) as pool:
        running = {pool.submit(play_chunk, chunk) for _, chunk in zip(range(processes * 2), chunks)}
        while running:
            done = next((f for f in running if f.done()), None)
            if done is None:
                time.sleep(0.01)
                continue
            running.remove(done)
            result = done.result()
            played += result.played
            virtual += result.virtual_secs
            counts.update(result.counts)
            for seed, text in result.failed:
                failed.append((seed, text))
                print(f"seed {seed}: {text}\n    make simulate REPLAY={seed}", flush=True)
            now = time.monotonic()
            chunk = next(chunks, None)
            if chunk is not None and now - began < secs and len(failed) < stop:
                running.add(pool.submit(play_chunk, chunk))
            if now - said > 10.0:
                said = now
                print(
                    f"{played} schedules, {played / (now - began):.0f} a second, {len(failed)} failed",
                    flush=True,
                )
    spent = time.monotonic() - began
    print(f"{played} schedules in {spent:.0f} s ({virtual / 86400:.1f} virtual days), {len(failed)} failed")
    for name, number in sorted(counts.items()):
        print(f"    {number:9d} {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
