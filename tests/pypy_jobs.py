"""Jobs whose output shows what an interpreter does with each type of key and value."""

from __future__ import annotations

import importlib.util
import random
import sys
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from mapreduce import Job, count, sampled_ranges, whole


def keys_of_all_types(line: str) -> Iterator[tuple[Any, Any]]:
    number = int(line)
    rng = random.Random(number)
    day = datetime(2024, 2, 29, 23, 59, tzinfo=timezone.utc) + timedelta(minutes=number * 7919)
    yield number % 97, (random.random(), rng.gauss(0, 1))
    yield number / 7, 1e300 * number
    yield f"{'ßéžあ😀'[number % 5]}{number % 50}", {"é": [number, None, True], "n": 2**70 + number}
    yield (day.date(), number % 3), day
    yield date(2024, 1, 1 + number % 28), timedelta(seconds=number, microseconds=1)
    yield Decimal(number) / 8, uuid.UUID(int=number)
    yield frozenset({number % 5, str(number % 7)}), {number, f"{number}", (number, b"\xff")}
    yield None, -0.0 if number % 2 else 0.1 * number
    yield b"%d" % (number % 11), bool(number % 2)
    count(f"numbers that leave {number % 4}")


def counted(key: Any, values: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    found = list(values)
    yield key, (len(found), found[0], found[-1], random.random())


every_type = Job(keys_of_all_types, reduce=counted)
sampled = Job(keys_of_all_types, reduce=counted, partition=sampled_ranges())


def fractions(line: str) -> Iterator[tuple[str, float]]:
    for letter in line:
        yield letter, 1 / int(line + "1")


def added(key: str, values: Iterator[float]) -> Iterator[tuple[str, float]]:
    """How it is grouped decides what comes out."""
    total = 0.0
    for value in values:
        total += value
    yield key, total


@whole
def ranked(groups: Iterator[tuple[str, Iterator[float]]]) -> Iterator[tuple[float, str]]:
    for key, values in groups:
        yield next(iter(values)), key


combined = Job(fractions, reduce=added, combine=added).then(reduce=ranked)


def seen(line: str) -> Iterator[tuple[str, Any]]:
    """Which interpreter this is, and which modules it can see."""
    for name in line.split():
        yield name, importlib.util.find_spec(name) is not None
    yield "implementation", sys.implementation.name


sight = Job(seen)
