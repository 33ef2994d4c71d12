"""Joins CSV files on a column that they share.

    mr run jobs/join.py airlines.csv flights.csv -p on=carrier -p left=airlines.csv --format csv -o joined

The rows of both files meet under the value that they share; `source()` has told which file each is from. A
row of the left file with no match on the right, or the other way round, is counted and left out (an inner
join). All rows of one key are held in memory at once.
"""

import os

from mapreduce import Job, count, source


def tagged(row, on="id", left="left.csv"):
    yield row[on], (os.path.basename(source()) == left, row)


def joined(key, rows):
    rows = list(rows)
    lefts = [row for is_left, row in rows if is_left]
    rights = [row for is_left, row in rows if not is_left]
    if not rights:
        count("rows of the left file without a match", len(lefts))
    if not lefts:
        count("rows of other files without a match", len(rights))
    for left in lefts:
        for right in rights:
            yield key, {**left, **right}


job = Job(tagged, reduce=joined, input="csv")
