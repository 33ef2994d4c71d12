"""From an `InputFormat` to the `Format` that does the work."""

from __future__ import annotations

from mapreduce.errors import UsageError
from mapreduce.spec import InputFormat
from mapreduce.splits.binary import FixedFormat, WholeFileFormat
from mapreduce.splits.format import Format
from mapreduce.splits.lines import JsonLineFormat, LineFormat
from mapreduce.splits.rows import CsvFormat

KINDS = ("lines", "jsonl", "csv", "files", "fixed")
ERRORS = ("strict", "replace", "latin-1")


def make_format(fmt: InputFormat) -> Format:
    """Raises `UsageError` for a kind, a policy or a size that does not exist."""
    if fmt.errors not in ERRORS:
        raise UsageError(f"encoding errors {fmt.errors!r}: there are {', '.join(ERRORS)}")
    if fmt.kind == "lines":
        return LineFormat(fmt.errors)
    if fmt.kind == "jsonl":
        return JsonLineFormat(fmt.errors)
    if fmt.kind == "csv":
        return CsvFormat(fmt.errors)
    if fmt.kind == "files":
        return WholeFileFormat()
    if fmt.kind != "fixed":
        raise UsageError(f"input format {fmt.kind!r}: there are {', '.join(KINDS)}")
    if fmt.record_bytes < 1:
        raise UsageError("input format 'fixed' needs the size of a record: at least 1 byte")
    return FixedFormat(fmt.record_bytes)
