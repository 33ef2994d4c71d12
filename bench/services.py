"""What contenders have running beside them: a private RabbitMQ, and workers of ours."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import MR, background


@dataclass
class Services:
    """Places that commands can name, written as a shell would read them, and the processes behind them."""

    places: dict[str, str] = field(
        default_factory=lambda: {"python": shlex.quote(sys.executable), "mr": shlex.join(_installed_mr())}
    )
    brokers: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)


@contextlib.contextmanager
def running(folder: Path, workers: Sequence[str]) -> Iterator[Services]:
    """A broker, and a worker for each string of options; nothing if there are no workers."""
    services = Services()
    with contextlib.ExitStack() as stack:
        if workers:
            broker, url = stack.enter_context(background([*MR, "broker", "--dir", str(folder)], "amqp://"))
            services.places["broker"] = shlex.quote(url)
            services.brokers.append(broker.pid)
        for options in workers:
            command = [*MR, "worker", "--broker", url, *shlex.split(options)]
            worker, _ = stack.enter_context(background(command, "ready"))
            services.workers.append(worker.pid)
        yield services


def _installed_mr() -> Sequence[str]:
    """`mr` as users start it, if it is installed beside this interpreter."""
    script = Path(sys.executable).parent / "mr"
    return [str(script)] if script.exists() else MR
