"""Sorts lines by what stands before their first tab: part-00000, part-00001, … in a row are one sorted file.

    mr run jobs/sort.py data/*.tsv -o sorted
    cat sorted/part-*

Within a partition keys always come in order. Here the partitions are ranges of keys as well: the borders
come from a sample of the input, so that no part is much longer than the others. Lines with equal keys stay
in the order of the input.
"""

from mapreduce import Job, sampled_ranges


def key_and_rest(line):
    key, _, rest = line.partition("\t")
    yield key, rest


def each(key, rests):
    for rest in rests:
        yield key, rest


job = Job(key_and_rest, reduce=each, partition=sampled_ranges())
