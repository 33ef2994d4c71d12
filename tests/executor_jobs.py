"""Jobs that do to their executor what real ones do by accident."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable

from mapreduce import Job, count


def words(line: str) -> Any:
    for word in line.split():
        count("words")
        yield word, 1


def total(word: str, counts: Any) -> Any:
    yield word, sum(counts)


def _map_only(action: Callable[[str], Any]) -> Job:
    def mapper(line: str) -> Any:
        yield line, action(line)

    return Job(mapper)


def segfault(line: str) -> Any:
    ctypes.CDLL(None).memset(1, 0, 8)


def deep_exit(line: str) -> Any:
    sys.exit(7)


def os_exit(line: str) -> Any:
    os._exit(3)


def interrupt(line: str) -> Any:
    raise KeyboardInterrupt


def kill_oneself(line: str) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def print_for_ever(line: str) -> Any:
    while True:
        print("noise " * 20)


def spin(line: str) -> Any:
    while True:
        pass


def ignore_all(line: str) -> Any:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def start_sleeper(line: str) -> Any:
    """A process of user code's own; its number goes to the file that the record names."""
    sleeper = subprocess.Popen(["sleep", "600"])
    with open(line, "w") as stream:
        stream.write(f"{os.getpid()} {sleeper.pid}\n")
    while True:
        time.sleep(1)


def make_a_mess(line: str) -> Any:
    state = (os.getcwd(), os.environ.get("MESS"), sys.stdout.closed)
    print("to standard output")
    os.system("echo from a shell")
    os.chdir("/")
    os.environ["MESS"] = "1"
    sys.stdout.close()
    threading.Thread(target=time.sleep, args=(600,)).start()
    return [str(item) for item in state]


def fork(line: str) -> Any:
    pid = os.fork()
    if pid == 0:
        return "child"
    os.waitpid(pid, 0)
    return "parent"


def fork_and_exit(line: str) -> Any:
    """As it is done in textbooks, which know nothing of an engine around them."""
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    return "parent"


def fork_and_write(line: str) -> Any:
    """The copy of the process writes a lot before it comes to an end."""
    if not line.startswith("first"):
        return ""
    pid = os.fork()
    if pid == 0:
        return "x" * 3_000_000
    os.waitpid(pid, 0)
    return "parent"


def close_pipe(line: str) -> Any:
    os.closerange(3, 64)


def write_pipe(line: str) -> Any:
    for fd in range(3, 32):
        try:
            os.write(fd, b"\0\0\0\4spam")
        except OSError:
            continue


def flood_pipe(line: str) -> Any:
    """The beginning of a frame of a gigabyte."""
    for fd in range(3, 32):
        with contextlib.suppress(OSError):
            os.write(fd, (1 << 30).to_bytes(4, "big") + bytes(1000))
    time.sleep(600)


def where(line: str) -> Any:
    return os.getpid()


def spill_and_wait(path: str) -> Any:
    """More pairs than are kept in memory; no end until there is a file at ``path``."""
    for number in range(160_000):
        yield number, bytes(1024)
    while not os.path.exists(path):
        time.sleep(0.01)


wordcount = Job(words, fold=sum)
spilling = Job(spill_and_wait, reduce=total)
jobs = {
    function.__name__: _map_only(function)
    for function in (
        segfault,
        deep_exit,
        os_exit,
        interrupt,
        kill_oneself,
        print_for_ever,
        spin,
        ignore_all,
        start_sleeper,
        make_a_mess,
        fork,
        fork_and_exit,
        fork_and_write,
        close_pipe,
        write_pipe,
        flood_pipe,
        where,
    )
}
globals().update({f"job_{name}": job for name, job in jobs.items()})
