"""A job whose records say what is to be done."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

from mapreduce import Job


def act(line: str) -> Iterator[tuple[str, int]]:
    what, _, about = line.partition(" ")
    if what == "print":
        print(about)
    elif what == "write":
        os.write(1, f"{about}\n".encode())
    elif what == "echo":
        subprocess.run(["echo", about], check=True)
    elif what == "sleep":
        time.sleep(float(about))
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "leave":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    yield line, os.getpid()


job = Job(act)
other = Job(act)
