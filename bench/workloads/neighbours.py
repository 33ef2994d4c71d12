"""Two jobs that share the workers."""

from __future__ import annotations

from bench import answers, data
from bench.model import Contender, Workload, at_most

NEIGHBOURS = Workload(
    "neighbours",
    "A small job while a large one has the workers",
    "Word counts of 20 MB and of 200 MB over RabbitMQ, one worker with two executors. The small one begins three "
    "seconds after the large one; a fair half of the workers would be twice its time alone.",
    (
        Contender("alone", "20 MB alone", "{mr} run jobs/wordcount.py {small} -o {output} --broker {broker}"),
        Contender(
            "beside",
            "20 MB beside 200 MB",
            "{python} -m bench.programs.beside {broker} {large} {small} {output}",
        ),
    ),
    (at_most(2, "beside", of="alone"),),
    answers.in_any_order,
    {"small": lambda small: data.text(2 if small else 20), "large": lambda small: data.text(200)},
    rounds=5,
    workers=("-c 2",),
)
