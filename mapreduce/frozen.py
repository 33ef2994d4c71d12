"""Frozen dataclasses that cost little until they are used, for there are more than a hundred.

`dataclasses.dataclass(frozen=True)` compiles six functions for a class when that is made: half a millisecond each, and
a third of the start of `mr run`. Here five of the six are shared by all classes; the fields are looked at when somebody
asks for them, and ``__init__`` is compiled when the first instance is made: of most classes a process makes none. All
else is a dataclass's, by the standard library: `dataclasses.fields`, `replace`, `asdict` work as ever. What would not
be heeded, ``__post_init__`` and what `field` can say besides a default, is refused. (The name is that of attrs, which
has a decorator for the same.)
"""

from __future__ import annotations

from _thread import RLock
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[T], T]:
        return lambda decorator: decorator


T = TypeVar("T")
_FIELDS = "__dataclass_fields__"


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Class decorator: a dataclass whose instances do not change, equal where their fields are, with a hash.

    Raises TypeError for a class with a ``__post_init__``, or with a `field` that is told more than a default.
    """
    made: Any = cls
    _refuse_more(made)
    setattr(made, _FIELDS, _Fields(made))
    made.__init__ = _compiling_init(made)
    made.__repr__, made.__eq__, made.__hash__ = _repr, _eq, _hash
    made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
    return cls


def _refuse_more(cls: Any) -> None:
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__qualname__} has a __post_init__, which @frozen does not call")
    for name, value in vars(cls).items():
        if isinstance(value, Field):
            keyword = getattr(value, "kw_only", MISSING)  # from 3.10 on
            if (value.init, value.repr, value.hash, value.compare, keyword) != (
                True,
                True,
                None,
                True,
                MISSING,
            ):
                raise TypeError(
                    f"{cls.__qualname__}.{name}: @frozen heeds no more than the default of a field"
                )


class _Fields:
    """Stands in a class for its fields until they are asked for. It is by them that a dataclass is known as one."""

    _lock = RLock()  #: for all classes: the fields of one may need those of another, from which it inherits

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def __get__(self, instance: Any, owner: Any) -> dict[str, Field[Any]]:
        with self._lock:
            if vars(self._cls)[_FIELDS] is self:
                dataclass(init=False, repr=False, eq=False)(self._cls)
        found: dict[str, Field[Any]] = vars(self._cls)[_FIELDS]
        return found


def _compiling_init(cls: Any) -> Callable[..., None]:
    """Takes the place of ``__init__`` until that is needed. Threads that meet here make two that are the same."""

    def __init__(self: Any, *values: Any, **named: Any) -> None:  # noqa: N807
        cls.__init__ = _init(cls)
        cls.__init__(self, *values, **named)

    return __init__


def _init(cls: Any) -> Any:
    scope: dict[str, Any] = {"_missing": MISSING}
    parameters, body = ["self"], ["_values = self.__dict__"]
    for each in fields(cls):
        name = value = each.name
        if each.default_factory is not MISSING:
            scope[f"_make_{name}"] = each.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif each.default is not MISSING:
            scope[f"_default_{name}"] = each.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f"_values[{name!r}] = {value}")
    exec(f"def __init__({', '.join(parameters)}):\n    " + "\n    ".join(body), scope)
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"  # for what it says of wrong arguments
    return init


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__dataclass_fields__])


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse_to_set(self: Any, name: str, value: Any) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
