"""mrjob's local runner: Hadoop Streaming without Hadoop, processes joined by pipes, files and sort(1)."""

from __future__ import annotations

import tempfile

from bench.peers.common import arguments
from bench.peers.mrjob_wordcount import WordCount


def main() -> None:
    given = arguments("wordcount")
    with tempfile.TemporaryDirectory(prefix="bench-mrjob-") as scratch:
        options = [
            *("--runner", "local", "--num-cores", str(given.processes)),
            *("--output-dir", str(given.output), "--no-cat-output"),
            *("--no-conf", "--no-bootstrap-mrjob", "--local-tmp-dir", scratch),
        ]
        job = WordCount([*options, str(given.input)])
        with job.make_runner() as runner:
            runner.run()


if __name__ == "__main__":
    main()
