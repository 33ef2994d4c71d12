"""What a result depends on besides the code: the machine, and the versions of all that took part."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

from bench.processes import ROOT

#: of the peers, as people write them
_NAMES = {
    "pyspark": "PySpark",
    "dask": "Dask",
    "celery": "Celery",
    "ray": "Ray",
    "java": "Java",
    "python": "the peers' Python",
}
_ASK_SECS = 60.0


def facts() -> dict[str, Union[str, int, float]]:
    """The machine, and the day."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": _pretty_system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": commit(),
    }


def versions(peers: Mapping[str, str]) -> dict[str, str]:
    """Of all that takes part. ``peers``: theirs, as their environment knows them."""
    found = {
        "RabbitMQ": _first_match(["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"], r"[\d.]+"),
        "GNU coreutils": _first_match(["sort", "--version"], r"[\d.]+$"),
        "PyPy": _first_match(["pypy3", "--version"], r"PyPy ([\d.]+)"),
    }
    ours = {name: number for name, number in found.items() if number}
    return {**ours, **{_NAMES.get(name, name): number for name, number in peers.items()}}


def commit() -> str:
    """The short hash, with a + if files that git knows have changed since."""
    number = _said(["git", "rev-parse", "--short", "HEAD"]).strip()
    changed = _said(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "mapreduce", "jobs"]
    ).strip()
    return number + ("+" if changed else "")


def _first_match(command: Sequence[str], pattern: str) -> str:
    match = re.search(pattern, _said(command), re.MULTILINE)
    return match[match.re.groups] if match else ""


def _said(command: Sequence[str]) -> str:
    """Both of its outputs; nothing if it cannot be started or fails."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ASK_SECS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _cpu_model() -> str:
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text()
        match = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def _pretty_system() -> str:
    release = Path("/etc/os-release")
    match = (
        re.search(r'^PRETTY_NAME="(.+)"$', release.read_text(), re.MULTILINE) if release.exists() else None
    )
    return (
        f"{match[1] if match else platform.system()}, {platform.system()} {platform.release().split('-')[0]}"
    )
