"""How long the smallest job takes, from the shell's prompt to the shell's prompt."""

from __future__ import annotations

from bench import answers, data
from bench.model import PEER, Contender, Workload, at_most

_PEER = "{peers} bench/peers/NAME.py wordcount {input} {output} --processes 2"

SMALL = Workload(
    "small",
    "One line in, one job, the whole process",
    "The word count of one line of twelve words, printed. Over RabbitMQ the worker is running already and has counted "
    "words before.",
    (
        Contender("embedded", "mr run", "{mr} run jobs/wordcount.py {input}", prints_answer=True),
        Contender(
            "broker",
            "mr run over RabbitMQ",
            "{mr} run jobs/wordcount.py {input} --broker {broker}",
            prints_answer=True,
        ),
        Contender("help", "mr --help", "{mr} --help", group=None, prints_answer=True),
        Contender("dask_bag", "Dask bag", _PEER.replace("NAME", "dask_bag"), PEER, rounds=3),
        Contender("mrjob_local", "mrjob -r local", _PEER.replace("NAME", "mrjob_local"), PEER, rounds=3),
        Contender("pyspark_rdd", "PySpark RDD", _PEER.replace("NAME", "pyspark_rdd"), PEER, rounds=3),
    ),
    (at_most(0.35, "embedded"), at_most(0.5, "broker"), at_most(0.15, "help")),
    answers.in_any_order,
    {"input": lambda small: data.one_line()},
    rounds=15,
    workers=("-c 2",),
)
