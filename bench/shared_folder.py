"""What a shared folder saves, and whom: CPU seconds of each process, with and without `--shared --shared-dir`, in turn.

    python -m bench.shared_folder                      word count of 200 MB, a sort of 100 MB: two minutes
    python -m bench.shared_folder --only sort --rounds 1

One worker with two executors and the client on this machine, over a private RabbitMQ. Prints the medians as a table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import tempfile
from pathlib import Path

from bench import answers, data
from bench.processes import adopt_orphans, cpu_seconds, run
from bench.services import Services, running

COLUMNS = ("seconds", "client", "broker", "worker", "executors")
WAYS = {"inline": "", "files shared": "--shared --shared-dir {scratch}"}
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("wordcount", "sort"))
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    adopt_orphans()
    print("| job | blocks and input | " + ", s | ".join(COLUMNS) + ", s |")
    print("| --- | --- | " + " | ".join(["---:"] * len(COLUMNS)) + " |")
    if options.only != "sort":
        compare("wordcount", data.text(200), options.rounds)
    if options.only != "wordcount":
        compare("sort", data.lines(100), options.rounds)


def compare(job: str, source: Path, rounds: int) -> None:
    """Both ways in turn, so many times; their answers must be the same."""
    found: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    said = set()
    with (
        tempfile.TemporaryDirectory(prefix="bench-shared-") as folder,
        running(Path(folder, "broker"), ("-c 2",)) as services,
    ):
        for number in range(rounds):
            for way, settings in WAYS.items():
                scratch = Path(folder, f"{number}-{way.replace(' ', '-')}")
                scratch.mkdir()
                output = scratch / "output"
                command = f"{{mr}} run jobs/{job}.py {source} -o {output} -q --broker {{broker}} {settings}"
                found[way].append(_measured(command.format(scratch=scratch, **services.places), services))
                said.add(answers.in_order(output))
    assert len(said) == 1, "the answers differ"
    for way, figures in found.items():
        medians = (f"{statistics.median(column):.2f}" for column in zip(*figures))
        print(f"| {job} | {way} | " + " | ".join(medians) + " |", flush=True)


def _measured(command: str, services: Services) -> tuple[float, ...]:
    (broker,), (worker,) = services.brokers, services.workers
    before = cpu_seconds(broker), _own(worker), cpu_seconds(worker)
    outcome = run(shlex.split(command))
    after = cpu_seconds(broker), _own(worker), cpu_seconds(worker)
    in_broker, in_worker, in_all = (new - old for new, old in zip(after, before))
    return outcome.seconds, outcome.cpu_seconds, in_broker, in_worker, in_all - in_worker


def _own(pid: int) -> float:
    """CPU seconds of this process alone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
