"""PySpark's RDDs: Python functions, run in Python workers that are fed by the JVM.

The word count is the one of Spark's own examples; `reduceByKey` adds up what a partition has found before it
is shuffled. The sort is `sortBy`, which samples the keys to cut them into ranges.
"""

from __future__ import annotations

from operator import add
from pathlib import Path

from pyspark import SparkContext

from bench.peers.common import arguments
from bench.peers.spark import session
from bench.pool_wordcount import words


def wordcount(spark: SparkContext, source: Path, output: Path) -> None:
    counts = spark.textFile(str(source)).flatMap(words).reduceByKey(add)
    counts.map(lambda pair: f"{pair[0]}\t{pair[1]}").saveAsTextFile(str(output))


def sort(spark: SparkContext, source: Path, output: Path) -> None:
    spark.textFile(str(source)).sortBy(lambda line: line).saveAsTextFile(str(output))


if __name__ == "__main__":
    given = arguments("wordcount", "sort")
    with session(given.processes) as spark:
        workload = {"wordcount": wordcount, "sort": sort}[given.workload]
        workload(spark.sparkContext, given.input, given.output)
