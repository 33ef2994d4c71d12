"""What the programs of the peers share: their arguments."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Arguments:
    workload: str
    input: Path
    output: Path  #: a folder that is not there yet
    processes: int
    broker: str  #: an AMQP URL, or empty


def arguments(*workloads: str, broker: bool = False) -> Arguments:
    """Those of this program's command line. Ends the program if they make no sense.

    ``workloads`` are those that the peer can do; ``broker``: whether it needs one.
    """
    main = sys.modules["__main__"]
    parser = argparse.ArgumentParser(description=(main.__doc__ or "").partition("\n")[0])
    parser.add_argument("workload", choices=workloads)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path, help="a folder to be made")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--broker", default="", metavar="URL", required=broker)
    given = parser.parse_args()
    if not given.input.is_file():
        parser.error(f"{given.input} is not a file")
    if given.output.exists():
        parser.error(f"{given.output} is there already")
    if given.processes < 1:
        parser.error("--processes must be 1 or more")
    return Arguments(
        given.workload, given.input.absolute(), given.output.absolute(), given.processes, given.broker
    )
