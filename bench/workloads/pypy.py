"""The same jobs, the same `mr`, executors of another Python."""

from __future__ import annotations

from pathlib import Path

from bench import answers, data
from bench.model import Contender, Workload, faster

_SPLIT = "--split-size 100"


def _contenders(job: str) -> tuple[Contender, ...]:
    run = f"{{mr}} run jobs/{job}.py {{{job}}} -o {{output}} {_SPLIT}"
    return (
        Contender(job, f"{job}, CPython", f"{run} -c 2", group=job),
        Contender(f"{job}_pypy", f"{job}, PyPy", f"{run} -c 2 --python pypy3", group=job),
        Contender(
            f"{job}_pypy_broker",
            f"{job}, PyPy, over RabbitMQ",
            f"{run} --broker {{broker}} --interpreter any",
            group=job,
        ),
    )


def _pi(small: bool) -> Path:
    return data.seeds(120, 10_000 if small else 3_000_000)


def _nbody(small: bool) -> Path:
    return data.seeds(120, 1 if small else 1000)


PYPY = Workload(
    "pypy",
    "Pure-Python arithmetic, PyPy's executors and CPython's",
    "`mr run --python pypy3` on this machine, and a `mr worker --python pypy3` over RabbitMQ; two executors each. "
    "Only executors run on PyPy; the output has to be the same to the last byte.",
    (*_contenders("pi"), *_contenders("nbody")),
    (
        faster(5, "pi_pypy", than="pi"),
        faster(5, "nbody_pypy", than="nbody"),
        faster(5, "pi_pypy_broker", than="pi"),
        faster(5, "nbody_pypy_broker", than="nbody"),
    ),
    answers.in_order,
    {"pi": _pi, "nbody": _nbody},
    rounds=3,
    workers=("-c 2 --python pypy3",),
)
