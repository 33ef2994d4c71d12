"""The child process in which user code runs: `python -m mapreduce.executor FD LIFELINE`.

It serves one job, one attempt at a time, and knows its parent by a socket alone (`pipe`). Attempts that it is sent
meanwhile it begins when the one before is answered. It leads a process group of its own, so that Ctrl-C in a terminal
does not reach it and its parent can end it with all that user code started. It dies with its parent, whatever user code
is doing at the time.
"""

from __future__ import annotations

import _thread
import contextvars
import fcntl
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any, Optional, Union

from mapreduce import garbage, pipe, seeding
from mapreduce.blame import TaskFailed, user_traceback
from mapreduce.capture import new_mark
from mapreduce.careful import run_careful
from mapreduce.code.loader import interpreter_tag, load
from mapreduce.errors import JobError
from mapreduce.job import Job
from mapreduce.limits import cap_memory
from mapreduce.refs import Block, Carried, Failure, Skipped, TaskSpec
from mapreduce.shown import escaped
from mapreduce.spec import JobSpec
from mapreduce.surroundings import Surroundings
from mapreduce.task import run_task

if TYPE_CHECKING:
    from mapreduce.profiling import Profiler

#: fcntl's, of Linux; in Python's module from 3.11 on
_F_SETSIG = 10
_READ_BYTES = 1 << 16
#: so much in blocks is worth being told of at once: it can travel while the task goes on
_SMALL_BYTES = 1 << 18


def main() -> None:
    """Serve until the parent closes its end."""
    fd, lifeline = int(sys.argv[1]), int(sys.argv[2])
    _die_with_parent(lifeline)
    os.set_inheritable(fd, False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # user code, too, may want to know how its children end
    garbage.seldom_collect(garbage.EXECUTOR)
    seeding.watch()
    _Executor(fd).serve()


class _Executor:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()
        self._frames = pipe.Frames()
        self._spec: Optional[JobSpec] = None
        self._job: Optional[Job] = None
        self._broken: Optional[Failure] = None
        self._profiler: Optional[Profiler] = None
        self._number = 0  #: of the attempt at work
        self._fit = True  #: for another attempt
        self._surroundings = Surroundings()
        self._unsent: list[Any] = []  #: of small blocks the parent is told together
        self._unsent_bytes = 0  #: in these blocks
        self._writing = False  #: a message to the parent has begun

    def serve(self) -> None:
        """Do as told until the pipe is closed."""
        mark = new_mark()
        self._send(pipe.Hello(self._pid, interpreter_tag(), mark))
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError:
                os._exit(pipe.PIPE_CLOSED)
            if not data:
                os._exit(0)  # whatever user code wants done at exit, and its threads, would keep us
            for message in self._frames.feed(data):
                if isinstance(message, pipe.Load):
                    self._load(message.spec)
                elif isinstance(message, pipe.Run) and self._fit:
                    if message.behind:
                        os.write(1, mark)  # atomic; all that was printed before it has been flushed
                    self._run(message.task)

    def _load(self, spec: JobSpec) -> None:
        self._spec, self._job, self._broken = spec, None, None
        if spec.profile:
            from mapreduce.profiling import Profiler  # which nobody else has to wait for

            self._profiler = Profiler(spec.bundle)
        try:
            self._job = load(spec.bundle).bind(spec.params)
        except JobError as error:
            cause = error.__cause__
            shown = user_traceback(cause) if cause is not None else ""
            self._broken = Failure("code", escaped(str(error)), traceback=shown)
        except BaseException as error:  # noqa: BLE001  # user code raises what it likes
            self._broken = Failure(
                "code", escaped(f"{type(error).__name__}: {error}"), traceback=user_traceback(error)
            )
        name = self._surroundings.replaced_builtin()
        try:
            self._surroundings.loaded()
        except BaseException as error:  # noqa: BLE001  # as in `_run`
            text = f"the job's modules leave their process so that it cannot be put in order: {type(error).__name__}"
            self._broken = self._broken or Failure("code", text, traceback=user_traceback(error))
        if name is not None and self._broken is None:
            self._broken = Failure(
                "code", f"the job's modules replace the builtin {name}, on which the engine relies"
            )

    def _run(self, task: TaskSpec) -> None:
        fit = True
        self._number = task.attempt
        if self._profiler is not None:
            self._profiler.begin(self._profiled)
        try:
            answer = contextvars.copy_context().run(self._attempt, task)
        except BaseException as error:  # noqa: BLE001  # it has made a mess in which not even errors can be told
            answer, fit = _failed(task, f"{type(error).__name__} in the engine's own code"), False
        name = self._surroundings.restore_builtins()
        profile = self._profiler.end() if self._profiler is not None else None
        try:
            fit = self._surroundings.restore() and fit
        except BaseException:  # noqa: BLE001  # what user code has left in the way of it: the task is done all the same
            fit = False
        if name is not None:
            self._unsent.clear()
            answer = _failed(task, f"user code has replaced the builtin {name}, on which the engine relies")
        if profile is not None and profile.samples:  # of many short tasks most have none
            self._unsent.append(pipe.Profiled(task.attempt, *profile))
        self._fit = fit
        self._send(answer if fit else answer._replace(fit=False))

    def _profiled(self, profiler: Profiler) -> None:
        """Between any two steps of whatever runs: tell the next part of the profile, if no message is half written."""
        if not self._writing:
            self._write([pipe.Profiled(self._number, *profiler.take())])

    def _attempt(self, task: TaskSpec) -> Union[pipe.Done, pipe.Failed]:
        if self._broken is not None or self._job is None or self._spec is None:
            return pipe.Failed(task.attempt, self._broken or Failure("code", "no job was loaded"))
        number = task.attempt

        carried: list[Carried] = []

        def wrote(partition: int, seq: int, block: Block) -> None:
            if block.data is not None:
                carried.append(Carried(partition, seq, block))
                return
            self._unsent.append(pipe.Wrote(number, partition, seq, block))
            self._unsent_bytes += block.length
            if self._unsent_bytes > _SMALL_BYTES:
                self._flush()

        if self._spec.max_memory:
            cap_memory(self._spec.max_memory)
        skipped: tuple[Skipped, ...] = ()
        try:
            if task.careful:
                counters, stats, skipped = run_careful(task, self._job, self._spec, wrote)
            else:
                counters, stats = run_task(task, self._job, self._spec, wrote)
        except TaskFailed as error:
            return pipe.Failed(number, error.failure)
        return pipe.Done(number, counters, stats, skipped, blocks=tuple(carried))

    def _send(self, message: Any) -> None:
        self._unsent.append(message)
        self._flush()

    def _flush(self) -> None:
        if os.getpid() != self._pid:
            os._exit(1)  # user code has forked, and the copy came back here: it must not speak for us
        messages, self._unsent, self._unsent_bytes = self._unsent, [], 0
        self._write(messages)

    def _write(self, messages: list[Any]) -> None:
        data = memoryview(pipe.encode(*messages))
        self._writing = True
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os._exit(pipe.PIPE_CLOSED)
        self._writing = False


def _failed(task: TaskSpec, message: str) -> pipe.Failed:
    return pipe.Failed(task.attempt, Failure("raised", message))


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
