"""One file of the input, as listing finds it and planning cuts it."""

from __future__ import annotations

from mapreduce.frozen import frozen
from mapreduce.refs import Segment
from mapreduce.splits.compression import compression_of
from mapreduce.splits.format import Header
from mapreduce.splits.opening import is_url


@frozen
class InputFile:
    """One file of the input. ``name`` is for people; ``path`` is what to open, absolute or a URL."""

    name: str
    path: str
    size: int  #: bytes; 0 for a stream
    pin: str = ""
    #: can be read once only, front to end: standard input, a pipe, a server that knows no ranges
    stream: bool = False

    @property
    def compression(self) -> str:
        return compression_of(self.path.partition("?")[0] if is_url(self.path) else self.path)

    def segment(self, start: int, end: int, aligned: bool, header: Header = None) -> Segment:
        """Bytes ``start`` to ``end``, pinned."""
        return Segment(self.name, self.path, start, end, start, aligned, self.compression, self.pin, header)
