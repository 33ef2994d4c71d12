"""Word counts: a mapper that yields a word at a time, and mappers that let C do the counting."""

from __future__ import annotations

from pathlib import Path

from bench import answers, data
from bench.model import LIMIT, PEER, Contender, Workload, at_most, faster, stated

_AWK = '{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print w "\\t" n[w] }'


def _text(small: bool) -> Path:
    return data.text(20 if small else 200)


def _peer(name: str, title: str, options: str = "", rounds: int | None = None) -> Contender:
    command = f"{{peers}} bench/peers/{name}.py wordcount {{input}} {{output}} --processes 2 {options}"
    return Contender(name, title, command, PEER, rounds)


GENERATOR = Workload(
    "wordcount",
    "Word count, 200 MB of text, 1.46 million distinct words",
    "The mapper is a generator that yields `(word, 1)`; every contender calls the same kind of function for every line "
    "except for Spark's data frames, which call none, and awk. Celery and Ray run the functions of the hand-written "
    "program as tasks; their times include the start of their servers, *warm* is without. `mr` over RabbitMQ has "
    "one worker with two executors, which is running already; with *files shared* it reads the input by its path, as "
    "Celery and Ray do, and leaves what its tasks write in a folder that all see (`--shared --shared-dir`).",
    (
        Contender(
            "pool",
            "multiprocessing.Pool by hand",
            "{python} -m bench.pool_wordcount {input} {output} 2",
            PEER,
        ),
        Contender("embedded", "mr run", "{mr} run jobs/wordcount.py {input} -o {output} -c 2"),
        Contender(
            "broker",
            "mr run over RabbitMQ",
            "{mr} run jobs/wordcount.py {input} -o {output} --broker {broker}",
        ),
        Contender(
            "shared",
            "mr run over RabbitMQ, files shared",
            "{mr} run jobs/wordcount.py {input} -o {output} --broker {broker} --shared --shared-dir {scratch}",
        ),
        _peer("celery_tasks", "Celery by hand", "--broker {broker}"),
        _peer("ray_tasks", "Ray by hand"),
        _peer("dask_bag", "Dask bag"),
        _peer("pyspark_dataframe", "PySpark DataFrame"),
        _peer("pyspark_rdd", "PySpark RDD"),
        _peer("mrjob_local", "mrjob -r local", rounds=1),
        Contender(
            "awk",
            "awk, one process",
            f"env LC_ALL=C awk '{_AWK.replace('{', '{{').replace('}', '}}')}' {{input}}",
            LIMIT,
            prints_answer=True,
        ),
    ),
    (
        at_most(0.9, "embedded", of="pool"),
        faster(3, "embedded", than="pyspark_rdd"),
        faster(2, "embedded", than="dask_bag"),
        faster(2, "embedded", than="pyspark_dataframe"),
        faster(12, "embedded", than="mrjob_local"),
        at_most(1.25, "broker", of="pool"),
        faster(1, "broker", than="celery_tasks", warm=True),
        faster(1, "broker", than="ray_tasks", warm=True),
        stated("{shared} by {pool}", "×", lambda one: one["shared"]["seconds"] / one["pool"]["seconds"]),
        stated("{shared} by {broker}", "×", lambda one: one["shared"]["seconds"] / one["broker"]["seconds"]),
        stated(
            "{shared} by {celery_tasks} (warm)",
            "×",
            lambda one: one["shared"]["seconds"] / one["celery_tasks"]["warm"],
        ),
        stated(
            "{shared} by {ray_tasks} (warm)",
            "×",
            lambda one: one["shared"]["seconds"] / one["ray_tasks"]["warm"],
        ),
        stated(
            "CPU of {shared} by that of {broker}",
            "×",
            lambda one: one["shared"]["cpu_seconds"] / one["broker"]["cpu_seconds"],
        ),
    ),
    answers.in_any_order,
    {"input": _text},
    rounds=3,
    workers=("-c 2",),
    memory=True,
)

COUNTER = Workload(
    "counter",
    "The same word count, counted in C",
    "The hand-written program hands whole chunks to `Counter`. With `fold=sum` the mapper still yields a word at a "
    "time but the engine does the adding; the other job's mapper is the `Counter` program's, on a whole split.",
    (
        Contender(
            "counter", "Pool and Counter by hand", "{python} -m bench.pool_counter {input} {output} 2", LIMIT
        ),
        Contender(
            "fold", "mr run, fold=sum", "{mr} run bench/jobs/wordcount_fold.py {input} -o {output} -c 2"
        ),
        Contender(
            "whole",
            "mr run, @whole mapper",
            "{mr} run bench/jobs/wordcount_whole.py {input} -o {output} -c 2",
        ),
        Contender(
            "whole_broker",
            "mr run, @whole mapper, over RabbitMQ",
            "{mr} run bench/jobs/wordcount_whole.py {input} -o {output} --broker {broker}",
        ),
    ),
    (at_most(1.1, "fold", of="counter"), at_most(1.1, "whole", of="counter")),
    answers.in_any_order,
    {"input": _text},
    rounds=5,
    workers=("-c 2",),
)
