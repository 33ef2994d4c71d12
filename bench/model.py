"""What a benchmark is made of: a workload, who competes in it, what is measured, which goals are set. No I/O.

One run of one contender is a `Sample`: figures by name. ``seconds`` (of wall clock, the whole process) and
``cpu_seconds`` (user and system, of its processes and of the services that it uses) and ``input_bytes`` (of the files
that its command names) are always there; ``peak_mb`` and
its relatives where memory is watched (`bench.memory`); the rest is what a program says of itself (`Contender`).

All contenders run in turn within each round, so that whatever else the machine does is spread over them. Goals are
judged on the ratios of each round's own samples; what counts is the median of the rounds.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

Sample = Mapping[str, float]
#: the samples of one round, by contender
Round = Mapping[str, Sample]
#: what stands in output folders, as something that can be compared
Answer = Callable[[Path], str]

OURS, PEER, LIMIT = "ours", "peer", "limit"


@dataclass(frozen=True)
class Contender:
    """A command. ``{names}`` in it stand for inputs, for ``{output}``, a folder to write to, for ``{scratch}``, an
    empty folder, for what the services offer (``{broker}``), for ``{mr}``, and for interpreters: ``{python}``, ours,
    and ``{peers}``, that of the other engines.

    A line ``name number`` on its standard output is a figure of its own, which wins over one that was measured from
    outside: ``warm 17.3`` is what engines with servers of their own need once these are up.
    """

    name: str
    title: str
    command: str
    kind: str = OURS
    #: in how many rounds it runs, from the first one; None: in all
    rounds: Optional[int] = None
    #: its standard output is its answer, and goes to a file in the output folder
    prints_answer: bool = False
    #: the output folder has to be there; most programs insist on making it
    needs_folder: bool = False
    #: contenders of a group must have the same answer; None: it has none
    group: Optional[str] = ""
    #: of its environment
    variables: Mapping[str, str] = field(default_factory=dict)

    def uses(self, place: str) -> bool:
        return "{" + place + "}" in self.command


@dataclass(frozen=True)
class Goal:
    """A bound for what ``measure`` makes of a round; None: it is only stated.

    ``text`` has names of contenders in braces.
    """

    text: str
    bound: Optional[float]
    measure: Callable[[Round], float]
    at_least: bool = False
    unit: str = "×"
    #: whose time the goal bounds, and how many seconds would just do: a mark in the picture
    contender: Optional[str] = None
    allowed_secs: Optional[Callable[[Round], float]] = None


@dataclass(frozen=True)
class Verdict:
    """A goal, judged. ``value`` is the median of the rounds, None if nothing could be measured."""

    text: str
    bound: Optional[float]
    at_least: bool
    unit: str
    values: Sequence[float]
    value: Optional[float]
    met: bool
    contender: Optional[str] = None
    allowed_secs: Optional[float] = None

    @property
    def short_of_goal(self) -> Optional[float]:
        """The value in multiples of the bound, the other way round where more is better: up to 1 is met."""
        if self.value is None or self.bound is None:
            return None
        return self.bound / self.value if self.at_least else self.value / self.bound


@dataclass(frozen=True)
class Workload:
    """One table. ``inputs``, by name, make files: of full size, or small ones to try the whole thing."""

    name: str
    title: str
    #: for the reader of the table: what is done, and what has to be known about it
    about: str
    contenders: Sequence[Contender]
    goals: Sequence[Goal]
    answer: Answer
    inputs: Mapping[str, Callable[[bool], Path]] = field(default_factory=dict)
    #: rounds that give a steady median in reasonable time
    rounds: int = 5
    #: options of each `mr worker` beside a private RabbitMQ; none: no broker is started
    workers: Sequence[str] = ()
    #: watch the peak memory of all processes: in the first round only, for with many threads it takes some time
    memory: bool = False


# ---------------------------------------------------------------- goals


def at_most(
    bound: float, contender: str, of: Optional[str] = None, figure: str = "seconds", unit: str = "s"
) -> Goal:
    """The contender's figure is at most ``bound``, or ``bound`` times that of another."""
    if of is None:
        return Goal(
            f"{{{contender}}} ≤ {bound:g} {unit}",
            bound,
            lambda one: one[contender][figure],
            unit=unit,
            contender=contender,
            allowed_secs=(lambda one: bound) if figure == "seconds" else None,
        )
    return Goal(
        f"{{{contender}}} ≤ {bound:g} × {{{of}}}",
        bound,
        lambda one: one[contender][figure] / one[of][figure],
        contender=contender,
        allowed_secs=(lambda one: bound * one[of]["seconds"]) if figure == "seconds" else None,
    )


def faster(bound: float, contender: str, than: str, warm: bool = False) -> Goal:
    """The contender needs so many times less time than another; ``bound`` 1: it is faster.

    ``warm``: than the other needs once its servers are up, as those of the contender are.
    """
    text = f"≥ {bound:g} × faster" if bound != 1 else "faster"
    figure = "warm" if warm else "seconds"
    return Goal(
        f"{{{contender}}} {text} than {{{than}}}{' (warm)' if warm else ''}",
        bound,
        lambda one: one[than][figure] / one[contender]["seconds"],
        at_least=True,
        contender=contender,
        allowed_secs=lambda one: one[than][figure] / bound,
    )


def stated(text: str, unit: str, measure: Callable[[Round], float]) -> Goal:
    """No goal, but a figure that has to be known."""
    return Goal(text, None, measure, unit=unit)


def judge(goal: Goal, rounds: Sequence[Round], titles: Mapping[str, str]) -> Verdict:
    """What has become of a goal. Rounds in which one of its contenders did not run do not count."""
    values = _in_each(goal.measure, rounds)
    value = statistics.median(values) if values else None
    if value is None or goal.bound is None:
        met = value is not None
    else:
        met = value >= goal.bound if goal.at_least else value <= goal.bound
    allowed = _in_each(goal.allowed_secs, rounds) if goal.allowed_secs else []
    return Verdict(
        goal.text.format_map(titles),
        goal.bound,
        goal.at_least,
        goal.unit,
        values,
        value,
        met,
        goal.contender,
        statistics.median(allowed) if allowed else None,
    )


def _in_each(measure: Callable[[Round], float], rounds: Sequence[Round]) -> list[float]:
    values = []
    for one in rounds:
        with contextlib.suppress(KeyError):
            values.append(measure(one))
    return values
