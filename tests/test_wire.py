"""Messages come back as they went, and garbage of any kind is a `BadMessage`, never anything else."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import codec, events, wire

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return PLAIN
    if origin is Union:
        return st.none() | values(args[0])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(values(args[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    simple = {int: st.integers(), str: st.text(), bool: st.booleans(), bytes: st.binary()}
    if hint is float:
        return st.floats(allow_nan=False)
    return simple[hint] if hint in simple else records(hint)


def records(cls: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else cls._fields
    return st.builds(cls, **{name: values(hints[name]) for name in names})


MESSAGES = [m for m in vars(events).values() if isinstance(m, type) and m.__name__ in wire._TAGS]


@given(st.sampled_from(MESSAGES).flatmap(records), st.binary(max_size=50))
def test_round_trip(message: Any, body: bytes) -> None:
    again, rest = wire.decode(wire.encode(message, body))
    assert again == message and bytes(rest) == body


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_message(data: bytes) -> None:
    with pytest.raises(wire.BadMessage):
        wire.decode(data)


@given(st.sampled_from(sorted(wire._TAGS)), PLAIN)
def test_wrong_fields_are_a_bad_message_or_a_message(tag: str, fields: Any) -> None:
    head = codec.pack([tag, fields, None])
    data = wire._PREFIX.pack(1, len(head)) + head
    try:
        message, _ = wire.decode(data)
    except wire.BadMessage:
        return
    assert type(message).__name__ == tag


@given(st.data())
def test_a_cut_message_is_a_bad_message(data: st.DataObject) -> None:
    whole = wire.encode(events.Started(1, 0, 2, 0, 3, "w"))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(wire.BadMessage):
        wire.decode(whole[:cut])


def test_another_version_is_named() -> None:
    data = bytes([9]) + wire.encode(events.Present())[1:]
    with pytest.raises(wire.BadMessage, match="version 9"):
        wire.decode(data)


def test_fields_appended_later_are_ignored_and_missing_ones_take_their_defaults() -> None:
    head = codec.pack(["Dispatch", ["job", 7, 1, 2, 0, None], None])
    dispatch, _ = wire.decode(wire._PREFIX.pack(1, len(head)) + head)
    assert dispatch == events.Dispatch(
        "job", 7, 1, 2, 0, None, careful=False, skip=(), skip_limit=0, alone=False
    )
    head = codec.pack(["Present", ["of a later version"], None])
    present, _ = wire.decode(wire._PREFIX.pack(1, len(head)) + head)
    assert present == events.Present()


def test_optional_is_optional() -> None:
    hints = get_type_hints(events.Dispatch)
    assert hints["input"] == Optional[events.SplitInput]


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=5), st.data())
def test_joined_messages_come_back_one_by_one_and_whatever_is_wrong_with_one_is_told(
    bodies: list[bytes], data: st.DataObject
) -> None:
    messages = [wire.encode(events.Piece(number), body) for number, body in enumerate(bodies)]
    whole = wire.join(messages)
    read = [(message, bytes(body)) for message, body in wire.decode_all(whole)]
    assert read == [(events.Piece(number), body) for number, body in enumerate(bodies)]
    bad = data.draw(st.integers(0, len(bodies) - 1))
    messages[bad] = bytes([9]) + messages[bad][1:]
    read_anyway = [message for message, _ in wire.decode_all(wire.join(messages))]
    assert [number for number, message in enumerate(read_anyway) if isinstance(message, wire.BadMessage)] == [
        bad
    ]
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert any(isinstance(message, wire.BadMessage) for message, _ in wire.decode_all(whole[:cut]))


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=5), st.data())
def test_what_is_said_at_once_comes_back_one_by_one_and_whatever_is_wrong_with_one_is_told(
    numbers: list[int], data: st.DataObject
) -> None:
    said = [events.Lost(number, 0, 1) for number in numbers]
    alone = [wire.encode(each) for each in said]
    whole = wire.encode_all(said)
    assert [message for message, _ in wire.decode_all(whole)] == said and wire.split(whole) == alone
    among = wire.join([alone[0], whole, alone[-1]])
    assert [message for message, _ in wire.decode_all(among)] == [said[0], *said, said[-1]]
    assert wire.split(among) == [alone[0], *alone, alone[-1]]
    bad = data.draw(st.integers(0, len(said) - 1))
    rows = [row for each in said for row in ("Lost", wire.to_plain(each))]
    rows[2 * bad + 1] = data.draw(st.sampled_from([None, [], ["x", 0, 1]]))
    head = codec.pack(["Many", rows, None])
    read = [message for message, _ in wire.decode_all(wire._PREFIX.pack(1, len(head)) + head)]
    assert [n for n, message in enumerate(read) if isinstance(message, wire.BadMessage)] == [bad]
    assert read[bad].tag == "Lost"


@pytest.mark.parametrize("fields", [None, 7, [], ["Lost"], {"Lost": []}, ["Many", []], [[], "Lost"]])
def test_what_is_nothing_said_at_once_is_told(fields: object) -> None:
    head = codec.pack(["Many", fields, None])
    [(message, _)] = wire.decode_all(wire._PREFIX.pack(1, len(head)) + head)
    assert isinstance(message, wire.BadMessage)


def test_lengths_of_joined_messages_that_are_no_whole_numbers_are_told() -> None:
    """They fit in sum, and no slice can be made of them."""
    whole = wire.join([wire.encode(events.Present()), wire.encode(events.Present())])
    bodies = 2 * len(wire.encode(events.Present()))
    kind, fields = codec.unpack(whole[5:-bodies])[:2]
    head = codec.pack([kind, [[float(length) for length in fields[0]]], None])
    damaged = whole[:1] + len(head).to_bytes(4, "big") + head + whole[-bodies:]
    [(message, _)] = wire.decode_all(damaged)
    assert isinstance(message, wire.BadMessage)
