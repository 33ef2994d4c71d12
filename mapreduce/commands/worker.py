"""`mr worker`: take dispatches and leases from a broker until stopped."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Callable, Optional

import click

import mapreduce
from mapreduce import events, interpreters, limits, versions
from mapreduce.brokers import open_broker
from mapreduce.commands import options
from mapreduce.effects import Report, Role, Shutdown
from mapreduce.errors import MapReduceError
from mapreduce.host import Host
from mapreduce.interpreters import Interpreter
from mapreduce.leases import LeaseKeeper
from mapreduce.logs import FORMATS, LEVELS, Log
from mapreduce.pool import ExecutorPool
from mapreduce.respondent import Facts, Respondent
from mapreduce.scratch import ScratchFolder
from mapreduce.tasklog import TaskLog
from mapreduce.worker import Worker

if TYPE_CHECKING:
    from mapreduce.metrics import Meter

#: how long a worker that is told to stop finishes what it has begun
GRACE_SECS = 30.0
#: how long handing back what is left may take: a broker that takes no messages hears of it by our absence
HAND_BACK_SECS = 3.0
CLOSE_SECS = 5.0


@click.command(name="worker")
@options.broker
@click.option("-c", "--executors", type=click.IntRange(1), help="Processes.  [default: one per core]")
@options.python
@click.option("--pool", default="default", show_default=True, help="Which jobs to work on.")
@click.option(
    "--grace",
    type=options.NonNegative(),
    default=GRACE_SECS,
    metavar="TIME",
    help="To finish tasks when told to stop: 30, 30s, 5m.  [default: 30]",
)
@click.option(
    "--log-format",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="Of what it says on standard error; json: one object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="The least that is said; debug: when tasks begin and end, too.",
)
@click.option(
    "--metrics",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve metrics for Prometheus there, on loopback.  [default: listen on nothing]",
)
def command(
    broker: Optional[str],
    executors: Optional[int],
    python: Optional[str],
    pool: str,
    grace: float,
    log_format: str,
    log_level: str,
    metrics: Optional[int],
) -> None:
    """Work on the jobs of a broker, with N executors, until SIGTERM or Ctrl-C.

    Makes two outbound connections to the broker and listens on nothing, but for --metrics. A worker that is told to
    stop finishes the tasks it has begun, hands the others back at once, and after --grace seconds those that still
    run; told a second time, it hands back everything and goes.

    \b
    mr worker --broker amqp://user:password@host/
    MR_BROKER=amqp://… mr worker -c 4
    mr worker --python pypy3                 for jobs run with --interpreter pp39 or any
    mr worker --log-format json 2>> worker.log
    mr worker --metrics 9101                 for Prometheus, at http://127.0.0.1:9101/metrics
    """
    url = options.required_broker_url(broker)
    slots = executors or os.cpu_count() or 1
    interpreter = interpreters.find(python)
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    log = Log(sys.stderr, name, log_format, log_level)
    try:
        with ScratchFolder("mr-worker-") as scratch:
            _work(name, url, slots, interpreter, pool, grace, scratch.path, log, metrics)
    except MapReduceError as error:
        log(Report("error", str(error), "ended"))
        raise click.exceptions.Exit(error.exit_code) from error


def _work(
    name: str,
    url: str,
    slots: int,
    interpreter: Interpreter,
    pool_name: str,
    grace: float,
    directory: str,
    log: Log,
    metrics_port: Optional[int],
) -> None:
    rng = random.Random(secrets.randbits(64))
    queues = tuple(events.tasks_queue(pool_name, tag) for tag in (interpreter.tag, "any"))
    session = open_broker(url)
    pool = ExecutorPool(slots, interpreter, warn=lambda text: log(Report("warning", text, "executor_broken")))
    worker = Worker(name, slots, queues, directory, session.by_reference, rng)
    keeper = LeaseKeeper(name, rng)

    def memory() -> int:
        return limits.own_memory() + pool.used_memory()

    facts = Facts(
        socket.gethostname(),
        os.getpid(),
        mapreduce.__version__,
        versions.python(),
        interpreter.tag,
        pool_name,
        time.time(),
        time.time,
        memory,
        versions.libraries(),
    )
    meter = _meter(worker, memory) if metrics_port is not None else None
    task_log = TaskLog(meter or worker, everything=log.says("debug"))
    roles: list[Role] = [keeper, task_log, Respondent(worker, keeper, facts)]
    host = Host(session, roles, log, pool, reconnect_secs=float("inf"))
    stop = _Stop(host, grace)
    try:
        if meter is not None and metrics_port is not None:
            meter.serve(metrics_port)
        host.connect()
        count = f"{slots} executor{'s' if slots > 1 else ''} of {interpreter.tag}"
        log(Report("info", f"worker {name} ready, {count}", "ready"))
        host.run(lambda: stop.over() or (worker.finished and keeper.finished))
    finally:
        if meter is not None:
            meter.close()
        pool.close()
        host.close()
        session.close(CLOSE_SECS)


def _meter(worker: Worker, memory: Callable[[], int]) -> Meter:
    from mapreduce.metrics import Meter  # with Prometheus' client, which few workers need

    return Meter(worker, memory)


class _Stop:
    """SIGTERM, Ctrl-C or SIGHUP: tells the roles to stop, and knows when to wait for them no longer."""

    def __init__(self, host: Host, grace_secs: float) -> None:
        self._host = host
        self._grace_secs = grace_secs
        self._deadline = float("inf")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        hang_up = getattr(signal, "SIGHUP", None)
        if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:  # else under nohup
            signal.signal(hang_up, self._on_signal)

    def over(self) -> bool:
        """Whether the time to hand back is over, too."""
        return time.monotonic() >= self._deadline

    def _on_signal(self, number: int, frame: object) -> None:
        self._deadline = min(self._deadline, time.monotonic() + self._grace_secs + HAND_BACK_SECS)
        self._host.post(Shutdown(self._grace_secs))
        self._grace_secs = 0.0  # told again: at once
