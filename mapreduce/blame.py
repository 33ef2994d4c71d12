"""From an exception in a task to a `Failure`: which function, which record, and the user's own traceback.

Nothing is noted down while a task runs, for that would cost time for each record. Who was at work is read off
the traceback, and which record off the iterator over the batch.
"""

from __future__ import annotations

import errno
import functools
import importlib
import operator
import os
import reprlib
import traceback
from dataclasses import replace
from types import CodeType, FrameType
from typing import Any, Iterator, Optional

from mapreduce import parameters
from mapreduce.codec import UnsupportedValue
from mapreduce.errors import InputError
from mapreduce.job import Fold, Stage, TooManyCounters, is_whole
from mapreduce.pairs import NotAPair
from mapreduce.refs import Failure, trouble_of
from mapreduce.shown import escaped, input_name, without_secrets
from mapreduce.splits import BadRecord
from mapreduce.units import shown_size

ENGINE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: the modules of the engine that call functions of users
TASK, GROUPING, SORT, PAIRS, JOB, CAREFUL = CALLERS = tuple(
    ENGINE + name for name in ("task.py", "grouping.py", "sort.py", "pairs.py", "job.py", "careful.py")
)
#: the user's traceback goes without these
HIDDEN = (ENGINE, "<frozen importlib", os.path.abspath(importlib.__file__))
MAX_RECORD_CHARS = 200
MAX_MESSAGE_CHARS = 1000
MAX_TRACEBACK_CHARS = 10_000


class TaskFailed(Exception):
    """An attempt failed; ``failure`` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Blame:
    """What there is to know about one task when something is raised in it."""

    def __init__(
        self, stage: Stage, number: int, stages: int, directory: str, max_memory: int, shared: str = ""
    ) -> None:
        """``directory`` and ``shared``: of its `TaskSpec`."""
        self._stage = stage
        #: whose pairs the writer gets
        self._last = "map" if stage.map is not None else "reduce"
        self._suffix = f" of stage {number}" if stages > 2 else ""
        self._directory = directory
        self._max_memory = max_memory
        self._shared = shared
        #: the batch of records at hand and the iterator that the map draws from; none before, after, or later
        #: on
        self.batch: Optional[Any] = None
        self.position: Optional[Iterator[Any]] = None

    def failure(self, error: BaseException) -> Failure:
        """What to tell the user."""
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        user = _user_frame(frames)
        ours = not frames or frames[-1].f_code.co_filename.startswith(ENGINE)
        if isinstance(error, UnsupportedValue) and ours:
            return Failure("value", f"{_message(error, False)}, made by {self._writers()}", self._writers())
        if isinstance(error, NotAPair) and ours:
            return self._not_a_pair(error, frames)
        if isinstance(error, InputError) and ours:
            return _input_failure(error)
        if isinstance(error, OSError) and (ours or user is None):
            return self._disk_trouble(error)
        failure = self._raised(error, frames, user)
        if isinstance(error, TooManyCounters):
            return replace(failure, kind="counters", message=escaped(str(error)))
        if isinstance(error, MemoryError):
            limit = self._max_memory
            hint = f": it would have taken more than {shown_size(limit)} (--max-memory)" if limit else ""
            return replace(failure, kind="memory", message=f"MemoryError{hint}")
        return failure

    def _disk_trouble(self, error: OSError) -> Failure:
        if error.errno == errno.EBADF:
            text = "a file of the engine's was closed: user code must leave open file descriptors alone"
            return Failure("raised", text)
        text = f"{error.filename or self._directory}: {error.strerror or error}"
        if trouble_of(error) == "files":
            hint = "does user code close the files and sockets that it opens? `ulimit -n` says how many may be open"
            return Failure("files", f"{text}; {hint}")
        if self._shared and str(error.filename).startswith(self._shared):
            hint = "in the folder that the job shares (--shared-dir); workers must be able to write there"
            return Failure("folder", f"{text}, {hint}")
        if self._shared and str(error.filename).startswith(os.path.dirname(self._shared) + os.sep):
            return Failure("lost", f"{text}; it was there, as another task had written it")
        hint = "for the worker's own files; make room, or choose another folder for them with TMPDIR"
        return Failure("disk", f"{text}, {hint}")

    def _raised(self, error: BaseException, frames: list[FrameType], user: Optional[FrameType]) -> Failure:
        role = self._role(frames, user)
        function = self._name(role)
        if user is None and isinstance(error, TypeError) and str(error).endswith("object is not iterable"):
            made = str(error).split("'")[1].replace("NoneType", "None")
            text = (
                f"{function} returned {made}: it must yield (key, value) pairs, or return an iterable of them"
            )
        else:
            text = _message(error)
        source, offset, record = self._where(role, user or _fold_frame(frames))
        return Failure("raised", text, function, source, offset, record, user_traceback(error))

    def _not_a_pair(self, error: NotAPair, frames: list[FrameType]) -> Failure:
        function = self._name(self._role(frames, None))
        return Failure("raised", f"{function} yielded {_message(error, False)}", function)

    # ------------------------------------------------------------ who

    @functools.cached_property
    def _roles(self) -> dict[str, Any]:
        return dict(_roles(self._stage))

    def _role(self, frames: list[FrameType], user: Optional[FrameType]) -> str:
        if user is not None:
            for role, function in self._roles.items():
                if user.f_code in _codes(function):
                    return role
        at_work = {(frame.f_code.co_filename, frame.f_code.co_name) for frame in frames}
        if (GROUPING, "_with_combined") in at_work:
            return "combine"
        if (TASK, "_partition_keys") in at_work:
            return "partition"
        if (TASK, "_folded") in at_work or (TASK, "_checkpoint") in at_work:
            return "reduce"
        return self._last

    def _name(self, role: str) -> str:
        function = self._roles[role]
        if isinstance(function, Fold):
            role, function = "fold", function.function
        return f"{role} {parameters.name_of(function)}{self._suffix}"

    def _writers(self) -> str:
        """Those who may have made a pair that the writer refused."""
        names = [self._name(role) for role in (self._last, "combine") if role in self._roles]
        return " or ".join(dict.fromkeys(names))

    # ------------------------------------------------------------ where

    def _where(self, role: str, frame: Optional[FrameType]) -> tuple[str, int, str]:
        """(source, offset, record)"""
        if role == "map" and self.batch is not None and self.position is not None:
            index = len(self.batch.records) - operator.length_hint(self.position) - 1
            if index < 0:
                return input_name(self.batch.source), -1, ""
            source, record = input_name(self.batch.source), self.batch.records[index]
            return source, offset_of(self.batch, index), shorten(record)
        # a whole function has an iterator of the engine's as its argument
        argument = None if frame is None or is_whole(self._roles[role]) else _first_argument(frame)
        if argument is None:
            return "", -1, ""
        if role == "map":
            return "", -1, shorten(argument[0])
        return f"key {shorten(argument[0])}", -1, ""


def _roles(stage: Stage) -> Iterator[tuple[str, Any]]:
    for role in ("map", "reduce", "combine", "partition"):
        function = getattr(stage, role)
        if callable(function):
            yield role, function


def _user_frame(frames: list[FrameType]) -> Optional[FrameType]:
    """The outermost frame of user code; None if the engine did not call any."""
    caller = ""
    for frame in frames:
        filename = frame.f_code.co_filename
        if filename == functools.__file__ or filename.startswith("<builtin>"):
            continue  # PyPy: `partial` between us and the user; builtins written in Python
        if not filename.startswith(ENGINE):
            return frame if caller in CALLERS else None
        caller = filename
    return None


def _fold_frame(frames: list[FrameType]) -> Optional[FrameType]:
    found = [f for f in frames if f.f_code.co_name == "_folded" and f.f_code.co_filename in CALLERS]
    return found[-1] if found else None


def _codes(function: Any) -> set[CodeType]:
    """Code objects of a function, of what it wraps and of the generators and functions inside it."""
    function = parameters.unwrap(function.function if isinstance(function, Fold) else function)
    found: set[CodeType] = set()
    while function is not None:
        target = getattr(function, "__func__", function)
        code = getattr(target, "__code__", None) or getattr(type(target).__call__, "__code__", None)
        _add_nested(code, found)
        function = getattr(function, "__wrapped__", None)
    return found


def _add_nested(code: Any, found: set[CodeType]) -> None:
    if isinstance(code, CodeType) and code not in found:
        found.add(code)
        for constant in code.co_consts:
            _add_nested(constant, found)


def _first_argument(frame: FrameType) -> Optional[tuple[Any]]:
    """What the function at ``frame`` was called with: the key, or the pair. None if it takes nothing."""
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    if frame.f_code.co_name == "_folded":
        names = ("key",)
    for name in names:
        if name not in ("self", "cls") and name in frame.f_locals:
            return (frame.f_locals[name],)
    return None


def offset_of(batch: Any, index: int) -> int:
    """Of a record in its file; -1 if it cannot be told."""
    try:
        return int(batch.locate(index))
    except Exception:  # noqa: BLE001  # a hint for the user, not worth losing the real error for
        return -1


# ---------------------------------------------------------------- texts


def _input_failure(error: InputError) -> Failure:
    if isinstance(error, BadRecord):
        return Failure("input", error.message, "", input_name(error.source), error.offset, error.record)
    return Failure("input", without_secrets(_message(error, False)))


def _message(error: BaseException, named: bool = True) -> str:
    """One line: type and text."""
    try:
        text = str(error)
    except Exception as other:  # noqa: BLE001  # an exception class of the user's
        text = f"<its text cannot be made: {type(other).__name__}>"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    line = escaped(" ".join(text.split("\n")).strip()[:MAX_MESSAGE_CHARS])
    return (f"{name}: {line}" if line else name) if named else line


def shorten(value: Any) -> str:
    """repr, cut to about 200 characters, without ever building a long one."""
    if type(value) in (str, bytes):
        cut = len(value) > MAX_RECORD_CHARS
        return repr(value[:MAX_RECORD_CHARS]) + ("…" if cut else "")
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = MAX_RECORD_CHARS
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 20
    try:
        text = short.repr(value)
    except Exception:  # noqa: BLE001  # a repr of the user's
        return f"<{type(value).__name__}>"
    return text if len(text) <= MAX_RECORD_CHARS else text[:MAX_RECORD_CHARS] + "…"


def user_traceback(error: BaseException) -> str:
    """As Python prints it, without the frames of the engine; "" if no others are there."""
    if all(f.f_code.co_filename.startswith(HIDDEN) for f, _ in traceback.walk_tb(error.__traceback__)):
        return ""
    whole = traceback.TracebackException.from_exception(error)
    _drop_engine(whole, set())
    return _cut(escaped("".join(whole.format())))


def _drop_engine(shown: Optional[traceback.TracebackException], seen: set[int]) -> None:
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    kept = [frame for frame in shown.stack if not frame.filename.startswith(HIDDEN)]
    shown.stack = traceback.StackSummary.from_list(kept)
    for other in [shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or [])]:
        _drop_engine(other, seen)


def _cut(text: str) -> str:
    if len(text) <= MAX_TRACEBACK_CHARS:
        return text
    half = MAX_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n  …\n{text[-half:]}"
