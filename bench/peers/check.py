"""Runs every peer on a little input: each must give the answer of `mr run` and leave nothing behind.

python -m bench.peers.check                  two minutes
python -m bench.peers.check ray_tasks …      only these
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import answers, data
from bench.peers import environment
from bench.processes import MR, CommandFailed, run
from mapreduce.node import PrivateNode

LIMIT_SECS = 300.0
TASKS = 500
WORKLOADS = {
    "pyspark_rdd": ("wordcount", "sort"),
    "pyspark_dataframe": ("wordcount", "sort"),
    "dask_bag": ("wordcount",),
    "mrjob_local": ("wordcount",),
    "celery_tasks": ("wordcount", "tasks"),
    "ray_tasks": ("wordcount", "tasks"),
}


def main() -> None:
    chosen = sys.argv[1:] or list(WORKLOADS)
    if unknown := set(chosen) - set(WORKLOADS):
        sys.exit(f"error: no such peer: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    try:
        python = str(environment.python())
    except environment.PeersUnavailable as error:
        sys.exit(f"error: {error}")
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
        folder = Path(name)
        inputs, expected = make_inputs(folder)
        with PrivateNode(folder / "broker") as broker:
            failures = [
                failure
                for peer in chosen
                for workload in WORKLOADS[peer]
                for failure in check(folder, python, peer, workload, inputs, expected, broker)
            ]
    sys.exit("\n".join(failures))


def make_inputs(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """A file for each workload, and the digest of its answer."""
    inputs = {"wordcount": data.text(5), "sort": folder / "lines", "tasks": folder / "tasks"}
    with open(data.lines(), encoding="ascii") as lines:
        rows = [next(lines) for _ in range(50_000)]
    inputs["sort"].write_text("".join(rows))
    inputs["tasks"].write_text("".join(f"{'x' * (number % 71)}\n" for number in range(TASKS)))
    for workload, text in (
        ("sort", "".join(sorted(rows))),
        ("tasks", "".join(f"{number % 71}\n" for number in range(TASKS))),
    ):
        (folder / f"mr-{workload}").mkdir()
        (folder / f"mr-{workload}" / "part-00000").write_text(text)
    run([*MR, "run", "jobs/wordcount.py", str(inputs["wordcount"]), "-o", str(folder / "mr-wordcount")])
    return inputs, {workload: digest(workload, folder / f"mr-{workload}") for workload in inputs}


def digest(workload: str, output: Path) -> str:
    return (answers.in_any_order if workload == "wordcount" else answers.in_order)(output)


def check(
    folder: Path,
    python: str,
    peer: str,
    workload: str,
    inputs: dict[str, Path],
    expected: dict[str, str],
    broker: PrivateNode,
) -> Iterator[str]:
    """Run one peer; what is wrong with it."""
    what = f"{peer} {workload}"
    output, scratch = folder / f"{peer}-{workload}", folder / f"scratch-{peer}-{workload}"
    scratch.mkdir()
    command = [python, f"bench/peers/{peer}.py", workload, str(inputs[workload]), str(output)]
    queues = broker.control("list_queues", "--silent", "name")
    try:
        done = run(
            [*command, "--processes", "2", "--broker", broker.url],
            variables={"TMPDIR": str(scratch)},
            limit_secs=LIMIT_SECS,
        )
    except CommandFailed as failure:
        yield f"{what}: {failure}"
        return
    print(f"{what:28}{done.seconds:6.1f} s {done.cpu_seconds:6.1f} s of CPU", flush=True)
    if digest(workload, output) != expected[workload]:
        yield f"{what}: another answer than mr run"
    if left := os.listdir(scratch):
        yield f"{what}: left behind {', '.join(left)}"
    if running := processes_with(f"TMPDIR={scratch}"):
        yield f"{what}: left running {', '.join(running)}"
    if (now := broker.control("list_queues", "--silent", "name")) != queues:
        yield f"{what}: left in RabbitMQ {now}"


def processes_with(variable: str) -> list[str]:
    """The command lines of all processes that were started with this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass  # ended meanwhile, or another user's
    return found


if __name__ == "__main__":
    main()
