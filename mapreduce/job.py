"""What users write: a `Job` of plain functions, and the few names that their functions may call.

    from mapreduce import Job

    def words(line):
        for word in line.split():
            yield word, 1

    def total(word, counts):
        yield word, sum(counts)

    job = Job(words, reduce=total, combine=total)

The functions stay plain: they can be called and tested without the engine. A job is frozen; `Job.then` gives
a new one with one more step. What one process of the engine does at a time is a *stage*: stage 0 runs the
first step's map; stage k reduces what stage k-1 wrote and runs the map of the step after, if that has one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, TypeVar, Union

from mapreduce import parameters
from mapreduce.errors import JobError
from mapreduce.frozen import frozen
from mapreduce.settings import Settings
from mapreduce.spec import InputFormat

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

#: distinct counters of one task; each travels in the task's `Done` and is kept by all who read the log
MAX_COUNTERS = 1000
MAX_COUNTER_NAME = 200

# ---------------------------------------------------------------- what functions may call


class TooManyCounters(Exception):
    """`count` was given more names than a task may have, or one too long."""


class Context:
    """What this process is doing, for `count`, `source` and `Job.run`: usually, running a task."""

    def __init__(self, source: str = "", loading: bool = False) -> None:
        self.counters: dict[str, int] = {}
        self.source = source
        #: the module that holds the job is being imported
        self.loading = loading
        self._refused: Optional[TooManyCounters] = None

    def new_counter(self, name: str) -> None:
        """Make room for one more. Raises `TooManyCounters`."""
        if len(name) > MAX_COUNTER_NAME:
            text = f"the name of a counter has at most {MAX_COUNTER_NAME} characters, this one {len(name)}"
        elif len(self.counters) >= MAX_COUNTERS:
            text = f"more than {MAX_COUNTERS} different counters in one task, the last one {name!r}"
        else:
            self.counters[name] = 0
            return
        self._refused = TooManyCounters(f"{text}: is data counted by its value? Yield it as (key, 1) instead")
        raise self._refused

    def check(self) -> None:
        """Raise again what `new_counter` raised: user code may have caught it."""
        if self._refused is not None:
            raise self._refused


#: One task at a time runs in a process. Not a context variable, for threads that user code starts would not
#: see it.
_context = Context()


def enter(context: Context) -> Context:
    """The engine, around each task: make ``context`` the current one. Returns the one before."""
    global _context
    before, _context = _context, context
    return before


def count(name: str, n: int = 1) -> None:
    """Add ``n`` to the job's counter ``name``. Counted once per task, however often the task is tried.

    A task may have 1,000 of them, with names of up to 200 characters. Outside a task (in a test of the
    function, say) it does nothing that anybody sees.
    """
    if type(name) is not str or type(n) is not int:
        raise TypeError(f"count({name!r}, {n!r}): the name of a counter is a str, what is added an int")
    counters = _context.counters
    if name not in counters:
        _context.new_counter(name)
    counters[name] += n


def source() -> str:
    """Name of the input file that holds the current record, as it was given to the job; "" in a reduce."""
    return _context.source


def whole(function: F) -> F:
    """Decorator: the function gets all of a task's input at once, as an iterator, and yields pairs.

    A map gets the iterator of records, a reduce that of (key, values) in order of key. What stands before its
    loop runs once at the start of the task, what stands after it at the end.
    """
    if not parameters.is_python(function):
        raise JobError(f"whole: {parameters.name_of(function)} is not a function written in Python")
    function.__mapreduce_whole__ = True  # type: ignore[attr-defined]
    return function


def is_whole(function: Function) -> bool:
    """Whether ``function`` was decorated with `whole`."""
    return getattr(parameters.unwrap(function), "__mapreduce_whole__", False) is True


@frozen
class SampledRanges:
    """The mark that `sampled_ranges` returns: the engine chooses the borders."""


def sampled_ranges() -> SampledRanges:
    """For ``partition=``: ranges of keys, with borders from a sample of the input.

    Every key of a partition is then less than every key of the next, so that the output as a whole is sorted.
    For the first step only: what later steps read is not there when the job is submitted.
    """
    return SampledRanges()


Partition = Union[Function, SampledRanges]

# ---------------------------------------------------------------- steps and stages


@frozen
class Fold:
    """A fold ``f(values) -> value`` in the shape of a reduce or combine."""

    function: Function

    def __call__(self, key: Any, values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        return iter(((key, self.function(values)),))


@frozen
class Step:
    """One map and one reduce with their relatives, as the user gave them."""

    map: Optional[Function] = None
    reduce: Optional[Function] = None
    combine: Optional[Function] = None
    fold: Optional[Function] = None
    partition: Optional[Partition] = None

    @property
    def shuffles(self) -> bool:
        """Whether pairs are brought together by key at the end of it."""
        return self.reduce is not None or self.fold is not None

    @property
    def reducer(self) -> Optional[Function]:
        """What turns groups into pairs."""
        return Fold(self.fold) if self.fold is not None else self.reduce

    @property
    def combiner(self) -> Optional[Function]:
        """What shrinks the pairs before they travel."""
        return Fold(self.fold) if self.fold is not None else self.combine

    def functions(self) -> dict[str, Function]:
        """Those that are given, by role."""
        roles = {name: getattr(self, name) for name in ("map", "reduce", "combine", "fold", "partition")}
        return {role: f for role, f in roles.items() if f is not None and not isinstance(f, SampledRanges)}


@frozen
class Stage:
    """What one task runs, from what it reads to what it writes.

    Stage 0 has no reduce: ``map`` gets records. Later: ``reduce`` gets the groups that the stage before
    wrote, and ``map``, if there is one, the pairs that come out of it, each as one tuple. ``combine`` and
    ``partition`` are for what the stage writes; the last stage writes plain output and has neither.
    ``reduce`` and ``combine`` may each be a `Fold`.
    """

    reduce: Optional[Function]
    map: Optional[Function]
    combine: Optional[Function]
    partition: Optional[Partition]


@dataclass(frozen=True, init=False)
class Job:
    """A job: functions and a few settings.

    ``map(record)`` returns or yields (key, value) tuples. ``reduce(key, values)`` does so too, for each key
    once, in order of keys. ``combine`` has the shape of reduce and may run any number of times on parts of
    the values; what it does may not depend on `random`. ``fold(values)``: one associative function that is both.
    ``partition(key, n)`` names the partition, 0 to n-1, that a key goes to, a function of the key alone; or
    `sampled_ranges()`. No function may change a value after it has yielded it: pairs are written later, and when
    is not told.

    ``name``: of the job, for people. ``input``: "lines" (the default), "jsonl", "csv", "files", "fixed:BYTES"
    or an `InputFormat`. ``partitions``: how many the pairs are spread over. ``tries``: how often a task is tried,
    or a dict of stage → number. ``skip_bad``: how many records may be left out because the job's functions fail
    on them. ``task_timeout``: how long a try may take, in seconds or as "5m". ``max_memory``: of a child process,
    in bytes or as "300M". Options of the run win over all of these.

    Raises `JobError` for what cannot work.
    """

    steps: tuple[Step, ...]
    name: Optional[str]
    input: Optional[InputFormat]
    partitions: Optional[int]
    settings: Settings

    def __init__(
        self,
        map: Function,
        reduce: Optional[Function] = None,
        combine: Optional[Function] = None,
        fold: Optional[Function] = None,
        partition: Optional[Partition] = None,
        *,
        name: Optional[str] = None,
        input: Union[str, InputFormat, None] = None,
        partitions: Optional[int] = None,
        tries: Union[int, Mapping[int, int], None] = None,
        skip_bad: Optional[int] = None,
        task_timeout: Union[float, str, None] = None,
        max_memory: Union[int, str, None] = None,
    ) -> None:
        if map is None:
            raise JobError("a job needs a map: Job(map, reduce=…)")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise JobError(f"name is a text for people, not {name!r}")
        if input is not None and not isinstance(input, (str, InputFormat)):
            raise JobError(f'input is a format such as "lines" or "csv", or an InputFormat, not {input!r}')
        step = Step(map, reduce, combine, fold, partition)
        _check_step(step)
        if partitions is not None and (type(partitions) is not int or partitions < 1):
            raise JobError(f"partitions is a whole number from 1 on, not {partitions!r}")
        # frozen: the class's own way to set what it was asked to hold
        object.__setattr__(self, "steps", (step,))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "input", input_format(input) if isinstance(input, str) else input)
        object.__setattr__(self, "partitions", partitions)
        try:
            settings = Settings.of(tries, skip_bad, task_timeout, max_memory)
        except ValueError as error:
            raise JobError(str(error)) from error
        object.__setattr__(self, "settings", settings)
        _ = self.parameters  # a clash of defaults is an error of the constructor

    def then(
        self,
        map: Optional[Function] = None,
        *,
        reduce: Optional[Function] = None,
        combine: Optional[Function] = None,
        fold: Optional[Function] = None,
        partition: Optional[Partition] = None,
    ) -> Job:
        """This job and one more step, which reads the (key, value) tuples that come out of it.

        ``map((key, value))`` returns or yields pairs; without it, pairs go to the reduce as they are. Raises
        `JobError`.
        """
        step = Step(map, reduce, combine, fold, partition)
        if not step.functions():
            raise JobError("then: give a map, a reduce or both")
        _check_step(step)
        if not self.steps[-1].shuffles:
            raise JobError("then: the step before has no reduce; let its map do what this one should")
        if isinstance(partition, SampledRanges):
            raise JobError(
                "then: sampled_ranges() is for the first step, whose input can be sampled at submission"
            )
        job = self._with(self.steps + (step,))
        _ = job.parameters
        return job

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What tasks run; the last one writes the output."""
        result = []
        reduce: Optional[Function] = None
        for step in self.steps:
            result.append(Stage(reduce, step.map, step.combiner, step.partition))
            reduce = step.reducer
        if reduce is not None:
            result.append(Stage(reduce, None, None, None))
        return tuple(result)

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and defaults of what `-p NAME=VALUE` can set."""
        return parameters.collect(self._functions())

    def convert(self, name: str, text: str) -> Any:
        """The value that ``text`` stands for, by the type of the parameter's default. Raises `JobError`."""
        return parameters.convert(self.parameters, name, text)

    def bind(self, params: dict[str, Any]) -> Job:
        """This job with parameters set. Raises `JobError` for names that it does not have."""
        if not params:
            return self
        parameters.check_known(self.parameters, params)
        return self._with(tuple(_bind_step(step, params) for step in self.steps))

    def run(self, inputs: Any, broker: Optional[str] = None, **options: Any) -> Any:
        """Run the job and return its result, see `mapreduce.run.run_job`."""
        if _context.loading:
            raise JobError(
                'the job file calls run() while it is loaded: put that under if __name__ == "__main__"'
            )
        from mapreduce.run import run_job  # late: what users import must not drag the whole engine along

        return run_job(self, inputs, broker=broker, **options)

    def _functions(self) -> list[tuple[str, Function]]:
        return [item for step in self.steps for item in step.functions().items()]

    def _with(self, steps: tuple[Step, ...]) -> Job:
        job = object.__new__(Job)
        for field in dataclasses.fields(self):
            object.__setattr__(job, field.name, getattr(self, field.name))
        object.__setattr__(job, "steps", steps)
        return job


def input_format(text: str) -> InputFormat:
    """What "lines", "jsonl", "csv", "files" or "fixed:BYTES" names. Raises `JobError`."""
    kind, colon, size = text.partition(":")
    if kind == "fixed" and size.isdecimal() and int(size) > 0:
        return InputFormat("fixed", record_bytes=int(size))
    if kind in ("lines", "jsonl", "csv", "files") and not colon:
        return InputFormat(kind)
    raise JobError(f'input format {text!r}: choose "lines", "jsonl", "csv", "files" or "fixed:BYTES"')


def _check_step(step: Step) -> None:
    for role, function in step.functions().items():
        if not callable(function):
            raise JobError(f"{role} is not a function but {function!r}")
        parameters.check_arguments(role, function, 1 if is_whole(function) else parameters.ARGUMENTS[role])
        if is_whole(function) and role not in ("map", "reduce"):
            raise JobError(f"whole is for a map or a reduce, not for {role} {parameters.name_of(function)}")
    if step.fold is not None and (step.reduce is not None or step.combine is not None):
        raise JobError("fold is reduce and combine in one: give either fold or those")
    if step.combine is not None and step.reduce is None:
        raise JobError("combine without reduce: nothing would bring its results together")
    if step.partition is not None and not step.shuffles:
        raise JobError("partition without reduce: the output of a map stays in the order of its input")


def _bind_step(step: Step, params: dict[str, Any]) -> Step:
    bound = {role: parameters.bind(role, function, params) for role, function in step.functions().items()}
    return dataclasses.replace(step, **bound)
