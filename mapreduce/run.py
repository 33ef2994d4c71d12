"""Running a job from start to end: `job.run(...)` in Python, `mr run` on the command line.

Without a broker: client, coordinator and worker in this process over the memory broker, user code in child processes.
With one: only the client is here. The roles are the same, and so is the code below but for `_local` and `_remote`.

    with JobRun.submit(job, bundle, inputs, options) as run:
        output = run.collect()      blocks until the output is here, complete and verified
        …                           write it where it belongs
        run.deliver()               now the job can be forgotten
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

import mapreduce
from mapreduce import code, events, splits
from mapreduce.brokers import open_broker
from mapreduce.brokers.base import Broker
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from mapreduce.client import CancelClient, Client, Phase
from mapreduce.effects import Role
from mapreduce.errors import BrokerError, JobLost, UsageError
from mapreduce.feeder import Feeder, input_items
from mapreduce.host import Host, Reporter
from mapreduce.job import Job, SampledRanges, input_format
from mapreduce.leases import LeaseKeeper
from mapreduce.pool import ExecutorPool
from mapreduce.progress import WaitNotice
from mapreduce.refs import Block, Counters, Split
from mapreduce.sampling import sample_borders
from mapreduce.scratch import ScratchFolder
from mapreduce.sort import read_blocks
from mapreduce.spec import (
    DEFAULT_PARTITIONS,
    DEFAULT_SPLIT_BYTES,
    DEFAULT_TRIES,
    MAX_PARTITIONS,
    InputFormat,
    JobSpec,
)
from mapreduce.worker import Worker

CLOSE_SECS = 5.0


@dataclass(frozen=True)
class Options:
    """Settings of one run. What is None takes the job's own choice, or else the default."""

    broker: Optional[str] = None  #: None: this machine, no broker
    params: Mapping[str, Any] = field(default_factory=dict)  #: texts are converted by the parameter's type
    executors: Optional[int] = None  #: without a broker; None: one per core
    partitions: Optional[int] = None
    split_bytes: int = DEFAULT_SPLIT_BYTES
    tries: int = DEFAULT_TRIES
    input: Union[None, str, InputFormat] = None
    #: for input that is not UTF-8: "strict", "replace", "latin-1"; None: the input format's own
    encoding_errors: Optional[str] = None
    interpreter: Optional[str] = None  #: "any", or a tag; None: this one's
    pool: str = "default"
    shared: bool = False  #: the input's paths exist on the workers too: send references
    detached: bool = False
    #: the job is given up when its client says nothing for so long; for detached jobs: while the input goes in
    client_timeout_secs: float = JobSpec.client_timeout_secs
    expiry_secs: float = JobSpec.expiry_secs  #: how long the results of a detached job wait to be collected
    retain_secs: float = (
        JobSpec.retain_secs
    )  #: how long the job's log is kept after the results were collected
    report: Optional[Reporter] = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for what makes no sense."""
        for name in ("executors", "partitions", "split_bytes", "tries"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{name} is a whole number from 1 on, not {value!r}")
        if self.partitions is not None and self.partitions > MAX_PARTITIONS:
            raise UsageError(f"partitions: at most {MAX_PARTITIONS}, not {self.partitions}")
        for name in ("pool", "interpreter"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and events.is_name(value)):
                raise UsageError(f"{name} {str(value)[:70]!r}: up to 64 letters, digits, '-', '_' and '.'")


class JobRun:
    """One client at work. A context manager: leaving it ends child processes and removes temporary files."""

    def __init__(self, report: Optional[Reporter] = None) -> None:
        self._stack = contextlib.ExitStack()
        self._report = report or _print_report
        self._rng = random.Random(secrets.randbits(64))
        self._scratch = ScratchFolder("mr-run-")
        self._kept = False
        self.client: Client
        self.host: Host

    @classmethod
    def submit(cls, job: Job, bundle: dict[str, Any], inputs: Sequence[str], options: Options) -> JobRun:
        """A new job. Nothing is sent before `collect`. Raises `MapReduceError`."""
        run = cls(options.report)
        try:
            run._prepare(job, bundle, inputs, options)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def attach(cls, job_id: str, broker: str, report: Optional[Reporter] = None) -> JobRun:
        """A job that was submitted before, to collect its output. Raises `MapReduceError`."""
        run = cls(report)
        return run._attach(Client(job_id, None, run._scratch.path, mapreduce.__version__, run._rng), broker)

    @classmethod
    def to_cancel(cls, job_id: str, broker: str, report: Optional[Reporter] = None) -> JobRun:
        """A job that was submitted before, to end it: `collect` returns when it has ended so, and raises otherwise."""
        run = cls(report)
        return run._attach(CancelClient(job_id, run._scratch.path, mapreduce.__version__, run._rng), broker)

    def _attach(self, client: Client, broker: str) -> JobRun:
        self.client = client
        try:
            if not events.is_name(client.job):
                raise JobLost(f"there is no job {client.job[:70]!r}: no job can have such a name")
            self.host = self._remote(broker)
        except BaseException:
            self.close()
            raise
        return self

    def _prepare(self, job: Job, bundle: dict[str, Any], inputs: Sequence[str], options: Options) -> None:
        fmt = _choose_format(job, options)
        spool = os.path.join(self._scratch.path, "stdin")
        planned = _peek(splits.plan(inputs, fmt, options.split_bytes, spool))
        spec, planned = make_spec(job, bundle, fmt, planned, options)
        self.client = Client(
            new_job_id(spec.name), spec, self._scratch.path, mapreduce.__version__, self._rng
        )
        if options.broker is None:
            self.host = self._local(spec, options.executors)
            refer = _refer(True, None)
        else:
            self.host = self._remote(options.broker)
            refer = _refer(options.shared, spool)
        self.host.feeder = Feeder(input_items(planned, fmt, refer), self.host.post)

    def _local(self, spec: JobSpec, executors: Optional[int]) -> Host:
        """All roles in this process."""
        slots = executors or os.cpu_count() or 1
        broker = MemoryBroker(MemoryServer())
        pool = self._stack.enter_context(contextlib.closing(ExecutorPool(slots)))
        queues = (events.tasks_queue(spec.pool, spec.interpreter),)
        worker = Worker("local", slots, queues, self._scratch.path, broker.by_reference, self._rng)
        return self._host(broker, [self.client, LeaseKeeper("local", self._rng), worker], pool)

    def _remote(self, url: str) -> Host:
        broker = open_broker(url)
        self._stack.callback(broker.close, CLOSE_SECS)
        return self._host(broker, [self.client, WaitNotice(self.client)])

    def _host(self, broker: Broker, roles: list[Role], pool: Optional[ExecutorPool] = None) -> Host:
        host = Host(broker, [*roles, Canceller(self.client)], self._report, pool)
        self._stack.callback(host.close)
        self._embedded = pool is not None
        return host

    def __enter__(self) -> JobRun:
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        try:
            if error is not None:
                self._give_up(error)
        finally:
            self.close()

    def _give_up(self, error: BaseException) -> None:
        """Something failed on our side (the output's disk is full, say): the job must not wait for us in vain.

        An attached client just leaves: the job is not its own.
        """
        started = self.client.phase not in (Phase.SUBMITTING, Phase.DONE)
        if not self._embedded and started and not isinstance(error, BrokerError):
            with contextlib.suppress(BrokerError):
                now = time.monotonic()
                self.host.perform(self.client, self.client.cancel(f"its client failed: {error}", now))
                self.host.run(lambda: self.client.finished)

    def close(self) -> None:
        """End child processes, leave the broker, remove temporary files."""
        try:
            self.release()
        finally:
            if not self._kept:
                self._scratch.close()

    def release(self) -> None:
        """End child processes and leave the broker; the temporary files stay."""
        self._stack.close()

    def keep(self) -> ScratchFolder:
        """The folder of the temporary files, which is the caller's to remove from now on."""
        self._kept = True
        return self._scratch

    def collect(self) -> Output:
        """Run until the output is here. Raises what went wrong, `Cancelled` after Ctrl-C included.

        For a detached job: until it needs us no more; the output is then empty.
        """
        with self._interruptible():
            self.host.connect()
            self.host.run(lambda: self.client.finished or self.client.phase is Phase.COLLECTED)
        if self.client.error is not None:
            raise self.client.error
        if self.client.detached or isinstance(self.client, CancelClient):
            return Output([], {}, {}, 0)
        return Output(
            list(zip(self.client.output_tasks(), self.client.output())),
            dict(self.client.state.counters),
            _stats(self.client),
            self.client.output_size(),
        )

    def deliver(self) -> None:
        """Tell the job's coordinator that the output is where it belongs.

        Without a broker there is nobody to tell: all that the job owned goes with this process.
        """
        if not self._embedded:
            self.host.perform(self.client, self.client.deliver())
            self.host.run(lambda: self.client.finished)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM cancel the job in an orderly way; the second one breaks off."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def cancel(number: int, frame: object) -> None:
            restore()
            self.host.post(CancelJob(signal.Signals(number).name))

        for number in before:
            signal.signal(number, cancel)
        try:
            yield
        finally:
            restore()


@dataclass(frozen=True)
class CancelJob:
    """Posted by a signal handler."""

    reason: str


class Canceller:
    """A role that turns `CancelJob` into the client's request."""

    def __init__(self, client: Client) -> None:
        self.prefix = "cancel/"
        self.finished = False
        self._client = client

    def handle(self, event: Any, now: float) -> list[Any]:
        return self._client.cancel(event.reason, now) if isinstance(event, CancelJob) else []


@dataclass(frozen=True)
class Output:
    """The output of a job: its parts in order, each with the number of the task that wrote it."""

    parts: list[tuple[int, list[Block]]]
    counters: Counters
    stats: dict[str, Any]
    #: how many parts there are, those without a record included
    tasks: int

    def batches(self) -> Iterator[tuple[int, list[Any], list[Any]]]:
        """(part, keys, values), a batch at a time."""
        for part, blocks in self.parts:
            for keys, values in read_blocks(blocks):
                yield part, keys, values


class Result:
    """What `job.run` returns: iterate it for (key, value) pairs, as often as you like.

    The pairs lie in temporary files, which go when the result is closed or forgotten.
    """

    def __init__(self, scratch: ScratchFolder, output: Output) -> None:
        self._output = output
        self._scratch = scratch
        self.counters: Counters = output.counters
        self.stats: dict[str, Any] = output.stats

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for _, keys, values in self._output.batches():
            yield from zip(keys, values)

    def __enter__(self) -> Result:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files."""
        self._scratch.close()


def run_job(job: Job, inputs: Union[str, Sequence[str]], **options: Any) -> Result:
    """Run a job on files, folders, globs or URLs; see `Options` for the rest. Raises `MapReduceError`."""
    names = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    try:
        chosen = Options(**options)
    except TypeError as error:
        raise UsageError(f"job.run: {error}") from error
    if chosen.detached:
        raise UsageError("job.run cannot detach, it returns the results; use `mr run --detach`")
    with JobRun.submit(job, code.from_object(job), [os.fspath(name) for name in names], chosen) as run:
        output = run.collect()
        run.deliver()
        run.release()
        return Result(run.keep(), output)


def make_spec(
    job: Job, bundle: dict[str, Any], fmt: InputFormat, planned: Iterator[Split], options: Options
) -> tuple[JobSpec, Iterator[Split]]:
    """The job as plain data, and its splits (read ahead where the job samples them)."""
    params = {n: job.convert(n, v) if isinstance(v, str) else v for n, v in options.params.items()}
    bound = job.bind(params)
    partitions = options.partitions or job.partitions or DEFAULT_PARTITIONS
    first = bound.stages[0]
    boundaries: dict[int, list[Any]] = {}
    if isinstance(first.partition, SampledRanges) and first.map is not None:
        listed = list(planned)
        boundaries, planned = {0: sample_borders(listed, fmt, first.map, partitions)}, iter(listed)
    tag = code.interpreter_tag()
    spec = JobSpec(
        name=job.name or bundle.get("main", "job").rpartition(".")[0] or "job",
        bundle=bundle,
        params=params,
        stages=len(job.stages),
        partitions=partitions,
        input=fmt,
        split_bytes=options.split_bytes,
        tries=options.tries,
        interpreter=options.interpreter or tag,
        pool=options.pool,
        boundaries=boundaries,
        detached=options.detached,
        client_timeout_secs=options.client_timeout_secs,
        expiry_secs=options.expiry_secs,
        retain_secs=options.retain_secs,
    )
    if spec.client_timeout_secs <= 0 or spec.expiry_secs <= 0 or spec.retain_secs < 0:
        raise UsageError(
            "client_timeout_secs and expiry_secs must be above 0, retain_secs must not be negative"
        )
    if spec.interpreter not in ("any", tag) and bundle.get("kind") == "pickle":
        raise UsageError(f"a job that travels as a pickle runs on {tag} only, not on {spec.interpreter!r}")
    return spec, planned


def _peek(planned: Iterator[Split]) -> Iterator[Split]:
    """The same splits; what is wrong with the input's names shows now, before anything is submitted."""
    first = next(planned, None)
    return iter(()) if first is None else itertools.chain([first], planned)


def new_job_id(name: str) -> str:
    """A name for the job that is unique, fits in a queue's name and tells people something."""
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', name)[:40].strip('-') or 'job'}-{secrets.token_hex(4)}"


def _choose_format(job: Job, options: Options) -> InputFormat:
    chosen = options.input if options.input is not None else job.input
    fmt = input_format(chosen) if isinstance(chosen, str) else chosen or InputFormat()
    return fmt if options.encoding_errors is None else replace(fmt, errors=options.encoding_errors)


def _refer(by_reference: bool, spool: Optional[str]) -> Any:
    """Which splits go as references: URLs always, files if the workers see them; never our copy of standard input."""

    def refer(split: Split) -> bool:
        if any("://" in segment.path for segment in split.segments):  # then all are: see `splits.plan`
            return True
        ours = spool is not None and any(segment.path.startswith(spool) for segment in split.segments)
        return by_reference and not ours

    return refer


def _stats(client: Client) -> dict[str, Any]:
    state = client.state
    return {
        "job": client.job,
        "tasks": [stage.done for stage in state.stages[:-1]],
        "records_in": [stage.records_in for stage in state.stages[:-1]],
        "records_out": [stage.records_out for stage in state.stages[:-1]],
        "attempts": state.attempts,
        "failures": state.failures,
        "losses": state.losses,
        "workers": len(state.workers),
    }


def _print_report(level: str, text: str) -> None:
    sys.stderr.write(f"mr: {text}\n")
