"""What Ctrl-C and its like do to `mr`, but for what a subcommand arranges for itself (`interrupts`, say).

    while `mr` is imported              the process ends at once: nothing is begun, so nothing has to be cleaned up
    from the subcommand on              an exception in the main thread: temporary files go, child processes end

The exit code is 128 + the signal's number, here as there. What is ignored (under nohup, or in the background of a
script) stays so.
"""

from __future__ import annotations

import _thread  # `threading` takes longer to import than all else here
import os
import signal
import sys
import time

#: as type checkers know it: `typing` takes longer, too
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[[sys.UnraisableHookArgs], object]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Python is out of a callback by then
_AGAIN_SECS = 0.01


class Stopped(SystemExit):
    """Raised by SIGTERM and SIGHUP, as KeyboardInterrupt by SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def end_at_once() -> None:
    """From now on they end the process, without a word."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def unwind() -> None:
    """From now on they raise: KeyboardInterrupt the first, as in Python always, `Stopped` the others."""
    ours = [number for number in _SIGNALS if signal.getsignal(number) is _end]
    for number in ours:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _leave)
    if ours:
        sys.unraisablehook = _not_lost(sys.unraisablehook)


def _end(number: int, frame: object) -> None:
    # an exception could come up in the middle of an import, which would show or swallow it
    os._exit(128 + number)


def _leave(number: int, frame: object) -> None:
    raise Stopped(number)


def _not_lost(otherwise: Hook) -> Hook:
    """Python drops what is raised in the callback of a weak reference, and each import has one: send it again.

    ``otherwise``: what is done about all else.
    """

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            _thread.start_new_thread(_send, (signal.SIGINT,))
        elif isinstance(lost.exc_value, Stopped):
            _thread.start_new_thread(_send, (lost.exc_value.number,))
        else:
            otherwise(lost)

    return hook


def _send(number: int) -> None:
    time.sleep(_AGAIN_SECS)
    os.kill(os.getpid(), number)
