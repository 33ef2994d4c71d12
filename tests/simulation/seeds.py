"""Which seeds are about what: one million for each family of `families`, the first million for all sorts of things."""

from __future__ import annotations

SIZE = 1_000_000
(
    ORDINARY,
    LOSSES_AT_DEPTH,
    LONG_TASKS,
    KILLING_RECORDS,
    FORGETFUL_LOG,
    SHORT_TASKS,
    RETRIES,
    RANGES,
    SHARED,
    CROWDS,
    LOST_LEASES,
) = FAMILIES = tuple(range(0, 11 * SIZE, SIZE))
