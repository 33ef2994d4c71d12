"""How an executor comes into the world: a process, our end of its pipe, the line that tells it that we live, and the
pipe into which it prints.

Apart from `pool`, which looks after executors, so that `mr run` can start one before it has imported all that it needs
itself: the two do that at the same time then.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import weakref
from typing import Optional

from mapreduce import interpreters
from mapreduce.capture import open_pipe
from mapreduce.interpreters import Interpreter


class Spawned:
    """An executor's process and our ends of its pipes. Raises OSError if it cannot be started."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.closed = False
        self.interpreter = interpreter
        self.socket, theirs = socket.socketpair()
        #: nothing is sent here; that it is open tells the child that we live
        their_lifeline, self._lifeline = os.pipe()
        #: what it, and all that it starts, write to standard output and error; does not block
        self.output, their_output = open_pipe()
        try:
            self.process = _start(interpreter, theirs.fileno(), their_lifeline, their_output)
        except BaseException:
            self.hang_up()
            raise
        finally:
            theirs.close()
            os.close(their_lifeline)
            os.close(their_output)
        self.socket.setblocking(False)
        _open.add(self)

    def hang_up(self) -> None:
        """Close our ends: it ends at once, with all that it started."""
        if self.closed:
            return
        self.closed = True
        self.socket.close()
        os.close(self._lifeline)
        os.close(self.output)
        _open.discard(self)


#: all that this process has started and not let go of
_open: weakref.WeakSet[Spawned] = weakref.WeakSet()
_spare: list[Spawned] = []


def ahead(interpreter: Interpreter) -> None:
    """Start an executor for the first pool that needs one; if it cannot be started now, the pool will say so."""
    with contextlib.suppress(OSError):
        _spare.append(Spawned(interpreter))


def take(interpreter: Interpreter) -> Spawned:
    """An executor that is nobody else's, started ahead or now. Raises OSError if it cannot be started."""
    for spawned in _spare:
        if spawned.interpreter == interpreter and not spawned.closed:
            _spare.remove(spawned)
            return spawned
    return Spawned(interpreter)


def _after_fork_in_child() -> None:
    """A copy of this process must not hold on to our children, who would then outlive us."""
    for spawned in list(_open):
        spawned.hang_up()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _start(interpreter: Interpreter, fd: int, lifeline: int, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        interpreter.command(fd, lifeline),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(fd, lifeline),
        env=interpreter.environment,
        cwd=_elsewhere(interpreter.folder),
        start_new_session=True,
    )


def _elsewhere(folder: Optional[str]) -> Optional[str]:
    """The folder, if we are at another one. Where we are, a child begins by itself, even if that has been removed."""
    here = interpreters.current_folder()
    return None if here is None or here == folder else folder
