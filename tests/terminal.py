"""A command in a terminal of its own, and what a person would see on its screen.

    with Terminal("mr", "run", …, columns=80, rows=24) as terminal:
        terminal.wait_for("map .* running")     an event: looked at whenever the command has written
        terminal.resize(40, 24)                 as when the window is pulled smaller
        terminal.send("\\x03")                   as when Ctrl-C is pressed
        assert terminal.end() == 130

The screen is pyte's, an emulator of a VT100 and later.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from typing import Any, Optional

import pyte

from tests.support import DEADLINE_SECS, ROOT

#: lines that have scrolled off the screen and are kept
HISTORY = 5000


class Terminal:
    """Standard input, output and error of the command are the terminal, unless ``stdout`` is a file's descriptor."""

    def __init__(
        self,
        *command: Any,
        columns: int = 80,
        rows: int = 24,
        env: Optional[dict[str, str]] = None,
        stdout: Optional[int] = None,
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=HISTORY)
        self._stream = pyte.ByteStream(self._screen)
        self._news = threading.Condition()
        self._over = False
        #: every byte that was written
        self.raw = b""
        self._master, theirs = pty.openpty()
        self._set_size(columns, rows)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **(env or {})}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        try:
            # setsid: its controlling terminal, so that Ctrl-C reaches it as a signal
            self.popen = subprocess.Popen(
                ["setsid", "--ctty", *map(str, command)],
                stdin=theirs,
                stdout=theirs if stdout is None else stdout,
                stderr=theirs,
                env=environment,
            )
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has the other end any more
                data = b""
            with self._news:
                self.raw += data
                self._over = not data
                self._stream.feed(data)
                self._news.notify_all()
            if not data:
                return

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._reader.join(5)
        os.close(self._master)

    # ------------------------------------------------------------ looking

    @property
    def screen(self) -> list[str]:
        """The lines that are to be seen now, without blanks at their ends."""
        with self._news:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """All that is on the screen, and what has scrolled off above it."""
        with self._news:
            return self._text()

    @property
    def cursor_hidden(self) -> bool:
        with self._news:
            return bool(self._screen.cursor.hidden)

    @property
    def column(self) -> int:
        """Where the cursor stands, from 0."""
        with self._news:
            return int(self._screen.cursor.x)

    def _text(self) -> str:
        columns = self._screen.columns
        gone = ["".join(line[x].data for x in range(columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*gone, *self._screen.display]).rstrip()

    def wait_for(self, pattern: str, timeout: float = DEADLINE_SECS) -> str:
        """Wait until what can be seen, or scrolled back to, matches; all of that. Fails the test if it never does."""

        def found() -> bool:
            return re.search(pattern, self._text(), re.MULTILINE) is not None

        with self._news:
            self._news.wait_for(lambda: found() or self._over, timeout)
            text = self._text()
            assert found(), f"never showed {pattern!r}:\n{text}"
            return text

    # ------------------------------------------------------------ doing

    def send(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size; lines are cut, not wrapped anew."""
        with self._news:
            self._screen.resize(rows, columns)
        self._set_size(columns, rows)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self, timeout: float = DEADLINE_SECS) -> int:
        """Wait until the command has ended and all that it wrote is here; its exit code, negative for a signal."""
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"has not ended:\n{self.text}") from None
        with self._news:
            self._news.wait_for(lambda: self._over, timeout)
        return code


def mr_in_terminal(*args: Any, **options: Any) -> Terminal:
    """`mr` with these arguments."""
    return Terminal(sys.executable, "-m", "mapreduce.cli", *args, **options)
