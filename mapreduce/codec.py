"""Values and chunks of pairs as bytes, and back: what comes out equals what went in, types included.

A value is one msgpack object. What msgpack has no exact notation for is an extension type:

    code  type               payload
     1    tuple              msgpack array of the items
     2    int beyond 64 bits two's complement, big endian
     3,4  set, frozenset     msgpack array of the items, each encoded on its own, sorted
     5    datetime           msgpack array: year … microsecond, fold, zone
     6    date               msgpack array: year, month, day
     7    time               msgpack array: hour … microsecond, fold, zone
     8    timedelta          msgpack array: days, seconds, microseconds
     9    Decimal            its text, ASCII
    10    UUID               its 16 bytes

    zone: nil; for a fixed offset [seconds, microseconds] or [seconds, microseconds, name]; for a ZoneInfo its
    key

A chunk is the msgpack array [keys, values]; a column of it is

    [0, [item, …]]           the items as they are
    [1, column, …]           the items are tuples of one width: a column for each position
    [2, item, counts]        of values alone: each key has this item, so many times; a byte for each (`Repeated`)
    [3, text]                the items are the lines of this text: strings without a line feed, as most keys are

Values that are equal, types included, become the same bytes in every process. Instances of subclasses are
refused: they would come back as something else.
"""

from __future__ import annotations

import datetime
import decimal
import sys
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Callable, Optional, Union

import msgpack

#: Containers in containers: more is taken for a cycle. Within what msgpack and Python's own stack can do.
MAX_DEPTH = 100
_MAX_COLUMN_DEPTH = 4

_NUMBERS = frozenset([type(None), bool, int, float])
_PLAIN = _NUMBERS | {str, bytes}
_LEAVES = _PLAIN | {
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
}
_SEQUENCES = frozenset([list, tuple, set, frozenset])
_CONTAINERS = _SEQUENCES | {dict}
_SUPPORTED = _LEAVES | _CONTAINERS


class UnsupportedValue(Exception):
    """A value that cannot be encoded; ``value`` is the one that is to blame, maybe deep inside another."""

    def __init__(self, message: str, value: Any) -> None:
        super().__init__(message)
        self.value = value


def pack(value: Any) -> bytes:
    """One value as bytes. Raises `UnsupportedValue`."""
    if type(value) not in _PLAIN:
        _check([value])
    return _pack(value)


def pack_known(value: Any) -> bytes:
    """The same of what is known to hold supported types only, in a fourth of the time where all are msgpack's own."""
    try:
        packed: bytes = _pack_plain(value)
    except (TypeError, ValueError, OverflowError):  # others among them, lone surrogates, large ints
        return _pack(value)
    return packed


def unpack(data: Union[bytes, memoryview]) -> Any:
    """What `pack` made ``data`` of. Raises ValueError for anything else."""
    try:
        return _unpack(data)
    except ValueError:
        raise
    except (TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not an encoded value: {error}") from error


class Repeated:
    """A column of values: each key has the same one, so many times: 1 to 255."""

    def __init__(self, value: Any, counts: bytes) -> None:
        self.value = value
        self.counts = counts

    def __getitem__(self, keys: slice) -> Repeated:
        return self.as_often(self.counts[keys])

    def as_often(self, counts: Union[bytes, bytearray]) -> Repeated:
        """The same value for other keys."""
        return Repeated(self.value, bytes(counts))


class Lines:
    """A column of ``count`` strings without line feeds: the lines of a text, which are not taken apart unless they have
    to be."""

    def __init__(self, text: str, count: int) -> None:
        self.text = text
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, some: slice) -> Lines:
        if some.indices(self._count) == (0, self._count, 1):
            return self
        items = self.items()[some]
        return Lines(_END.join(items), len(items))

    def items(self) -> list[str]:
        """Each of them."""
        return self.text.split(_END) if self._count else []


Keys = Union[Sequence[Any], Lines]
Values = Union[Sequence[Any], Repeated]


def encode_chunk(keys: Keys, values: Values) -> bytes:
    """Two columns of the same length as bytes. Raises `UnsupportedValue`."""
    last = [2, values.value, values.counts] if isinstance(values, Repeated) else _column(values, 0)
    return _pack([_column_of(keys) if isinstance(keys, Lines) else _column(keys, 0), last])


def decode_chunk(
    data: Union[bytes, memoryview],
) -> tuple[Union[list[Any], Lines], Union[list[Any], Repeated]]:
    """What `encode_chunk` made ``data`` of; `Lines` only beside `Repeated`. Raises ValueError for anything else."""
    try:
        first, last = unpack(data)
        keys: Union[list[Any], Lines]
        values: Union[list[Any], Repeated]
        if last[0] == 2:
            keys, values = _lines(first) if first[0] == 3 else _items(first), _repeated(*last[1:])
        else:
            keys, values = _items(first), _items(last)
        if len(keys) != len(values.counts if isinstance(values, Repeated) else values):
            raise ValueError("not an encoded chunk: columns of different lengths")
        return keys, values
    except (TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"not an encoded chunk: {error}") from error


def _repeated(value: Any, counts: bytes) -> Repeated:
    if type(counts) is not bytes or not counts or 0 in counts:
        raise TypeError("no counts")
    return Repeated(value, counts)


def spelled_out(
    keys: Union[list[Any], Lines], values: Union[list[Any], Repeated]
) -> tuple[list[Any], list[Any]]:
    """A key and a value for each pair."""
    if isinstance(keys, Lines):
        keys = keys.items()
    if not isinstance(values, Repeated):
        return keys, values
    keys = list(chain.from_iterable(map(repeat, keys, values.counts)))
    return keys, [values.value] * len(keys)


# ---------------------------------------------------------------- columns

#: of an item, in a column of kind 3
_END = "\n"
#: larger columns are not joined: that would be a copy of them, four bytes a character if there is one emoji
_MAX_JOINED_CHARS = 1 << 20


def _column_of(lines: Lines) -> list[Any]:
    """What `_column` makes of the items."""
    joined = len(lines) and len(lines.text) - (len(lines) - 1) <= _MAX_JOINED_CHARS
    return [3, lines.text] if joined else [0, lines.items()]


def _column(items: Sequence[Any], depth: int) -> list[Any]:
    types = set(map(type, items))
    if types == {str} and sum(map(len, items)) <= _MAX_JOINED_CHARS:
        # A third of the time that it takes to pack them one by one: they lie all over the memory
        text = _END.join(items)
        if text.count(_END) == len(items) - 1:
            return [3, text]
    if types == {tuple} and depth < _MAX_COLUMN_DEPTH:
        widths = set(map(len, items))
        if len(widths) == 1 and widths != {0}:
            return [1, *(_column(column, depth + 1) for column in zip(*items))]
    if not types <= _PLAIN:
        _check(items)
    return [0, items if type(items) is list else list(items)]


def _items(column: list[Any]) -> list[Any]:
    if column[0] == 0:
        items: list[Any] = column[1]
        if type(items) is not list:
            raise TypeError("no list of items")
        return items
    if column[0] == 3:
        return _lines(column).items()
    if column[0] != 1:
        raise ValueError("not an encoded chunk: a column of another kind")
    return list(zip(*map(_items, column[1:])))


def _lines(column: list[Any]) -> Lines:
    if len(column) != 2 or type(column[1]) is not str:
        raise TypeError("no text")
    return Lines(column[1], column[1].count(_END) + 1)


# ---------------------------------------------------------------- what is in a value


def levels(items: Iterable[Any]) -> Iterator[tuple[Sequence[Any], set[type]]]:
    """Items and their types, then what is right inside those, and so on: one list per level, at C speed.

    A container that is met twice in one level is opened once. A cycle never ends: the caller stops.
    """
    level: Sequence[Any] = items if isinstance(items, (list, tuple)) else list(items)
    while level:
        types = set(map(type, level))
        yield level, types
        if types.isdisjoint(_CONTAINERS):
            return
        opened = {id(item): item for item in level if type(item) in _CONTAINERS}.values()
        inside = [chain.from_iterable(opened)]
        if dict in types:
            inside.append(chain.from_iterable(item.values() for item in opened if type(item) is dict))
        level = list(chain.from_iterable(inside))


def _check(items: Sequence[Any]) -> None:
    """The packer itself would let pass what does not come back as it was, bytearray for one."""
    for depth, (_, types) in enumerate(levels(items)):
        if depth > MAX_DEPTH or not types <= _SUPPORTED:
            for item in items:
                _blame(item, "", 0)


def _blame(value: Any, where: str, depth: int) -> None:
    """Raise the error for the first thing in ``value`` that is not supported."""
    kind = type(value)
    if depth > MAX_DEPTH:
        raise UnsupportedValue(f"nested more than {MAX_DEPTH} deep (or inside itself)", value)
    if kind not in _SUPPORTED:
        raise UnsupportedValue(_reason(value) + (f" (at {where})" if where else ""), value)
    if kind is dict:
        for key, item in value.items():
            _blame(key, f"{where}, a key of the dict" if where else "a key of the dict", depth + 1)
            _blame(item, f"{where}[{_short(key)}]", depth + 1)
    elif kind in (list, tuple):
        for index, item in enumerate(value):
            _blame(item, f"{where}[{index}]", depth + 1)
    elif kind in _SEQUENCES:
        for item in value:
            _blame(item, f"{where}, an item of the set" if where else "an item of the set", depth + 1)


def _short(key: Any) -> str:
    text = repr(key) if type(key) in _PLAIN else type(key).__name__
    return text if len(text) <= 40 else text[:40] + "…"


def _reason(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base in kind.__mro__[1:]:
        if base in _SUPPORTED:
            return (
                f"{name} cannot be encoded: convert it to a plain {base.__name__}, of which it is a subclass"
            )
    if hasattr(kind, "__next__"):
        return f"{name} cannot be encoded: it is an iterator; make a list of it"
    return f"{name} cannot be encoded: use str, bytes, numbers, dates, UUID, list, tuple, dict, set, None"


# ---------------------------------------------------------------- msgpack


def _pack(value: Any) -> bytes:
    """Encode what is known to hold supported types only."""
    try:
        return _packb(value, None)
    except UnicodeEncodeError:  # lone surrogates: rare, and slower
        return _packb(value, "surrogatepass")
    except ValueError as error:
        raise UnsupportedValue(f"too large to be encoded: {error}", value) from error


def _packer_of_plain() -> Callable[[Any], bytes]:
    """To make a packer and its buffer takes longer than to pack a small message. msgpack's own in C can be used again,
    by any thread, for while it packs nothing else runs; the one in Python cannot.
    """
    if msgpack.Packer.__module__ != "msgpack._cmsgpack":
        return _pack
    pack: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, strict_types=True).pack
    return pack


def _packb(value: Any, unicode_errors: Optional[str]) -> bytes:
    result: bytes = msgpack.packb(
        value, use_bin_type=True, strict_types=True, default=_extend, unicode_errors=unicode_errors
    )
    return result


def _extend(value: Any) -> Any:
    code, encode = _ENCODERS[type(value)]
    return msgpack.ExtType(code, encode(value))


def _restore(code: int, data: bytes) -> Any:
    return _DECODERS[code](data)


_unpack: Callable[[Union[bytes, memoryview]], Any] = partial(
    msgpack.unpackb, raw=False, strict_map_key=False, ext_hook=_restore, unicode_errors="surrogatepass"
)


def _pack_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _pack_set(items: Iterable[Any]) -> bytes:
    # sorted, for the order of a set differs between processes
    return _pack(sorted(map(_pack, items)))


def _unpack_set(data: bytes) -> Iterator[Any]:
    return map(_unpack, _unpack(data))


def _zone(tz: Any) -> Any:
    if tz is None:
        return None
    zoneinfo = sys.modules.get("zoneinfo")  # whoever has made a zone has imported it
    if zoneinfo is not None and type(tz) is zoneinfo.ZoneInfo and tz.key is not None:
        return tz.key
    if type(tz) is datetime.timezone:
        offset, *name = tz.__getinitargs__()  # type: ignore[attr-defined]
        return [offset.days * 86400 + offset.seconds, offset.microseconds, *name]
    raise UnsupportedValue(
        f"a time zone of type {type(tz).__module__}.{type(tz).__qualname__} cannot be encoded: "
        "use datetime.timezone or a ZoneInfo that has a key",
        tz,
    )


def _tzinfo(zone: Any) -> Optional[datetime.tzinfo]:
    if zone is None:
        return None
    if type(zone) is str:
        import zoneinfo  # late: a tenth of an executor's start

        return zoneinfo.ZoneInfo(zone)
    seconds, microseconds, *name = zone
    return datetime.timezone(datetime.timedelta(seconds=seconds, microseconds=microseconds), *name)


def _pack_datetime(t: datetime.datetime) -> bytes:
    return _pack([t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond, t.fold, _zone(t.tzinfo)])


def _unpack_datetime(data: bytes) -> datetime.datetime:
    *fields, fold, zone = _unpack(data)
    return datetime.datetime(*fields).replace(tzinfo=_tzinfo(zone), fold=fold)


def _pack_time(t: datetime.time) -> bytes:
    return _pack([t.hour, t.minute, t.second, t.microsecond, t.fold, _zone(t.tzinfo)])


def _unpack_time(data: bytes) -> datetime.time:
    *fields, fold, zone = _unpack(data)
    return datetime.time(*fields).replace(tzinfo=_tzinfo(zone), fold=fold)


_Codec = tuple[int, type, Callable[[Any], bytes], Callable[[bytes], Any]]
_EXTENSIONS: list[_Codec] = [
    (1, tuple, lambda items: _pack(list(items)), lambda data: tuple(_unpack(data))),
    (2, int, _pack_int, lambda data: int.from_bytes(data, "big", signed=True)),
    (3, set, _pack_set, lambda data: set(_unpack_set(data))),
    (4, frozenset, _pack_set, lambda data: frozenset(_unpack_set(data))),
    (5, datetime.datetime, _pack_datetime, _unpack_datetime),
    (
        6,
        datetime.date,
        lambda d: _pack([d.year, d.month, d.day]),
        lambda data: datetime.date(*_unpack(data)),
    ),
    (7, datetime.time, _pack_time, _unpack_time),
    (
        8,
        datetime.timedelta,
        lambda d: _pack([d.days, d.seconds, d.microseconds]),
        lambda data: datetime.timedelta(*_unpack(data)),
    ),
    (9, decimal.Decimal, lambda d: str(d).encode(), lambda data: decimal.Decimal(data.decode())),
    (10, uuid.UUID, lambda u: u.bytes, lambda data: uuid.UUID(bytes=data)),
]
_ENCODERS = {kind: (code, encode) for code, kind, encode, _ in _EXTENSIONS}
_pack_plain = _packer_of_plain()
_DECODERS = {code: decode for code, _, _, decode in _EXTENSIONS}

# ---------------------------------------------------------------- weight

_NUMBER_WEIGHT = 32
_ITEM_WEIGHT = 64


def weigh(items: Sequence[Any]) -> int:
    """About how many bytes of memory the items take: a function of the data alone, alike on every Python."""
    total = 0
    for depth, (level, types) in enumerate(levels(items)):
        if depth > MAX_DEPTH:  # will be refused when it is encoded
            break
        if types in ({str}, {bytes}):
            total += weigh_strings(level, len(level))
            continue
        total += len(level) * (_NUMBER_WEIGHT if types <= _NUMBERS else _ITEM_WEIGHT)
        if types == {int}:
            total += _weigh_ints(level)
        elif int in types or not types <= _NUMBERS:
            total += sum(len(item) for item in level if type(item) is str or type(item) is bytes)
            total += _weigh_ints([item for item in level if type(item) is int])
    return total


def weigh_strings(items: Iterable[Union[str, bytes]], n: int) -> int:
    """`weigh` of ``n`` items that are known to be str or bytes, in a third of the time."""
    return n * _ITEM_WEIGHT + sum(map(len, items))


def _weigh_ints(items: Sequence[int]) -> int:
    """What ints take on top of `_NUMBER_WEIGHT`: nothing, up to 64 bits."""
    same = bool(items) and items[0] == items[-1] and items.count(items[0]) == len(items)
    try:
        array("q", items[:1] if same else items)
    except OverflowError:
        return sum(map(int.bit_length, items)) >> 3
    return 0
