"""Jobs whose functions print, in all the ways there are."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

from mapreduce import Job


def talk(line: str) -> Iterator[Any]:
    print(line, "by print")
    print(line, "to standard error", file=sys.stderr)
    ctypes.CDLL(None).printf(f"{line} in C\n".encode())
    ctypes.CDLL(None).printf(f"{line} in C, without an end".encode())
    ctypes.CDLL(None).fflush(None)
    os.write(1, f"\n{line} by its descriptor\n".encode())
    subprocess.run(["echo", line, "by a subprocess"], check=True)
    yield line, 1


def c_talk(line: str) -> Iterator[Any]:
    """Nobody empties the C library's buffers."""
    ctypes.CDLL(None).printf(f"{line} in C".encode())
    yield line, 1


def c_reader(line: str) -> Iterator[Any]:
    """A thread in C that waits for the rest of a line, and so holds the lock of its file."""
    library = ctypes.CDLL(None)
    library.fdopen.restype = ctypes.c_void_p
    ours, theirs = os.pipe()
    file = ctypes.c_void_p(library.fdopen(ours, b"r"))
    threading.Thread(
        target=library.fgets, args=(ctypes.create_string_buffer(9), 9, file), daemon=True
    ).start()
    os.write(theirs, b"half")
    while fcntl.ioctl(ours, termios.FIONREAD, bytes(4)) != bytes(4):
        time.sleep(0.001)
    print(line)
    yield line, 1


def die(line: str) -> Iterator[Any]:
    print("long before")
    print("last words", flush=True)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "crash": signal.SIGSEGV}[line])
    yield line, 1


def leave_talker(line: str) -> Iterator[Any]:
    """A process that outlives the task, holds on to its streams and writes to them all the time."""
    print("parent")
    subprocess.Popen(["sh", "-c", "while :; do echo child; done"])
    yield line, 1


def flood(line: str) -> Iterator[Any]:
    for n in range(int(line)):
        print(f"{n:09}")
    yield line, 1


def hold_on(line: str) -> Iterator[Any]:
    """Until the file is there."""
    print("waiting")
    sys.stdout.write("still")
    sys.stdout.flush()
    while not os.path.exists(line):
        time.sleep(0.01)
    print(" there")
    yield line, 1


def not_utf8(line: str) -> Iterator[Any]:
    os.write(1, b"caf\xe9\n\xff")
    yield line, 1


def raises(line: str) -> Iterator[Any]:
    for n in range(100_000):
        print(f"step {n}")
    raise ValueError(line)
    yield


job_talk, job_c_talk, job_die, job_leave_talker = Job(talk), Job(c_talk), Job(die), Job(leave_talker)
job_flood, job_hold_on, job_not_utf8, job_raises = Job(flood), Job(hold_on), Job(not_utf8), Job(raises)
job_c_reader = Job(c_reader)
