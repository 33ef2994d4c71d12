"""Bundle → `Job`: runs the user's modules from memory.

A finder at the front of `sys.meta_path` serves the modules of a bundle, so that imports inside functions work
later too, and the lines of their sources are left with `linecache`, so that tracebacks show them on any host.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import traceback
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Iterable, Optional, cast

from mapreduce.errors import JobError
from mapreduce.job import Context, Job, enter
from mapreduce.signals import Stopped

Bundle = dict[str, Any]


def interpreter_tag() -> str:
    """Names this interpreter as far as pickled code cares: "cp311", "pp39"."""
    return tag_of(sys.implementation.name, sys.version_info[:2])


def tag_of(implementation: str, version: tuple[int, int]) -> str:
    """The same for any: ``implementation`` as `sys.implementation.name` has it."""
    short = {"cpython": "cp", "pypy": "pp"}.get(implementation, implementation)
    return f"{short}{version[0]}{version[1]}"


def load(bundle: Bundle) -> Job:
    """The job that ``bundle`` holds. Runs the user's modules. Raises `JobError`.

    The modules stay importable until the next bundle is loaded into this process.
    """
    before = enter(Context(loading=True))
    try:
        return _load_pickle(bundle) if bundle["kind"] == "pickle" else _load_source(bundle)
    finally:
        enter(before)


class BundleFinder:
    """Serves the modules of one bundle; finder and loader in one, as `sys.meta_path` wants them."""

    def __init__(self, bundle: Bundle) -> None:
        self.directory: str = bundle["directory"]
        self.files: dict[str, str] = bundle["files"]
        #: module name → path within the bundle; a folder without `__init__.py` has an empty one
        self.modules = dict(module_names(path for path in self.files if path != bundle["main"]))
        self.modules[bundle["module"]] = bundle["main"]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        """As importlib asks for it."""
        if name not in self.modules:
            return None
        spec = ModuleSpec(name, cast(Any, self), origin=self.filename(name), is_package=self.is_package(name))
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.join(self.directory, *name.split(".")))
        spec.has_location = bool(self.modules[name])
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code in it."""
        exec(self.get_code(module.__name__), vars(module))

    def get_code(self, name: str) -> Any:
        """Compiled; leaves the lines with `linecache`."""
        text, filename = self.get_source(name), self.filename(name)
        # no time stamp: linecache then never looks for the file, which may not be on this host
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
        return compile(text, filename, "exec", dont_inherit=True)

    def get_source(self, name: str) -> str:
        """Text of the module."""
        return self.files.get(self.modules[name], "")

    def is_package(self, name: str) -> bool:
        """Whether it has modules of its own."""
        path = self.modules[name]
        return not path or path.endswith("/__init__.py")

    def filename(self, name: str) -> str:
        """What the module sees as `__file__`: where it was on the user's host."""
        return os.path.join(self.directory, *(self.modules[name] or name.replace(".", "/")).split("/"))


def module_names(files: Iterable[str]) -> list[tuple[str, str]]:
    """(module, path) of everything that can be imported from ``files``, folders first."""
    found: dict[str, str] = {}
    for path in sorted(files):
        parts = path[: -len(".py")].split("/")
        for depth in range(1, len(parts)):
            found.setdefault(".".join(parts[:depth]), "")
        name = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(name)] = path
    return sorted(found.items())


def _install(finder: BundleFinder) -> None:
    """Make ``finder`` the one that serves, instead of an earlier bundle's."""
    for old in [entry for entry in sys.meta_path if isinstance(entry, BundleFinder)]:
        sys.meta_path.remove(old)
        _forget(old)
    _forget(finder)  # modules of the same names that this process has from elsewhere
    sys.meta_path.insert(0, finder)


def _forget(finder: BundleFinder) -> None:
    for name in finder.modules:
        sys.modules.pop(name, None)


def _load_source(bundle: Bundle) -> Job:
    finder = BundleFinder(bundle)
    _install(finder)
    try:
        module = importlib.import_module(bundle["module"])
    except JobError as error:
        raise JobError(f"{_user_line(finder, error)}{error}") from error
    except (KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # whatever the user's module does, exit() included
        raise JobError(_explain(finder, error)) from error
    return _find_job(module, bundle)


def _find_job(module: ModuleType, bundle: Bundle) -> Job:
    main, attr = bundle["main"], bundle["attr"]
    if attr:
        job = getattr(module, attr, None)
        if not isinstance(job, Job):
            raise JobError(f"{main}: {attr!r} is not a Job in it")
        return job
    jobs: dict[int, tuple[str, Job]] = {}
    for name, value in vars(module).items():
        if isinstance(value, Job):
            jobs.setdefault(id(value), (name, value))
    if not jobs:
        raise JobError(f"{main} holds no Job: it needs a line like job = Job(map, reduce=…)")
    if len(jobs) > 1:
        names = ", ".join(name for name, _ in jobs.values())
        last = list(jobs.values())[-1][0]
        raise JobError(f"{main} holds {len(jobs)} Jobs ({names}): choose one, as in {main}:{last}")
    return next(iter(jobs.values()))[1]


def _explain(finder: BundleFinder, error: BaseException) -> str:
    """One line for an exception while the user's modules were imported."""
    if isinstance(error, SyntaxError):
        return syntax_error_line(error)
    line = _user_line(finder, error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        where = f"{sys.executable}, {interpreter_tag()}"
        return f"{line}needs the module {error.name!r}, which is not installed for this Python ({where})"
    if isinstance(error, SystemExit):
        return f"{line}the job file exits while it is loaded ({error!r})"
    return line + " ".join("".join(traceback.format_exception_only(type(error), error)).split())


def syntax_error_line(error: SyntaxError) -> str:
    """One line that says where and what."""
    if error.lineno is None:
        return f"{type(error).__name__}: {error.msg}"
    text = (error.text or "").strip()
    return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}" + (
        f": {text}" if text else ""
    )


def _user_line(finder: BundleFinder, error: BaseException) -> str:
    """ "file:line: " of the innermost frame in the bundle."""
    names = {finder.filename(name) for name in finder.modules}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in names]
    return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""


def _load_pickle(bundle: Bundle) -> Job:
    tag = interpreter_tag()
    if bundle["interpreter"] != tag:
        raise JobError(f"the job was pickled by {bundle['interpreter']} and cannot be loaded by {tag}")
    try:
        import pickle  # late: few jobs are

        job = pickle.loads(bundle["data"])
    except (KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # unpickling runs user code
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise JobError(
                f"the pickled job needs the module {error.name!r}, which is not installed here"
            ) from error
        raise JobError(f"the pickled job cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(job, Job):
        raise JobError("the pickle holds no Job")
    return job
