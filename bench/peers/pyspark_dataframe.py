r"""PySpark's DataFrames: no Python function at all; Spark compiles the query, and the JVM runs it.

`\s+` splits where `str.split()` does as long as the text is ASCII without the four control characters
0x1C to 0x1F, as this benchmark's is.
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from bench.peers.common import arguments
from bench.peers.spark import session


def wordcount(spark: SparkSession, source: Path, output: Path) -> None:
    lines = spark.read.text(str(source))
    words = lines.select(f.explode(f.split("value", r"\s+")).alias("word")).where("word != ''")
    counts = words.groupBy("word").count()
    counts.select(f.concat_ws("\t", "word", "count")).write.text(str(output))


def sort(spark: SparkSession, source: Path, output: Path) -> None:
    spark.read.text(str(source)).sort("value").write.text(str(output))


if __name__ == "__main__":
    given = arguments("wordcount", "sort")
    with session(given.processes) as spark:
        workload = {"wordcount": wordcount, "sort": sort}[given.workload]
        workload(spark, given.input, given.output)
