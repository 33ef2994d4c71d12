"""Output formats: batches of keys and values as the bytes of a file.

    text      key<TAB>value, a line each. A str stands as it is, but for tab, line feed, carriage return and
              backslash, which become \\t, \\n, \\r and \\\\; everything else is JSON.
    jsonl     [key, value], a line each, both as JSON.
    csv       A header line, then a row each: the key, then the value. A dict is spread over columns named by
              its keys, a list or tuple over value_0, value_1, …; the first pair decides on the columns. Cells
              are a str as it is, None as nothing, everything else as JSON: without the quotes where that is
              one string, such as a date. Lines end with a line feed.
    msgpack   [key, value] packed by `codec.pack`, one after the other: the only one that keeps every type.

All text is UTF-8; a lone surrogate, which UTF-8 has no bytes for, becomes \\udc80 and the like. Equal values
always become equal bytes. What JSON has no notation for is written so:

    tuple                   an array
    set, frozenset          an array, in the order of `order.sort_key`
    dict                    an object in the dict's own order; a key that is no str is written as its JSON
                            text in quotes, (1, 2) as "[1, 2]"
    int of any size         all its digits
    NaN, infinity           "NaN", "Infinity", "-Infinity"
    bytes                   a string, base64
    datetime, date, time    a string, ISO 8601 ("2013-01-01T05:00:00+01:00")
    timedelta               seconds, as a number with six decimals
    Decimal, UUID           a string: Decimal's keeps trailing zeros

A value that has no place in the format is an `OutputError`.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json.encoder
import math
import re
import uuid
from typing import Any, Callable, Iterable, Optional, Sequence

from mapreduce import codec, order
from mapreduce.errors import OutputError, UsageError

#: (keys, values) of one batch -> the bytes to append to the file
Writer = Callable[[Sequence[Any], Sequence[Any]], bytes]

#: Python refuses to turn ints of more digits than about this into text in one go.
_DIGITS_AT_ONCE = 4000


def writer(format: str) -> Writer:
    """A function that turns batches into bytes of ``format``. One file, one writer: csv's has its columns.

    Raises `UsageError` for a format that does not exist; the function itself raises `OutputError`.
    """
    if format not in _WRITERS:
        raise UsageError(f"output format {format!r}: choose {', '.join(FORMATS)}")
    return _WRITERS[format]()


# ---------------------------------------------------------------- text

_SPECIAL = re.compile(r"[\t\n\r\\]")
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_ESCAPED = re.compile(r"\\(t|n|r|\\|u[0-9a-f]{4})")
_UNESCAPES = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def escape(text: str) -> str:
    """``text`` without tabs, line feeds, carriage returns: each becomes a backslash and a letter."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found.group()], text)


def unescape(text: str) -> str:
    """What `escape`, and the encoder after it, made ``text`` of."""
    return _ESCAPED.sub(lambda found: _UNESCAPES.get(found[1]) or chr(int(found[1][1:], 16)), text)


def _text_writer() -> Writer:
    return lambda keys, values: _lines(map("\t".join, zip(_text_column(keys), _text_column(values))))


def _text_column(items: Sequence[Any]) -> Iterable[str]:
    types = set(map(type, items))
    if types == {str}:
        return map(escape, items) if _hold_any(items, _ESCAPES) else items
    if str in types:
        return [escape(item) if type(item) is str else render(item) for item in items]
    return _json_column(items, types)


def _hold_any(items: Sequence[str], characters: Iterable[str]) -> bool:
    """Whether one of the items has one of the characters; several times as fast as a regular expression."""
    text = "".join(items)
    return any(map(text.__contains__, characters))


# ---------------------------------------------------------------- JSON lines


def _jsonl_writer() -> Writer:
    def write(keys: Sequence[Any], values: Sequence[Any]) -> bytes:
        columns = (_json_column(column, set(map(type, column))) for column in (keys, values))
        return _lines(map("[{}, {}]".format, *columns))

    return write


def _json_column(items: Sequence[Any], types: set[type]) -> Iterable[str]:
    """JSON texts; columns of one common type at C speed."""
    if types == {int}:
        try:
            return list(map(int.__repr__, items))
        except ValueError:  # one has too many digits
            return list(map(render, items))
    if types == {float} and all(map(math.isfinite, items)):
        return map(float.__repr__, items)
    if types == {str}:
        return map(_quote, items)
    return list(map(render, items))


def _lines(lines: Iterable[str]) -> bytes:
    # Only lone surrogates have no bytes in UTF-8; `backslashreplace` writes them as JSON would.
    text = "\n".join([*lines, ""])
    return text.encode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- JSON of any supported value

_quote = json.encoder.encode_basestring


def render(value: Any) -> str:
    """``value`` as JSON on one line; see the table above. Raises `OutputError`."""
    function = _RENDER.get(type(value))
    if function is None:
        raise OutputError(f"a value of type {type(value).__name__} cannot be written as JSON")
    try:
        return function(value)
    except RecursionError:
        raise OutputError("a value is nested too deeply to be written as JSON") from None


def _render_int(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        pass
    rest, parts = abs(value), []
    while rest:
        rest, low = divmod(rest, 10**_DIGITS_AT_ONCE)
        parts.append(str(low).zfill(_DIGITS_AT_ONCE))
    return ("-" if value < 0 else "") + "".join(reversed(parts)).lstrip("0")


def _render_float(value: float) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _render_array(value: Iterable[Any]) -> str:
    return f"[{', '.join(map(render, value))}]"


def _render_set(value: Iterable[Any]) -> str:
    return _render_array(sorted(value, key=order.sort_key))


def _render_dict(value: dict[Any, Any]) -> str:
    names = list(map(_name, value))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OutputError(
            f"two keys of a dict are both written as {_quote(twice)}; JSON has only one such name"
        )
    return f"{{{', '.join(f'{_quote(name)}: {render(item)}' for name, item in zip(names, value.values()))}}}"


def _name(key: Any) -> str:
    """The name of a JSON object's member, or of a CSV column."""
    return key if type(key) is str else render(key)


def _render_timedelta(value: datetime.timedelta) -> str:
    micros = value // datetime.timedelta(microseconds=1)
    sign = "-" if micros < 0 else ""
    return f"{sign}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06d}"


def _render_iso(value: Any) -> str:
    return f'"{value.isoformat()}"'


def _render_str(value: Any) -> str:
    return f'"{value}"'


_RENDER: dict[type, Callable[[Any], str]] = {
    type(None): lambda value: "null",
    bool: lambda value: "true" if value else "false",
    int: _render_int,
    float: _render_float,
    str: _quote,
    bytes: lambda value: f'"{base64.b64encode(value).decode("ascii")}"',
    list: _render_array,
    tuple: _render_array,
    set: _render_set,
    frozenset: _render_set,
    dict: _render_dict,
    datetime.datetime: _render_iso,
    datetime.date: _render_iso,
    datetime.time: _render_iso,
    datetime.timedelta: _render_timedelta,
    decimal.Decimal: _render_str,
    uuid.UUID: _render_str,
}

# ---------------------------------------------------------------- CSV

_TO_QUOTE = re.compile(r'[",\r\n]')
_SPREAD = frozenset([dict, list, tuple])


class _CsvWriter:
    """Rows of one file. Quotes by itself: what Python's csv quotes differs between versions."""

    def __init__(self) -> None:
        self._names: Optional[list[str]] = None  #: columns of the value

    def __call__(self, keys: Sequence[Any], values: Sequence[Any]) -> bytes:
        if not keys:
            return b""
        if self._names == ["value"] and _SPREAD.isdisjoint(map(type, values)):
            return _lines(map(",".join, zip(_csv_column(keys), _csv_column(values))))
        spread = list(map(_fields, values))
        header = self._header(keys[0], spread[0])
        for key, fields in zip(keys, spread):
            if not fields.keys() <= set(self._names or ()):
                raise self._misfit(key, fields)
        columns = [[fields.get(name) for fields in spread] for name in self._names or ()]
        rows = map(",".join, zip(*map(_csv_column, [keys, *columns])))
        return header + _lines(rows)

    def _header(self, key: Any, fields: dict[str, Any]) -> bytes:
        """The header line if this is the first pair."""
        if self._names is not None:
            return b""
        if "key" in fields:
            raise OutputError(
                f"csv: the value of {_short(key)} has a column of its own called 'key'; "
                "rename it, or write another format"
            )
        self._names = list(fields)
        return _lines([",".join(_csv_column(["key", *self._names]))])

    def _misfit(self, key: Any, fields: dict[str, Any]) -> OutputError:
        return OutputError(
            f"csv: the value of {_short(key)} has the columns {', '.join(fields)}, but the header has "
            f"{', '.join(self._names or ())}; let all values have the same, or write another format"
        )


def _csv_column(items: Sequence[Any]) -> Iterable[str]:
    types = set(map(type, items))
    if types == {str} and not _hold_any(items, ',"\r\n'):
        return items
    if types in ({int}, {float}):
        return _json_column(items, types)
    return list(map(_csv_cell, items))


def _fields(value: Any) -> dict[str, Any]:
    """Columns of one value, by name."""
    if type(value) is dict:
        fields = {_name(name): item for name, item in value.items()}
        if len(fields) < len(value):
            _render_dict(value)  # raises: it knows which two names are one
        return fields
    if type(value) in (list, tuple):
        return {f"value_{index}": item for index, item in enumerate(value)}
    return {"value": value}


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is str:
        text = value
    else:
        text = render(value)
        if text[0] == '"':
            text = text[1:-1]  # nothing in it is escaped
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text


def _short(key: Any) -> str:
    text = render(key)
    return text if len(text) <= 80 else text[:79] + "…"


# ---------------------------------------------------------------- msgpack


def _msgpack_writer() -> Writer:
    def write(keys: Sequence[Any], values: Sequence[Any]) -> bytes:
        try:
            packed = codec.pack(list(map(list, zip(keys, values))))
        except codec.UnsupportedValue as error:
            raise OutputError(f"msgpack: {error}") from error
        # An array is a head, then its items one after the other: those are what we want.
        return packed[1 if len(keys) < 1 << 4 else 3 if len(keys) < 1 << 16 else 5 :]

    return write


_WRITERS: dict[str, Callable[[], Writer]] = {
    "text": _text_writer,
    "jsonl": _jsonl_writer,
    "csv": _CsvWriter,
    "msgpack": _msgpack_writer,
}

#: names that `writer` knows
FORMATS = tuple(_WRITERS)
#: those of which a file is what its batches are, each by whatever writer, one after the other: csv has a header line
SEAMLESS = ("text", "jsonl", "msgpack")
#: where nobody says one
DEFAULT = "text"
