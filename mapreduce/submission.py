"""From what users give to what is submitted: options and a job → `JobSpec`, names of inputs → splits."""

from __future__ import annotations

import itertools
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, Optional, Union

from mapreduce import code, codec, config, events, splits, units
from mapreduce.errors import InputError, JobError, UsageError
from mapreduce.frozen import frozen
from mapreduce.host import Reporter
from mapreduce.interpreters import Interpreter
from mapreduce.job import Job, SampledRanges, input_format
from mapreduce.refs import Split
from mapreduce.sampling import sample_borders
from mapreduce.settings import Settings
from mapreduce.spec import (
    DEFAULT_KEEP_SECS,
    DEFAULT_PARTITIONS,
    DEFAULT_RETAIN_SECS,
    DEFAULT_SPLIT_BYTES,
    MAX_PARTITIONS,
    InputFormat,
    JobSpec,
)

Refer = Callable[[Split], bool]


@dataclass(frozen=True)
class Options:
    """Settings of one run. What is None takes the job's own choice, or else the default."""

    broker: Optional[str] = None  #: None: this machine, no broker
    params: Mapping[str, Any] = field(default_factory=dict)  #: texts are converted by the parameter's type
    executors: Optional[int] = None  #: without a broker; None: one per core
    partitions: Optional[int] = None
    split_bytes: int = DEFAULT_SPLIT_BYTES
    #: how often a task is tried; a dict: of single stages, with None for all others
    tries: Union[None, int, Mapping[Optional[int], int]] = None
    #: how many records may be left out because the job's functions fail on them
    skip_bad: Optional[int] = None
    task_timeout: Union[None, float, str] = None  #: how long one try may take: seconds, or "90s", "5m"
    max_memory: Union[None, int, str] = None  #: of one child process: bytes, or "300M", "2G"
    copies: bool = True  #: run slow tasks near the end of a stage a second time elsewhere
    input: Union[None, str, InputFormat] = None
    #: for input that is not UTF-8: "strict", "replace", "latin-1"; None: the input format's own
    encoding_errors: Optional[str] = None
    #: what runs the job's functions, without a broker; with one, for workers of its kind: a name or path as for
    #: `interpreters.find`; None: this Python
    python: Union[None, str, os.PathLike[str]] = None
    interpreter: Optional[str] = None  #: of workers: "any", or a tag; None: that of ``python``
    pool: str = "default"
    shared: bool = False  #: the input's paths exist on the workers too: send references
    #: a folder that the workers see too, by the same path: what tasks write goes there, and not through the broker;
    #: None: MR_SHARED_DIR, or there is none
    shared_dir: Union[None, str, os.PathLike[str]] = None
    detached: bool = False
    #: the job is given up when its client says nothing for so long; for detached jobs: while the input goes in
    client_timeout_secs: float = JobSpec.client_timeout_secs
    expiry_secs: float = JobSpec.expiry_secs  #: how long the results of a detached job wait to be collected
    #: how long the job's log is kept after the results were collected; None: MR_RETAIN, or ten minutes; without a
    #: broker not at all
    retain_secs: Optional[float] = None
    #: how long all of the job is kept after it has failed; None: MR_KEEP, or an hour; without a broker not at all
    keep_secs: Optional[float] = None
    profile: bool = False  #: note on which lines the time goes: `mr run --profile`
    #: whether to show how far the job has come; None: in a notebook alone
    progress: Optional[bool] = None
    report: Optional[Reporter] = None  #: takes the engine's own lines, which else go to standard error

    def __post_init__(self) -> None:
        """Raises `UsageError` for what makes no sense."""
        for name in ("executors", "partitions", "split_bytes"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{name} is a whole number from 1 on, not {value!r}")
        if self.partitions is not None and self.partitions > MAX_PARTITIONS:
            raise UsageError(f"partitions: at most {MAX_PARTITIONS}, not {self.partitions}")
        for name in ("pool", "interpreter"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and events.is_name(value)):
                raise UsageError(f"{name} {str(value)[:70]!r}: up to 64 letters, digits, '-', '_' and '.'")
        for name in ("client_timeout_secs", "expiry_secs", "retain_secs", "keep_secs"):
            value = getattr(self, name)
            least = "0 on" if name in ("retain_secs", "keep_secs") else "above 0"
            if value is None and least == "0 on":
                continue
            fits = type(value) in (int, float) and math.isfinite(value)
            if not fits or value < 0 or (value == 0 and least == "above 0"):
                raise UsageError(f"{name} is a number of seconds, {least}, not {value!r}")
        for name in ("copies", "shared", "detached", "profile"):
            if type(getattr(self, name)) is not bool:
                raise UsageError(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.progress is not None and type(self.progress) is not bool:
            raise UsageError(f"progress is True, False or None, not {self.progress!r}")
        if self.python is not None and not isinstance(self.python, (str, os.PathLike)):
            raise UsageError(f"python is the name or path of an interpreter, not {self.python!r}")
        if self.shared_dir is not None and not isinstance(self.shared_dir, (str, os.PathLike)):
            raise UsageError(f"shared_dir is the path of a folder, not {self.shared_dir!r}")
        if not isinstance(self.params, Mapping):
            raise UsageError(f"params is a dict of name → value, not {self.params!r}")
        if self.input is not None and not isinstance(self.input, (str, InputFormat)):
            raise UsageError(
                f'input is a format such as "lines" or "csv", or an InputFormat, not {self.input!r}'
            )
        _ = self.settings, self.kept, self.shared_folder

    @property
    def kept(self) -> dict[str, Any]:
        """`JobSpec.retain_secs` and `JobSpec.keep_secs`. Raises `UsageError` for what the environment says."""
        with_broker = self.broker is not None
        retain, keep = self.retain_secs, self.keep_secs
        if retain is None:
            retain = _time("MR_RETAIN", config.retain_time(), DEFAULT_RETAIN_SECS) if with_broker else 0.0
        if keep is None:
            keep = _time("MR_KEEP", config.keep_time(), DEFAULT_KEEP_SECS) if with_broker else 0.0
        return {"retain_secs": retain, "keep_secs": keep}

    @property
    def shared_folder(self) -> str:
        """`JobSpec.shared_dir`; "" without a broker. Raises `UsageError` for what is no folder."""
        named = self.shared_dir or config.shared_dir()
        if self.broker is None or not named:
            return ""
        path = os.path.abspath(os.fspath(named))
        if not os.path.isdir(path):
            raise UsageError(f"there is no folder {path} that workers could share (--shared-dir)")
        return path

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From the keywords of `job.run`. Raises `UsageError`, also for one that there is not."""
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                import difflib  # late: only here

                close = difflib.get_close_matches(name, known, 1, cutoff=0.65)
                there_is = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
                raise UsageError(f"job.run has no option {name!r}; {there_is}")
        return cls(**given)

    @property
    def settings(self) -> Settings:
        """How tasks are tried. Raises `UsageError`."""
        try:
            return Settings.of(self.tries, self.skip_bad, self.task_timeout, self.max_memory)
        except ValueError as error:
            raise UsageError(str(error)) from error


def _time(name: str, text: Optional[str], default: float) -> float:
    """What a variable says, in seconds."""
    try:
        return default if text is None else 0.0 if text.strip() in ("0", "0s") else units.seconds(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


@frozen
class Inputs:
    """What the client reads, once it is known to be there."""

    names: tuple[str, ...]
    splits: Iterator[Split]
    listing: str  #: see `JobSpec`


def find_inputs(names: Sequence[str], fmt: InputFormat, split_bytes: int, spool: str) -> Inputs:
    """List and plan. What is wrong with the names, or the first file, shows now. Raises `MapReduceError`."""
    files = splits.list_inputs(names)
    planned = splits.cut(files, fmt, split_bytes, spool)
    return Inputs(tuple(names), _begun(planned), splits.digest(files))


def _begun(planned: Iterator[Split]) -> Iterator[Split]:
    """The same, with the first one there already."""
    return itertools.chain(list(itertools.islice(planned, 1)), planned)


def find_again(job: str, spec: JobSpec, names: Sequence[str], spool: str) -> Iterator[Split]:
    """The splits of a job once more, all of them. ``names``: of the inputs, if they are given again.

    Raises `InputError` for input that cannot be read again, or is not what it was.
    """
    if not spec.listing:
        raise InputError(
            f"job {job}: its input was not all in, and cannot be read again (standard input or a pipe); submit it anew"
        )
    files = splits.list_inputs(names or spec.inputs, "" if names else spec.directory)
    now = splits.digest(files)
    if now != spec.listing:
        before, after = (text.split(":") if text else ["?", "?"] for text in (spec.listing, now))
        raise InputError(
            f"job {job}: its input is not what it was: {before[0]} files of {before[1]} bytes then, {after[0]} of "
            f"{after[1]} now, or other names or times; put it back, or submit the job anew"
        )
    return _begun(splits.cut(files, spec.input, spec.split_bytes, spool))


def choose_format(job: Job, options: Options) -> InputFormat:
    """How the input is read. Raises `UsageError`."""
    try:
        chosen = options.input if options.input is not None else job.input
        fmt = input_format(chosen) if isinstance(chosen, str) else chosen or InputFormat()
    except JobError as error:  # the job's own has been looked at when the job was made
        raise UsageError(str(error)) from error
    return fmt if options.encoding_errors is None else replace(fmt, errors=options.encoding_errors)


def make_spec(
    job: Job,
    bundle: dict[str, Any],
    fmt: InputFormat,
    options: Options,
    inputs: Inputs,
    tag: Optional[str] = None,
) -> JobSpec:
    """The job as plain data. ``tag``: of the interpreter that is to run it; None: this one's. Raises
    `MapReduceError`.
    """
    own = code.interpreter_tag()
    tag = tag or own
    params = {n: job.convert(n, v) if isinstance(v, str) else v for n, v in options.params.items()}
    job.bind(params)
    for name, value in params.items():
        try:
            codec.pack(value)
        except codec.UnsupportedValue as error:
            raise JobError(f"the parameter {name} cannot travel: {error}") from error
    try:
        settings = options.settings.over(job.settings).for_spec(len(job.stages))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.python is not None and options.interpreter not in (None, "any", tag):
        raise UsageError(
            f"python {str(options.python)!r} is {tag}, not the interpreter {options.interpreter!r}"
        )
    spec = JobSpec(
        name=job.name or bundle.get("main", "job").rpartition(".")[0] or "job",
        bundle=bundle,
        params=params,
        stages=len(job.stages),
        partitions=options.partitions or job.partitions or DEFAULT_PARTITIONS,
        partitioned=_partitioned(job),
        input=fmt,
        split_bytes=options.split_bytes,
        **settings,
        copies=options.copies,
        interpreter=options.interpreter or tag,
        pool=options.pool,
        detached=options.detached,
        client_timeout_secs=options.client_timeout_secs,
        expiry_secs=options.expiry_secs,
        **options.kept,
        profile=options.profile,
        shared_dir=options.shared_folder,
        inputs=inputs.names,
        directory=os.getcwd() if inputs.listing else "",
        listing=inputs.listing,
    )
    if (tag != own or spec.interpreter not in ("any", own)) and bundle.get("kind") == "pickle":
        other = tag if tag != own else spec.interpreter
        raise UsageError(
            f"a job that travels as a pickle runs on {own} only, not on {other!r}: put it into a file of its own"
        )
    return spec


def with_borders(
    job: Job, spec: JobSpec, inputs: Inputs, directory: str, report: Reporter, interpreter: Interpreter
) -> tuple[JobSpec, Inputs]:
    """The same, with the borders of its key ranges if the job wants them sampled: then all splits are planned first."""
    if not isinstance(job.stages[0].partition, SampledRanges):
        return spec, inputs
    planned = list(inputs.splits)
    borders = sample_borders(planned, spec, directory, report, interpreter)
    return replace(spec, boundaries={0: borders}), replace(inputs, splits=iter(planned))


def check_correction(job_id: str, spec: JobSpec, job: Job, main: str) -> None:
    """Whether ``job``, from the file ``main``, can go on with what a submitted job has done. Raises `UsageError`.

    What is done stays as it is, so the stages, and how keys get to partitions, must be those that there were.
    """
    if len(job.stages) != spec.stages:
        counts = f"{_count(len(job.stages))}, and job {job_id} has {spec.stages}"
        raise UsageError(f"{main}: {counts}; it cannot go on with it, submit it anew")
    sampled = {
        number for number, stage in enumerate(job.stages) if isinstance(stage.partition, SampledRanges)
    }
    if sampled != set(spec.boundaries) or _partitioned(job) != spec.partitioned:
        raise UsageError(
            f"{main}: job {job_id} partitions in another way; it cannot go on with it, submit it anew"
        )
    try:
        job.bind(spec.params)
    except JobError as error:
        raise UsageError(f"{main}: job {job_id} was submitted with other parameters: {error}") from error


def _partitioned(job: Job) -> tuple[int, ...]:
    """The stages that have a function for it."""
    functions = (
        None if isinstance(stage.partition, SampledRanges) else stage.partition for stage in job.stages
    )
    return tuple(number for number, function in enumerate(functions) if function is not None)


def _count(stages: int) -> str:
    return f"{stages} stage{'' if stages == 1 else 's'}"


def new_job_id(name: str) -> str:
    """A name for the job that is unique, fits in a queue's name and tells people something."""
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', name)[:40].strip('-') or 'job'}-{secrets.token_hex(4)}"


def refer(by_reference: bool, spool: Optional[str]) -> Refer:
    """Which splits go as references: URLs always, files if the workers see them; never our copy of standard input."""

    def goes_as_reference(split: Split) -> bool:
        if any("://" in segment.path for segment in split.segments):  # then all are: see `splits.plan`
            return True
        ours = spool is not None and any(segment.path.startswith(spool) for segment in split.segments)
        return by_reference and not ours

    return goes_as_reference
