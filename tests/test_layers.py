"""Imports point downward: the floors of docs/architecture.md, held."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mapreduce"

#: the same table as in docs/architecture.md
FLOORS = [
    ["errors", "config", "frozen", "loops", "garbage", "seeding", "signals"],
    ["refs", "spec", "codec", "parameters", "brokers.base", "units", "settings", "shown", "versions"],
    ["job", "wire", "order", "splits", "brokers", "brokers.memory", "brokers.amqp", "__init__"],
    [
        "drain",
        "events",
        "shared",
        "effects",
        "code",
        "interpreters",
        "capture",
        "spawn",
        "runs",
        "merge",
        "sort",
        "pairs",
        "grouping",
        "buckets",
        "blame",
        "mark",
        "limits",
        "surroundings",
        "profiling",
        "formats",
        "outputs",
        "scratch",
        "node",
        "pipe",
        "write",
    ],
    ["state", "legible", "collector", "task", "careful"],
    [
        "attempt",
        "aside",
        "intake",
        "haste",
        "foresight",
        "together",
        "demand",
        "slots",
        "line",
        "known",
        "folders",
        "pauses",
        "attempts",
        "reading",
        "coordination",
        "coordinator",
        "executor",
        "guest",
        "pool",
        "views",
        "client",
        "feeder",
    ],
    [
        "leases",
        "logs",
        "tasklog",
        "progress",
        "background",
        "connecting",
        "host",
        "errand",
        "observer",
        "task_input",
        "sampling",
        "results",
        "interrupts",
        "display",
    ],
    ["worker", "submission", "respondent", "census", "notify"],
    ["run", "debugging", "metrics", "dashboard", "doctor"],
    ["commands", "cli", "__main__"],
]
#: the one late import upward: `job.run(...)` is how people start the engine
ALLOWED = {("job", "run")}
#: only these may import py-amqp
AMQP_ONLY = "brokers"


def floor_of(name: str) -> tuple[int, str]:
    """The floor of a module, and the name it has there: a package stands for what is in it."""
    for candidate in (name, name.split(".", maxsplit=1)[0]):
        for number, floor in enumerate(FLOORS):
            if candidate in floor:
                return number, candidate
    raise AssertionError(f"{name} is on no floor: add it here and to docs/architecture.md")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that the file imports, late imports included."""
    result = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "mapreduce":
                inner = name.split(".")[1:]
                while inner and ".".join(inner) not in known:
                    inner = inner[:-1]
                result.add(".".join(inner) or "__init__")
    return result


def test_imports_point_downward() -> None:
    found = modules()
    upward = []
    for name, path in found.items():
        floor, own = floor_of(name)
        for imported in imports(path, set(found)):
            other, target = floor_of(imported)
            if target == own or target == "__init__" or (name, imported) in ALLOWED:
                continue
            if other > floor or (other == floor and _circle(found, imported, name)):
                upward.append(f"{name} (floor {floor}) imports {imported} (floor {other})")
    assert not upward, "\n".join(upward)


def _circle(found: dict[str, Path], start: str, goal: str) -> bool:
    """Whether ``goal`` can be reached from ``start``: on one floor, imports may go one way only."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name == goal:
            return True
        if name not in seen and name in found:
            seen.add(name)
            below = imports(found[name], set(found)) - {"__init__"}
            todo += [each for each in below if (name, each) not in ALLOWED]
    return False


def test_the_floors_are_those_of_the_docs() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \| ", line)]
    assert len(rows) == len(FLOORS)
    for number, (row, floor) in enumerate(zip(rows, FLOORS)):
        shown = set(re.findall(r"`([\w/]+)`", row))
        shown |= {name.rstrip("/").rpartition("/")[2] for name in shown}
        missing = {name for name in floor if name.rpartition(".")[2] not in shown}
        assert row.startswith(f"| {number} |") and not missing, f"floor {number} lacks {missing}"


def test_only_the_amqp_broker_imports_py_amqp() -> None:
    for name, path in modules().items():
        tree = ast.parse(path.read_text())
        roots = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert "amqp" not in roots or name.startswith(AMQP_ONLY), f"{name} imports amqp"


def test_only_config_reads_the_environment() -> None:
    for name, path in modules().items():
        attributes = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
        if name not in ("config", "surroundings"):  # the latter restores it after user code
            assert not attributes & {"environ", "getenv"}, f"{name} reads the environment"
