"""What user functions yield, taken from them as columns of keys and values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mapreduce import codec

#: pairs taken from the iterator at a time: at most, and at first
SLICE_PAIRS = 1024
FIRST_SLICE_PAIRS = 16
#: a slice of pairs should not weigh more
SLICE_BYTES = 1024 * 1024


class NotAPair(Exception):
    """User code yielded something other than a tuple of two; ``value`` is it."""

    def __init__(self, value: Any) -> None:
        text = repr(value) if type(value) in (int, float, bool, type(None)) else _shorten(value)
        super().__init__(f"{text}, which is not a (key, value) tuple")
        self.value = value


def _shorten(value: Any) -> str:
    if type(value) in (str, bytes):
        return repr(value[:40]) + ("…" if len(value) > 40 else "")
    if type(value) is tuple:
        return f"a tuple of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def columns(pairs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Keys and values. Raises `NotAPair` for what is no tuple of two."""
    if set(map(type, pairs)) != {tuple}:
        raise NotAPair(next(item for item in pairs if type(item) is not tuple))
    try:
        return [key for key, _ in pairs], [value for _, value in pairs]
    except ValueError:
        raise NotAPair(next(item for item in pairs if len(item) != 2)) from None


def slices(pairs: Iterator[Any]) -> Iterator[tuple[list[Any], list[Any], int]]:
    """Keys, values and the weight of the values, as drawn from the iterator: few at a time where they are large.

    Raises `NotAPair` for what is no tuple of two.
    """
    size = FIRST_SLICE_PAIRS
    while taken := list(islice(pairs, size)):
        keys, values = columns(taken)
        weight = codec.weigh(values)
        yield keys, values, weight
        size = next_size(size, len(taken), weight)


def unweighed(pairs: Iterator[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """The same slices without the weights; the last one, which may be all, is not weighed."""
    size = FIRST_SLICE_PAIRS
    while taken := list(islice(pairs, size)):
        keys, values = columns(taken)
        yield keys, values
        if len(taken) < size:
            return
        size = next_size(size, len(taken), codec.weigh(values))


def next_size(size: int, taken: int, weight: int) -> int:
    """How many pairs to take next, when so many of the last ``size`` had values of such a weight."""
    return max(1, min(SLICE_PAIRS, 4 * size, taken * SLICE_BYTES // max(1, weight)))
