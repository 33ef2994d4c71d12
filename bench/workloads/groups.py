"""A shuffle of all the data, in little memory."""

from __future__ import annotations

from bench import answers, data
from bench.model import Contender, Workload, at_most

_JOB = "{mr} run bench/jobs/groups.py {input} -o {output}"

GROUPS = Workload(
    "groups",
    "Group by key without combiner, 1 GB, executors capped at 300 MB",
    "Ten million lines in 100,000 groups; every byte of the input travels to the reduce. With `--max-memory 300M` an "
    "executor that needs more is killed. Peak memory is that of any process of ours, RabbitMQ's is not ours.",
    (
        Contender("free", "mr run", f"{_JOB} -c 2"),
        Contender("capped", "mr run, capped", f"{_JOB} -c 2 --max-memory 300M"),
        Contender(
            "broker_capped",
            "mr run over RabbitMQ, capped",
            f"{_JOB} --broker {{broker}} --max-memory 300M",
            rounds=1,
        ),
    ),
    (
        at_most(1.5, "capped", of="free"),
        at_most(300, "capped", figure="peak_mb", unit="MB"),
        at_most(300, "broker_capped", figure="peak_mb", unit="MB"),
    ),
    answers.in_any_order,
    {"input": lambda small: data.lines(100 if small else 1000)},
    rounds=3,
    workers=("-c 2",),
    memory=True,
)
