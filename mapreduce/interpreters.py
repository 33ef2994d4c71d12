"""The Pythons that executors run on: this one, or another that is asked first what it is.

    this()          the parent's own
    find("pypy3")   any from 3.9 on, by name or path; it needs nothing installed, see `guest`

Only executors run on another Python. Their parent stays what it is: the pipe between them carries plain data.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from mapreduce import config
from mapreduce.code import interpreter_tag, tag_of
from mapreduce.errors import UsageError

OLDEST = (3, 9)
#: how long an interpreter may take to say what it is; a machine may be busy
ANSWER_SECS = 30.0
#: what it may say; some programs never stop
_MAX_ANSWER_BYTES = 64 * 1024
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ROOT, _ENGINE = os.path.split(_PACKAGE)
#: `-m` would put the current folder first in the path, and a file there before a module of the same name
_BEGIN = (
    "import sys; root = sys.argv.pop(1); path = [p for p in sys.path if p]; "
    "sys.path[:] = path if root in path else [root, *path]; from mapreduce.executor import main; main()"
)
#: run as a script, the folder that it lies in would come first
_BEGIN_GUEST = (
    "import sys; path = sys.argv.pop(1); exec(compile(open(path).read(), path, 'exec', dont_inherit=True))"
)
#: any Python can run this, from 2.6 on
_ASK = (
    "import sys\n"
    "name = getattr(sys, 'implementation', None) and sys.implementation.name\n"
    "sys.stdout.write('python %s %d %d\\n' % ((name or 'cpython',) + tuple(sys.version_info[:2])))\n"
    "sys.stdout.flush()\n"
    f"if sys.version_info >= {OLDEST!r}:\n"
    f"    {_BEGIN_GUEST}\n"
)
#: of another Python than the one that they are for, these variables would make a broken one
_FOR_THIS_PYTHON = ("PYTHONHOME", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Interpreter:
    """How executors of one Python are started: all of them in the same way, whenever that is.

    A job's file may change the environment and the folder of the process that imports it, which starts executors
    before and after. So these are as they were when the interpreter was found.
    """

    path: str  #: of the program
    tag: str  #: see `code.interpreter_tag`
    begin: tuple[str, ...]  #: its arguments, before those of `executor.main`
    #: may hold secrets
    environment: Mapping[str, str] = field(hash=False, repr=False)
    folder: Optional[str]  #: None: ours had been removed

    def command(self, *arguments: object) -> list[str]:
        """The command line of an executor."""
        return [self.path, *self.begin, *map(str, arguments)]


def this() -> Interpreter:
    """The one that runs us."""
    return _here(sys.executable, interpreter_tag(), ("-c", _BEGIN, _ROOT))


def _here(path: str, tag: str, begin: tuple[str, ...], without: tuple[str, ...] = ()) -> Interpreter:
    """With our environment, but that hashes are the same in all executors, less the variables ``without``."""
    environment = config.child_environment({"PYTHONHASHSEED": "0"}, without)
    return Interpreter(path, tag, begin, environment, current_folder())


def current_folder() -> Optional[str]:
    """Where this process is; None: that has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def find(python: Union[None, str, os.PathLike[str]]) -> Interpreter:
    """The one that a name on the PATH, or a path, stands for; None: this one.

    Starts it once, to see that it can do the work: a fraction of a second. Raises `UsageError`.
    """
    if python is None:
        return this()
    name = os.fspath(python)
    path = shutil.which(os.path.expanduser(name))
    if path is None:
        raise UsageError(f"python {name!r}: {_why_no_program(os.path.expanduser(name))}")
    path = os.path.abspath(
        path
    )  # not what a link stands for: a virtual environment is known by where it lies
    guest = (os.path.join(_PACKAGE, "guest.py"), *_lent())
    answer, complaint = _ask(name, path, ["-c", _ASK, *guest, "ask"])
    words, _, ready = answer.partition("\n")
    said = words.split()
    if len(said) != 4 or said[0] != "python" or not (said[2].isdigit() and said[3].isdigit()):
        raise UsageError(f"python {name!r}: {path} is no Python, or a broken one{complaint}")
    kind, version = said[1], (int(said[2]), int(said[3]))
    what = f"{path} is {kind} {version[0]}.{version[1]}"
    if version < OLDEST:
        raise UsageError(f"python {name!r}: {what}; executors need {OLDEST[0]}.{OLDEST[1]} or later")
    if ready != "ready\n":
        raise UsageError(
            f"python {name!r}: {what}, and cannot import what an executor needs{complaint}; "
            f"this may help: {path} -m pip install msgpack"
        )
    return _here(path, tag_of(kind, version), ("-c", _BEGIN_GUEST, *guest), _FOR_THIS_PYTHON)


def _why_no_program(name: str) -> str:
    """What there is in the place of a program that cannot be found."""
    if os.path.isdir(name):
        return f"is a folder; name the program, as in {os.path.join(name, 'bin', 'python')}"
    if os.path.exists(name):
        return "is a file that may not be executed (chmod +x)"
    return "there is no such program, neither on the PATH nor as a path"


def _lent() -> list[str]:
    """What `guest` lends: packages, and the folders in which they lie, however we came to have them."""
    lent = [f"{_ENGINE}={_ROOT}"]
    for name in ("msgpack", "cloudpickle"):  # the latter for jobs that travel as a pickle
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            lent.append(f"{name}={os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))}")
    return lent


def _ask(name: str, path: str, arguments: list[str]) -> tuple[str, str]:
    """Its standard output, and what to say of how it failed. It may be any program: it gets neither our
    terminal nor the time or room to do much.
    """
    try:
        process = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=config.child_environment({}, _FOR_THIS_PYTHON),
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"python {name!r}: cannot start {path}: {error.strerror or error}") from error
    with process:
        assert process.stdout is not None and process.stderr is not None
        try:
            said = _read_all([process.stdout.fileno(), process.stderr.fileno()])
        except TimeoutError as error:
            raise UsageError(f"python {name!r}: {path} is no Python, or does not answer ({error})") from error
        finally:
            with contextlib.suppress(
                ProcessLookupError, PermissionError
            ):  # it has ended, by now reaped by the system
                os.killpg(process.pid, signal.SIGKILL)
    answer, errors = (data.decode(errors="replace") for data in said)
    lines = errors.split("\n") if errors else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return answer, f": {last[:300]}" if last else ""


def _read_all(fds: list[int]) -> list[bytes]:
    """What comes out of the pipes until all are closed. Raises `TimeoutError` if that is too much, or too late."""
    said = dict.fromkeys(fds, b"")
    left = set(fds)
    deadline = time.monotonic() + ANSWER_SECS
    while left:
        ready, _, _ = select.select(left, [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"within {ANSWER_SECS:g} s")
        for fd in ready:
            data = os.read(fd, 4096)
            said[fd] += data
            if not data:
                left.remove(fd)
            elif len(said[fd]) > _MAX_ANSWER_BYTES:
                raise TimeoutError("it says something else, without end")
    return [said[fd] for fd in fds]
