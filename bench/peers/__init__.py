"""The tools that people would pick instead, each used the way those who like it use it.

    python -m bench.peers.environment            install them into build/peers
    python -m bench.peers.check                  all give the answer of `mr run`, and leave nothing behind
    build/peers/bin/python bench/peers/NAME.py WORKLOAD INPUT OUTPUT_DIR [--processes 2] [--broker URL]

| NAME | wordcount | sort | tasks |
| --- | --- | --- | --- |
| pyspark_rdd | yes | yes | |
| pyspark_dataframe | yes | yes | |
| dask_bag | yes | | |
| mrjob_local | yes | | |
| celery_tasks (needs --broker) | yes | | yes |
| ray_tasks | yes | | yes |

`wordcount` reads a text and writes word<TAB>count lines; `sort` writes the lines of a file in order; `tasks`
makes one task of every line of a file and writes each one's answer, the line's length, in the order of the
input. All read from disk and write to disk, OUTPUT_DIR/part-*, which in order of their names are the output.
None listens beyond loopback, reports home or opens a dashboard.

`celery_tasks` and `ray_tasks` print `warm SECONDS`: their time once their servers were up. What the Python workers
of PySpark and Ray compute shows in nobody's CPU time, for their parents ignore how they end: compare wall time.
"""
