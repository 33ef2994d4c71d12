"""What user code can change in its process, noted before a task and put back after it.

So what one task does is nothing to the next, whichever executor gets that. What the job's modules do while they are
imported stays, but for the folder and the standard streams. What cannot be put back, threads and processes above all,
makes the process unfit for another task.
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
from typing import Any, Callable, Optional, TextIO

from mapreduce.limits import others_in_group

#: what user code may replace; everything else among the builtins the engine relies on
_FREE_BUILTINS = {
    "_", "__debug__", "__import__", "__build_class__", "breakpoint", "copyright", "credits", "exit", "help", "input",
    "license", "print", "quit",
}  # fmt: skip
_RESOURCES = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
_STARTS_PROCESS = {
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "subprocess.Popen",
    "pty.spawn",
}
_STREAMS = (0, 1, 2)
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


class Surroundings:
    """Of this process. One object, made before any user code runs."""

    def __init__(self) -> None:
        self._home = os.getcwd()
        self._namespace = vars(builtins)
        self._builtins = {n: v for n, v in self._namespace.items() if n not in _FREE_BUILTINS}
        self._spares = _spare_streams()
        self._streams = _open_streams()
        #: what starts a process and was not done
        self._not_done = dict.fromkeys(_STARTS_PROCESS)
        self._engine_modules = set(sys.modules)
        self._flush_c: Optional[Callable[[], Any]] = None
        # called for whatever user code does, each `id()` included: a method of C's costs a quarter of one of ours
        sys.addaudithook(self._not_done.pop)
        self.note()

    def note(self) -> None:
        """Take what there is now as what is right: after the job was loaded."""
        self._threads = _thread._count()
        self._system_threads = _count_system_threads()
        self._open_files = _count_open_files()
        self._has_children, self._waited_for = _any_child(), _faults_of_children()
        self._environ, self._environ_raw = dict(os.environ), _raw_environment()
        self._limits = {kind: resource.getrlimit(kind) for kind in _RESOURCES}
        self._handlers = _handlers()
        self._path, self._arguments = list(sys.path), list(sys.argv)
        self._collects = gc.isenabled()
        self._forget_started()
        self._decimal = decimal.getcontext().copy()
        self._settings = [get() for get, _ in _SETTINGS]
        self._namespace_seen = dict(self._namespace)

    def loaded(self) -> None:
        """The job's modules have been imported: what they did stays, with the exceptions above."""
        if self._has_c_code():
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
        name = self.replaced_builtin()
        if self._namespace != self._namespace_seen:
            self._namespace.update(self._namespace_seen)
            for added in set(self._namespace) - set(self._namespace_seen):
                del self._namespace[added]
        return name

    def restore(self) -> bool:
        """Put things back; False if not all of them can be."""
        fit = self._restore_streams()
        self._restore_folder()
        self._restore_environment()
        sys.path[:], sys.argv[:] = self._path, self._arguments
        for (get, put), value in zip(_SETTINGS, self._settings):
            if get() != value:
                put(value)
        self._restore_collector()
        decimal.setcontext(self._decimal.copy())
        fit = self._restore_signals() and fit
        fit = self._restore_limits() and fit
        fit = fit and _count_open_files() <= self._open_files + SPARED_FILES
        return fit and not self._left_behind()

    def _restore_folder(self) -> None:
        with contextlib.suppress(OSError):
            os.chdir(self._home)

    def _restore_environment(self) -> None:
        raw = _raw_environment()
        if (raw is None or raw != self._environ_raw) and os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
            time.tzset()

    def _restore_collector(self) -> None:
        if gc.isenabled() != self._collects:
            (gc.enable if self._collects else gc.disable)()

    def _restore_signals(self) -> bool:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if "faulthandler" in sys.modules and _CPYTHON:  # PyPy waits for ever where there is nothing to cancel
            sys.modules["faulthandler"].cancel_dump_traceback_later()
        fit = True
        for number, handler in self._handlers.items():
            if _signal.getsignal(number) is not handler:
                if handler is None:  # it was not installed by Python, nor can that put it back
                    fit = False
                else:
                    signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
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
        with contextlib.suppress(OSError):  # closed
            os.set_blocking(self._spares[1][0], True)  # of all who write to it
        for stream in (sys.stdout, sys.stderr, *self._streams):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or replaced by whatever
                stream.flush()
        if self._flush_c is None and "ctypes" in sys.modules:
            self._flush_c = _c_flusher()
        if self._flush_c is not None:
            self._flush_c()
        try:
            for fd, (spare, identity) in zip(_STREAMS, self._spares):
                if _identity(fd) != identity:
                    os.dup2(spare, fd)
        except OSError:
            return False  # the spare ones are closed, too
        if (sys.stdout, sys.stderr) != self._streams or any(stream.closed for stream in self._streams):
            self._streams = _open_streams()
        return True

    def _has_c_code(self) -> bool:
        """Whether the job has imported compiled modules other than Python's own."""
        for name, module in list(sys.modules.items()):
            if name in self._engine_modules:
                continue
            path = _file_of(module)
            if name == "ctypes" or (path.endswith(".so") and "lib-dynload" not in path):
                return True
        return False

    # ------------------------------------------------------------ threads, processes

    def _forget_started(self) -> bool:
        """Whether user code has started a process since the last time."""
        started = len(self._not_done) < len(_STARTS_PROCESS)
        if started:
            self._not_done.update(dict.fromkeys(_STARTS_PROCESS))
        return started

    def _left_behind(self) -> bool:
        """Whether a thread or process of user code's is still there."""
        if self._threads_left():
            return True
        before, self._waited_for = self._waited_for, _faults_of_children()
        started = self._forget_started()
        if started or self._waited_for != before or (not self._has_children and _any_child()):
            return others_in_group() or _has_child()
        return False

    def _threads_left(self) -> bool:
        """A thread is counted by Python once it runs, and may not have come to that yet: the system knows it before.

        Libraries start threads that never are Python's; these are waited for in vain once, and then known.
        """
        before, self._system_threads = self._system_threads, _count_system_threads()
        deadline = time.monotonic() + NEW_THREAD_SECS
        while _thread._count() <= self._threads:
            if self._system_threads <= before or time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True


def _file_of(module: Any) -> str:
    """Where a module comes from, "" if that cannot be told. Anything may stand in `sys.modules`, also what imports or
    raises as soon as it is asked for an attribute: no code of the module's own is run.
    """
    if not issubclass(type(module), types.ModuleType):
        return ""
    path = vars(types.ModuleType)["__dict__"].__get__(module).get("__file__")
    return path if isinstance(path, str) else ""


def _count_system_threads() -> int:
    """A number that grows with the threads of this process; 0 where the system does not tell."""
    if _LINKS_TELL:
        return os.stat(_TASKS).st_nlink
    return len(os.listdir(_TASKS)) if _TASKS else 0


def _count_open_files() -> int:
    """Descriptors of this process, that which it may take to count them included; 0 where the system does not tell."""
    if _SIZE_TELLS:
        return os.stat(_DESCRIPTORS).st_size
    return len(os.listdir(_DESCRIPTORS)) if _DESCRIPTORS else 0


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


def _raw_environment() -> Optional[dict[bytes, bytes]]:
    """As it lies in `os.environ`, for a comparison that decodes nothing; None if that is something else by now."""
    raw = getattr(os.environ, "_data", None)
    return dict(raw) if type(raw) is dict else None


def _handlers() -> dict[int, Any]:
    """Not by way of `signal`, which makes an enum of each number, and takes as long as all else together."""
    return {int(number): _signal.getsignal(number) for number in signal.valid_signals()}


def _identity(fd: int) -> Optional[tuple[int, int]]:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _spare_streams() -> list[tuple[int, Optional[tuple[int, int]]]]:
    """User code's print must not meet the job's output: standard output goes where standard error goes. Copies of
    all three, in case user code closes them."""
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    return [(os.dup(fd), _identity(fd)) for fd in _STREAMS]


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
