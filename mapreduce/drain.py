"""User functions driven from C, without the trap in it.

`map` and `starmap` take a StopIteration that a user's function lets out, by `next()` on an empty iterator say, for the
end of their own input: the rest of the data would be dropped without a word. (A generator function is safe: Python
makes a RuntimeError of it, PEP 479.)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any


def drained(pairs: Iterator[Any], source: Generator[Any, None, None]) -> Iterator[Any]:
    """``pairs``, which are made from ``source``; raises `RuntimeError` if they end before the source has."""
    return chain(pairs, _make_sure(source))


def _make_sure(source: Generator[Any, None, None]) -> Iterator[Any]:
    # nobody has asked it for more and been told that there is none
    if source.gi_frame is not None:  # type: ignore[attr-defined]
        raise RuntimeError("StopIteration came out of a function; give its next() a default")
    return
    yield
