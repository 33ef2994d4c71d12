"""Counts words: the smallest whole job.

    mr run jobs/wordcount.py data/*.txt | sort -t $'\\t' -k 2,2nr | head

`words` sees one line at a time. `total` sees every word once, with all its counts; as `combine` it also adds
up what one task has found before that travels, which is why so little does.
"""

from mapreduce import Job


def words(line):
    for word in line.split():
        yield word, 1


def total(word, counts):
    yield word, sum(counts)


job = Job(words, reduce=total, combine=total)
