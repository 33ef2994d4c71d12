"""Hypothesis strategies: every value that the engine can carry, and keys of all sorts."""

from __future__ import annotations

import datetime
import decimal
import math
import zoneinfo
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Machines are busy, PyPy warms up: how long an example takes tells nothing here.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ZONES = [
    None,
    datetime.timezone.utc,
    datetime.timezone(datetime.timedelta(hours=-3, microseconds=5)),
    datetime.timezone(datetime.timedelta(hours=2), "ABC"),
    zoneinfo.ZoneInfo("Europe/Berlin"),
    zoneinfo.ZoneInfo("America/New_York"),
]

numbers = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400]),
    st.floats(),
    st.integers(-3, 3).map(float),
)
decimals = st.one_of(st.decimals(), st.integers(-3, 3).map(decimal.Decimal), st.just(decimal.Decimal("1.50")))
times = st.one_of(
    st.datetimes(timezones=st.sampled_from(ZONES)),
    # the hour that Berlin has twice, seen from several zones
    st.builds(
        lambda zone, minute, fold, hour: datetime.datetime(
            2020, 10, 25, hour, minute, tzinfo=zone, fold=fold
        ),
        st.sampled_from(ZONES),
        st.sampled_from([0, 30]),
        st.integers(0, 1),
        st.integers(0, 3),
    ),
    st.dates(),
    st.dates(datetime.date(2020, 1, 1), datetime.date(2020, 1, 3)),
    st.times(timezones=st.sampled_from(ZONES)),
    st.timedeltas(),
)
texts = st.one_of(st.text(max_size=5), st.text("ab\0\ud800\udc00", max_size=3))
atoms = st.one_of(
    st.none(), numbers, numbers, decimals, texts, texts, st.binary(max_size=3), times, st.uuids()
)


def _containers(inner: st.SearchStrategy[Any], hashable: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
    )


_hashable = st.recursive(
    atoms.filter(lambda value: not (isinstance(value, decimal.Decimal) and value.is_snan())),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(atoms, lambda inner: _containers(inner, _hashable), max_leaves=8)


def same(a: Any, b: Any) -> bool:
    """Equal, types included, at every level; NaN is the same as NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (a != a and b != b))
    if isinstance(a, decimal.Decimal):
        return str(a) == str(b)
    if isinstance(a, (datetime.datetime, datetime.time)):
        return repr(a) == repr(b) and a.fold == b.fold
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return bool(a == b)
