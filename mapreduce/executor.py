"""The child process in which user code runs: `python -m mapreduce.executor FD LIFELINE`.

It serves one job, one attempt at a time, and knows its parent by a socket alone (`pipe`). It leads a process
group of its own, so that Ctrl-C in a terminal does not reach it and its parent can end it with all that user
code started. It dies with its parent, whatever user code is doing at the time.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import gc
import os
import random  # noqa: F401  # so that it is there, and seeded by the task, when user code imports it late
import select
import signal
import sys
from typing import Any, Optional, TextIO

from mapreduce import pipe
from mapreduce.blame import TaskFailed, user_traceback
from mapreduce.code.loader import interpreter_tag, load
from mapreduce.errors import JobError
from mapreduce.job import Job
from mapreduce.refs import Block, Failure, TaskSpec
from mapreduce.spec import JobSpec
from mapreduce.task import run_task

#: fcntl's, of Linux; in Python's module from 3.11 on
_F_SETSIG = 10
_READ_BYTES = 1 << 16


def main() -> None:
    """Serve until the parent closes its end."""
    fd, lifeline = int(sys.argv[1]), int(sys.argv[2])
    _die_with_parent(lifeline)
    os.set_inheritable(fd, False)
    _tune_collector()
    _Executor(fd).serve()


class _Executor:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()
        self._frames = pipe.Frames()
        self._spec: Optional[JobSpec] = None
        self._job: Optional[Job] = None
        self._broken: Optional[Failure] = None
        self._home = os.getcwd()
        self._environ = dict(os.environ)
        self._streams = _divert_output()

    def serve(self) -> None:
        """Do as told until the pipe is closed."""
        self._send(pipe.Hello(self._pid, interpreter_tag()))
        while True:
            data = os.read(self._fd, _READ_BYTES)
            if not data:
                return
            for message in self._frames.feed(data):
                if isinstance(message, pipe.Load):
                    self._load(message.spec)
                elif isinstance(message, pipe.Run):
                    self._run(message.task)

    def _load(self, spec: JobSpec) -> None:
        self._spec, self._job, self._broken = spec, None, None
        try:
            self._job = load(spec.bundle).bind(spec.params)
        except JobError as error:
            cause = error.__cause__
            shown = user_traceback(cause) if cause is not None else ""
            self._broken = Failure("code", str(error), traceback=shown)
        except BaseException as error:  # noqa: BLE001  # user code raises what it likes
            self._broken = Failure(
                "code", f"{type(error).__name__}: {error}", traceback=user_traceback(error)
            )
        self._tidy_up()

    def _run(self, task: TaskSpec) -> None:
        answer = self._attempt(task)
        self._tidy_up()
        self._send(answer)

    def _attempt(self, task: TaskSpec) -> Any:
        if self._broken is not None or self._job is None or self._spec is None:
            return pipe.Failed(task.attempt, self._broken or Failure("code", "no job was loaded"))
        number = task.attempt

        def wrote(partition: int, seq: int, block: Block) -> None:
            self._send(pipe.Wrote(number, partition, seq, block))

        try:
            counters, stats = run_task(task, self._job, self._spec, wrote)
        except TaskFailed as error:
            return pipe.Failed(number, error.failure)
        return pipe.Done(number, counters, stats)

    def _send(self, message: Any) -> None:
        if os.getpid() != self._pid:
            os._exit(1)  # user code has forked, and the copy came back here: it must not speak for us
        data = memoryview(pipe.encode(message))
        while data:
            data = data[os.write(self._fd, data) :]

    def _tidy_up(self) -> None:
        """Undo what user code may have done to the process, so that the next task finds what this one
        found.
        """
        with contextlib.suppress(OSError):
            os.chdir(self._home)
        if os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        for stream in (sys.stdout, sys.stderr, *self._streams):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or replaced by whatever
                stream.flush()
        if (sys.stdout, sys.stderr) != self._streams or any(stream.closed for stream in self._streams):
            self._streams = _divert_output()


def _tune_collector() -> None:
    """Look for cyclic garbage less often: pairs are many, and none of them is garbage of that kind (-20 %
    time).
    """
    if hasattr(gc, "freeze") and hasattr(gc, "set_threshold"):  # PyPy collects in its own way
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)


def _divert_output() -> tuple[TextIO, TextIO]:
    """User code's print must not meet the job's output: standard output goes where standard error goes.

    The streams do not own their descriptors, so that closing them does not free the numbers for files of
    ours.
    """
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.__stdout__ = _stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2)  # type: ignore[misc]
    return sys.stdout, sys.stderr


def _stream(fd: int) -> Any:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _die_with_parent(lifeline: int) -> None:
    """End this process and its group when the other end of ``lifeline``, a pipe in which nothing is sent, is
    closed.

    Linux does that by itself, at once, also while C code holds the interpreter's lock for ever. (Its signal
    for the death of a parent would end this process alone, and with the parent's thread rather than the
    parent.)
    """
    os.set_inheritable(lifeline, False)
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgid(0))
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if _hung_up(lifeline, 0):  # before we asked for the signal
            _end_group()
    else:
        _thread.start_new_thread(_watch, (lifeline,))


def _watch(lifeline: int) -> None:
    _hung_up(lifeline, None)
    _end_group()


def _hung_up(fd: int, timeout: Optional[int]) -> bool:
    poller = select.poll()
    poller.register(fd, 0)  # a hang-up is reported without being asked for
    return bool(poller.poll(timeout))


def _end_group() -> None:
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
