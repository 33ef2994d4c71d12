"""Pairs by key, in memory: what a combiner needs.

While all values are one and the same, a 1 above all, keys are only counted (see `loops`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat, starmap
from typing import Any, Callable, Optional

from mapreduce import codec, order
from mapreduce.drain import drained
from mapreduce.job import Fold
from mapreduce.loops import counts_of
from mapreduce.pairs import SLICE_PAIRS, columns, next_size, unweighed
from mapreduce.runs import Batch, Group

#: in one byte
MOST_COUNTED = 255
#: what an entry of a dict and its list take
GROUP_BYTES = 160

#: `Groups` has seen no value yet; has seen two that differ
_UNKNOWN, _VARIOUS = object(), object()
#: as many of one of these are the same for a combiner as so many equal ones (unlike 0.0 and -0.0)
_COUNTED = {int, str, bytes, bool, type(None)}

Combine = Callable[[Any, Iterator[Any]], Iterable[Any]]


class Groups:
    """Keys, and the values of each in order. Keys that `order` calls equal are one; the first stands for all."""

    def __init__(self) -> None:
        #: as `codec.weigh` counts
        self.weight = 0
        self._value: Any = _UNKNOWN  #: the one value; `_VARIOUS` from the first other one on
        self._kind: Any = None  #: the type of all keys until then
        self._counts = counts_of(str)  #: of a key's values, as long as they are all one
        self._many: dict[Any, int] = {}  #: those that `take_out` left
        # All by what stands for the key in a dict. Most keys have but one value, and a list for each of those
        # would double the time, not least the garbage collector's.
        self._firsts: dict[Any, Any] = {}
        self._others: defaultdict[Any, list[Any]] = defaultdict(list)
        #: the key, where it differs from what stands for it
        self._keys: dict[Any, Any] = {}

    def take(self, pairs: Iterator[Any], size: int) -> int:
        """Take so many pairs, or what is left of them; how many to take next, 0 after the last ones.

        Raises `NotAPair`, `codec.UnsupportedValue` and what ``pairs`` raises.
        """
        some: Iterator[Any] = islice(pairs, size)
        if self._value is _UNKNOWN:
            first = list(some)
            self._value, self._kind = _kinds_of(first)
            self._counts = counts_of(self._kind)
            some = iter(first)
        rest = list(some) or None if self._value is _VARIOUS else self._count(some)
        if rest is None:
            return 0
        if not rest:
            return next_size(size, size, 0)
        keys, values = columns(rest)
        weight = codec.weigh(values)
        self.add_columns(keys, values, weight)
        return next_size(size, len(rest), weight)

    def add_columns(self, keys: list[Any], values: list[Any], values_weight: int) -> None:
        """Take pairs as columns. Raises `codec.UnsupportedValue`."""
        self._spell_out()
        firsts, others = self._firsts, self._others
        before = len(firsts)
        stand_ins = order.hashable_all(keys)
        for key, value in zip(stand_ins, values):
            if key in firsts:
                others[key].append(value)
            else:
                firsts[key] = value
        self._remember(stand_ins, keys)
        self.weight += values_weight + self._weigh_new(firsts, before)

    # ------------------------------------------------------------ counting

    def _count(self, pairs: Iterator[Any]) -> Optional[list[Any]]:
        """Take pairs for as long as their value is the one; the pairs that are left, None if there were none at all.

        What is no pair, or has another kind of key, is left as well: it is not for this loop to complain.
        """
        counts, one, kind = self._counts, self._value, self._kind
        if not order.is_simple(kind):
            some = list(pairs)
            if not _are_hashable(some):
                return some or None
            pairs = iter(some)
        before = len(counts)
        left = counts.count(pairs, one, kind)
        new = counts.keys(before)
        text = kind is str or kind is bytes
        self.weight += GROUP_BYTES * len(new)
        self.weight += codec.weigh_strings(new, len(new)) if text else codec.weigh(new)
        return left

    def _spell_out(self) -> None:
        """From counts to lists of values."""
        if self._value is _VARIOUS:
            return
        value, counts = self._value, self._counts.drain(0)[2]
        self._value, self.weight = _VARIOUS, 0
        if counts:
            keys = list(chain.from_iterable(map(repeat, counts, counts.values())))
            self.add_columns(keys, [value] * len(keys), codec.weigh([value]) * len(keys))

    # ------------------------------------------------------------ stand-ins

    def _remember(self, stand_ins: Sequence[Any], keys: list[Any]) -> None:
        if stand_ins is not keys:
            for stand_in, key in zip(stand_ins, keys):
                if stand_in is not key:
                    self._keys.setdefault(stand_in, key)

    def _weigh_new(self, grouped: dict[Any, Any], before: int) -> int:
        new = list(islice(reversed(grouped), len(grouped) - before))
        return GROUP_BYTES * len(new) + codec.weigh(self._named(new))

    def _named(self, stand_ins: list[Any]) -> list[Any]:
        return [self._keys.get(each, each) for each in stand_ins] if self._keys else stand_ins

    # ------------------------------------------------------------ combining

    def take_out(self, most: int) -> tuple[list[Any], codec.Repeated]:
        """Keys, and the value that each has so many times, of those that have ``most`` (up to `MOST_COUNTED`) or less.

        The rest stays here: all where values differ.
        """
        if self._value is _VARIOUS or not most:
            return [], codec.Repeated(None, b"")
        keys, counts, self._many = self._counts.drain(most)
        return keys, codec.Repeated(self._value, counts)

    def combined(self, combine: Combine) -> Iterator[Batch]:
        """All keys and values: those of keys that have several combined, the others as they are.

        Some at a time: what is done with a key at once finds it in the processor's cache. Nothing else can be done with
        the object any more. Raises `NotAPair` and what ``combine`` raises.
        """
        one = self._value
        if one is _VARIOUS:
            return self._combined_lists(combine)
        keys, times, many = self._counts.drain(MOST_COUNTED)
        counts = chain(self._many.items(), zip(keys, times), many.items())
        if type(one) is int and is_sum(combine):
            return _multiplied(one, counts)
        return _combined_counts(one, counts, combine)

    def _combined_lists(self, combine: Combine) -> Iterator[Batch]:
        others = self._others
        for some in _some(self._firsts.items()):
            # of equal keys `_firsts` has the first: not so `_others`
            single = [pair for pair in some if pair[0] not in others]
            keys = self._named([key for key, _ in single])
            several = [(key, iter([value, *others.pop(key)])) for key, value in some if key in others]
            named = zip(self._named([key for key, _ in several]), [values for _, values in several])
            yield _with_combined(keys, [value for _, value in single], combine, list(named))


def _multiplied(one: int, counts: Iterable[tuple[Any, int]]) -> Iterator[Batch]:
    """A sum of equal numbers."""
    for some in _some(counts):
        yield [key for key, _ in some], [one * n for _, n in some]


def _combined_counts(one: Any, counts: Iterable[tuple[Any, int]], combine: Combine) -> Iterator[Batch]:
    for some in _some(counts):
        keys = [key for key, n in some if n == 1]
        several = [(key, repeat(one, n)) for key, n in some if n > 1]
        yield _with_combined(keys, [one] * len(keys), combine, several)


def is_sum(function: Any) -> bool:
    """Whether it adds up."""
    return isinstance(function, Fold) and function.function is sum


def _kinds_of(pairs: list[Any]) -> tuple[Any, Any]:
    """The value of the first of them, if equal ones can be counted, and the type of its key."""
    if not pairs:
        return _UNKNOWN, None
    first = pairs[0]
    if type(first) is not tuple or len(first) != 2 or type(first[1]) not in _COUNTED:
        return _VARIOUS, None
    return first[1], type(first[0])


def _are_hashable(pairs: list[Any]) -> bool:
    """Whether these are pairs whose keys stand for themselves in a dict."""
    if set(map(type, pairs)) != {tuple} or set(map(len, pairs)) != {2}:
        return False
    keys = [key for key, _ in pairs]
    return order.hashable_all(keys) is keys


def _some(items: Iterable[Any]) -> Iterator[list[Any]]:
    items = iter(items)
    return iter(lambda: list(islice(items, SLICE_PAIRS)), [])


def _with_combined(keys: list[Any], values: list[Any], combine: Combine, several: Sequence[Group]) -> Batch:
    """These and what ``combine`` makes of groups."""
    if isinstance(combine, Fold):
        pairs = _folded(combine.function, several)
    else:
        end = _nothing()
        pairs = drained(chain.from_iterable(starmap(combine, chain(several, end))), end)
    for more_keys, more_values in unweighed(pairs):
        keys += more_keys
        values += more_values
    return keys, values


def _nothing() -> Generator[Any, None, None]:
    """A generator at the end of an iterator tells whether that was drained."""
    return
    yield


def _folded(fold: Callable[[Iterator[Any]], Any], groups: Iterable[Any]) -> Iterator[Any]:
    # `blame` knows this frame by its name, and the group by the name `key`
    for key, values in groups:
        yield key, fold(values)
