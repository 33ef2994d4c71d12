"""Names of data: which bytes a task reads and which bytes it wrote. Plain, frozen, no I/O.

Data itself is never handed between processes; a reference to a file on this machine is. Where data travels
through the broker, the worker's parent writes it to a file first and refers to that.
"""

from __future__ import annotations

import errno
from typing import Any, NamedTuple, Optional

from mapreduce.frozen import frozen


class Segment(NamedTuple):
    """A range of bytes of one input file.

    ``name`` is the file as the user named it, for messages. ``path`` is what to open: a path, or a URL for
    fsspec; it differs from ``name`` where the worker keeps a copy. Bytes ``start`` to ``end`` of ``path``
    belong to the segment; byte ``start`` stands at ``origin`` in the file called ``name``.
    """

    name: str
    path: str
    start: int
    end: int
    origin: int
    #: True: ``start`` and ``end`` are borders of records. False: the reader owns the records that *begin* in
    #: [start, end), so it skips to the first that does and reads on past ``end`` to finish the last one.
    aligned: bool
    #: "" or "gzip", "bzip2", "xz", "zstd"; a compressed file is one segment, from 0 to its compressed size
    compression: str = ""
    #: what pins a referenced file: "size:mtime_ns" or an ETag; "" where it is a copy of our own
    pin: str = ""
    #: CSV only: the fields of the header line
    header: Optional[tuple[str, ...]] = None


class Split(NamedTuple):
    """The input of one task of stage 0: segments in order, about ``split_bytes`` in all."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """Bytes in all segments (compressed ones count as they lie on disk)."""
        return sum(segment.end - segment.start for segment in self.segments)


class Block(NamedTuple):
    """A stretch of encoded chunks (see `codec`) in a file: what one attempt wrote for one partition.

    Up to about 1 MiB. The blocks of one ``run`` in order are one sequence, sorted by key or, in buckets, by the hash
    of the key (see `runs`). Equal keys of a run keep the order in which they were emitted; the runs of one attempt are
    in order of position.

    What the last stage writes has no order. Its ``kind`` is "" where it is chunks, or the name of an output format
    where it is bytes of the output file themselves.
    """

    path: str
    offset: int  #: bytes
    length: int  #: bytes
    records: int  #: of the pairs that `codec.Repeated` tells of, one for each key
    run: int  #: its number within its attempt and partition, from 0
    #: `order.kind` of the keys of its run: runs of one non-empty kind compare without wrapping; behind `runs.BUCKETED`
    #: if the run lies in buckets
    kind: str
    #: the bytes themselves, where they are few and lie in no file
    data: Optional[bytes] = None
    #: `shared.checksum` of its bytes, where it lies in a folder that others see
    crc: Optional[int] = None


class Carried(NamedTuple):
    """A block that comes with the executor's answer: its bytes are in it."""

    partition: int
    seq: int  #: of the attempt's blocks for this partition, from 0
    block: Block


@frozen
class TaskSpec:
    """All that an executor needs to run one attempt, besides the job itself. Paths are of this machine."""

    job: str
    stage: int
    index: int  #: of the split, or of the partition
    attempt: int  #: random, 64 bits
    directory: str  #: private to the attempt; blocks and spills go here. Exists, empty, unless it `carries`
    split: Optional[Split]  #: stage 0
    blocks: tuple[Block, ...]  #: later stages: in order of (task index, attempt's own sequence)
    #: take records one at a time and note which one is at work, so that even a death is traced to its record
    careful: bool = False
    #: positions of records to leave out; a careful attempt only
    skip: tuple[int, ...] = ()
    #: how many records besides those a careful attempt may leave out by itself, because user code raised
    skip_limit: int = 0
    #: stage 0: stop after so many pairs that the map made of so many records, and write their keys alone, in that
    #: order; 0: it is no sample, but the whole task
    sample: int = 0
    #: stage 0: the bytes of the split, where they came with its dispatch; segments count from the first of them
    data: Optional[bytes] = None
    #: the first blocks, so many bytes in all, go into the answer instead of a file. The folder may not be there then
    carries: int = 0
    #: where blocks go instead of ``directory``: a folder of this attempt that others see; it is made when it is needed
    shared: str = ""


@frozen
class Failure:
    """Why an attempt failed, as the user should read it."""

    #: "raised" (user code), "input" (bytes that the format forbids), "value" (cannot be encoded),
    #: "died" (the process), "timeout" and "memory" (the task's limits), "counters" (too many),
    #: "code" (the job does not load on the worker), "disk" (worker's own trouble), "room" (the same where the worker
    #: is the client, too: a run without a broker), "files" (it has no descriptors left), "folder" (it does not see
    #: the folder that the job shares, or cannot write there), "lost" (the broker, or that folder, lost data)
    kind: str
    message: str  #: one line: "ValueError: invalid literal …"
    function: str = ""  #: "map words", "reduce total", … with the stage where there are several
    source: str = ""  #: name of the input file of the record, or "key 'the'" in a reduce
    offset: int = -1  #: of the record's first byte in that file; -1: unknown or none
    record: str = ""  #: repr of the record (or of the pair), cut to about 200 characters
    traceback: str = ""  #: the user's own frames only, as Python prints them
    #: of the record among those of its task, see `Skipped`; -1: unknown. A careful attempt always knows it
    position: int = -1


def trouble_of(error: OSError) -> str:
    """The kind of a failure of the engine's own, with its files or processes."""
    return "files" if error.errno in (errno.EMFILE, errno.ENFILE) else "disk"


class Skipped(NamedTuple):
    """A record that was left out of the job's result, as the user asked for with ``--skip-bad``."""

    #: in stage 0 the number of the record within its split, later the number of the key within its partition; from 0
    position: int
    source: str  #: name of the input file, or "key 'the'" after a shuffle
    offset: int  #: of the record's first byte in that file; -1: none
    record: str  #: repr, cut to about 200 characters
    reason: str  #: one line


Counters = dict[str, int]
Stats = dict[str, Any]
