"""What this process runs on: its Python, and the libraries whose versions matter between hosts."""

from __future__ import annotations

import platform
from importlib import metadata

#: what carries data between hosts, or opens it there
LIBRARIES = ("amqp", "cloudpickle", "fsspec", "msgpack", "zstandard")


def python() -> str:
    """ "CPython 3.11.2"."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def libraries() -> dict[str, str]:
    """The version of each that is installed. Takes some milliseconds."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
