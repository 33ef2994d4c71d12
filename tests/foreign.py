"""`mr` of another build: python foreign.py Submitted Done … -- run …

The last field of each of these messages is of a type that this build does not expect there.
"""

from __future__ import annotations

import sys
from typing import Any

import mapreduce

mapreduce.__version__ = "9.9.9"

from mapreduce import cli, events, wire  # noqa: E402  # they are to see that

NEW = "as it was before"


def make_foreign(kinds: set[type]) -> None:
    to_plain, record = wire.to_plain, wire._record

    def to_foreign(value: Any) -> Any:
        plain = to_plain(value)
        return [*plain[:-1], {NEW: plain[-1]}] if type(value) in kinds else plain

    def foreign_record(cls: Any) -> Any:
        convert = record(cls)
        return (lambda plain: convert([*plain[:-1], plain[-1][NEW]])) if cls in kinds else convert

    wire.to_plain = to_foreign
    wire._record = foreign_record  # type: ignore[assignment]  # which is cached


if __name__ == "__main__":
    end = sys.argv.index("--")
    make_foreign({getattr(events, name) for name in sys.argv[1:end]})
    del sys.argv[1 : end + 1]
    cli.main()
