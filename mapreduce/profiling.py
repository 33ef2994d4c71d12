"""A sampling profiler for an executor: on which lines of the job, and of the engine, an attempt spends its CPU time.

A timer of the system (`ITIMER_PROF`) interrupts the process each `EVERY_SECS` of CPU time, in user code and in the
system's on its behalf, whatever loop drives that code; what runs is not slowed down in between. Python calls the
handler when it next comes to look, at the end of a call into C say, and several signals are one call then: so samples
are counted off the CPU clock, and a long call has as many as it took.

A sample is charged to the innermost line that is the user's or the engine's: a line has what libraries do for it.

    p = Profiler(bundle)            before the job's modules are imported
    p.begin(tell); …; p.end()       around each attempt; a long one tells of itself now and then


User code may use SIGPROF and its timer itself: then that is how it is until the end of the task, and the profile lacks
the rest. Threads of user code are charged to what the main thread does. A process that user code forks has no timer.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from heapq import nlargest
from types import FrameType
from typing import Any, Callable, NamedTuple, Optional

from mapreduce.blame import ENGINE
from mapreduce.code.local import is_library

#: of CPU time; systems look at such timers 100 to 1000 times a second
EVERY_SECS = 0.01
MAX_LINES = 200
#: an attempt that goes on for long is told of in parts of so many samples
PART_SAMPLES = 1000
#: before the engine's own files, whose folder no two hosts have in common
ENGINE_NAME = "mapreduce/"
#: a longer path is not shown
MAX_PATH_CHARS = 500
#: of the engine: what user code calls, or sets off, which its own lines have; and what a signal has interrupted
_ON_BEHALF = ("job.py", "surroundings.py", "profiling.py")


class Profile(NamedTuple):
    """Of one attempt, since it was last told of."""

    part: int  #: which of those that are told of it, from 0
    samples: int  #: in all, of `EVERY_SECS` of CPU time each
    lines: dict[str, int]  #: "file:line:function" → samples, of the `MAX_LINES` hottest, these first


class Profiler:
    """Of this process, which has one. Takes SIGPROF's handler; all calls come from the main thread."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        """``bundle``: of the job, see `code`."""
        folder: str = bundle.get("directory", "")
        self._own = {os.path.join(folder, *path.split("/")) for path in bundle.get("files", ())}
        #: code without a file: of a notebook's functions it is the user's, else of what libraries generate
        self._own_nameless = bundle["kind"] == "pickle"
        self._shown: dict[str, str] = {}  #: file → how it is called, "" for those of libraries
        self._origin = 0.0
        self._samples = 0  #: in all
        self._part = self._told = 0
        self._noting = False
        self._lines: Counter[tuple[str, int, str]] = Counter()
        self._tell: Callable[[Profiler], None] = lambda profiler: None
        self._handler = self._on_signal
        signal.signal(signal.SIGPROF, self._handler)
        signal.siginterrupt(signal.SIGPROF, False)  # system calls of C libraries go on as if nothing had been

    def begin(self, tell: Callable[[Profiler], None]) -> None:
        """Of an attempt. ``tell``: it is time to `take` a part; called between any two steps of what runs, and each
        time again until it does.
        """
        self._tell = tell
        self._samples = self._part = self._told = 0
        self._lines.clear()
        if signal.getsignal(signal.SIGPROF) is not self._handler:
            return  # the job's modules have use for it themselves
        # The first comes after a part of the time, by chance, so that tasks shorter than that have theirs, too. Not by
        # `random`, whose numbers are the task's.
        first = EVERY_SECS * (int.from_bytes(os.urandom(2), "big") + 1) / 65536
        self._origin = time.process_time() + first - EVERY_SECS
        signal.setitimer(signal.ITIMER_PROF, first, EVERY_SECS)

    def end(self) -> Profile:
        """Of the attempt: the last part."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return self.take()

    def take(self) -> Profile:
        """What was seen since the last time."""
        hottest = nlargest(MAX_LINES, self._lines.items(), key=lambda item: item[1])
        lines = {f"{file}:{line}:{name}": n for (file, line, name), n in hottest}
        profile = Profile(self._part, self._samples - self._told, lines)
        self._part, self._told = self._part + 1, self._samples
        self._lines.clear()
        return profile

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if self._noting:  # the next signal has come already
            return
        self._noting = True
        try:
            self._note(frame)
            if self._samples - self._told >= PART_SAMPLES:
                self._tell(self)
        except RecursionError:
            pass  # user code is near its limit: a sample may be missing
        finally:
            self._noting = False

    def _note(self, frame: Optional[FrameType]) -> None:
        due = int((time.process_time() - self._origin) / EVERY_SECS)
        new = due - self._samples
        if new <= 0:
            return
        self._samples = due
        while frame is not None:
            code = frame.f_code
            shown = self._shown.get(code.co_filename)
            if shown is None:
                shown = self._shown[code.co_filename] = self._name(code.co_filename)
            if shown:
                self._lines[shown, frame.f_lineno, code.co_name] += new
                return
            frame = frame.f_back

    def _name(self, path: str) -> str:
        if len(path) > MAX_PATH_CHARS:
            return ""
        if path in self._own:
            return path
        if path.startswith(ENGINE):
            inside = path[len(ENGINE) :].replace(os.sep, "/")
            return ENGINE_NAME + inside if inside not in _ON_BEHALF else ""
        if path.startswith("<"):
            return path if self._own_nameless and not path.startswith(("<frozen", "<builtin")) else ""
        return "" if is_library(path) else path
