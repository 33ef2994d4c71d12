"""A job's log as text, for people who look for what went wrong: python -m tests.chaos_log URL JOB"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base, open_broker
from mapreduce.errors import BrokerError

#: a stream does not say that it ends: after so long without an entry we have read it all
QUIET_SECS = 1.5
TAG = "reader"


def read(url: str, job: str, quiet_secs: float = QUIET_SECS) -> list[Any]:
    """Every event of the job's log; one that cannot be read as its `wire.BadMessage`. Raises `BrokerError`."""
    broker = open_broker(url)
    broker.connect()
    try:
        broker.perform(base.Consume(TAG, ev.log_stream(job), 500, "first"))
        entries: list[Any] = []
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < quiet_secs:
            events = broker.poll()
            if not events:
                broker.wait(quiet_secs)
            for event in events:
                if isinstance(event, base.Delivered):
                    broker.perform(base.Ack(event.receipt))
                    entries += (entry for entry, _ in wire.decode_all(event.body))
                    quiet_from = time.monotonic()
                elif isinstance(event, base.Gone):
                    raise BrokerError(f"there is no log of job {job}, or no longer")
                elif isinstance(event, base.Disconnected):
                    raise BrokerError(
                        f"lost the connection while reading the log of job {job}: {event.reason}"
                    )
        return entries
    finally:
        broker.close(1.0)


def text(entries: list[Any]) -> str:
    """One line per event; the job's code and the blocks of a `Done` are left out."""
    return "".join(f"{number:5} {_line(entry)}\n" for number, entry in enumerate(entries))


def summary(entries: list[Any]) -> Counter[str]:
    """How often each kind of event stands in the log."""
    return Counter(type(entry).__name__ for entry in entries)


def _line(entry: Any) -> str:
    if isinstance(entry, ev.Submitted):
        return f"Submitted job={entry.job} version={entry.version}"
    if isinstance(entry, ev.Splits):
        return f"Splits first={entry.first} count={len(entry.splits)}"
    if isinstance(entry, ev.Done):
        where = f"dispatch={entry.dispatch} task={entry.stage}/{entry.index} generation={entry.generation}"
        return f"Done {where} attempt={entry.attempt} worker={entry.worker} blocks={entry.blocks}"
    return repr(entry)


if __name__ == "__main__":
    print(text(read(sys.argv[1], sys.argv[2])), end="")
