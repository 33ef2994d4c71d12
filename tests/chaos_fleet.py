"""The workers of a chaos run: as many as wanted, replaced when they die, some of them doomed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from tests.chaos_history import History
from tests.doomed_steps import STEPS
from tests.support import ROOT

#: share of workers that will kill themselves, and the latest occasion at which they do
DOOMED_SHARE = 0.35
LATEST_OCCASION = 8
#: a killed worker is missed for up to so long
LATE_SECS = 3.0
STOP_SECS = 60.0
#: `mr worker`'s exit code when there is no broker
NO_BROKER = 6
#: and when SIGTERM came before it was ready for that
TERMINATED = 128 + signal.SIGTERM


class Member:
    """One `mr worker` process; leader of its own session, as its executors are of theirs."""

    def __init__(
        self, number: int, executors: int, url: str, step: Optional[tuple[str, int]], log: Path
    ) -> None:
        self.number = number
        self.executors = executors
        self.step = step
        self.log = log
        self.began = time.monotonic()
        command = ["worker", "--broker", url, "-c", str(executors)]
        script = ["-m", "mapreduce.cli"] if step is None else ["-m", "tests.doomed", step[0], str(step[1])]
        with log.open("wb") as said:
            self.popen = subprocess.Popen(
                [sys.executable, *script, *command],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def children(self) -> list[int]:
        """Its executors."""
        pid = self.popen.pid
        with contextlib.suppress(OSError):  # it has just ended
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def send(self, pid: int, number: int) -> None:
        """A signal to it or one of its executors, which may have ended meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def __str__(self) -> str:
        fate = "" if self.step is None else f", doomed at {self.step[0]} {self.step[1]}"
        return f"worker {self.number} (pid {self.popen.pid}, -c {self.executors}{fate})"


class Fleet:
    """Call `tend` often. All calls come from one thread."""

    def __init__(self, url: str, folder: Path, size: int, history: History, rng: random.Random) -> None:
        self.members: list[Member] = []
        self.problems: list[str] = []
        self._url = url
        self._folder = folder
        self._size = size
        self._history = history
        self._rng = rng
        self._started = 0
        self._expected: set[int] = set()  #: numbers of workers that we have killed
        self._join_at = [0.0] * size
        #: who was stopped, and when to let it go on
        self._stopped: list[tuple[float, Member, int]] = []

    def tend(self, doomed: bool = True) -> None:
        """Bury the dead, send in the next ones, let those go on that were stopped for long enough."""
        now = time.monotonic()
        for at, member, pid in [entry for entry in self._stopped if entry[0] <= now]:
            self._stopped.remove((at, member, pid))
            member.send(pid, signal.SIGCONT)
        for member in [each for each in self.members if each.popen.poll() is not None]:
            self.members.remove(member)
            self._bury(member)
            self._join_at.append(now + self._rng.uniform(0.0, LATE_SECS))
        for at in [at for at in self._join_at if at <= now]:
            self._join_at.remove(at)
            self._start(doomed)

    def kill(self, kind: str) -> None:
        """SIGKILL somebody: "parent" alone, "family" with its executors, one "executor"."""
        member = self._anybody()
        if member is None:
            return
        executors = member.children()
        if kind == "executor":
            if executors:
                self._history.kill("executor", str(member))
                member.send(self._rng.choice(executors), signal.SIGKILL)
            return
        self._history.kill(f"worker: {kind}", str(member), member.popen.pid)
        self._expected.add(member.number)
        for pid in executors if kind == "family" else ():
            member.send(pid, signal.SIGKILL)
        member.popen.kill()

    def stop(self, kind: str, secs: float) -> None:
        """SIGSTOP somebody, a "parent" or an "executor"; SIGCONT follows after so many seconds."""
        member = self._anybody()
        if member is None:
            return
        pids = [member.popen.pid] if kind == "parent" else member.children()
        if pids:
            pid = self._rng.choice(pids)
            self._history.stop(f"stop {kind}", f"{member}, {secs:.1f} s")
            member.send(pid, signal.SIGSTOP)
            self._stopped.append((time.monotonic() + secs, member, pid))

    def disband(self) -> None:
        """SIGTERM to all; each must end in order and in time."""
        for _, member, pid in self._stopped:
            member.send(pid, signal.SIGCONT)
        for member in self.members:
            member.popen.terminate()
        deadline = time.monotonic() + STOP_SECS
        for member in self.members:
            try:
                member.popen.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                self.problems.append(f"{member} does not stop within {STOP_SECS:.0f} s of SIGTERM")
                member.popen.kill()
                member.popen.wait()
                continue
            if member.popen.returncode != TERMINATED:  # it had only just begun
                self._bury(member)
        self.members.clear()

    # ------------------------------------------------------------ pieces

    def _anybody(self) -> Optional[Member]:
        """Not one that is stopped: it would be reported twice."""
        stopped = {member.number for _, member, _ in self._stopped}
        living = [each for each in self.members if each.number not in stopped | self._expected]
        return self._rng.choice(living) if living else None

    def _start(self, doomed: bool) -> None:
        self._started += 1
        step = None
        executors = self._rng.choice((1, 1, 2, 2, 3))
        if doomed and self._rng.random() < DOOMED_SHARE:
            step = (self._rng.choice(STEPS), self._rng.randint(1, LATEST_OCCASION))
        log = self._folder / f"worker-{self._started}.log"
        member = Member(self._started, executors, self._url, step, log)
        self._history.note(f"{member} joins")
        self.members.append(member)

    def _bury(self, member: Member) -> None:
        code = member.popen.returncode
        if member.number in self._expected:
            return
        if code == -signal.SIGKILL and member.step is not None:
            self._history.kill(f"at {member.step[0]}", str(member), member.popen.pid)
        elif code == NO_BROKER and self._history.outage_since(member.began):
            self._history.note(f"{member} found no broker")
        elif code != 0:
            self.problems.append(f"{member} ended by itself, exit {code}: {member.log.read_text()[-2000:]}")
