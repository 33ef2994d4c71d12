"""The last of a growing list, within bounds, and how much of it there was."""

from __future__ import annotations

from collections import deque
from typing import Callable, Generic, TypeVar

T = TypeVar("T")


class Tail(Generic[T]):
    """``kept`` holds the last ones, at most ``most`` of them and of ``most_size`` in all; ``seen`` counts all.

    After `restart` the same things are expected once more, from the first: they are not taken a second time.
    """

    def __init__(self, most: int, most_size: int = 0, size: Callable[[T], int] = lambda item: 0) -> None:
        self.kept: deque[T] = deque()
        self.seen = 0
        self._again = 0  #: how many come that were here already
        self._most = most
        self._most_size = most_size
        self._size_of = size
        self._size = 0

    def add(self, item: T) -> None:
        if self._again:
            self._again -= 1
            return
        self.seen += 1
        self.kept.append(item)
        self._size += self._size_of(item)
        while len(self.kept) > self._most or self._size > self._most_size > 0:
            self._size -= self._size_of(self.kept.popleft())

    def restart(self) -> None:
        self._again = self.seen
