"""The clients of a chaos run: one job each, from start to end; some are killed, and others come for the job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mapreduce import events as ev
from mapreduce.coordination.tries import MAX_LOSSES
from mapreduce.errors import BrokerError
from tests import chaos_log
from tests.chaos_history import History
from tests.chaos_plan import Plan, job_source, oracle
from tests.support import ROOT, make_text

#: a client that says nothing for so long is dead
CLIENT_TIMEOUT_SECS = 20
#: no command takes longer, whatever is killed meanwhile
DEADLINE_SECS = 400.0
#: how long a job's log stays after its end, to be read
RETAIN_SECS = 8
JOB_FAILED, INPUT_ERROR, NO_BROKER, JOB_LOST = 1, 4, 6, 9
#: how what others do about a dead client's job may end, besides well
GIVEN_UP = (
    "given up: nothing was heard of its client|never submitted|there is no job|is over already"
    "|output was delivered to somebody else"
)
PAUSE_SECS = 1.0
#: between two looks at what a client has said
LOOK_SECS = 0.05


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  #: negative: by this signal
    output: bytes
    errors: str
    killed: bool  #: by us


class ChaosJob:
    """Runs one plan to its end. `problem` says what was wrong, `outcome` in one word what came of it."""

    def __init__(self, plan: Plan, url: str, folder: Path, history: History) -> None:
        self.plan = plan
        self.problem: Optional[str] = None
        self.outcome = ""
        self.job_id: Optional[str] = None
        self.secs = 0.0
        self._url = url
        self._folder = folder / plan.name
        self._history = history

    def run(self) -> None:
        began = time.monotonic()
        self._folder.mkdir()
        text = make_text(self._folder / "text", self.plan.text_bytes, self.plan.number)
        job_file = self._folder / f"{self.plan.name}.py"
        job_file.write_text(job_source(self.plan))
        try:
            self.outcome = self._run(job_file, text)
        except Wrong as wrong:
            self.problem = str(wrong)
        self.secs = time.monotonic() - began
        self._history.note(f"{self.plan.name} ({self.job_id}): {self.problem or self.outcome}")

    def _run(self, job_file: Path, text: Path) -> str:
        expected = oracle(self.plan, text)
        ended = self._submit(job_file, text)
        said = re.search(r"job (\S+) is submitted", ended.errors)
        self.job_id = said and said[1]
        if self.plan.detached and ended.code == 0:
            if ended.output.decode().strip() != self.job_id:
                raise Wrong(f"two ids: {ended.output!r} and {self.job_id}")
            return self._results(expected)
        if not ended.killed:
            return self._judge(ended, expected)
        return self._after_death(expected)

    def _submit(self, job_file: Path, text: Path) -> Ended:
        plan = self.plan
        args = [
            "run", str(job_file), "-" if plan.source == "stdin" else str(text),
            "--split-size", str(plan.split_bytes), "--partitions", str(plan.partitions),
            "--tries", "12", "--client-timeout", str(CLIENT_TIMEOUT_SECS), "--retain", str(RETAIN_SECS),
        ]  # fmt: skip
        args += ["--shared"] if plan.source == "shared" else []
        args += ["--detach"] if plan.detached else []
        stdin = text if plan.source == "stdin" else None
        return self._mr(
            args, "client: detach" if plan.detached else "client: run", plan.kill_after_secs, stdin
        )

    def _after_death(self, expected: bytes) -> str:
        """Its client was killed: somebody comes for it, or nobody does. All must end well."""
        what = self.plan.after_death
        if what == "nobody":
            return "left alone"  # the end of the run shows that nothing of it is left
        if self.job_id is None:
            return "never submitted"
        args = ["run", "--resume"] if what == "resume" else [what]
        ended = self._mr([*args, self.job_id], "", None)
        if ended.code == 0:
            return self._saved(what, ended, expected)
        if ended.code == JOB_LOST and re.search(GIVEN_UP, ended.errors):
            return f"{what}: given up"
        if what == "resume" and ended.code == INPUT_ERROR and self.plan.source == "stdin":
            return f"{what}: input gone"
        raise Wrong(f"{what} after its client's death: exit {ended.code}: {ended.errors}")

    def _saved(self, what: str, ended: Ended, expected: bytes) -> str:
        if what == "cancel":
            return "cancelled"
        if what == "resume" and self.plan.detached:
            if ended.output.decode().strip() != self.job_id:
                raise Wrong(f"resume of a detached job says {ended.output[:200]!r}")
            return f"{what}: {self._results(expected)}"
        return f"{what}: {self._judge(ended, expected)}"

    def _results(self, expected: bytes) -> str:
        assert self.job_id is not None
        ended = self._mr(["results", self.job_id], "client: results", self.plan.kill_results_after_secs)
        if not ended.killed:
            return self._judge(ended, expected)
        again = self._mr(["results", self.job_id], "client: results", None)
        gone = (
            f"there is no job {self.job_id}" in again.errors or "delivered to somebody else" in again.errors
        )
        if again.code == JOB_LOST and gone:
            return "delivered to the dead"
        return self._judge(again, expected)

    def _judge(self, ended: Ended, expected: bytes) -> str:
        if ended.code == JOB_FAILED and "workers died while they ran it" in ended.errors:
            return self._worn_out(ended)
        if ended.code != 0:
            raise Wrong(f"exit {ended.code}: {ended.errors}")
        if ended.output != expected:
            raise Wrong(
                f"{len(ended.output)} bytes instead of {len(expected)}: {_diff(ended.output, expected)}"
            )
        return "right"

    def _worn_out(self, ended: Ended) -> str:
        """One task after another worker was killed, until it was given up: only right if we have killed them all."""
        assert self.job_id is not None
        began = time.monotonic()
        try:
            entries = chaos_log.read(self._url, self.job_id)
        except BrokerError:
            if self._history.outage_since(began):
                return "worn out, log unread"
            raise
        failed = next(each for each in entries if isinstance(each, ev.Failed))
        lost = {each.dispatch for each in entries if isinstance(each, ev.Lost)}
        started = [each for each in entries if isinstance(each, ev.Started) and each.dispatch in lost]
        workers = {
            each.worker for each in started if (each.stage, each.index) == (failed.stage, failed.index)
        }
        killed = [worker for worker in workers if self._history.was_killed(int(worker.split(":")[1]))]
        if len(killed) < MAX_LOSSES:
            raise Wrong(f"only {killed} of {workers} were killed, but: {ended.errors}")
        return "worn out"

    def _mr(
        self, args: list[str], kind: str, kill_after: Optional[float], stdin: Optional[Path] = None
    ) -> Ended:
        """Run a client to its end; again if there was no broker when it started."""
        deadline = time.monotonic() + DEADLINE_SECS
        while True:
            began = time.monotonic()
            ended = self._once(args, kind, kill_after, stdin, deadline)
            if ended.code != NO_BROKER or not self._history.outage_since(began):
                return ended
            if time.monotonic() > deadline:
                raise Wrong(f"mr {args[0]} finds no broker for {DEADLINE_SECS:.0f} s: {ended.errors}")
            time.sleep(PAUSE_SECS)  # the broker is on its way back

    def _once(
        self, args: list[str], kind: str, kill_after: Optional[float], stdin: Optional[Path], deadline: float
    ) -> Ended:
        said, written = self._folder / "stderr", self._folder / "stdout"
        with (
            open(stdin or os.devnull, "rb") as source,
            said.open("wb") as errors,
            written.open("wb") as output,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "mapreduce.cli", *args, "--broker", self._url],
                stdin=source,
                stdout=output,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        killed = False
        try:
            if kill_after is not None and self.plan.kill_when_submitted and args[0] == "run":
                self._wait_for_submission(process, said, deadline)
            process.wait(kill_after or deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if kill_after is None:
                text = f"mr {args[0]} has not ended after {DEADLINE_SECS:.0f} s: {said.read_text()}"
                raise Wrong(text) from None
            killed = process.returncode == -signal.SIGKILL  # else it was faster
            if killed:
                self._history.kill(kind, f"of {self.plan.name}")
        return Ended(process.returncode, written.read_bytes(), said.read_text(errors="replace"), killed)

    def _wait_for_submission(self, process: subprocess.Popen[bytes], said: Path, deadline: float) -> None:
        while process.poll() is None and b"is submitted" not in said.read_bytes():
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise Wrong(f"not submitted after {DEADLINE_SECS:.0f} s: {said.read_text()}")
            time.sleep(LOOK_SECS)


class Wrong(Exception):
    """A job that did not end as it must; the text says how."""


def _diff(got: bytes, expected: bytes) -> str:
    ours, theirs = got.splitlines(), expected.splitlines()
    for number, (one, other) in enumerate(zip(ours, theirs)):
        if one != other:
            return f"line {number + 1} is {one!r}, not {other!r}"
    return f"{len(ours)} lines, not {len(theirs)}"
