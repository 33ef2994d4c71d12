"""A Spark in this process and its JVM, for the two programs that use it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from pyspark.sql import SparkSession


@contextlib.contextmanager
def session(processes: int) -> Iterator[SparkSession]:
    """Spark in local mode on so many cores, with memory to spare, and what only serves to watch it turned off."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LAUNCHER_OPTS"] = "-XX:-UsePerfData"  # as for the driver: leaves no folder in /tmp
    with tempfile.TemporaryDirectory(prefix="bench-spark-") as scratch:
        spark = (
            SparkSession.builder.master(f"local[{processes}]")
            .appName("bench")
            .config("spark.driver.memory", "4g")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.extraJavaOptions", f"-Djava.io.tmpdir={scratch} -XX:-UsePerfData")
            .config("spark.local.dir", scratch)
            .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.log.level", "ERROR")
            # Spark's own default is 200, for clusters; the usual advice is a few per core.
            .config("spark.sql.shuffle.partitions", str(4 * processes))
            .getOrCreate()
        )
        jvm = spark.sparkContext._gateway
        try:
            yield spark
        finally:
            spark.stop()
            # The JVM ends when we do, a moment later; waited for, it is gone when we are, and its time is counted.
            jvm.shutdown()
            jvm.proc.stdin.close()
            jvm.proc.wait()
