"""Total-order sorts: the parts, one after the other, are one sorted file."""

from __future__ import annotations

from bench import answers, data
from bench.model import LIMIT, PEER, Contender, Goal, Workload, at_most, faster

_GNU = Contender(
    "gnu",
    "GNU sort --parallel=2",
    "env LC_ALL=C sort --parallel=2 -S 512M -o {output}/part-00000 {input}",
    LIMIT,
    needs_folder=True,
)
_EMBEDDED = Contender("embedded", "mr run", "{mr} run jobs/sort.py {input} -o {output} -c 2")
_BROKER = Contender(
    "broker", "mr run over RabbitMQ", "{mr} run jobs/sort.py {input} -o {output} --broker {broker}"
)
_SHARED = Contender(
    "shared", "mr run over RabbitMQ, files shared", f"{_BROKER.command} --shared --shared-dir {{scratch}}"
)
_SPARK = "{peers} bench/peers/pyspark_rdd.py sort {input} {output} --processes 2"
_ABOUT = (
    "Lines of 99 bytes with random keys of ten digits. `mr` samples the input for the borders of its partitions; GNU "
    "sort may use 512 MB."
)


def _sort(megabytes: int, rounds: int, goals: tuple[Goal, ...]) -> Workload:
    return Workload(
        f"sort-{megabytes}",
        f"Total-order sort, {megabytes} MB"
        if megabytes < 1000
        else f"Total-order sort, {megabytes / 1000:g} GB",
        _ABOUT,
        (_GNU, _EMBEDDED, _BROKER, _SHARED, Contender("pyspark_rdd", "PySpark RDD", _SPARK, PEER)),
        goals,
        answers.in_order,
        {"input": lambda small: data.lines(megabytes // 10 if small else megabytes)},
        rounds=rounds,
        workers=("-c 2",),
    )


SORT_100 = _sort(100, 5, (at_most(4, "embedded", of="gnu"), faster(6, "embedded", than="pyspark_rdd")))
SORT_1000 = _sort(1000, 2, (faster(2, "embedded", than="pyspark_rdd"),))
