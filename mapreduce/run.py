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
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

import mapreduce
from mapreduce import code, events, interpreters, shared
from mapreduce.brokers import open_broker
from mapreduce.brokers.base import Broker
from mapreduce.brokers.memory import MemoryBroker, MemoryServer
from mapreduce.client import CancelClient, Client, Phase, ResumingClient, RetryingClient, WatchingClient
from mapreduce.display import texts
from mapreduce.display.base import Display
from mapreduce.display.choice import for_python
from mapreduce.display.quiet import Reports, Unwatched
from mapreduce.effects import Role
from mapreduce.errors import BrokerError, Cancelled, JobLost, OutputError, UsageError
from mapreduce.feeder import Feeder, input_items
from mapreduce.formats import DEFAULT, SEAMLESS
from mapreduce.host import Host, Reporter, log_to
from mapreduce.interpreters import Interpreter
from mapreduce.interrupts import Canceller, cancelling
from mapreduce.job import Job
from mapreduce.leases import LeaseKeeper
from mapreduce.pool import ExecutorPool
from mapreduce.progress import WaitNotice
from mapreduce.results import LeftOut, Output, Result, describe_left_out
from mapreduce.scratch import ScratchFolder
from mapreduce.spec import JobSpec
from mapreduce.submission import (
    Options,
    check_correction,
    choose_format,
    find_again,
    find_inputs,
    make_spec,
    new_job_id,
    refer,
    with_borders,
)
from mapreduce.views import JobView
from mapreduce.worker import Worker

__all__ = ["JobRun", "LeftOut", "Options", "Output", "Result", "describe_left_out", "run_job"]

CLOSE_SECS = 5.0


class JobRun:
    """One client at work. A context manager: leaving it ends child processes and removes temporary files."""

    def __init__(
        self,
        display: Optional[Display] = None,
        output_format: str = "",
        report: Optional[Reporter] = None,
    ) -> None:
        """``display``: what is shown; what tasks print, unless given. ``report``: takes the engine's own lines."""
        self._stack = contextlib.ExitStack()
        self.display = display or Unwatched()
        self._report = report or self.display.report
        self._rng = random.Random(secrets.randbits(64))
        try:
            self._scratch = ScratchFolder("mr-run-")
        except OSError as error:
            raise OutputError(f"cannot make a temporary folder: {error.strerror or error}") from error
        self._kept = False
        self._embedded = False
        self._resumed_inputs: Sequence[str] = ()
        self._wants_output = False
        self._view: Optional[JobView] = None  #: what is shown of the job
        self._corrected: Optional[tuple[Job, dict[str, Any]]] = None
        self._output_format = output_format
        self._close_secs = CLOSE_SECS
        self.client: Client
        self.host: Host

    @classmethod
    def submit(
        cls,
        job: Job,
        bundle: dict[str, Any],
        inputs: Sequence[str],
        options: Options,
        output_format: str = "",
        interpreter: Optional[Interpreter] = None,
        display: Optional[Display] = None,
    ) -> JobRun:
        """A new job. Nothing is sent before `collect`. Raises `MapReduceError`.

        ``output_format``: of the files that its output is for; "" where its pairs are wanted. Who fetches the output
        of a detached job may choose another.
        ``interpreter``: what ``options.python`` stood for, if it was found before the job was imported.
        """
        run = cls(display, output_format, options.report)
        try:
            interpreter = interpreter or interpreters.find(options.python)
            run._prepare(job, bundle, inputs, options, interpreter)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resume(
        cls,
        job_id: str,
        inputs: Sequence[str],
        broker: str,
        wants_output: bool = False,
        output_format: str = "",
        display: Optional[Display] = None,
    ) -> JobRun:
        """A job whose client died: `collect` goes on in its place. ``inputs``: none, or those of the job once more.

        ``wants_output``: `collect` is to raise `UsageError` if the job is a detached one, which brings none.
        ``output_format``: the same if its output comes in another format; "": whichever it was submitted for.
        """
        run = cls(display, output_format)
        run._resumed_inputs, run._wants_output = inputs, wants_output
        client = ResumingClient(job_id, run._scratch.path, mapreduce.__version__, run._rng)
        return run._attach(client, broker)

    @classmethod
    def attach(
        cls, job_id: str, broker: str, output_format: str = "", display: Optional[Display] = None
    ) -> JobRun:
        """A job that was submitted before, to collect its output. Raises `MapReduceError`.

        ``output_format``: "": whichever it was submitted for.
        """
        run = cls(display, output_format)
        return run._attach(Client(job_id, None, run._scratch.path, mapreduce.__version__, run._rng), broker)

    @classmethod
    def watch(
        cls, job_id: str, broker: str, output_format: str = "", display: Optional[Display] = None
    ) -> JobRun:
        """The same; but of a job that has a client of its own `collect` only waits for the end, and brings nothing."""
        run = cls(display, output_format)
        return run._attach(WatchingClient(job_id, run._scratch.path, mapreduce.__version__, run._rng), broker)

    @classmethod
    def retry(
        cls,
        job_id: str,
        broker: str,
        corrected: Optional[tuple[Job, dict[str, Any]]] = None,
        output_format: str = "",
        display: Optional[Display] = None,
    ) -> JobRun:
        """A job that has failed: `collect` lets it go on, and collects its output. Raises `MapReduceError`.

        ``corrected``: the job and its bundle, where the code is to be another one from now on.
        """
        run = cls(display, output_format)
        run._corrected = corrected
        return run._attach(RetryingClient(job_id, run._scratch.path, mapreduce.__version__, run._rng), broker)

    @classmethod
    def to_cancel(cls, job_id: str, broker: str) -> JobRun:
        """A job that was submitted before, to end it: `collect` returns when it has ended so, and raises otherwise."""
        run = cls(Reports())
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

    def _prepare(
        self,
        job: Job,
        bundle: dict[str, Any],
        inputs: Sequence[str],
        options: Options,
        interpreter: Interpreter,
    ) -> None:
        fmt = choose_format(job, options)
        found = find_inputs(inputs, fmt, options.split_bytes, self._spool)
        spec = make_spec(job, bundle, fmt, options, found, interpreter.tag)
        wanted = self._output_format
        if wanted in SEAMLESS and not options.detached:  # then executors write what is to stand in the files
            spec = replace(spec, output=wanted)
        spec = replace(spec, format=wanted)
        spec, found = with_borders(job, spec, found, self._scratch.path, self._report, interpreter)
        job_id = new_job_id(spec.name)
        self.client = Client(job_id, spec, self._scratch.path, mapreduce.__version__, self._rng)
        if options.broker is None:
            self.host = self._local(spec, options.executors, interpreter)
            goes_as_reference = refer(True, None)
        else:
            self.host = self._remote(options.broker)
            goes_as_reference = refer(options.shared, self._spool)
        self.host.feeder = Feeder(input_items(found.splits, fmt, goes_as_reference), self.host.post)

    @property
    def output_format(self) -> str:
        """What the output is to look like, once there is some: as is said now, or was when it was submitted."""
        spec = self.client.state.spec
        return self._output_format or (spec.format if spec is not None else "") or DEFAULT

    @property
    def _spool(self) -> str:
        """Where streams are kept that can be read once only."""
        return os.path.join(self._scratch.path, "stdin")

    def _local(self, spec: JobSpec, executors: Optional[int], interpreter: Interpreter) -> Host:
        """All roles in this process."""
        slots = executors or os.cpu_count() or 1
        broker = MemoryBroker(MemoryServer())
        self.client.by_reference = broker.by_reference
        pool = self._stack.enter_context(contextlib.closing(ExecutorPool(slots, interpreter, ahead=1)))
        queues = (events.tasks_queue(spec.pool, spec.interpreter),)
        worker = Worker("local", slots, queues, self._scratch.path, broker.by_reference, self._rng)
        return self._host(broker, [self.client, LeaseKeeper("local", self._rng), worker], pool)

    def _remote(self, url: str) -> Host:
        broker = open_broker(url)
        self._stack.callback(lambda: broker.close(self._close_secs))
        return self._host(broker, [self.client, WaitNotice(self.client)])

    def _host(self, broker: Broker, roles: list[Role], pool: Optional[ExecutorPool] = None) -> Host:
        self._canceller = Canceller(self.client)
        host = Host(broker, [*roles, self._canceller], log_to(self._report), pool)
        self._stack.callback(host.close)
        self._embedded = pool is not None
        host.watch = self.display.refresh
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

        An attached client just leaves: the job is not its own. So does one that was interrupted a second time.
        """
        interrupted = not isinstance(error, Exception)
        if interrupted and self._canceller.signal:
            self._close_secs = 0.0
            return
        started = self.client.phase not in (Phase.SUBMITTING, Phase.DONE)
        if self._embedded or not started or isinstance(error, BrokerError):
            return
        reason = "its client was interrupted" if interrupted else f"its client failed: {error}"
        with contextlib.suppress(BrokerError):
            self.host.perform(self.client, self.client.cancel(reason, time.monotonic()))
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

        For a detached job: until it needs us no more; the output is then empty, as it is if it is not ours to take.
        """
        with cancelling(self.host.post), self._shown():
            self.host.connect()
            if isinstance(self.client, ResumingClient):
                self._go_on(self.client)
            elif isinstance(self.client, RetryingClient):
                self._retry(self.client)
            elif self.client.phase is Phase.SUBMITTING and not self._embedded:
                self._submit()
            self.host.run(lambda: self.client.finished or self.client.phase is Phase.COLLECTED)
        if self.client.error is not None:
            error = self.client.error
            if isinstance(error, Cancelled) and self._canceller.signal:
                error.exit_code = 128 + self._canceller.signal
            self._tell_what_is_kept()
            raise error
        if self.client.collected is None:  # it is not for us
            return Output.none()
        return Output.of(self.client.collected)

    def bring(self, output: Output) -> Output:
        """The same, less what lies in a folder that goes with the job. Raises `OutputError`."""
        spec = self.client.state.spec
        if spec is None or not spec.shared_dir:
            return output
        path = os.path.join(self._scratch.path, "copied")
        try:
            return replace(
                output, parts=[(part, shared.copied(blocks, path)) for part, blocks in output.parts]
            )
        except OSError as error:
            raise OutputError(
                f"cannot copy the job's output to {self._scratch.path}: {error.strerror or error}"
            ) from error

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """What happens is shown until the output is here, or will not come."""
        self._view = self.display.new_view()
        if self._view is not None:
            self.client.follow(self._view)
        if not isinstance(self.client, RetryingClient):  # if that is refused, all that was is of no interest
            self._begin_to_show()
        try:
            yield
        finally:
            self.display.stop()

    def _begin_to_show(self) -> None:
        if self._view is not None:
            self.display.begin(self._view, self._embedded)

    def _submit(self) -> None:
        """Whoever kills this process must know what to go on with."""
        self.host.run(lambda: self.client.finished or self.client.phase is not Phase.SUBMITTING)
        if not self.client.finished:
            self._report("info", f"job {self.client.job} is submitted")

    def _go_on(self, client: ResumingClient) -> None:
        """Feed what the client before us has not fed. If that cannot be read, nobody has noticed us."""
        self.host.run(lambda: client.finished or client.looked)
        spec = client.state.spec
        if client.finished or spec is None:
            return
        if spec.detached and self._wants_output:
            raise UsageError(
                f"job {client.job} was submitted with --detach, and -o does not go with it; fetch the output later: "
                f"mr results {client.job} -o DIR"
            )
        self._check_format(spec)
        all_in = client.state.stages[0].total is not None
        again = iter(()) if all_in else find_again(client.job, spec, self._resumed_inputs, self._spool)
        self.host.perform(client, client.claim())
        self.host.run(lambda: client.finished or client.phase is not Phase.RESUMING)
        if not client.lacks_input:  # all in by now
            return
        rest = itertools.islice(again, client.fed, None)
        fed = client.state.splits.values()
        shared = any(not each.pieces and any(part.path for part in each.split.segments) for each in fed)
        items = input_items(rest, spec.input, refer(shared, self._spool))
        self.host.feeder = Feeder(items, self.host.post)
        self.host.perform(client, client.feed())

    def _tell_what_is_kept(self) -> None:
        """What can be done about a job that has failed on a broker."""
        state, job = self.client.state, self.client.job
        refused = isinstance(self.client, RetryingClient) and not self.client.retried
        if self._embedded or state.spec is None or not state.kept or refused:
            return
        ways = [f"mr debug {job}", *([f"mr retry {job} [FILE]"] if state.can_go_on else [])]
        self._report("info", f"job {job} is kept for {texts.secs(state.spec.keep_secs)}: {', '.join(ways)}")

    def _check_format(self, spec: JobSpec) -> None:
        if spec.output and self._output_format not in ("", spec.output):
            raise UsageError(
                f"job {self.client.job} was submitted with --format {spec.output}, and goes on with that: "
                f"say --format {spec.output}"
            )

    def _retry(self, client: RetryingClient) -> None:
        """Let it go on, if that is possible: else nobody has noticed us."""
        self.host.run(lambda: client.finished or client.looked)
        spec = client.state.spec
        if client.finished or spec is None:
            return
        self._check_format(spec)
        bundle = None
        if self._corrected is not None:
            job, bundle = self._corrected
            check_correction(client.job, spec, job, bundle.get("main", "the job"))
        self._begin_to_show()
        self.host.perform(client, client.retry(bundle))
        self.host.run(lambda: client.finished or client.phase is not Phase.RESUMING)
        if not client.finished:
            self._report("info", f"job {client.job} goes on")

    @property
    def brings_output(self) -> bool:
        """Whether `collect` has brought any; not that of a job that goes on without us, or has a client of its own."""
        return self.client.collected is not None

    def deliver(self) -> None:
        """Tell the job's coordinator that the output is where it belongs.

        Without a broker there is nobody to tell: all that the job owned goes with this process.
        """
        if not self._embedded:
            self.host.perform(self.client, self.client.deliver())
            self.host.run(lambda: self.client.finished)


def run_job(job: Job, inputs: Union[str, Sequence[str]], **options: Any) -> Result:
    """Run a job on files, folders, globs or URLs; see `Options` for the rest. Raises `MapReduceError`."""
    try:
        names = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
        names = [os.fspath(name) for name in names]
    except TypeError as error:
        raise UsageError(f"job.run: inputs are names of files, folders, patterns or URLs: {error}") from error
    chosen = Options.of(options)
    if chosen.detached:
        raise UsageError("job.run cannot detach, it returns the results; use `mr run --detach`")
    display = for_python(chosen.progress)
    with display, JobRun.submit(job, code.from_object(job), names, chosen, display=display) as run:
        output = run.bring(run.collect())
        run.deliver()
        run.release()
        return Result(run.keep(), output)
