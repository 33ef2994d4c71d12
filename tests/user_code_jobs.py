"""Jobs whose functions do to their executor whatever Python lets them; see test_user_code.

At its top nothing is imported that is compiled and not Python's own: executors look closer where that is.
"""

from __future__ import annotations

import _thread
import atexit
import builtins
import contextlib
import decimal
import faulthandler
import gc
import locale
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import Any, Callable

from mapreduce import Job, count, whole

BIG = 400 * 1024 * 1024
_kept: list[Any] = []


def state() -> list[str]:
    """All that another task could notice."""
    return [
        os.getcwd(),
        str((sorted(os.environ.items()), time.timezone)),
        str(sorted(resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE))),
        str(
            {n: signal.getsignal(n) for n in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        ),
        str(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        str(signal.getitimer(signal.ITIMER_REAL)),
        locale.setlocale(locale.LC_ALL),
        str(os.umask(0o022)),
        str(sys.path),
        str((sys.getrecursionlimit(), gc.isenabled(), socket.getdefaulttimeout(), tempfile.gettempdir())),
        str(decimal.getcontext().prec),
        str(threading.active_count()),
        str([_is_open(fd) for fd in (0, 1, 2)] + [os.get_blocking(1), sys.stdout.closed, sys.stderr.closed]),
        str((len([1, 2]), sorted([2, 1]), max(1, 2))),
    ]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- what never ends, or ends too much


def spin(line: str) -> None:
    while True:
        pass


def spin_in_c(line: str) -> None:
    sum(range(10**18))  # holds the interpreter's lock for ever


def grow(line: str) -> None:
    while True:
        _kept.append(bytearray(1024 * 1024))
        time.sleep(0.001)


def allocate(line: str) -> None:
    _kept.append(bytearray(BIG))


def grow_in_children(line: str) -> None:
    for _ in range(4):
        if os.fork() == 0:
            held = bytearray(os.urandom(1024)) * (60 * 1024)
            time.sleep(600)
            os._exit(len(held) % 2)
    time.sleep(600)


def fork_and_share(line: str) -> int:
    """Four copies that share 60 MiB are no 300 MiB."""
    held = bytearray(b"x") * (60 * 1024 * 1024)
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            time.sleep(1)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return len(held)


def abort(line: str) -> None:
    os.abort()


def segfault(line: str) -> None:
    import ctypes

    ctypes.CDLL(None).memset(1, 0, 8)


def kill(line: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(line: str) -> None:
    os._exit(5)


def alarm_to_death(line: str) -> None:
    signal.alarm(1)
    time.sleep(600)


def leave_with_child(line: str) -> None:
    """The child holds the executor's pipe open."""
    if os.fork() == 0:
        time.sleep(600)
    os._exit(5)


# ---------------------------------------------------------------- what raises


def exit(line: str) -> None:
    sys.exit("enough")


def interrupt(line: str) -> None:
    raise KeyboardInterrupt


def generator_exit(line: str) -> None:
    raise GeneratorExit


def recurse(line: str) -> None:
    recurse(line)


def no_recursion(line: str) -> None:
    sys.setrecursionlimit(60)
    recurse(line)


def not_encodable(line: str) -> Any:
    return threading.Lock()


def circle(line: str) -> Any:
    items: list[Any] = []
    items.append(items)
    return items


def count_all(line: str) -> None:
    for n in range(1_000_000):
        count(str(n))


def count_quietly(line: str) -> None:
    for n in range(2_000):
        with contextlib.suppress(Exception):
            count(str(n))


def count_novels(line: str) -> None:
    count("x" * 201)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raise_unprintable(line: str) -> None:
    raise Unprintable


# ---------------------------------------------------------------- what stays behind


def signals(line: str) -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])


def alarm(line: str) -> None:
    signal.alarm(1)


def limits(line: str) -> None:
    sys.setrecursionlimit(100_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def hard_limits(line: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def limits_from_outside(line: str) -> None:
    """A child sets those of its parent."""
    parent, (_, hard) = os.getpid(), resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.fork() == 0:
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (64, hard))
        os._exit(0)
    os.wait()


def in_c(line: str) -> None:
    """Not by way of Python, which could tell of it."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.chdir(b"/")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    libc.setrlimit(resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(64, hard))


def zone(line: str) -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    del os.environ["TZ"]


def settings(line: str) -> None:
    os.chdir("/")
    os.umask(0o777)
    os.environ["TZ"] = "Asia/Tokyo"
    os.environ.pop("PATH", None)
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    sys.path.insert(0, "/nowhere")
    sys.argv.clear()
    socket.setdefaulttimeout(0.001)
    tempfile.tempdir = "/nowhere"
    decimal.getcontext().prec = 2
    gc.disable()
    os.set_blocking(1, False)


def close_streams(line: str) -> None:
    for fd in (0, 1, 2):
        os.close(fd)


def close_files(line: str) -> None:
    sys.stdout.close()
    sys.stderr.close()
    sys.stdin.close()


def replace_streams(line: str) -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(fd, number)
    sys.stdout = sys.stderr = None


def close_then_print(line: str) -> None:
    """What is opened next gets the number 1."""
    os.close(1)
    for _ in range(100):
        with contextlib.suppress(OSError):
            os.write(1, b"not data\n")


def leave_thread(line: str) -> None:
    def mutate() -> None:
        while True:
            _kept.append(None)
            os.environ["MESS"] = str(len(_kept))
            time.sleep(0.001)

    threading.Thread(target=mutate).start()


def leave_raw_thread(line: str) -> None:
    _thread.start_new_thread(time.sleep, (600,))


def leave_child(line: str) -> None:
    if os.fork() == 0:
        time.sleep(600)
    note(line)


def leave_daemon(line: str) -> None:
    """Forked twice, so that it is nobody's child."""
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.waitpid(pid, 0)


def leave_shell(line: str) -> None:
    os.system("sleep 600 &")


def leave_tracker(line: str) -> None:
    """As `multiprocessing` does with its locks and shared memory; Python tells nobody that a process starts."""
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()


def leak_files(line: str) -> None:
    for _ in range(200):
        _kept.append(os.open(os.devnull, os.O_RDONLY))


def keep_connections(line: str) -> None:
    """For the tasks to come: no leak."""
    _kept.extend(socket.socket() for _ in range(5))


def delete_streams(line: str) -> None:
    del sys.stdout, sys.stderr


class _Odd:
    def flush(self) -> None:
        raise ZeroDivisionError


def odd_stream(line: str) -> None:
    sys.stdout = _Odd()


def replace_environ(line: str) -> None:
    os.environ = None  # type: ignore[assignment]  # noqa: B003


def come_back(line: str) -> None:
    """The copy returns into the engine."""
    os.fork()


def note(line: str) -> None:
    count("noted")


def no_collector(line: str) -> None:
    gc.disable()
    gc.set_threshold(1)
    gc.set_debug(gc.DEBUG_STATS)


def at_exit(line: str) -> None:
    atexit.register(time.sleep, 600)


def faults(line: str) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(1, exit=True)


def trace(line: str) -> None:
    sys.settrace(lambda *_: 1 // 0)  # type: ignore[arg-type]


def shout(line: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write("noise\n" * 500_000)


def remove_folder(line: str) -> None:
    """The attempt's: found by looking at what is open."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{fd}")
            if path.endswith(".blocks"):
                shutil.rmtree(os.path.dirname(path))


def close_all(line: str) -> None:
    os.closerange(3, 1000)


def scribble(line: str) -> None:
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, b"\0\0\0\4spam")


def patch_len(line: str) -> None:
    builtins.len = lambda items: 0


def patch_sorted(line: str) -> None:
    builtins.sorted = lambda items, **options: list(items)


def patch_map(line: str) -> None:
    builtins.map = lambda f, *items: []  # type: ignore[assignment, misc]


def patch_print(line: str) -> None:
    builtins.print = lambda *words, **options: None


def _job(action: Callable[[str], Any]) -> Job:
    def mapper(line: str) -> Any:
        if line.startswith("poison"):
            action(line) if action not in RETURNING else None
            yield line, (action(line) if action in RETURNING else "done")
        elif line == "state":
            yield line, state()
        else:
            yield line, len(line)

    return Job(mapper)


RETURNING = (not_encodable, circle, fork_and_share)


def enormous(line: str) -> Any:
    yield line[:1], (line, len(line))


def pad(line: str) -> Any:
    for word in line.split():
        yield word, "x" * 1000


def longest(key: str, values: Any) -> Any:
    yield key, max(map(len, values))


@whole
def poisoned(lines: Any) -> Any:
    for line in lines:
        if line == "poison":
            os._exit(9)
        yield line, 1


def deadly(key: str, values: Any) -> Any:
    if key == "poison":
        os._exit(9)
    yield key, sum(values)


job_enormous = Job(enormous)
job_pad = Job(pad, reduce=longest)
job_poisoned = Job(poisoned)
job_deadly = Job(lambda line: [(word, 1) for word in line.split()], reduce=deadly)
job_deadly_combine = Job(
    lambda line: [(word, 1) for word in line.split()], reduce=lambda k, v: [(k, sum(v))], combine=deadly
)
actions = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and getattr(value, "__code__", None)
    and value.__code__.co_varnames[:1] == ("line",)
}  # fmt: skip
globals().update(
    {f"job_{name}": _job(action) for name, action in actions.items() if f"job_{name}" not in globals()}
)
