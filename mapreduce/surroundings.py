"""What user code can change in its process, noted before a task and put back after it.

So what one task does is nothing to the next, whichever executor gets that. What the job's modules do while they are
imported stays, but for the folder and the standard streams. What cannot be put back, threads and processes above all,
makes the process unfit for another task.

It is looked at as it is after each task, and not told by what user code has called, but for the folder, the limits and
the processes that it started: CPython raises an audit event for whatever changes one of these. So where nothing is
imported that is compiled but CPython's own modules (and ours), these three are looked at after such an event alone. The
limits also after a process was started, which can change those of its parent; and processes always where
`_posixsubprocess` is, which starts them without an event.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import builtins
import contextlib
import decimal
import gc
import locale
import os
import resource
import signal
import sys
import tempfile
import time
import types
from operator import is_not
from typing import Any, Callable, Optional, TextIO

from mapreduce.limits import others_in_group

#: what user code may replace; everything else among the builtins the engine relies on
_FREE_BUILTINS = {
    "_", "__debug__", "__import__", "__build_class__", "breakpoint", "copyright", "credits", "exit", "help", "input",
    "license", "print", "quit",
}  # fmt: skip
#: what looks whether they are what they were
_any, _len, _map = any, len, map
_RESOURCES = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
#: audit events
_STARTS_PROCESS = frozenset(
    ["os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "pty.spawn"]
)
_CHANGES_FOLDER = frozenset(["os.chdir"])
_CHANGES_LIMITS = frozenset(["resource.setrlimit", "resource.prlimit"])
_CHANGES_ENVIRONMENT = frozenset(["os.putenv", "os.unsetenv"])
_IMPORTS = frozenset(["import"])
_EVENTS = _STARTS_PROCESS | _CHANGES_FOLDER | _CHANGES_LIMITS | _CHANGES_ENVIRONMENT | _IMPORTS
_NOTHING: frozenset[str] = frozenset()
_SIGNALS = sorted(map(int, signal.valid_signals()))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
#: files and sockets that a task may leave open, for the next one: user code keeps connections. More of them are a leak
SPARED_FILES = 32
_DESCRIPTORS = next((folder for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), "")
_TASKS = "/proc/self/task" if os.path.isdir("/proc/self/task") else ""
#: a folder has two links, and one for each folder in it; not everything that looks like Linux does it so
_LINKS_TELL = bool(_TASKS) and os.stat(_TASKS).st_nlink == 2 + len(os.listdir(_TASKS))
#: from Linux 6.2 on its size is how many entries it has; to list them takes five times as long
_SIZE_TELLS = bool(_DESCRIPTORS) and os.stat(_DESCRIPTORS).st_size == len(os.listdir(_DESCRIPTORS)) - 1
#: how long a thread that the system has started may take until it runs
NEW_THREAD_SECS = 0.05
_CPYTHON = sys.implementation.name == "cpython"
#: packages with compiled modules that change nothing
_OURS = ("mapreduce", "msgpack")


class Surroundings:
    """Of this process. One object, made before any user code runs."""

    def __init__(self) -> None:
        self._home = os.getcwd()
        self._namespace = vars(builtins)
        self._builtins = {n: v for n, v in self._namespace.items() if n not in _FREE_BUILTINS}
        self._spares = _spare_streams()
        self._identities = [os.fstat(spare)[1:3] for spare in self._spares]
        self._streams = _open_streams()
        self._descriptors, self._tasks = _Folder(_DESCRIPTORS), _Folder(_TASKS)
        self._flush_c: Optional[Callable[[], Any]] = None
        self._known_modules: set[str] = set()
        #: there is something here of whose doings no event tells
        self._closely = self._has_new_c_code() or not _CPYTHON
        #: audit events that there were none of
        self._not_done = dict.fromkeys(_EVENTS)
        # called for whatever user code does, each `id()` included: a method of C's costs a quarter of one of ours
        sys.addaudithook(self._not_done.pop)
        self.note()

    def note(self) -> None:
        """Take what there is now as what is right: after the job was loaded."""
        self._threads = _thread._count()
        self._system_threads = _count_threads(self._tasks)
        self._open_files = _count_open_files(self._descriptors)
        self._has_children, self._waited_for = _any_child(), _faults_of_children()
        self._environ, self._environ_raw = dict(os.environ), dict(_raw_environment())
        self._limits = {kind: resource.getrlimit(kind) for kind in _RESOURCES}
        self._handlers = list(map(_signal.getsignal, _SIGNALS))
        self._path, self._arguments = list(sys.path), list(sys.argv)
        self._collects = gc.isenabled()
        self._decimal = decimal.getcontext().copy()
        self._settings = [get() for get in _GETTERS]
        self._namespace_seen = dict(self._namespace)
        self._namespace_values = list(self._namespace.values())
        self._done()

    def loaded(self) -> None:
        """The job's modules have been imported: what they did stays, with the exceptions above."""
        if self._has_new_c_code():
            self._closely = True
            self._flush_c = _c_flusher()
        self._restore_streams()
        self._restore_folder()
        self.note()

    def replaced_builtin(self) -> Optional[str]:
        """The name of a builtin that the engine relies on and user code has replaced."""
        for name, value in self._builtins.items():
            if self._namespace.get(name) is not value:
                return name
        return None

    def restore_builtins(self) -> Optional[str]:
        """Before anything else is done; returns what `replaced_builtin` did."""
        values = self._namespace_values
        if _len(self._namespace) == _len(values) and not _any(_map(is_not, self._namespace.values(), values)):
            return None
        name = self.replaced_builtin()
        self._namespace.update(self._namespace_seen)
        for added in set(self._namespace) - set(self._namespace_seen):
            del self._namespace[added]
        return name

    def restore(self) -> bool:
        """Put things back; False if not all of them can be."""
        done = self._done()
        if done >= _IMPORTS and not self._closely:
            self._closely = self._has_new_c_code()
        fit = self._restore_streams()
        if self._closely or done >= _CHANGES_FOLDER:
            self._restore_folder()
        self._restore_environment()
        if self._closely or not done.isdisjoint(_CHANGES_ENVIRONMENT):
            time.tzset()  # user code may have, with another zone, and taken that back
        sys.path[:], sys.argv[:] = self._path, self._arguments
        if [get() for get in _GETTERS] != self._settings:
            self._restore_settings()
        self._restore_collector()
        decimal.setcontext(self._decimal.copy())
        fit = self._restore_signals() and fit
        started = self._has_started(done)
        if self._closely or started or not done.isdisjoint(_CHANGES_LIMITS):
            fit = self._restore_limits() and fit
        fit = fit and _count_open_files(self._descriptors) <= self._open_files + SPARED_FILES
        return fit and not self._threads_left() and not (started and (others_in_group() or _has_child()))

    def _restore_folder(self) -> None:
        with contextlib.suppress(OSError):
            os.chdir(self._home)

    def _restore_environment(self) -> None:
        if _raw_environment() != self._environ_raw and os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)

    def _restore_settings(self) -> None:
        for get, put, value in zip(_GETTERS, _SETTERS, self._settings):
            if get() != value:
                put(value)

    def _restore_collector(self) -> None:
        if gc.isenabled() != self._collects:
            (gc.enable if self._collects else gc.disable)()

    def _restore_signals(self) -> bool:
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)
        if "faulthandler" in sys.modules and _CPYTHON:  # PyPy waits for ever where there is nothing to cancel
            sys.modules["faulthandler"].cancel_dump_traceback_later()
        fit = True
        if any(map(is_not, map(_signal.getsignal, _SIGNALS), self._handlers)):
            fit = self._restore_handlers()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        return fit

    def _restore_handlers(self) -> bool:
        fit = True
        for number, handler in zip(_SIGNALS, self._handlers):
            if _signal.getsignal(number) is not handler:
                if handler is None:  # it was not installed by Python, nor can that put it back
                    fit = False
                else:
                    signal.signal(number, handler)
        return fit

    def _restore_limits(self) -> bool:
        for kind, limits in self._limits.items():
            if resource.getrlimit(kind) != limits:
                try:
                    resource.setrlimit(kind, limits)
                except (ValueError, OSError):
                    return False
        return True

    # ------------------------------------------------------------ standard streams

    def _restore_streams(self) -> bool:
        try:
            os.set_blocking(self._spares[1], True)  # of all who write to it
            fit = True
        except OSError:
            fit = False  # it is closed
        out, err = self._streams
        replaced = sys.stdout is not out or sys.stderr is not err
        for stream in (sys.stdout, sys.stderr, out, err) if replaced else (out, err):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue  # closed, or replaced by whatever
        if self._flush_c is None and "ctypes" in sys.modules:
            self._flush_c = _c_flusher()
        if self._flush_c is not None:
            self._flush_c()
        try:
            for fd, (spare, identity) in enumerate(zip(self._spares, self._identities)):
                if os.fstat(spare)[1:3] != identity:
                    return False  # it was closed, and its number is another file's by now
                os.dup2(spare, fd)  # takes less than to look whether it has to be
        except OSError:
            return False
        if replaced or out.closed or err.closed:
            self._streams = _open_streams()
        return fit

    def _has_new_c_code(self) -> bool:
        """Whether compiled modules have come, other than Python's own and ours, since the last time."""
        before, self._known_modules = self._known_modules, set(sys.modules)
        return any(map(_is_c_code, self._known_modules - before))

    # ------------------------------------------------------------ threads, processes

    def _done(self) -> frozenset[str]:
        """The audit events of ours that there were since the last time."""
        if len(self._not_done) == len(_EVENTS):
            return _NOTHING
        done = _EVENTS.difference(self._not_done)
        self._not_done.update(dict.fromkeys(done))
        return done

    def _has_started(self, done: frozenset[str]) -> bool:
        """Whether user code has started a process since the last time."""
        if not done.isdisjoint(_STARTS_PROCESS):
            self._waited_for = _faults_of_children()
            return True
        if not self._closely and "_posixsubprocess" not in sys.modules:
            return False
        before, self._waited_for = self._waited_for, _faults_of_children()
        return self._waited_for != before or (not self._has_children and _any_child())

    def _threads_left(self) -> bool:
        """A thread is counted by Python once it runs, and may not have come to that yet: the system knows it before.

        Libraries start threads that never are Python's; these are waited for in vain once, and then known.
        """
        before, self._system_threads = self._system_threads, _count_threads(self._tasks)
        deadline = time.monotonic() + NEW_THREAD_SECS
        while _thread._count() <= self._threads:
            if self._system_threads <= before or time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True


def _is_c_code(name: str) -> bool:
    """Whether a module is compiled, and neither Python's own nor ours. What `ctypes` does comes from anywhere."""
    if name.partition(".")[0] in _OURS:
        return False
    path = _file_of(sys.modules.get(name))
    return name == "_ctypes" or (path.endswith(".so") and "lib-dynload" not in path)


def _file_of(module: Any) -> str:
    """Where a module comes from, "" if that cannot be told. Anything may stand in `sys.modules`, also what imports or
    raises as soon as it is asked for an attribute: no code of the module's own is run.
    """
    if not issubclass(type(module), types.ModuleType):
        return ""
    path = vars(types.ModuleType)["__dict__"].__get__(module).get("__file__")
    return path if isinstance(path, str) else ""


class _Folder:
    """A folder of the system's about this process, held open: to look at it so takes half as long as by its name."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = self._number = -1

    def status(self) -> os.stat_result:
        try:
            status = os.fstat(self._fd)
        except OSError:  # closed, or not open yet
            pass
        else:
            if status.st_ino == self._number:
                return status
        self._fd = os.open(self.path, os.O_RDONLY)
        status = os.fstat(self._fd)
        self._number = status.st_ino
        return status


def _count_threads(folder: _Folder) -> int:
    """A number that grows with the threads of this process; 0 where the system does not tell."""
    if _LINKS_TELL:
        return folder.status().st_nlink
    return len(os.listdir(folder.path)) if folder.path else 0


def _count_open_files(folder: _Folder) -> int:
    """Descriptors of this process, that which it may take to count them included; 0 where the system does not tell."""
    if _SIZE_TELLS:
        return folder.status().st_size
    return len(os.listdir(folder.path)) if folder.path else 0


def _any_child() -> bool:
    """Whether there is any child process, a dead one included, which is left to whoever waits for it. Not all ways to
    start one raise an audit event: `multiprocessing` has its own, and on PyPy few do.
    """
    if not hasattr(os, "waitid"):  # PyPy, macOS
        return any(map(_children_of_thread, os.listdir(_TASKS))) if _TASKS else False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children_of_thread(thread: str) -> bool:
    with contextlib.suppress(OSError), open(f"{_TASKS}/{thread}/children", "rb") as file:
        return bool(file.read(1))
    return False


def _faults_of_children() -> int:
    """A number that grows with each child that has been waited for, as a daemon's parent is."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


def _has_child() -> bool:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return True
    return False


def _raw_environment() -> dict[bytes, bytes]:
    """As it lies in `os.environ`, for a comparison that decodes nothing; empty if that is something else by now."""
    raw = getattr(os.environ, "_data", None)
    return raw if type(raw) is dict else {}


def _spare_streams() -> list[int]:
    """User code's print must not meet the job's output: standard output goes where standard error goes. Copies of
    all three, in case user code closes them."""
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    return [os.dup(fd) for fd in (0, 1, 2)]


def _open_streams() -> tuple[TextIO, TextIO]:
    """The streams do not own their descriptors, so that closing them does not free the numbers for files of ours."""
    sys.stdout = sys.__stdout__ = _stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2)  # type: ignore[misc]
    return sys.stdout, sys.stderr


def _c_flusher() -> Callable[[], Any]:
    """What empties the buffer in which the C library keeps what C code prints: only ctypes can, which is imported late
    for it takes its time. Lines that C code prints from now on do not wait there.

    Standard output alone: to flush all files takes the lock of each, and a thread of user code's that waits for input
    holds one as long as it waits.
    """
    import ctypes

    library = ctypes.CDLL(None)
    for name in ("stdout", "__stdoutp"):  # the latter on macOS
        with contextlib.suppress(ValueError, AttributeError):  # there is no such name
            stdout = ctypes.c_void_p.in_dll(library, name)
            library.setvbuf(stdout, None, 1, 0)
            return lambda: library.fflush(stdout)
    return lambda: None


def _stream(fd: int) -> Any:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _get_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _get_timeout() -> Optional[float]:
    module = sys.modules.get("socket")
    return None if module is None else module.getdefaulttimeout()


def _set_timeout(seconds: Optional[float]) -> None:
    sys.modules["socket"].setdefaulttimeout(seconds)


def _set_temp_folder(path: Optional[str]) -> None:
    tempfile.tempdir = path


_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (_get_umask, os.umask),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (_get_timeout, _set_timeout),
    (lambda: tempfile.tempdir, _set_temp_folder),
    (lambda: locale.setlocale(locale.LC_ALL), lambda text: locale.setlocale(locale.LC_ALL, text)),
]
if _CPYTHON:  # PyPy collects in its own way
    _SETTINGS += [
        (gc.get_debug, gc.set_debug),
        (gc.get_threshold, lambda numbers: gc.set_threshold(*numbers)),
    ]
if hasattr(sys, "set_int_max_str_digits"):  # from 3.11 on
    _SETTINGS.append((sys.get_int_max_str_digits, sys.set_int_max_str_digits))
_GETTERS, _SETTERS = zip(*_SETTINGS)
