"""`frozen` makes what `dataclass(frozen=True)` makes, as far as anybody can tell."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Optional

import pytest

from mapreduce.frozen import frozen


@frozen
class Ours:
    """A point with a few things more."""

    x: int
    y: int = 2
    names: tuple[str, ...] = ()
    more: Optional[dict[str, int]] = field(default_factory=dict)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True)
class Theirs:
    """The same, by the standard library."""

    x: int
    y: int = 2
    names: tuple[str, ...] = ()
    more: Optional[dict[str, int]] = field(default_factory=dict)


@frozen
class Nothing:
    """Has no fields."""


@frozen
class Wider(Ours):
    """Inherits fields."""

    z: int = 3


def test_instances_are_made_as_those_of_a_dataclass() -> None:
    for values, named in [((1,), {}), ((1, 5), {"names": ("a",)}), ((), {"more": None, "x": 4})]:
        ours, theirs = Ours(*values, **named), Theirs(*values, **named)  # type: ignore[arg-type]
        assert asdict(ours) == asdict(theirs)
        assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert Ours(1).sum == 3
    assert Wider(1, z=4) == replace(Wider(1), z=4)
    assert repr(Nothing()) == "Nothing()"


def test_each_instance_has_a_default_of_its_own() -> None:
    assert Ours(1).more == {}
    assert Ours(1).more is not Ours(1).more


@pytest.mark.parametrize("values", [(), (1, 2, (), {}, 5)])
def test_wrong_arguments_are_told_as_of_a_dataclass(values: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError) as ours:
        Ours(*values)
    with pytest.raises(TypeError) as theirs:
        Theirs(*values)
    assert str(ours.value) == str(theirs.value).replace("Theirs", "Ours")


def test_equal_where_type_and_fields_are() -> None:
    assert Ours(1, more=None) == Ours(1, more=None)
    assert hash(Ours(1, more=None)) == hash(Ours(1, more=None))
    assert Ours(1) != Ours(2)
    assert Ours(1) != Wider(1)
    other: object = (1, 2, (), {})
    assert Ours(1) != other
    assert {Nothing(): 1}[Nothing()] == 1


def test_nothing_can_be_changed() -> None:
    point: Any = Ours(1)
    for name in ("x", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(point, name, 5)
    with pytest.raises(FrozenInstanceError):
        del point.x


def test_it_is_a_dataclass_for_the_standard_library_also_before_an_instance_was_made() -> None:
    @frozen
    class Unused:
        a: int
        b: str = "b"

    assert Unused.b == "b"
    assert [each.name for each in fields(Unused)] == ["a", "b"]
    assert is_dataclass(Unused)


@pytest.mark.parametrize("option", ["init", "repr", "hash", "compare"])
def test_what_it_would_not_heed_is_refused(option: str) -> None:
    options: Any = {option: False}
    odd = type("Odd", (), {"__annotations__": {"x": "int"}, "x": field(default=1, **options)})
    with pytest.raises(TypeError, match=r"^Odd\.x: @frozen heeds no more than the default of a field$"):
        frozen(odd)


def test_what_it_would_not_call_is_refused() -> None:
    odd = type("Odd", (), {"__annotations__": {"x": "int"}, "__post_init__": lambda self: None})
    with pytest.raises(TypeError, match="Odd has a __post_init__, which @frozen does not call"):
        frozen(odd)


def test_copies_and_pickles_are_equal() -> None:
    point = Ours(1, names=("a",))
    assert pickle.loads(pickle.dumps(point)) == copy.deepcopy(point) == point
