"""Lists for each word the files that it occurs in: the index of a search engine.

    mr run jobs/inverted_index.py docs/ -o index --format jsonl

`source()` names the file of the current line. `distinct` throws out repeats early, in each task; what comes
out of a `combine` has to look like what the map yields: one file at a time, not yet a list.
"""

import re

from mapreduce import Job, source

WORD = re.compile(r"\w+")


def occurrences(line):
    file = source()
    for word in WORD.findall(line.lower()):
        yield word, file


def distinct(word, files):
    # sorted: the order of a set differs from process to process
    for file in sorted(set(files)):
        yield word, file


def postings(word, files):
    yield word, sorted(set(files))


job = Job(occurrences, reduce=postings, combine=distinct)
