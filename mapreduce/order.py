"""The order of keys, and which partition each belongs to: the same on every Python, in every process.

Keys of every supported type have one total order. Where they are all of one *kind* it is Python's own, and
everything here runs at C speed. Otherwise keys are compared by their `sort_key`, which ranks types as

    None < numbers < NaN < str < bytes < tuple < list < set < dict < date < naive datetime < aware datetime
         < naive time < aware time < timedelta < UUID

Keys that Python calls equal are equal here: 1, 1.0, True and Decimal(1); 0.0 and -0.0; (1, 2) and (1.0, 2.0);
a set and a frozenset of the same items; dicts whatever the order of their items; times in different zones at
the same instant. All NaNs are equal to each other. Keys with equal sort keys form one group in a reduce.
"""

from __future__ import annotations

import datetime
import decimal
import math
import operator
import uuid
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import Any
from zlib import crc32

from mapreduce.codec import MAX_DEPTH, UnsupportedValue
from mapreduce.loops import crc32_modulo

# ---------------------------------------------------------------- kinds

_NUMBERS = frozenset([int, bool, float])
_KINDS: dict[type, str] = {
    str: "s",
    bytes: "b",
    int: "n",
    bool: "n",
    float: "n",
    uuid.UUID: "u",
    datetime.date: "a",
    datetime.timedelta: "t",
}
_MAX_KIND_DEPTH = 4


def kind(keys: Sequence[Any]) -> str:
    """A short name if Python's own ``<`` orders these keys as `sort_key` does; "" if they must be wrapped.

    Keys of sequences that have the same name can be compared with each other, too.
    """
    return _kind(keys, 0)


def _kind(keys: Sequence[Any], depth: int) -> str:
    types = set(map(type, keys))
    if len(types) == 1:
        (only,) = types
        if only is tuple:
            return _tuple_kind(keys, depth)
        if only is datetime.datetime:
            return _datetime_kind(keys)
        if only is not float:
            return _KINDS.get(only, "")
    if not types or not types <= _NUMBERS:
        return ""
    # only NaN differs from itself
    return "" if float in types and any(map(operator.ne, keys, keys)) else "n"


def _tuple_kind(keys: Sequence[Any], depth: int) -> str:
    widths = set(map(len, keys))
    if len(widths) != 1 or depth == _MAX_KIND_DEPTH:
        return ""
    kinds = [_kind([key[i] for key in keys], depth + 1) for i in range(widths.pop())]
    return "(" + "".join(kinds) + ")" if all(kinds) else ""


def _datetime_kind(keys: Sequence[Any]) -> str:
    zones = {type(key.tzinfo) for key in keys}
    if zones == {type(None)}:
        return "d"
    # Zones whose offset varies: Python's comparison is not transitive there.
    return "z" if zones == {datetime.timezone} else ""


# ---------------------------------------------------------------- the total order

_NAN = (2, 0)
_EPOCH = datetime.datetime(1970, 1, 1)


def sort_key(key: Any) -> Any:
    """Something hashable that compares with every other sort key. Raises `UnsupportedValue`."""
    return _sort_key(key, 0)


def _sort_key(key: Any, depth: int) -> Any:
    rank = _RANKS.get(type(key))
    if rank is None:
        name = f"{type(key).__module__}.{type(key).__qualname__}"
        raise UnsupportedValue(f"a key cannot be, or hold, a {name}", key)
    number, convert = rank
    if convert is None:
        return (number, key)
    if depth > MAX_DEPTH:
        raise UnsupportedValue(f"a key is nested more than {MAX_DEPTH} deep (or inside itself)", key)
    return convert(number, key, depth)


def _is_nan(key: Any) -> bool:
    return math.isnan(key) if type(key) is float else key.is_nan()


def _number(number: int, key: Any, _: int) -> Any:
    return _NAN if _is_nan(key) else (number, key)


def _sequence(number: int, key: Iterable[Any], depth: int) -> Any:
    return (number, tuple([_sort_key(item, depth + 1) for item in key]))


def _set(number: int, key: Iterable[Any], depth: int) -> Any:
    return (number, tuple(sorted([_sort_key(item, depth + 1) for item in key])))


def _dict(number: int, key: dict[Any, Any], depth: int) -> Any:
    items = [(_sort_key(k, depth + 1), _sort_key(v, depth + 1)) for k, v in key.items()]
    return (number, tuple(sorted(items)))


def _datetime(number: int, key: datetime.datetime, _: int) -> Any:
    # Python disregards `fold` where it compares within a zone, and so must we where it is equal
    offset = key.replace(fold=0).utcoffset()
    since = key.replace(tzinfo=None) - _EPOCH
    return (number, since) if offset is None else (number + 1, since - offset)


def _time(number: int, key: datetime.time, _: int) -> Any:
    offset = key.utcoffset()
    since = datetime.timedelta(0, key.second, key.microsecond, 0, key.minute, key.hour)
    return (number, since) if offset is None else (number + 1, since - offset)


#: type -> rank, and how to make a sort key of it; None: compares as it is
_RANKS: dict[type, tuple[int, Any]] = {
    type(None): (0, lambda number, key, depth: (number, 0)),  # None < None would raise
    int: (1, None),
    bool: (1, None),
    float: (1, _number),
    decimal.Decimal: (1, _number),
    # 2: NaN
    str: (3, None),
    bytes: (4, None),
    tuple: (5, _sequence),
    list: (6, _sequence),
    set: (7, _set),
    frozenset: (7, _set),
    dict: (8, _dict),
    datetime.date: (9, None),
    datetime.datetime: (10, _datetime),  # 11: aware
    datetime.time: (12, _time),  # 13: aware
    datetime.timedelta: (14, None),
    uuid.UUID: (15, None),
}

_SIMPLE = frozenset([str, bytes, int, bool, type(None), uuid.UUID, datetime.date, datetime.timedelta])
#: no key of a user's is equal to it
_WRAPPED = object()


def is_simple(kind: type) -> bool:
    """Whether whatever key is of this type stands for itself in a dict."""
    return kind in _SIMPLE


def hashable(key: Any) -> Hashable:
    """What stands for ``key`` in a dict: equal for two keys if, and only if, their sort keys are equal.

    ``key`` itself where Python's own hash and equality serve. Raises `UnsupportedValue`.
    """
    result: Hashable = key if _is_plain(key, 0) else (_WRAPPED, sort_key(key))
    return result


def hashable_all(keys: Sequence[Any]) -> Sequence[Hashable]:
    """`hashable` of each key; ``keys`` itself, the same object, where that changes none of them."""
    if set(map(type, keys)) <= _SIMPLE:
        return keys
    name = kind(keys)
    # "z": an aware datetime can be equal to one whose zone makes it less simple
    return keys if name and "z" not in name else list(map(hashable, keys))


def _is_plain(key: Any, depth: int) -> bool:
    only = type(key)
    if only in _SIMPLE:
        return True
    if only is tuple:
        return depth < MAX_DEPTH and all(_is_plain(item, depth + 1) for item in key)
    if only is float or only is decimal.Decimal:
        return not _is_nan(key)
    return only is datetime.datetime and key.tzinfo is None


# ---------------------------------------------------------------- partitions

_MASK = 0xFFFFFFFF
#: hash() of numbers is part of the language: equal for equal numbers of all types, modulo this prime
_PRIME = 2**61 - 1
#: spreads numbers that have a factor in common
_SPREAD = 0x9E3779B97F4A7C15 % _PRIME


def partition(key: Any, n: int) -> int:
    """Where ``key`` belongs, of ``n`` partitions."""
    return partition_all([key], n)[0]


def partition_all(keys: Sequence[Any], n: int) -> list[int]:
    """Where each key belongs, of ``n`` partitions. Raises `UnsupportedValue`."""
    types = set(map(type, keys))
    if types == {str}:
        return crc32_modulo(list(keys), n)
    return [number % n for number in _hashes(keys, types)]


def _hashes(keys: Sequence[Any], types: set[type]) -> Iterable[int]:
    """A hash below 2**32 for each key, of these types; each the same as if it were alone."""
    if types == {str}:
        return crc32_modulo(list(keys), 1 << 32)
    if types == {bytes}:
        return map(crc32, keys)
    if types and types <= {int, bool}:
        return [key * _SPREAD % _PRIME & _MASK for key in map(hash, keys)]
    if types == {tuple}:
        widths = set(map(len, keys))
        if len(widths) == 1 and widths != {0} and len(keys) > 1:
            return _tuple_hashes(keys, widths.pop())
    return [_hash(sort_key(key)) for key in keys]


def _tuple_hashes(keys: Sequence[Any], width: int) -> Iterable[int]:
    hashes: Iterable[int] = [_RANKS[tuple][0]] * len(keys)
    for i in range(width):
        column = [key[i] for key in keys]
        more = _hashes(column, set(map(type, column)))
        hashes = [(a * 1000003 + b) & _MASK for a, b in zip(hashes, more)]
    return hashes


def _hash(canonical: Any) -> int:
    """The hash of a key, by its sort key: ``(rank, content)``."""
    rank, content = canonical
    if rank == 1:
        return hash(content) * _SPREAD % _PRIME & _MASK
    if rank == 3:
        return crc32(content.encode("utf-8", "surrogatepass"))
    if rank == 4:
        return crc32(content)
    if 5 <= rank <= 8:
        result: int = rank
        for item in content:
            # of a dict: pairs of sort keys
            part = _hash((5, item)) if rank == 8 else _hash(item)
            result = (result * 1000003 + part) & _MASK
        return result
    return crc32(repr((rank, content)).encode())


class RangePartition:
    """Partitions that are ranges of keys: partition i holds the keys from boundary i-1 up to below boundary i.

    ``boundaries`` are keys in ascending order.
    """

    def __init__(self, boundaries: Sequence[Any]) -> None:
        self._boundaries = list(boundaries)
        self._kind = kind(self._boundaries)
        self._wrapped = list(map(sort_key, self._boundaries))

    def partition_all(self, keys: Sequence[Any]) -> list[int]:
        """Where each key belongs. Raises `UnsupportedValue`."""
        if self._kind and kind(keys) == self._kind:
            return list(map(partial(bisect_right, self._boundaries), keys))
        return list(map(partial(bisect_right, self._wrapped), map(sort_key, keys)))
