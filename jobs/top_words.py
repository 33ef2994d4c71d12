"""Finds the n most frequent words: two steps, the second one reads what the first one wrote.

    mr run jobs/top_words.py data/*.txt -p n=20

The first step is the word count. `.then` adds one that sends every word to the same key, so that a single
reduce sees them all, though never more than n from each partition: `contenders` as `combine` sees to that.
"""

import heapq

from mapreduce import Job


def words(line):
    for word in line.split():
        yield word, 1


def total(word, counts):
    yield word, sum(counts)


def rank(pair):
    word, count = pair
    # nsmallest takes the highest count, and the first in the alphabet where two are equal
    yield None, (-count, word)


def contenders(key, ranked, n=10):
    for entry in heapq.nsmallest(n, ranked):
        yield key, entry


def top(key, ranked, n=10):
    for negated, word in heapq.nsmallest(n, ranked):
        yield word, -negated


job = Job(words, reduce=total, combine=total).then(rank, reduce=top, combine=contenders)
