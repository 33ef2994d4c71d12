"""Groups of buckets are what a list of values for each key gives, however their pairs travel."""

from __future__ import annotations

from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mapreduce import buckets, codec, order
from tests.strategies import same

#: some of them equal; a bucket has keys of one kind
kinds_of_keys: st.SearchStrategy[list[Any]] = st.sampled_from([["a", "b", "c", "d"], [0, 1, 2, False, True]])
#: some of them equal
values = st.sampled_from([1, True, 0, False, "x", None])
counts = st.integers(1, 255)


@st.composite
def batches_of(draw: st.DrawFn, keys: list[Any]) -> Any:
    """What one task has for a bucket."""
    if draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(keys), max_size=5))
        return some, [draw(values) for _ in some]
    # counted, and so of one type, each once
    kind = draw(st.sampled_from(sorted(map(type, keys), key=repr)))
    some = draw(
        st.lists(st.sampled_from([key for key in keys if type(key) is kind]), unique=True, min_size=1)
    )
    return some, codec.Repeated(draw(values), bytes(draw(counts) for _ in some))


def grouped_plainly(batches: Any) -> list[Any]:
    found: dict[Any, Any] = {}
    for keys, items in batches:
        for key, value in zip(*codec.spelled_out(keys, items)):
            found.setdefault(key, (key, []))[1].append(value)
    return sorted(found.values(), key=lambda group: order.sort_key(group[0]))


@given(kinds_of_keys.flatmap(lambda keys: st.lists(st.lists(batches_of(keys), max_size=8), max_size=3)))
def test_values_in_order_under_the_first_of_equal_keys(bucketed: Any) -> None:
    # a key is in one bucket only
    apart = [
        [([(number, key) for key in keys], items) for keys, items in some]
        for number, some in enumerate(bucketed)
    ]
    for given_buckets in (bucketed[:1], apart):
        groups = chain.from_iterable(buckets.group(map(iter, given_buckets), totals=False))
        found = [(key, list(items)) for key, items in groups]
        assert same(found, grouped_plainly(chain.from_iterable(given_buckets)))


@given(st.lists(batches_of(["a", "b", "c"]), max_size=8))
def test_totals_are_those_of_all_values(batches: Any) -> None:
    groups = chain.from_iterable(buckets.group(iter([iter(batches)]), totals=True))
    found = [(key, list(items)) for key, items in groups]
    plain = grouped_plainly(batches)
    if all(type(items) is list and {*map(type, items)} == {int} for _, items in batches):
        assert same(found, [(key, [sum(items)]) for key, items in plain])
        return
    assert [key for key, _ in found] == [key for key, _ in plain]
    for (_, items), (_, plain_items) in zip(found, plain):
        # the first ones may have been added up before there was one that cannot be
        assert same(items, plain_items) or items[0] == sum(plain_items[: len(plain_items) - len(items) + 1])
