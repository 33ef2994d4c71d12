"""The latest news of each topic, for any number of readers: a slow one misses news, never the last.

Written by the watcher's thread, read in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Callable, Optional

#: the topic of all jobs and workers; others are ids of jobs, which hold no space
OVERVIEW = " overview"


class Feed:
    """Topic -> its last news, as JSON, and the number of that."""

    def __init__(self) -> None:
        #: told what is being read, whenever that changes
        self.on_topics: Callable[[frozenset[str]], None] = lambda topics: None
        self._lock = threading.Lock()
        self._news: dict[str, tuple[int, bytes]] = {}
        self._put_at: dict[str, float] = {}
        self._readers: dict[Reader, asyncio.AbstractEventLoop] = {}
        self._number = 0
        self.ended = False  #: readers are to go

    def end(self) -> None:
        """Wake all readers, for the last time; from any thread, also from a signal handler of the loop's."""
        self.ended = True
        for reader, loop in list(self._readers.items()):
            with contextlib.suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(reader.woken.set)

    def put(self, topic: str, news: bytes) -> None:
        """From any thread."""
        with self._lock:
            self._number += 1
            self._news[topic] = (self._number, news)
            self._put_at[topic] = time.monotonic()
            readers = [each for each in self._readers.items() if topic in each[0].topics]
            for reader, loop in readers:
                loop.call_soon_threadsafe(reader.woken.set)

    def drop(self, topic: str) -> None:
        """Nobody keeps it up to date any more."""
        with self._lock:
            self._news.pop(topic, None)
            self._put_at.pop(topic, None)

    def age(self, topic: str) -> float:
        """For how many seconds its last news has been there; endless: there is none."""
        with self._lock:
            return time.monotonic() - self._put_at.get(topic, float("-inf"))

    def latest(self, topic: str) -> Optional[tuple[int, bytes]]:
        """Its number, which grows, and the news; None: nothing yet."""
        with self._lock:
            return self._news.get(topic)

    def readers(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._readers)

    def open(self, *topics: str) -> Reader:
        """A new reader, in the running event loop; `Reader.close` it."""
        reader = Reader(self, topics)
        with self._lock:
            self._readers[reader] = asyncio.get_running_loop()
        self._tell()
        return reader

    def close(self, reader: Reader) -> None:
        with self._lock:
            self._readers.pop(reader, None)
        self._tell()

    def topics(self) -> frozenset[str]:
        """What is being read."""
        with self._lock:
            return frozenset(topic for reader in self._readers for topic in reader.topics)

    def _tell(self) -> None:
        self.on_topics(self.topics())


class Reader:
    """Gets what is new since it looked last."""

    def __init__(self, feed: Feed, topics: tuple[str, ...]) -> None:
        self.topics = topics
        self.woken = asyncio.Event()
        self.woken.set()
        self._feed = feed
        self._seen = dict.fromkeys(topics, 0)

    async def next(self, timeout_secs: float) -> list[tuple[str, bytes]]:
        """(topic, news) of each topic with news; waits for some, and gives none if there is none for so long."""
        try:
            await asyncio.wait_for(self.woken.wait(), timeout_secs)
        except asyncio.TimeoutError:
            return []
        self.woken.clear()
        found = []
        for topic in self.topics:
            latest = self._feed.latest(topic)
            if latest is not None and latest[0] > self._seen[topic]:
                self._seen[topic] = latest[0]
                found.append((topic, latest[1]))
        return found

    def close(self) -> None:
        self._feed.close(self)
