"""A lightweight MapReduce engine: on the cores of one machine, or over AMQP on as many as you like.

The life of a job: a user's `Job` (`job`) becomes plain data (`code`, `spec`). The input is cut into splits
(`splits`). A task reads one split, runs the map and writes sorted blocks per partition (`task`, `sort`,
`order`, `codec`); a task of the next stage merges what all tasks wrote for its partition and reduces it.
Tasks run in child processes (`executor`, `pool`). Who runs what is decided by roles that are state machines
over one log of events (`coordinator`, `worker`, `client`, `state`), performed by one loop (`host`) on a
broker (`brokers`): RabbitMQ, or memory.

This file is what users import, and what `mr` begins with: it imports nothing until somebody asks for a name.
"""

from __future__ import annotations

#: as type checkers know it: `typing` is not imported for nothing
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mapreduce.errors import (
        BrokerError,
        BrokerRefused,
        BrokerUnsuitable,
        Cancelled,
        InputError,
        JobError,
        JobFailed,
        JobLost,
        MapReduceError,
        OutputError,
        UsageError,
    )
    from mapreduce.job import Job, count, sampled_ranges, source, whole
    from mapreduce.spec import InputFormat
else:  # which is of no use to them
    #: `import mapreduce` alone has always been enough for these
    _MODULES = ("errors", "job", "spec")

    def __getattr__(name: str) -> object:
        """Each name of `__all__`, when one of them is first asked for, and the modules that they come from."""
        if name in _MODULES:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mapreduce import errors, job, spec

        for module in (errors, job, spec):
            globals().update((each, value) for each, value in vars(module).items() if each in __all__)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})


__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "BrokerRefused",
    "BrokerUnsuitable",
    "Cancelled",
    "InputError",
    "InputFormat",
    "Job",
    "JobError",
    "JobFailed",
    "JobLost",
    "MapReduceError",
    "OutputError",
    "UsageError",
    "count",
    "sampled_ranges",
    "source",
    "whole",
]
