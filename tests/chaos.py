"""Real kills, for as long as you like: python -m tests.chaos --kills 500 --seed 1

A private RabbitMQ, a few workers, a stream of jobs; and somebody who kills workers (alone, with their executors,
single executors, at chosen steps), stops and continues them, kills clients, kills and restarts the broker.

Every job must end with the bytes that plain Python finds, or, if its client was killed, be given up by name; nothing
may take longer than its deadline. At the end there must be no queue of a job, no lease, no dispatch, no message set
aside, no process and no temporary folder.

The seed fixes the jobs, and the order of kills; when they hit depends on the machine. After a failure it prints what
was wrong, all that was done, and the job's log, and keeps the folder with the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import random
import secrets
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Optional

from mapreduce.errors import BrokerError
from tests import chaos_log
from tests.chaos_broker import ChaosBroker
from tests.chaos_fleet import Fleet
from tests.chaos_history import History
from tests.chaos_jobs import CLIENT_TIMEOUT_SECS, RETAIN_SECS, ChaosJob
from tests.chaos_plan import make_plan

#: relative frequency of what is done to workers and executors
WEIGHTS = {"parent": 40, "family": 20, "executor": 20, "stop parent": 8, "stop executor": 10}
#: a stop that is longer than the broker's patience with a silent connection (twice its heartbeat), and how rare
LONG_STOP_SECS = 70.0
LONG_STOP_SHARE = 0.04
#: what is left when the last job has ended goes within so long: the jobs of dead clients take longest
CLEAN_SECS = CLIENT_TIMEOUT_SECS + RETAIN_SECS + 90.0
TEND_SECS = 0.05
#: marks our processes: it is in the environment of each
MARK = "MR_CHAOS"


class Chaos:
    """One run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self._history = History(options.verbose)
        self._folder = folder
        self._deadline = time.monotonic() + options.seconds
        self._enough = threading.Event()
        self._finished: queue.SimpleQueue[ChaosJob] = queue.SimpleQueue()
        self._numbers = iter(range(1_000_000))
        self.jobs: list[ChaosJob] = []
        self.events: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self) -> bool:
        """True if nothing was wrong."""
        began = time.monotonic()
        with ChaosBroker(self._folder / "broker", self._history) as broker:
            fleet = Fleet(broker.url, self._folder, self._options.workers, self._history, self._rng)
            try:
                self._storm(broker, fleet)
                if not self.problems:
                    self._calm(broker, fleet)
            finally:
                self._enough.set()
                fleet.disband()
            self.problems += fleet.problems + broker.problems
            if not self.problems:
                self._afterwards(broker)
        if not self.problems:
            self.problems += [f"process {pid} is left: {what}" for pid, what in marked_processes()]
        self._report(time.monotonic() - began)
        return not self.problems

    # ------------------------------------------------------------ acts

    def _storm(self, broker: ChaosBroker, fleet: Fleet) -> None:
        """Jobs come, and kills."""
        count = self._options.clients
        clients = [threading.Thread(target=self._serve, args=(broker,), daemon=True) for _ in range(count)]
        for client in clients:
            client.start()
        next_at = time.monotonic() + 2.0
        while sum(self._history.kills.values()) < self._options.kills and not self.problems:
            self._tend(broker, fleet)
            if time.monotonic() >= next_at:
                self._strike(broker, fleet)
                next_at = time.monotonic() + min(self._rng.expovariate(1 / self._options.gap), 5.0)
        self._enough.set()
        self._history.tell("enough killed; the rest of the jobs")
        while any(client.is_alive() for client in clients) and not self.problems:
            self._tend(broker, fleet, doomed=False)
        if not self.problems:
            for client in clients:
                client.join()
        self._take_finished(broker)

    def _calm(self, broker: ChaosBroker, fleet: Fleet) -> None:
        """What dead clients and dead coordinators have left goes by itself, as long as there are workers."""
        broker.settle()
        deadline = time.monotonic() + CLEAN_SECS
        left = leftovers(broker.queues())
        while left and time.monotonic() < deadline and not self.problems:
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                self._tend(broker, fleet, doomed=False)
            left = leftovers(broker.queues())
        self.problems += [f"left on the broker: {what}" for what in left]

    def _afterwards(self, broker: ChaosBroker) -> None:
        """One more job with one more worker, undisturbed, also clears away the folders of those who were killed."""
        fleet = Fleet(broker.url, self._folder, 1, self._history, self._rng)
        fleet.tend(doomed=False)
        try:
            plan = make_plan(self._options.seed, next(self._numbers))
            job = ChaosJob(plan.undisturbed(), broker.url, self._folder, self._history)
            job.run()
            self.problems += [job.problem] if job.problem else []
        finally:
            fleet.disband()
        self.problems += fleet.problems
        left = [path.name for path in Path(os.environ["TMPDIR"]).iterdir()]
        self.problems += [f"left in the temporary folder: {name}" for name in left]

    # ------------------------------------------------------------ pieces

    def _tend(self, broker: ChaosBroker, fleet: Fleet, doomed: bool = True) -> None:
        time.sleep(TEND_SECS)
        fleet.tend(doomed)
        self._take_finished(broker)
        self.problems += fleet.problems + broker.problems
        fleet.problems.clear()
        if time.monotonic() > self._deadline:
            kills = sum(self._history.kills.values())
            self.problems.append(f"out of time: {kills} kills in {self._options.seconds:.0f} s")

    def _strike(self, broker: ChaosBroker, fleet: Fleet) -> None:
        if self._options.broker_share and self._rng.random() < self._options.broker_share:
            if not broker.disturbed:
                broker.disturb(self._rng.choice(broker.ways), self._rng.uniform(0.0, 3.0))
            return
        kind = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if kind.startswith("stop "):
            long = self._rng.random() < LONG_STOP_SHARE and not self._options.short
            secs = LONG_STOP_SECS if long else self._rng.uniform(0.1, 5.0)
            fleet.stop(kind.removeprefix("stop "), secs)
        else:
            fleet.kill(kind)

    def _serve(self, broker: ChaosBroker) -> None:
        """One after the other, until it is enough."""
        while not self._enough.is_set():
            plan = make_plan(self._options.seed, next(self._numbers))
            job = ChaosJob(plan, broker.url, self._folder, self._history)
            try:
                job.run()
            except Exception as error:
                job.problem = f"the test itself failed: {error!r}"
            self._read_log(job, broker)
            self._finished.put(job)

    def _read_log(self, job: ChaosJob, broker: ChaosBroker) -> None:
        """Counts what happened to it, and keeps the log if something was wrong."""
        if job.job_id is None:
            return
        try:
            entries = chaos_log.read(broker.url, job.job_id)
        except BrokerError as error:  # deleted as it should be, or the broker is away
            self._history.note(f"no log of {job.plan.name}: {error}")
            return
        self.events.update(chaos_log.summary(entries))
        if job.problem is not None:
            (self._folder / f"{job.plan.name}.log").write_text(chaos_log.text(entries))

    def _take_finished(self, broker: ChaosBroker) -> None:
        while not self._finished.empty():
            job = self._finished.get()
            self.jobs.append(job)
            if job.problem is not None:
                self.problems.append(f"{job.plan}, id {job.job_id}: {job.problem}")

    def _report(self, secs: float) -> None:
        history = self._history
        print(f"\nseed {self._options.seed}, {secs:.0f} s, load {os.getloadavg()[0]:.1f}")
        print(table(f"{sum(history.kills.values())} kills", history.kills))
        print(table(f"{sum(history.stops.values())} stops", history.stops))
        print(table(f"{len(self.jobs)} jobs", Counter(job.outcome or "WRONG" for job in self.jobs)))
        print(table("in their logs, as far as these were read", self.events))
        if self.jobs:
            times = [job.secs for job in self.jobs]
            print(f"a job took {statistics.median(times):.1f} s (median), {max(times):.1f} s at most")
        if not self.problems:
            print("nothing was wrong")
            return
        print("\n".join(["", "what was done:", *history.lines]))
        for log in sorted(self._folder.glob("chaos*.log")):
            print(f"\nlog of {log.stem}:\n{log.read_text()}")
        for log in sorted(self._folder.glob("worker-*.log")):
            said = [line for line in log.read_text(errors="replace").splitlines() if "Traceback" in line]
            if said:
                print(f"\n{log.stem} said:\n{log.read_text(errors='replace')[-4000:]}")
        print("\n".join(["", f"WRONG, with seed {self._options.seed}:", *self.problems]))
        print(f"all that the processes said is in {self._folder}")


def leftovers(queues: dict[str, int]) -> list[str]:
    """What should not be there when no job is there: streams of jobs, messages of any kind."""
    return [
        f"{name} ({messages} messages)"
        for name, messages in sorted(queues.items())
        if messages or name.startswith("mr.1.job.")
    ]


def marked_processes() -> list[tuple[int, str]]:
    """Our processes that live on: whoever has our mark in its environment."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append((int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")))
        except OSError:
            continue  # it has just ended, or is not ours
    return found


def table(title: str, counts: Counter[str]) -> str:
    return "\n".join([title, *(f"    {name:24}{count:7}" for name, count in sorted(counts.items()))])


def arguments(given: Optional[list[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill workers, clients and the broker while jobs run.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1800.0, help="for all of it")
    parser.add_argument("--gap", type=float, default=1.2, help="seconds between two strikes, on average")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=3, help="jobs at a time")
    parser.add_argument("--broker-share", type=float, default=0.03, help="of the strikes that hit the broker")
    parser.add_argument("--short", action="store_true", help="no stop longer than a heartbeat")
    parser.add_argument("--verbose", action="store_true", help="say each kill")
    return parser.parse_args(given)


def main() -> None:
    options = arguments()
    # SIGTERM must end what we started, too
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ.update({"TMPDIR": str(temporary), MARK: secrets.token_hex(8)})
    os.environ.pop("MR_BROKER", None)
    try:
        well = Chaos(options, folder).run()
    finally:
        for pid, _ in marked_processes():  # none if all is well
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if not well:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
