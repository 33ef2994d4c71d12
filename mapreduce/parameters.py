"""A job's parameters: the keyword arguments with defaults of its functions.

`def words(line, min_length=1)` gives the job the parameter ``min_length``, which `-p min_length=3` sets. What
stands in the place of data (the record, the key, the values) is none; nor is a name that starts with an
underscore, nor anything of a function that is not written in Python, nor a default that no text can stand
for.
"""

from __future__ import annotations

import functools
import inspect
import json
from types import FunctionType
from typing import Any, Callable, Iterable, Optional

from mapreduce.errors import JobError

Function = Callable[..., Any]

#: how many arguments the engine passes to a function, by role
ARGUMENTS = {"map": 1, "reduce": 2, "combine": 2, "fold": 1, "partition": 2}
_TYPES = (bool, int, float, str, list, dict, type(None))
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def unwrap(function: Any) -> Any:
    """The function inside `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def name_of(function: Any) -> str:
    """Name of a function, for messages."""
    function = unwrap(function)
    return str(getattr(function, "__name__", None) or type(function).__name__)


def check_arguments(role: str, function: Function, count: int) -> None:
    """Raise `JobError` unless ``function`` can be called with ``count`` arguments."""
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        needs = {1: "one argument", 2: "two arguments"}[count]
        raise JobError(f"{role} {name_of(function)}{signature} must take {needs}: {error}") from error


def collect(functions: Iterable[tuple[str, Function]]) -> dict[str, Any]:
    """Names and defaults of the parameters of all ``functions``, each with its role."""
    found: dict[str, Any] = {}
    for role, function in functions:
        for name, default in _own(role, function).items():
            before = found.setdefault(name, default)
            if before is None:
                found[name] = default
            elif default is not None and type(before) is not type(default):
                raise JobError(
                    f"the parameter {name} is {before!r} in one function and {default!r} in {role} "
                    f"{name_of(function)}: let the types of the defaults agree, or rename one"
                )
    return found


def bind(role: str, function: Function, params: dict[str, Any]) -> Function:
    """``function`` with those of ``params`` that it has."""
    own = {name: params[name] for name in _own(role, function) if name in params}
    return functools.partial(function, **own) if own else function


def check_known(known: dict[str, Any], names: Iterable[str]) -> None:
    """Raise `JobError` for a name that is not in ``known``, and say what is."""
    for name in names:
        if name not in known:
            listed = ", ".join(f"{key}={default!r}" for key, default in known.items()) or "none"
            raise JobError(f"the job has no parameter {name!r}; it has: {listed}")


def convert(known: dict[str, Any], name: str, text: str) -> Any:
    """What ``text`` stands for, by the type of the default of ``name``. Raises `JobError`."""
    check_known(known, [name])
    kind = type(known[name])
    try:
        return _parse(kind, text)
    except (ValueError, KeyError, RecursionError) as error:
        raise JobError(f"the parameter {name} is of type {kind.__name__}; {text!r} is not") from error


def _parse(kind: type, text: str) -> Any:
    if kind is bool:
        return _WORDS[text.strip().lower()]
    if kind in (int, float):
        return kind(text)
    if kind in (list, dict):
        value = json.loads(text)
        if type(value) is not kind:
            raise ValueError(text)
        return value
    return text


def _own(role: str, function: Function) -> dict[str, Any]:
    """The parameters of one function."""
    signature = _signature(function)
    if signature is None:
        return {}
    named = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    data = 1 if getattr(unwrap(function), "__mapreduce_whole__", False) else ARGUMENTS[role]
    skipped = {p.name for p in (positional + [p for p in named if p.kind is p.POSITIONAL_OR_KEYWORD])[:data]}
    return {p.name: p.default for p in named if p.name not in skipped and _is_parameter(p)}


def _is_parameter(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    return not parameter.name.startswith("_") and default is not parameter.empty and type(default) in _TYPES


def is_python(function: Any) -> bool:
    """Whether it is written in Python: `sum` has a keyword too, which is nobody's parameter."""
    target = unwrap(function)
    if isinstance(target, type):
        return False
    if not inspect.isroutine(target):
        target = type(target).__call__
    return isinstance(inspect.unwrap(getattr(target, "__func__", target)), FunctionType)


def _signature(function: Function) -> Optional[inspect.Signature]:
    if not is_python(function):
        return None
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None
