"""A small job while a large one has the workers: how long does it take?

    python -m bench.programs.beside BROKER LARGE SMALL OUTPUT_DIR

Both count words over the same broker. The small one starts when the large one's tasks have been running for a while,
and what it has found goes to OUTPUT_DIR; then the large one is cancelled. Fails if that one ended before.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.processes import MR, ROOT

JOB = "jobs/wordcount.py"
#: the large job is in the middle of its map by then, all executors at work
HEAD_START_SECS = 3.0
STOP_SECS = 60.0


def main(broker: str, large: str, small: str, output: str) -> None:
    with going(broker, large) as other:
        time.sleep(HEAD_START_SECS)
        start = time.perf_counter()
        subprocess.run([*MR, "run", JOB, small, "-o", output, "--broker", broker], cwd=ROOT, check=True)
        seconds = time.perf_counter() - start
        if other.poll() is not None:
            sys.exit("the large job ended before the small one: nothing was measured")
    print(f"seconds {seconds:.4f}")


@contextlib.contextmanager
def going(broker: str, large: str) -> Iterator[subprocess.Popen[bytes]]:
    """The large job, cancelled at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-beside-") as folder:
        command = [*MR, "run", JOB, large, "-o", str(Path(folder, "output")), "--broker", broker]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECS)


if __name__ == "__main__":
    main(*sys.argv[1:])
