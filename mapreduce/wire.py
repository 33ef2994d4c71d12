"""Messages on the wire: a frozen dataclass in, bytes out, and back with every field checked.

    byte 0      protocol version (1)
    bytes 1-4   length of the head, big endian
    head        msgpack [tag, [field, …], signature]   signature is nil: room for one, later
    body        the rest: raw bytes of a piece or block, empty for everything else

Small messages may travel together: `join` makes one message of them, whose tag is `Joined` and whose body they are, one
after the other. A broker's publisher joins what it has to send anyway (`brokers.base.Publish.joins`), so whoever reads
a stream reads it with `decode_all`. Who has several to say at once, without bodies, says them with `encode_all`: the
fields of that message, `Many`, are tags and fields of these, in turn; each costs half of what it does alone.

A message that cannot be read raises `BadMessage` with the reason; whoever reads a queue or stream sets it aside.
Fields travel by position. A newer minor version may append fields: a reader ignores those it does not know,
and fills in the defaults of those that are missing.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Callable, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from mapreduce import codec

PROTOCOL = 1
_PREFIX = struct.Struct(">BI")
_START = _PREFIX.size  #: of the head
_MAX_REASON_CHARS = 200
_TAGS: dict[str, type] = {}
_JOINED, _MANY = "Joined", "Many"
#: how its head begins: an array of three, a text of six bytes
_JOINED_HEAD = b"\x93\xa6" + _JOINED.encode()

_NOTHING = memoryview(b"")

T = TypeVar("T")
Convert = Callable[[Any], Any]


class BadMessage(Exception):
    """Bytes that are not a message of this protocol; the text says why."""

    #: which message it would be, if its head could be read so far, and its fields as they came
    tag = ""
    fields: Any = None


def message(cls: type[T]) -> type[T]:
    """Class decorator: registers a dataclass as a message; its name is its tag."""
    _TAGS[cls.__name__] = cls
    return cls


def encode(msg: Any, body: bytes = b"") -> bytes:
    """The message and its body as bytes."""
    return _with_prefix([type(msg).__name__, to_plain(msg), None]) + body


def encode_all(msgs: Sequence[Any]) -> bytes:
    """Messages without bodies, at least one, as one for `decode_all`."""
    if len(msgs) == 1:
        return encode(msgs[0])
    rows: list[Any] = []
    for msg in msgs:
        rows += (type(msg).__name__, to_plain(msg))
    return _with_prefix([_MANY, rows, None])


def _with_prefix(plain: list[Any]) -> bytes:
    head = codec.pack_known(plain)
    return _PREFIX.pack(PROTOCOL, len(head)) + head


def decode(data: Union[bytes, memoryview]) -> tuple[Any, memoryview]:
    """The message and its body. Raises `BadMessage`."""
    tag, fields, body = _open(data)
    return _made(tag, fields), body


def _open(data: Union[bytes, memoryview]) -> tuple[Any, Any, memoryview]:
    """Tag, fields and body. Raises `BadMessage`."""
    size = len(data)
    if size < _START:
        raise BadMessage(f"only {size} bytes")
    version, length = _PREFIX.unpack_from(data)
    if version != PROTOCOL:
        raise BadMessage(f"protocol version {version}, this is version {PROTOCOL}")
    view, end = memoryview(data), _START + length
    if size < end:
        raise BadMessage(f"cut short: {size - _START} of {length} bytes of its head")
    try:
        tag, fields, _signature = codec.unpack(view[_START:end])
    except Exception as error:  # any damage must end as BadMessage, whatever msgpack makes of it
        raise BadMessage(f"unreadable head: {str(error)[:_MAX_REASON_CHARS]}") from error
    return tag, fields, view[end:]


def _made(tag: Any, fields: Any) -> Any:
    """The message of these fields. Raises `BadMessage`."""
    cls = _TAGS.get(tag) if type(tag) is str else None
    if cls is None:
        known = repr(tag[:_MAX_REASON_CHARS]) if type(tag) is str else type(tag).__name__
        raise BadMessage(f"no message of this protocol: {known}")
    try:
        return _record(cls)(fields)
    except BadMessage as error:
        error.tag, error.fields = tag, fields
        raise


def join(messages: Sequence[Union[bytes, bytearray]]) -> bytes:
    """Several messages as one."""
    if len(messages) == 1:
        return bytes(messages[0])
    return b"".join([_with_prefix([_JOINED, [list(map(len, messages))], None]), *messages])


def decode_all(data: bytes) -> Iterator[tuple[Any, memoryview]]:
    """The messages of a delivery, of one or of several, with their bodies.

    In the place of one that cannot be read comes the `BadMessage` that says why.
    """
    try:
        for each in _joined(data):
            try:
                tag, fields, body = _open(each)
                if tag != _MANY:
                    yield _made(tag, fields), body
                    continue
                rows = _rows(fields)
            except BadMessage as error:
                yield error, _NOTHING
                continue
            for tag, fields in rows:
                try:
                    yield _made(tag, fields), _NOTHING
                except BadMessage as error:
                    yield error, _NOTHING
    except BadMessage as error:
        yield error, _NOTHING


def split(data: bytes) -> list[bytes]:
    """The messages of a delivery, each by itself. Raises `BadMessage` where they cannot be told apart."""
    found: list[bytes] = []
    for each in _joined(data):
        try:
            tag, fields, _ = _open(each)
            some = [_with_prefix([*row, None]) for row in _rows(fields)] if tag == _MANY else [bytes(each)]
        except BadMessage:  # as it is
            some = [bytes(each)]
        found += some
    return found


def _rows(fields: Any) -> Iterator[tuple[Any, Any]]:
    """Tags and fields of what was said at once. Raises `BadMessage`."""
    if type(fields) is not list or not fields or len(fields) % 2:
        raise BadMessage("messages that were said at once, without tags and fields in turn")
    return zip(fields[::2], fields[1::2])


def _joined(data: bytes) -> Sequence[Union[bytes, memoryview]]:
    """The messages that were joined; of any other message that one. Raises `BadMessage`."""
    if data[_START : _START + len(_JOINED_HEAD)] != _JOINED_HEAD:
        return (data,)
    _, length = _PREFIX.unpack_from(data)
    view = memoryview(data)
    start = _START + length
    try:
        _, ((*lengths,), *_), *_ = codec.unpack(view[_START:start])
        if not set(map(type, lengths)) <= {int}:
            raise TypeError("a length that is no whole number")
        ends = list(accumulate(lengths, initial=start))
    except (ValueError, TypeError) as error:
        raise BadMessage(f"unreadable list of joined messages: {str(error)[:_MAX_REASON_CHARS]}") from error
    if data[0] != PROTOCOL or ends[-1] != len(data) or min(lengths, default=0) <= 0:
        raise BadMessage("joined messages that do not fit their list")
    return [view[begin:end] for begin, end in zip(ends, ends[1:])]


def to_plain(value: Any) -> Any:
    """Dataclasses and named tuples as lists of their fields, all the way down.

    Dicts are left as they are: a field whose values must keep their exact types (tuples among them) is a dict.
    """
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind in (tuple, list):
        return [to_plain(item) for item in value]
    fields = _fields(kind)
    return value if fields is None else fields(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """The inverse of `to_plain`; checks types and arity. Raises `BadMessage`."""
    key: Any = cls
    result: T = _record(key)(plain)
    return result


#: types of fields that are taken as they come
_EXACT = frozenset([int, str, bytes, bool, float])
#: what has no messages inside
_AS_THEY_ARE = frozenset([int, str, bytes, dict, type(None), float, bool])


@cache
def _fields(cls: Any) -> Optional[Convert]:
    """What makes the list of an instance's fields, without a loop; None: it is no dataclass or named tuple."""
    if not (hasattr(cls, "__dataclass_fields__") or (issubclass(cls, tuple) and hasattr(cls, "_fields"))):
        return None
    hints = get_type_hints(cls)
    scope: dict[str, Any] = {"plain": to_plain}
    values = [_plainly(hints[name], f"value.{name}", scope) for name in _names(cls)]
    exec(f"def fields(value): return [{', '.join(values)}]", scope)
    fields: Convert = scope["fields"]
    return fields


def _plainly(hint: Any, value: str, scope: dict[str, Any]) -> str:
    """The expression that makes ``value``, an expression of such a type, plain; ``scope``: the names that it needs."""
    origin, args = get_origin(hint), get_args(hint)
    if (origin or hint) in _AS_THEY_ARE:
        return value
    if origin is Union:
        inner = _plainly(_inner_of_optional(hint), value, scope)
        return inner if inner == value else f"None if {value} is None else {inner}"
    if _is_long_tuple(hint):
        return f"[{_plainly(args[0], 'each', scope)} for each in {value}] if {value} else []"
    fields = _fields(hint) if isinstance(hint, type) else None
    if fields is None:
        return f"plain({value})"
    scope[f"fields_of_{hint.__name__}"] = fields
    return f"fields_of_{hint.__name__}({value})"


@cache
def _names(cls: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(cls, "_fields", ())  # of a named tuple
    return names or tuple(field.name for field in dataclasses.fields(cls))


@cache
def _record(cls: Any) -> Convert:
    """A converter from a list of fields to ``cls``, a dataclass or a named tuple."""
    hints = get_type_hints(cls)
    names = _names(cls)
    converters = [_converter(hints[name]) for name in names]

    def convert_or_explain(plain: Any) -> Any:
        if type(plain) is not list:
            raise BadMessage(f"{cls.__name__}: {type(plain).__name__} instead of a list of fields")
        values: list[Any] = []
        try:
            for converter, item in zip(converters, plain):
                values.append(converter(item))
        except BadMessage as error:
            raise BadMessage(f"{cls.__name__}.{names[len(values)]}: {error}") from error
        try:
            return cls(*values)
        except TypeError as error:  # too few fields, and no defaults for the rest
            raise BadMessage(f"{cls.__name__}: {error}") from error

    return _compiled(cls, [hints[name] for name in names], converters, convert_or_explain)


def _compiled(cls: Any, hints: list[Any], converters: list[Convert], otherwise: Convert) -> Convert:
    """A converter without a loop, which takes half the time, for a list that has all the fields, and no more. All
    else is left to ``otherwise``: what another build has sent, what is damaged. That converts once more what is
    inside: each record around what is damaged doubles the work, and there are three at most (`Splits` to `Segment`).
    """
    scope: dict[str, Any] = {
        "cls": cls,
        "otherwise": otherwise,
        "BadMessage": BadMessage,
        "new": tuple.__new__,
    }
    values, checks = [], ["type(plain) is list", f"len(plain) == {len(hints)}"]
    for number, (hint, converter) in enumerate(zip(hints, converters)):
        value = item = f"plain[{number}]"
        inner = _inner_of_optional(hint)
        known = hint if inner is None else inner
        if known in _EXACT:
            scope[f"type{number}"] = known
            checks.append(
                f"({item} is None or type({item}) is type{number})"
                if inner
                else f"type({item}) is type{number}"
            )
        elif hint is not Any:
            scope[f"convert{number}"] = converter if inner is None else _converter(inner)
            value = f"convert{number}({item})"
            if _is_long_tuple(hint):
                value = f"() if {item} == [] else {value}"
            elif get_origin(hint) is dict:
                value = f"{item} if not {item} and type({item}) is dict else {value}"
            value = value if inner is None else f"None if {item} is None else {value}"
        values.append(value)
    makes = f"new(cls, ({', '.join(values)},))" if issubclass(cls, tuple) else f"cls({', '.join(values)})"
    made = f"try: return {makes}\n  except BadMessage: pass"
    exec(f"def convert(plain):\n if {' and '.join(checks)}:\n  {made}\n return otherwise(plain)", scope)
    convert: Convert = scope["convert"]
    return convert


def _is_long_tuple(hint: Any) -> bool:
    """Of any length; few are, most of the time."""
    return get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis


def _inner_of_optional(hint: Any) -> Any:
    """What a field is unless it is None; None: it never is."""
    if get_origin(hint) is not Union:
        return None
    return next(arg for arg in get_args(hint) if arg is not type(None))


@cache
def _converter(hint: Any) -> Convert:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda plain: plain
    if origin is Union:
        return _optional(_converter(_inner_of_optional(hint)))
    if origin is tuple and args[-1] is Ellipsis:
        return _sequence(tuple, _converter(args[0]))
    if origin is tuple:
        return _fixed([_converter(arg) for arg in args])
    if origin is list:
        return _sequence(list, _converter(args[0]))
    if origin is dict:
        return _mapping(args[0], args[1])
    if hint is float:
        return _of_types(float, (float, int))
    if hint in _EXACT:
        return _exactly(hint)
    return _record(hint)


def _exactly(kind: type) -> Convert:
    def convert(plain: Any) -> Any:
        if type(plain) is not kind:
            raise BadMessage(f"{type(plain).__name__} instead of {kind.__name__}")
        return plain

    return convert


def _of_types(make: type, types: tuple[type, ...]) -> Convert:
    def convert(plain: Any) -> Any:
        if type(plain) not in types:
            raise BadMessage(f"{type(plain).__name__} instead of {make.__name__}")
        try:
            return make(plain)
        except OverflowError as error:
            raise BadMessage(str(error)) from error

    return convert


def _optional(inner: Convert) -> Convert:
    return lambda plain: None if plain is None else inner(plain)


def _sequence(make: type, inner: Convert) -> Convert:
    def convert(plain: Any) -> Any:
        if type(plain) is not list:
            raise BadMessage(f"{type(plain).__name__} instead of a list")
        return make(map(inner, plain))

    return convert


def _fixed(inners: list[Convert]) -> Convert:
    def convert(plain: Any) -> Any:
        if type(plain) is not list or len(plain) != len(inners):
            raise BadMessage(f"not a list of {len(inners)}")
        return tuple(inner(item) for inner, item in zip(inners, plain))

    return convert


def _mapping(key: Any, value: Any) -> Convert:
    of_key, of_value = _converter(key), _converter(value)
    keys, values = (None if hint is Any else frozenset([hint]) & _EXACT for hint in (key, value))

    def convert(plain: Any) -> Any:
        if type(plain) is not dict:
            raise BadMessage(f"{type(plain).__name__} instead of a dict")
        if (keys is None or set(map(type, plain)) <= keys) and (
            values is None or set(map(type, plain.values())) <= values
        ):
            return plain  # there is nothing to convert in any of them
        return {of_key(k): of_value(v) for k, v in plain.items()}

    return convert
