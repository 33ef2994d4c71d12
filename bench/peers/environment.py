"""The peers' environment, build/peers: made once, and again when requirements.txt changes.

    python -m bench.peers.environment            make it if need be, and print what is in it

It is not the project's own .venv: what the peers need must neither help nor harm `mr`. About 450 MB come from
PyPI, nearly all of it Spark.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / "build" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHON = (3, 11)
JAVA = 17

_PROBE = (
    "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
)


class PeersUnavailable(Exception):
    """The peers cannot be installed or run here; the message says what to do."""


def python() -> Path:
    """The interpreter that runs the programs of bench/peers. Makes its environment first, if need be.

    Raises `PeersUnavailable`.
    """
    interpreter = HOME / "bin" / "python"
    made = HOME / "made-from"  # written last: with it, the environment is whole
    recipe = "\n".join([str(ROOT), *re.findall(r"^[\w.-]+==.*", REQUIREMENTS.read_text(), re.MULTILINE)])
    _java_version()
    if not made.exists() or made.read_text() != recipe:
        _make(interpreter)
        made.write_text(recipe)
    return interpreter


def versions() -> dict[str, str]:
    """What is compared: the version of each peer, of its Python and of Java. Raises `PeersUnavailable`."""
    names = re.findall(r"^(\w+)==", REQUIREMENTS.read_text().partition("\n\n")[0], re.MULTILINE)
    found: dict[str, str] = json.loads(_output([str(python()), "-c", _PROBE, *names]))
    found["python"] = _output([str(python()), "-c", "import platform; print(platform.python_version())"])
    found["java"] = _java_version()
    return found


def _make(interpreter: Path) -> None:
    base = _base_python()
    print(f"installing the peers of the benchmark into {HOME} …", file=sys.stderr)
    shutil.rmtree(HOME, ignore_errors=True)
    _run([base, "-m", "venv", str(HOME)])
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    _run([str(interpreter), "-m", "pip", "install", *quiet, "--requirement", str(REQUIREMENTS)])
    # Every process that a peer starts, wherever and however, can import `bench` with this.
    (packages,) = HOME.glob("lib/python*/site-packages")
    (packages / "bench.pth").write_text(f"{ROOT}\n")


def _base_python() -> str:
    wanted = ".".join(map(str, PYTHON))
    base = sys.executable if sys.version_info[:2] == PYTHON else shutil.which(f"python{wanted}")
    if base is None:
        raise PeersUnavailable(
            f"the peers need Python {wanted}; install it (Debian 12: apt install python{wanted}-venv)"
        )
    return base


def _java_version() -> str:
    """Of the Java that PySpark will find. Raises `PeersUnavailable`."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    advice = f"install it (Debian, Ubuntu: apt install default-jre-headless) or set JAVA_HOME to Java {JAVA} or later"
    if java is None:
        raise PeersUnavailable(f"PySpark needs Java, and none is here: {advice}")
    version = re.search(r'version "((\d+)[^"]*)"', _output([java, "-XX:-UsePerfData", "-version"]))
    if version is None or int(version[2]) < JAVA:
        raise PeersUnavailable(
            f"PySpark needs Java {JAVA}; {java} is {version[1] if version else 'unknown'}: {advice}"
        )
    return version[1]


def _run(command: list[str]) -> None:
    """Raises `PeersUnavailable` with what the command has printed, if it fails."""
    _output(command)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise PeersUnavailable(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        for name, version in versions().items():
            print(f"{name:10} {version}")
    except PeersUnavailable as error:
        sys.exit(f"error: {error}")
