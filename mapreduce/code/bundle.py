"""Job file or `Job` object → bundle."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Optional

from mapreduce import parameters
from mapreduce.code.loader import Bundle, interpreter_tag, load
from mapreduce.code.local import ENGINE, collect, is_local, is_standard
from mapreduce.errors import JobError, UsageError
from mapreduce.job import Job

#: the bundle is part of one message
MAX_BUNDLE_BYTES = 8 * 1024 * 1024


def from_file(path: str) -> tuple[Job, Bundle]:
    """The job in a Python file, and its bundle. ``file.py:name`` chooses among several.

    Runs the file, as a module, not as `__main__`. Raises `JobError`, and `UsageError` for no name at all.
    """
    path, attr = _split_name(path)
    if not path.strip():
        raise UsageError("the name of the job file is empty")
    if os.path.isdir(path):
        raise JobError(f"{path} is a folder; name the Python file that holds the job")
    if not os.path.exists(path):
        raise JobError(f"{path}: there is no such file")
    directory, main = os.path.split(os.path.abspath(path))
    if not main.endswith(".py"):
        raise JobError(f"{path}: a job file is Python, with a name that ends in .py")
    bundle = _source_bundle(directory, main, _module_name(main), attr)
    with _staying_here():
        return load(bundle), bundle


@contextlib.contextmanager
def _staying_here() -> Iterator[None]:
    """The file may change the current folder; names of inputs and outputs were meant from where the user stood."""
    try:
        here = os.getcwd()
    except OSError:  # it had been removed
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the file has removed it
            os.chdir(here)


def from_object(job: Job) -> Bundle:
    """The bundle of a job object: as source where it stands in a local module, else pickled. Raises
    `JobError`.
    """
    place = _find(job)
    if place is None:
        return _pickle_bundle(job)
    directory, main, module, attr = place
    return _source_bundle(directory, main, module, attr)


def _split_name(path: str) -> tuple[str, str]:
    before, colon, name = path.rpartition(":")
    return (before, name) if colon and name.isidentifier() and not os.path.exists(path) else (path, "")


def _module_name(main: str) -> str:
    """What the job's file is imported as: its own name, where that is a name and hides nothing."""
    stem = main[: -len(".py")]
    return "job" if not stem.isidentifier() or stem == ENGINE or is_standard(stem) else stem


def _source_bundle(directory: str, main: str, module: str, attr: str) -> Bundle:
    files = collect(directory, main, module)
    parents = _package_files(directory, main)
    for path in parents:
        package = path[: -len("/__init__.py")].replace("/", ".")
        files.update(collect(directory, path, package))
    size = sum(len(path) + len(text.encode("utf-8", "surrogatepass")) for path, text in files.items())
    if size > MAX_BUNDLE_BYTES:
        largest = max(files, key=lambda path: len(files[path]))
        raise JobError(
            f"{main} and the modules it imports are {size} bytes, more than 8 MiB; {largest} is the largest"
        )
    return {
        "kind": "source",
        "main": main,
        "module": module,
        "attr": attr,
        "directory": directory,
        "files": dict(sorted(files.items())),
    }


def _package_files(directory: str, main: str) -> list[str]:
    """The `__init__.py` of each package that ``main`` lies in: importing it runs them too."""
    parts = main.split("/")[:-1]
    paths = ["/".join(parts[: depth + 1] + ["__init__.py"]) for depth in range(len(parts))]
    return [
        path for path in paths if path != main and os.path.isfile(os.path.join(directory, *path.split("/")))
    ]


def _find(job: Job) -> Optional[tuple[str, str, str, str]]:
    """Where ``job`` stands in a local module: (folder, path below it, module, name in the module)."""
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType):
            continue
        names = [name for name, value in list(vars(module).items()) if value is job]
        place = _main_path(module) if names and is_local(module) else None
        if place is not None:
            return (*place, module.__name__, names[0])
    return None


def _main_path(module: ModuleType) -> Optional[tuple[str, str]]:
    """(folder, path below it) from which ``module`` can be imported by its name; None if it was loaded
    otherwise.
    """
    parts = os.path.abspath(str(module.__file__)).split(os.sep)
    names = module.__name__.split(".")
    if parts[-1] == "__init__.py":
        names.append("__init__")
    if len(names) > 1 and parts[-len(names) :] != names[:-1] + [names[-1] + ".py"]:
        return None
    return os.sep.join(parts[: -len(names)]) or os.sep, "/".join(parts[-len(names) :])


# ---------------------------------------------------------------- pickles


def _pickle_bundle(job: Job) -> Bundle:
    cloudpickle = _import_cloudpickle()
    local = [
        module for module in list(sys.modules.values()) if isinstance(module, ModuleType) and is_local(module)
    ]
    for module in local:
        cloudpickle.register_pickle_by_value(module)
    try:
        data = _dumps(cloudpickle, job)
    finally:
        for module in local:
            cloudpickle.unregister_pickle_by_value(module)
    if len(data) > MAX_BUNDLE_BYTES:
        raise JobError(
            f"the job's functions and what they hold are {len(data)} bytes, more than 8 MiB: read it as input"
        )
    return {"kind": "pickle", "interpreter": interpreter_tag(), "data": data}


def _import_cloudpickle() -> Any:
    try:
        import cloudpickle  # type: ignore[import-untyped]  # late: only for functions without a file
    except ImportError as error:
        raise JobError(
            "functions of a notebook, of __main__ or inside functions travel by cloudpickle: install it, "
            "or put the job into a file of its own"
        ) from error
    return cloudpickle


def _dumps(cloudpickle: Any, job: Job) -> bytes:
    try:
        return bytes(cloudpickle.dumps(job))
    except Exception as error:  # pickling runs user code: any exception may come out
        for step in job.steps:
            for role, function in step.functions().items():
                try:
                    cloudpickle.dumps(function)
                except Exception as reason:
                    raise JobError(
                        f"{role} {parameters.name_of(function)} cannot be sent: {reason}"
                    ) from reason
        raise JobError(f"the job cannot be sent: {error}") from error
