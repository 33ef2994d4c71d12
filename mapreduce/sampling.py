"""Borders of key ranges from a sample of the input: what `sampled_ranges()` stands for.

The client runs the first map over the first records of some splits, evenly spread over the input, and cuts the
sorted sample into ranges of equal size (as TeraSort does). The result is a function of input and settings alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from mapreduce import order, splits
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
    keys.sort(key=order.sort_key)
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
            return [key for key, _ in islice(pairs, RECORDS_PER_SPLIT)]
        except MapReduceError:
            raise
        except Exception as error:
            text = (
                f"{type(error).__name__}: {error} in map, while sampling {batch.source} for sampled_ranges()"
            )
            raise JobFailed(text, traceback.format_exc()) from error
        finally:
            enter(before)
    return []
