"""Where an executor of another Python begins: `interpreters` has the parent's Python run this file by name.

    NAME=FOLDER … FD LIFELINE     lend it these packages, then be an executor
    NAME=FOLDER … ask             lend them, see whether msgpack can be imported, print "ready"

What a guest is lent are single packages, never a folder of them: beside ours lie those of the parent's Python, compiled
for that one, and some would load here and fail later, or hide what is installed here. The engine is always the
parent's, for both speak over a pipe, and so is cloudpickle, whose versions cannot read each other's pickles. msgpack is
lent where the guest lacks it or has it too old: the part that is written in Python.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, Optional

#: as setup.py has it
OLDEST_MSGPACK = (1, 0, 5)


class Lender:
    """Finds packages by their names, each in the folder that holds it and nothing else there."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        """As importlib asks for it; modules inside a package are found by the package's own path."""
        folder = self._folders.get(name)
        return None if folder is None else PathFinder.find_spec(name, [folder])


def lend(folders: dict[str, str]) -> None:
    """Make the packages importable."""
    sys.path[:] = [entry for entry in sys.path if entry]  # no file of the current folder hides a module
    ours = folders.pop("msgpack", None)
    sys.meta_path.insert(0, Lender(folders))
    try:
        import msgpack

        found = tuple(msgpack.version[:3])
    except ImportError:
        found = ()
    if found < OLDEST_MSGPACK and ours is not None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "msgpack"]:
            del sys.modules[name]
        sys.meta_path.insert(0, Lender({"msgpack": ours}))


def main() -> None:
    """Returns when the parent hangs up, if it ever was an executor."""
    lent = [text for text in sys.argv[1:] if "=" in text]
    del sys.argv[1 : 1 + len(lent)]
    lend(dict(text.split("=", 1) for text in lent))
    if sys.argv[1:] == ["ask"]:  # all else is Python's own, and takes a third of a second
        import msgpack  # noqa: F401

        sys.stdout.write("ready\n")
    else:
        from mapreduce import executor  # late: of the engine that was lent just now

        executor.main()


if __name__ == "__main__":
    main()
