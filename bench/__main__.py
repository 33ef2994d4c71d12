"""Measures `mr` against what people would use instead, and against the machine's limit.

    python -m bench                              everything: about an hour on two cores
    python -m bench --only sort-100,small        some workloads; their names: --list
    python -m bench --from sort-100              that one and those after it: to go on after a break
    python -m bench --small                      tiny inputs, one round: does it all work? Stores nothing

Results go to bench/results/NAME.json and into docs/performance.md (`bench.report`), each as soon as it is there.
Exits with 1 if a contender failed or had another answer; a goal that is missed is no failure.
"""

from __future__ import annotations

import argparse
import compileall
import signal
import sys
import time

from bench import machine, report, results, tables
from bench.model import Workload
from bench.peers import environment
from bench.processes import ROOT, CommandFailed, adopt_orphans
from bench.runner import Runner
from bench.workloads import ALL


def main() -> None:
    options = arguments()
    chosen = choose(options.only, options.first)
    if options.list:
        for workload in chosen:
            print(f"{workload.name:14}{workload.rounds:3} rounds   {workload.title}")
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and end what runs beside us
    adopt_orphans()
    # as pip does: else what is timed may be the compiler, at each start where PYTHONDONTWRITEBYTECODE is set
    compileall.compile_dir(ROOT / "mapreduce", quiet=1)
    interpreter, no_peers, versions = None, "", {}
    try:
        interpreter, versions = str(environment.python()), environment.versions()
    except environment.PeersUnavailable as unavailable:
        no_peers = str(unavailable)
        print(f"without the other engines: {no_peers}", file=sys.stderr)
    facts, versions = machine.facts(), machine.versions(versions)
    broken = []
    for workload in chosen:
        began = time.monotonic()
        rounds = options.rounds or (1 if options.small else workload.rounds)
        try:
            race = Runner(workload, rounds, options.small, (interpreter, no_peers)).run()
        except CommandFailed as failure:  # of a service
            broken.append(workload.name)
            print(f"{workload.name}: {failure}", file=sys.stderr)
            continue
        result = results.of(workload, race, facts, versions)
        print(f"\n{tables.plain(result)}\n({time.monotonic() - began:.0f} s)\n", flush=True)
        if not result.complete:
            broken.append(workload.name)
        if not options.small:
            results.store(result)
            report.write()
    if broken:
        sys.exit(f"not all contenders ran, or had the same answer: {', '.join(broken)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures mr and what people would use instead."
    )
    parser.add_argument("--only", metavar="NAME,…", help="these workloads")
    parser.add_argument("--from", dest="first", metavar="NAME", help="this workload and those after it")
    parser.add_argument("--rounds", type=int, help="of each workload; each has its own number")
    parser.add_argument("--small", action="store_true", help="tiny inputs, to try it")
    parser.add_argument("--list", action="store_true", help="the workloads")
    return parser.parse_args()


def choose(only: str | None, first: str | None) -> list[Workload]:
    """The workloads that are asked for. Ends this program if there is none of a name."""
    names = [workload.name for workload in ALL]
    for name in [*(only or "").split(","), first or ""]:
        if name and name not in names:
            sys.exit(f"there is no workload {name!r}; there are {', '.join(names)}")
    begun = ALL[names.index(first) :] if first else ALL
    return [workload for workload in begun if not only or workload.name in only.split(",")]


if __name__ == "__main__":
    main()
