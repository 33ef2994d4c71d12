"""Borders of key ranges from a sample of the input: what `sampled_ranges()` stands for.

The client runs the first map over the first records of some splits, evenly spread over the input, and cuts the
sorted sample into ranges of equal size (as TeraSort does). The result is a function of input and settings alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from mapreduce import order, parameters, splits
from mapreduce.blame import shorten, user_traceback
from mapreduce.codec import UnsupportedValue
from mapreduce.errors import JobFailed, MapReduceError
from mapreduce.job import Context, Function, enter, is_whole
from mapreduce.refs import Split
from mapreduce.spec import InputFormat

SAMPLED_SPLITS = 16
RECORDS_PER_SPLIT = 2000


def sample_borders(
    planned: Sequence[Split], fmt: InputFormat, mapper: Function, partitions: int
) -> list[Any]:
    """At most ``partitions - 1`` keys, ascending, that cut the sample into ranges of about equal size.

    Raises `InputError`, and `JobFailed` for what the map raises.
    """
    step = max(1, len(planned) // SAMPLED_SPLITS)
    keys = [key for split in planned[::step] for key in _sample_keys(split, fmt, mapper)]
    keys.sort(key=order.sort_key)  # all of them are fit to be keys: `_sample_keys` has tried
    cuts = [keys[len(keys) * part // partitions] for part in range(1, partitions)] if keys else []
    distinct: list[Any] = []
    for key in cuts:
        if not distinct or order.sort_key(distinct[-1]) != order.sort_key(key):
            distinct.append(key)
    return distinct


def _sample_keys(split: Split, fmt: InputFormat, mapper: Function) -> list[Any]:
    for batch in splits.read(split, fmt):
        before = enter(Context(source=batch.source))
        try:
            records = batch.records[:RECORDS_PER_SPLIT]
            pairs = mapper(iter(records)) if is_whole(mapper) else chain.from_iterable(map(mapper, records))
            return [_key(pair) for pair in islice(pairs, RECORDS_PER_SPLIT)]
        except MapReduceError:
            raise
        except _Unfit as error:
            raise JobFailed(_text(str(error), batch.source, mapper)) from error
        except Exception as error:
            text = _text(f"{type(error).__name__}: {error}", batch.source, mapper)
            raise JobFailed(text, user_traceback(error)) from error
        finally:
            enter(before)
    return []


class _Unfit(Exception):
    """What the map yielded is no pair, or its key cannot be one."""


def _key(pair: Any) -> Any:
    if type(pair) is not tuple or len(pair) != 2:
        raise _Unfit(f"{shorten(pair)} is not a (key, value) tuple")
    try:
        order.sort_key(pair[0])
    except UnsupportedValue as error:
        raise _Unfit(str(error)) from error
    return pair[0]


def _text(what: str, source: str, mapper: Function) -> str:
    function = f"map {parameters.name_of(mapper)}"
    return f"{what}, in {function}, while sampling {source} for sampled_ranges()"
