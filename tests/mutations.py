"""Break each rule of the design on purpose, one at a time: the simulator must notice.

    python -m tests.mutations                 all of them; prints the table of docs/reliability.md
    python -m tests.mutations NAME …          some of them
    python -m tests.mutations --list

A mutation replaces one piece of the source of one module when that is imported, in a process of its own. A piece that
is not there exactly once is an error: the table has to follow the code.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType
from typing import NamedTuple, Optional

from tests.mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parent.parent
#: schedules
BUDGET = 3000
#: the name of the mutation that is none
NOTHING = "nothing"
#: CPU seconds of one process
BUDGET_SECS = 60.0


class Caught(NamedTuple):
    """Which check has noticed, and in which schedule; seed -1: none has."""

    seed: int
    schedules: int
    check: str


# ---------------------------------------------------------------- inside the process of one mutant


class _Mutator(importlib.machinery.SourceFileLoader):
    """Compiles the changed source; neither reads nor leaves bytecode."""

    def __init__(self, name: str, path: str, mutation: Mutation) -> None:
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> Optional[CodeType]:
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutate(source, self._mutation), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation
        self._name = mutation.file[: -len(".py")].replace("/", ".")

    def find_spec(self, fullname: str, path: object, target: object = None) -> Optional[object]:  # type: ignore[override]
        if fullname != self._name:
            return None
        loader = _Mutator(fullname, str(ROOT / self._mutation.file), self._mutation)
        return importlib.util.spec_from_loader(fullname, loader)


def mutate(source: str, mutation: Mutation) -> str:
    """The source with the rule broken. Raises `LookupError` if the table no longer fits it."""
    if source.count(mutation.old) != 1:
        found = source.count(mutation.old)
        raise LookupError(
            f"{mutation.name}: found {found} times in {mutation.file}, not once:\n{mutation.old}"
        )
    return source.replace(mutation.old, mutation.new)


def hunt(mutation: Optional[Mutation], first: int, budget: int, secs: float) -> Caught:
    """Play schedules until one goes wrong. To be called in a process that has not imported the module yet."""
    if mutation is not None:
        sys.meta_path.insert(0, _Finder(mutation))  # type: ignore[arg-type]
    from tests.simulate import explain
    from tests.simulation import play

    until = time.process_time() + secs
    number = 0
    for number, seed in enumerate(range(first, first + budget), 1):
        try:
            play.run(seed)
        except Exception as error:
            return Caught(seed, number, explain(error))
        if time.process_time() > until:
            break
    return Caught(-1, number, "")


# ---------------------------------------------------------------- all of them


def run_one(mutation: Mutation, budget: int = BUDGET, offset: int = 0, secs: float = BUDGET_SECS) -> Caught:
    """Hunt one mutant in a child process, from this seed of its family on. RuntimeError: that proves nothing."""
    caught = _hunt_apart(mutation.name, mutation.first + offset, budget, secs)
    if caught.seed >= 0 and _hunt_apart(NOTHING, caught.seed, 1, secs).seed >= 0:
        raise RuntimeError(f"seed {caught.seed} fails without any mutation, too: mend that first")
    return caught


def _hunt_apart(name: str, first: int, budget: int, secs: float) -> Caught:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutations", "--hunt", name, str(first), str(budget), str(secs)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-3:]}")
    return Caught(*json.loads(done.stdout))


def find(names: Sequence[str]) -> list[Mutation]:
    """The mutations of these names; all of them if there are none."""
    known = {mutation.name: mutation for mutation in MUTATIONS}
    return [known[name] for name in names] if names else list(MUTATIONS)


def row(mutation: Mutation, caught: Caught) -> str:
    """One line of the table."""
    check = caught.check.splitlines()[0] if caught.check else "**not caught**"
    check = check.replace("|", "/")
    check = check if len(check) <= 110 else check[:107] + "…"
    return (
        f"| {mutation.rule} | {mutation.name} | {caught.schedules if caught.seed >= 0 else '–'} | {check} |"
    )


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all if there is none")
    parser.add_argument("--budget", type=int, default=BUDGET, help="schedules for each")
    parser.add_argument("--secs", type=float, default=BUDGET_SECS, help="CPU seconds for each")
    parser.add_argument("--offset", type=int, default=0, help="first seed, counted from each family's first")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--hunt", nargs=4, metavar=("NAME", "FIRST", "BUDGET", "SECS"), help=argparse.SUPPRESS
    )
    options = parser.parse_args(arguments)
    if options.hunt:
        name, first, budget, secs = options.hunt
        mutation = None if name == NOTHING else find([name])[0]
        print(json.dumps(hunt(mutation, int(first), int(budget), float(secs))))
        return 0
    if options.list:
        print("\n".join(f"{mutation.rule:11s} {mutation.name}" for mutation in MUTATIONS))
        return 0
    chosen = find(options.names)
    print("| rule | broken so | schedules | caught by |\n| --- | --- | --- | --- |", flush=True)
    with ThreadPoolExecutor(options.processes) as pool:
        running = [pool.submit(run_one, m, options.budget, options.offset, options.secs) for m in chosen]
        missed = 0
        for mutation, result in zip(chosen, running):
            caught = result.result()
            missed += caught.seed < 0
            print(row(mutation, caught), flush=True)
    print(f"\n{len(chosen) - missed} of {len(chosen)} caught.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
