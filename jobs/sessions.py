"""Cuts a web server's log into visits: who came when, for how long, and looked at how many pages.

    mr run jobs/sessions.py access.log* -p gap_minutes=30 --format csv

A visit ends where its visitor is silent for longer than the gap, so the hits of one visitor are needed in
the order of time, however many there are. That is a secondary sort: the key is (visitor, time), so that the
engine sorts by both; `by_visitor` keeps a visitor's keys in one partition; and the reduce is `whole`, so it
sees one key after the other and can tell where a visit ends, with nothing but the current one in memory.
"""

import re
import zlib
from datetime import datetime, timedelta
from itertools import groupby

from mapreduce import Job, count, whole

# 93.180.71.3 - - [17/May/2015:08:05:32 +0000] "GET /downloads/product_1 HTTP/1.1" 304 0
HIT = re.compile(r'(\S+) \S+ \S+ \[([^]]+)\] "\S+ (\S+)')


def hits(line):
    found = HIT.match(line)
    if found:
        visitor, time, page = found.groups()
        yield (visitor, datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z")), page
    else:
        count("lines that are no hit")


def by_visitor(key, partitions):
    # not hash(): that differs between processes
    return zlib.crc32(key[0].encode()) % partitions


@whole
def visits(groups, gap_minutes=30.0):
    gap = timedelta(minutes=gap_minutes)
    for visitor, keys in groupby(groups, key=lambda group: group[0][0]):
        start = end = None
        pages = 0
        for (_, time), looked_at in keys:
            if start is None or time - end > gap:
                if start is not None:
                    yield visitor, visit(start, end, pages)
                start, pages = time, 0
            end = time
            pages += sum(1 for _ in looked_at)
        yield visitor, visit(start, end, pages)


def visit(start, end, pages):
    return {"start": start, "minutes": round((end - start).total_seconds() / 60, 1), "pages": pages}


job = Job(hits, reduce=visits, partition=by_visitor)
