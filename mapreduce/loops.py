"""The innermost loops of map and reduce: how often keys come, their totals, which part each goes to, their order.

All are here in Python, and in C (`csrc`), for a third of the time, where that could be compiled when the package was
installed. Both do the same, to the order of keys, with whatever the rest of the engine gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, islice
from typing import Any, Optional, Union
from zlib import crc32

__all__ = [
    "NOT_IN_C",
    "Columns",
    "Counts",
    "Parts",
    "PlainCounts",
    "PlainTotals",
    "Totals",
    "add",
    "counts_of",
    "crc32_modulo",
    "distribute",
    "lines_by_crc32",
    "sorted_columns",
    "text_lines",
    "totals_of",
]

_NONE = object()

#: keys and values of each part
Parts = list[tuple[list[Any], Any]]
#: keys, and a value for each
Columns = tuple[list[Any], list[Any]]


class PlainCounts:
    """How often each key came, the keys in the order in which they came first. Equal keys are one."""

    def __init__(self) -> None:
        self._counts: dict[Any, int] = {}

    def __len__(self) -> int:
        """How many keys."""
        return len(self._counts)

    def count(self, pairs: Iterator[Any], value: Any, kind: type) -> Optional[list[Any]]:
        """Take tuples of a key of type ``kind`` and ``value``, or its equal of the same type, as long as they come.

        Returns what is left, from the first other item on; None if there was nothing at all. Raises what ``pairs``
        raises.
        """
        # A plain loop, straight from the iterator: a pair is gone before the next one is made, so that its memory, in
        # the processor's first cache, serves for all of them
        value_kind, counts, known = type(value), self._counts, self._counts.get
        pair = _NONE
        for pair in pairs:
            try:
                key, its = pair
            except (TypeError, ValueError):
                return [pair, *pairs]
            if its is not value or type(key) is not kind or type(pair) is not tuple:
                # what is equal must do, too, or where a combiner cuts would hang on whether it is the same object
                equal = type(its) is value_kind and its == value
                if not equal or type(key) is not kind or type(pair) is not tuple:
                    return [pair, *pairs]
            counts[key] = known(key, 0) + 1
        return None if pair is _NONE else []

    def keys(self, start: int) -> list[Any]:
        """Those from the ``start``-th on."""
        newest = list(islice(reversed(self._counts), max(0, len(self._counts) - start)))
        newest.reverse()
        return newest

    def drain(self, most: int) -> tuple[list[Any], bytes, dict[Any, int]]:
        """Those that came ``most`` times (up to 255) or less, and how often; and the others. None stays here."""
        counts, self._counts = self._counts, {}
        many = {key: counts.pop(key) for key in list(compress(counts, map(most.__lt__, counts.values())))}
        return list(counts), bytes(counts.values()), many


def plain_add(totals: dict[Any, int], keys: list[Any], numbers: Union[bytes, list[int]]) -> None:
    """Add to the total of each key its number; there are as many of both."""
    known = totals.get
    for key, number in zip(keys, numbers):
        totals[key] = known(key, 0) + number


class PlainTotals:
    """The sum of the numbers of each key. Equal keys are one."""

    def __init__(self) -> None:
        self._totals: dict[Any, int] = {}

    def add(self, keys: Union[str, list[Any]], numbers: bytes) -> None:
        """Add to the total of each key, or of each line of a text, its number: one for each, at least 1."""
        add(self._totals, keys.split("\n") if isinstance(keys, str) else keys, numbers)

    def take(self, keys: list[Any]) -> list[int]:
        """The totals of these keys, 0 for a key without one. They stay here no longer."""
        return [self._totals.pop(key, 0) for key in keys]

    def drain(self) -> tuple[list[Any], list[int]]:
        """All keys and their totals, in any order. None stays here."""
        totals, self._totals = self._totals, {}
        return list(totals), list(totals.values())


def plain_crc32_modulo(keys: list[str], n: int) -> list[int]:
    """Of each key CRC-32 of its UTF-8, modulo ``n``, at least 1. Lone surrogates have UTF-8, too."""
    try:
        return [number % n for number in map(crc32, map(str.encode, keys))]
    except UnicodeEncodeError:
        return [crc32(key.encode("utf-8", "surrogatepass")) % n for key in keys]


def plain_distribute(
    parts: Parts, numbers: list[int], keys: list[Any], values: Union[bytes, list[Any]]
) -> None:
    """Append each key, and its value, to the part of that number, from 0 on; there are as many of all three.

    For bytes the values of a part are a bytearray.
    """
    add_key = [keys.append for keys, _ in parts]
    add_value = [values.append for _, values in parts]
    for number, key, value in zip(numbers, keys, values):
        add_key[number](key)
        add_value[number](value)


#: more characters than that are not copied
_MOST_LINES = 1 << 24


def plain_lines_by_crc32(keys: list[Any], counts: bytes, n: int) -> Optional[list[tuple[str, bytes]]]:
    """Deal out keys to ``n`` parts by `crc32_modulo`: of each part a text, each key a line, and the counts of these.

    None if a key is no str or has a line feed, or if they are so long that they had better not be copied.
    """
    if not set(map(type, keys)) <= {str} or sum(map(len, keys)) > _MOST_LINES:
        return None
    if any("\n" in key for key in keys):
        return None
    parts: Parts = [([], bytearray()) for _ in range(n)]
    plain_distribute(parts, plain_crc32_modulo(keys, n), keys, counts)
    return [("\n".join(some), bytes(their_counts)) for some, their_counts in parts]


def plain_sorted_columns(keys: list[Any], values: list[Any]) -> Columns:
    """What `sorted_columns` does."""
    positions = sorted(range(len(keys)), key=keys.__getitem__)
    return list(map(keys.__getitem__, positions)), list(map(values.__getitem__, positions))


def plain_text_lines(keys: list[Any], values: list[Any]) -> Optional[bytes]:
    """What `formats` makes of columns of str, and of int of up to 64 bits, as text; None if anything else is in them.

    In Python that is for `formats` to do.
    """
    return None


#: of `csrc`, one more with each change of what it does: where sources are updated in place (an editable
#: installation, say), what was compiled from older ones stays until it is compiled again
_EDITION = 5
#: why the loops in C are not used; "": they are
NOT_IN_C = ""
try:
    from mapreduce._loops import (
        EDITION,
        Counts,
        Totals,
        add,
        crc32_modulo,
        distribute,
        lines_by_crc32,
        sorted_by_rank,
        text_lines,
    )

    if EDITION != _EDITION:
        raise ImportError("what was compiled is not from the sources that are here")
except ImportError as error:  # there was no compiler, or this is PyPy, which compiles the loops above itself
    Counts, add, crc32_modulo, distribute = PlainCounts, plain_add, plain_crc32_modulo, plain_distribute  # type: ignore[assignment,misc]
    Totals, lines_by_crc32, sorted_by_rank = PlainTotals, plain_lines_by_crc32, plain_sorted_columns  # type: ignore[assignment,misc]
    text_lines = plain_text_lines
    NOT_IN_C = str(error)

_IN_C = {str, bytes, int}


def counts_of(kind: type) -> Union[Counts, PlainCounts]:
    """To count keys of this type."""
    return Counts() if kind in _IN_C else PlainCounts()


def totals_of(kind: type) -> Union[Totals, PlainTotals]:
    """To add up numbers of keys of this type."""
    return Totals() if kind is str else PlainTotals()


def sorted_columns(keys: list[Any], values: list[Any]) -> Columns:
    """Both in the order that ``<`` gives the keys, stably; there are as many of both.

    In C where the keys are all str, all bytes, all float, or all int of up to 64 bits.
    """
    return sorted_by_rank(keys, values) or plain_sorted_columns(keys, values)
