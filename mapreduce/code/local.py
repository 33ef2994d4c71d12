"""Which modules are the user's own, and which of them a file imports.

Local is what lies beside the job's file, or below a folder beside it. The standard library, installed
packages and this engine are not: they are expected on every host.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import site
import sys
import sysconfig
import tokenize
from types import ModuleType
from typing import Iterator, Optional

from mapreduce.code.loader import syntax_error_line
from mapreduce.errors import JobError

ENGINE = __name__.partition(".")[0]


def is_standard(name: str) -> bool:
    """Whether ``name`` is a top-level module of the standard library."""
    known = getattr(sys, "stdlib_module_names", None)  # from Python 3.10
    if known is not None:
        return name in known
    if name in sys.builtin_module_names:
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    origin = spec.origin if spec is not None else None
    return origin == "frozen" or (
        origin is not None and _below(origin, _paths("stdlib")) and not _installed(origin)
    )


def is_local(module: Optional[ModuleType]) -> bool:
    """Whether a loaded module is the user's own, with a source file that can travel."""
    name = getattr(module, "__name__", "")
    path = getattr(module, "__file__", None)
    if (
        not isinstance(path, str)
        or not path.endswith(".py")
        or name.partition(".")[0] in (ENGINE, "__main__")
    ):
        return False
    return not is_library(path) and os.path.isfile(path)


def is_library(path: str) -> bool:
    """Whether a file belongs to the standard library or an installed package."""
    return _installed(path) or _below(path, _paths("stdlib"))


def read_source(path: str) -> str:
    """Text of a Python file in whatever encoding it declares. Raises `JobError`."""
    try:
        with tokenize.open(path) as stream:
            return stream.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: not a text of Python: {error}") from error
    except OSError as error:
        raise JobError(f"{path}: {error.strerror or error}") from error


def collect(directory: str, main: str, module: str) -> dict[str, str]:
    """{path: text} of ``main`` and all local modules that it imports, directly or not; paths below
    ``directory``.

    Raises `JobError` for a file that is not there or not Python.
    """
    files: dict[str, str] = {}
    todo = [(main, module)]
    while todo:
        path, name = todo.pop()
        if path in files:
            continue
        full = os.path.join(directory, *path.split("/"))
        files[path] = read_source(full)
        package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
        for imported in _imports(_parse(files[path], full), package):
            todo.extend(_resolve(directory, imported))
    return dict(sorted(files.items()))


def _parse(text: str, filename: str) -> ast.AST:
    try:
        return ast.parse(text, filename)
    except SyntaxError as error:
        where = f"{filename}: " if error.lineno is None else ""  # a null byte stands in no line
        raise JobError(where + syntax_error_line(error)) from error
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # a null byte in older versions; nested beyond measure
        raise JobError(f"{filename}: not a text of Python: {error}") from error


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of modules that may be meant; "name.*" where all that a package holds may be."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base is not None:
                yield base
                yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from _named_import(node)


def _absolute(node: ast.ImportFrom, package: str) -> Optional[str]:
    """The module of `from module import …`; None for one that climbs out of the top."""
    if not node.level:
        return node.module
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    return ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))


def _named_import(call: ast.Call) -> Iterator[str]:
    """`importlib.import_module("name")` and `__import__("name")`."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in ("import_module", "__import__") and call.args and isinstance(call.args[0], ast.Constant):
        value = call.args[0].value
        if isinstance(value, str) and not value.startswith("."):
            yield value


def _resolve(directory: str, name: str) -> list[tuple[str, str]]:
    """(path, module) of the files that importing ``name`` runs, as far as they are local."""
    parts = name.split(".")
    if not parts[0] or parts[0] == ENGINE or is_standard(parts[0]):
        return []
    found = []
    for depth, part in enumerate(parts):
        if part == "*":
            found.extend(_all_of(directory, parts[:depth]))
            break
        stem, module = "/".join(parts[: depth + 1]), ".".join(parts[: depth + 1])
        here = [path for path in (f"{stem}/__init__.py", f"{stem}.py") if _is_file(directory, path)]
        if here:
            found.append((here[0], module))
        elif not os.path.isdir(os.path.join(directory, *parts[: depth + 1])):
            break
    return found


def _all_of(directory: str, package: list[str]) -> list[tuple[str, str]]:
    """The modules right inside a package: what `import *` may reach through its `__all__`."""
    folder = os.path.join(directory, *package)
    if not os.path.isfile(os.path.join(folder, "__init__.py")):
        return []
    stems = [
        name[:-3] for name in sorted(os.listdir(folder)) if name.endswith(".py") and name[:-3].isidentifier()
    ]
    return [
        ("/".join(package + [stem + ".py"]), ".".join(package + [stem]))
        for stem in stems
        if stem != "__init__"
    ]


def _is_file(directory: str, path: str) -> bool:
    return os.path.isfile(os.path.join(directory, *path.split("/")))


def _paths(*names: str) -> list[str]:
    found = [sysconfig.get_path(name) for name in names]
    # a virtual environment's stdlib is that of the Python it was made from
    return [path for path in found if path]


def _installed(path: str) -> bool:
    """Below site-packages or its like."""
    parts = os.path.abspath(path).split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return True
    places = [*_paths("purelib", "platlib"), getattr(site, "USER_SITE", None) or ""]
    return _below(path, [place for place in places if place])


def _below(path: str, places: list[str]) -> bool:
    full = os.path.realpath(path)
    return any(full.startswith(os.path.realpath(place) + os.sep) for place in places)
