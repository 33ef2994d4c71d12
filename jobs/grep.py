"""Finds the lines that match a regular expression, with the name of their file: a job that only maps.

    mr run jobs/grep.py logs/ -p pattern='ERROR|FATAL'
    mr run jobs/grep.py logs/ -p pattern=error -p ignore_case=yes

With no reduce nothing is sorted or brought together: the lines come in the order of the input. `pattern` and
`ignore_case` are parameters because they have defaults; -p turns the text into the default's type.
"""

import re

from mapreduce import Job, count, source


def matching(line, pattern="", ignore_case=False):
    # re keeps what it has compiled, so this costs a look-up per line
    if re.search(pattern, line, re.IGNORECASE if ignore_case else 0):
        count("matching lines")
        yield source(), line


job = Job(matching)
