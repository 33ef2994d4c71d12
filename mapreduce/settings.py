"""What both a job and one run of it can set: how a task is tried, and within which limits.

`Job(…)`, `job.run(…)` and `mr run` share these; what is None is left to whoever comes next: the run's own
settings win over the job's, and those over the defaults of `spec.JobSpec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Callable, Optional, TypeVar

from mapreduce import units
from mapreduce.frozen import frozen
from mapreduce.spec import DEFAULT_TRIES

T = TypeVar("T")


@frozen
class Settings:
    """Checked. `tries` and `stage_tries` together: the number for every stage, and for single ones."""

    tries: Optional[int] = None
    stage_tries: Mapping[int, int] = field(default_factory=dict)
    skip_bad: Optional[int] = None
    task_timeout_secs: Optional[float] = None
    max_memory: Optional[int] = None

    @classmethod
    def of(cls, tries: Any, skip_bad: Any, task_timeout: Any, max_memory: Any) -> Settings:
        """From what users give. ``tries``: a number, or a dict of stage → number.

        Raises ValueError with a line for people.
        """
        by_stage = dict(tries) if isinstance(tries, Mapping) else {}
        everywhere = by_stage.pop(None, None) if isinstance(tries, Mapping) else tries
        for stage, number in by_stage.items():
            if not _is_whole(stage, 0):
                raise ValueError(f"tries: stages are numbered from 0 on, {stage!r} is none")
            _check_tries(number)
        if everywhere is not None:
            _check_tries(everywhere)
        if skip_bad is not None and not _is_whole(skip_bad, 0):
            raise ValueError(f"skip_bad is a whole number from 0 on, not {skip_bad!r}")
        return cls(
            everywhere,
            by_stage,
            skip_bad,
            _parsed("task_timeout", task_timeout, units.seconds),
            _parsed("max_memory", max_memory, units.size),
        )

    def over(self, other: Settings) -> Settings:
        """These, and where they say nothing the other's. One number for all stages wins over all of the other's."""
        return Settings(
            _first(self.tries, other.tries),
            {**({} if self.tries is not None else other.stage_tries), **self.stage_tries},
            _first(self.skip_bad, other.skip_bad),
            _first(self.task_timeout_secs, other.task_timeout_secs),
            _first(self.max_memory, other.max_memory),
        )

    def for_spec(self, stages: int) -> dict[str, Any]:
        """The fields of a `JobSpec` with ``stages`` stages. Raises ValueError for a stage that it does not have."""
        for stage in self.stage_tries:
            if stage >= stages:
                known = "stage 0 alone" if stages == 1 else f"stages 0 to {stages - 1}"
                raise ValueError(f"tries: there is no stage {stage}, the job has {known}")
        return {
            "tries": self.tries or DEFAULT_TRIES,
            "stage_tries": dict(self.stage_tries),
            "skip_bad": self.skip_bad or 0,
            "task_timeout_secs": self.task_timeout_secs or 0.0,
            "max_memory": self.max_memory or 0,
        }


def _first(value: Optional[T], other: Optional[T]) -> Optional[T]:
    return value if value is not None else other


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 2**31


def _check_tries(value: Any) -> None:
    if not _is_whole(value, 1):
        raise ValueError(f"tries is a whole number from 1 on, or a dict of stage → number, not {value!r}")


def _parsed(name: str, value: Any, parse: Callable[[Any], T]) -> Optional[T]:
    try:
        return None if value is None else parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
