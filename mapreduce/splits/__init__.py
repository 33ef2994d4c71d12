"""Inputs → splits → records: what stage 0 of a job reads.

`plan` cuts the input into splits without opening files (but for CSV files larger than a split, and
streams). `read` turns a split into batches of records, in an executor. `inline` gives a split's bytes for
the way through the broker; their copy reads the same. A record is never cut and never read twice: it
belongs to the segment it begins in.

    plan      listing (remote: URLs) → planning (scanning: CSV, streams) → Split
    read      opening → compression → format.pieces → format.batches → Batch
    inline    opening, or nearby for small segments, which are read together
    formats   lines (text, JSON lines), rows (CSV), binary (whole files, fixed size)
"""

from __future__ import annotations

from mapreduce.splits.batches import BadRecord, Batch
from mapreduce.splits.listing import digest, list_inputs
from mapreduce.splits.nearby import Nearby
from mapreduce.splits.planning import cut, plan
from mapreduce.splits.reading import inline, read

__all__ = ["BadRecord", "Batch", "Nearby", "cut", "digest", "inline", "list_inputs", "plan", "read"]
