"""Twice the executors, half the time."""

from __future__ import annotations

from bench import answers, data
from bench.model import Contender, Workload, faster

_JOB = "{mr} run jobs/pi.py {input} -o {output} --split-size 100"

SCALING = Workload(
    "scaling",
    "From one executor to two, compute-bound",
    "An estimate of pi: 120 lines with a seed and a number of darts, ten or so to a task. The second core is all that "
    "the second executor adds.",
    (
        Contender("one", "mr run, one executor", f"{_JOB} -c 1"),
        Contender("two", "mr run, two executors", f"{_JOB} -c 2"),
        Contender("two_broker", "mr run, two executors, over RabbitMQ", f"{_JOB} --broker {{broker}}"),
    ),
    (faster(1.9, "two", than="one"),),
    answers.in_any_order,
    {"input": lambda small: data.seeds(120, 10_000 if small else 1_000_000)},
    rounds=5,
    workers=("-c 2",),
)
