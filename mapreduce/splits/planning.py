"""From inputs to splits: where the work is cut.

Borders lie at multiples of ``split_bytes`` in each file, and what is left over, or small, is packed with
what comes next until ``split_bytes`` are reached; URLs, which travel as references, with URLs only. So the plan is
a function of the input and of ``split_bytes`` alone. A record belongs to the segment in which it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mapreduce.errors import UsageError
from mapreduce.refs import Segment, Split
from mapreduce.spec import InputFormat
from mapreduce.splits.format import Borders, Format
from mapreduce.splits.formats import make_format
from mapreduce.splits.input_file import InputFile
from mapreduce.splits.listing import list_inputs
from mapreduce.splits.opening import is_url
from mapreduce.splits.scanning import Part, scan_file, spool_stream

#: a task message lists its segments, and opening a file has its price too
MAX_SEGMENTS_PER_SPLIT = 256


def plan(inputs: Sequence[str], fmt: InputFormat, split_bytes: int, spool_dir: str) -> Iterator[Split]:
    """Cut ``inputs`` (files, folders, patterns, URLs, "-") into splits of about ``split_bytes``.

    Listings are made at once, so what is missing is told at once; for the rest see `cut`.
    """
    return cut(list_inputs(inputs), fmt, split_bytes, spool_dir)


def cut(files: Sequence[InputFile], fmt: InputFormat, split_bytes: int, spool_dir: str) -> Iterator[Split]:
    """Cut files into splits of about ``split_bytes``: the same files into the same splits.

    Standard input and other streams are read while the splits are taken, and kept in files in ``spool_dir``, one
    per segment. Raises `InputError`, `UsageError`.
    """
    form = make_format(fmt)
    if split_bytes < 1:
        raise UsageError(f"splits of {split_bytes} bytes: at least 1")
    for file in files:
        if not (file.stream or file.compression):
            form.check_size(file.size, file.name)
    parts = (part for file in files for part in _cut(file, form, split_bytes, spool_dir))
    return _pack(parts, split_bytes)


def _pack(parts: Iterable[Part], split_bytes: int) -> Iterator[Split]:
    held: list[Segment] = []
    held_bytes = 0
    for segment, weight in parts:
        full = held_bytes + weight > split_bytes or len(held) == MAX_SEGMENTS_PER_SPLIT
        if held and (full or is_url(segment.path) != is_url(held[-1].path)):
            yield Split(tuple(held))
            held, held_bytes = [], 0
        held.append(segment)
        held_bytes += weight
        if held_bytes >= split_bytes:  # at once: the next part may be long in coming
            yield Split(tuple(held))
            held, held_bytes = [], 0
    if held:
        yield Split(tuple(held))


def _cut(file: InputFile, form: Format, split_bytes: int, spool_dir: str) -> Iterator[Part]:
    size = file.size
    if file.stream:
        yield from spool_stream(file, form, split_bytes, spool_dir)
    elif size == 0 and not form.keeps_empty_files:
        return
    elif size <= split_bytes or file.compression or not _can_cut(file, form):
        yield Part(file.segment(0, size, aligned=True), size)
    elif form.borders is Borders.SCANNED:
        yield from scan_file(file, form, split_bytes)
    elif form.borders is Borders.COMPUTED:
        borders = sorted({form.border(b"", at) for at in range(0, size, split_bytes)} | {size})
        for start, end in zip(borders, borders[1:]):
            yield Part(file.segment(start, end, aligned=True), end - start)
    else:
        for start in range(0, size, split_bytes):
            end = min(start + split_bytes, size)
            yield Part(file.segment(start, end, aligned=False), end - start)


def _can_cut(file: InputFile, form: Format) -> bool:
    # scanning a URL would fetch it whole
    return form.borders is not Borders.NONE and not (form.borders is Borders.SCANNED and is_url(file.path))
