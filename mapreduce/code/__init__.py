"""The user's code as data: job files and pickles → bundle → `Job`.

A bundle is a dict of plain data, opaque to everything between the client and the executors:

    {"kind": "source", "main": "wordcount.py",      path of the job's file within the bundle
                       "module": "wordcount",       what it is imported as
                       "attr": "job",               where the Job lies in it
                       "directory": "/home/…/jobs", where the files were; for `__file__` and tracebacks
                       "files": {path: text}}       the job's file and the local modules that it imports
    {"kind": "pickle", "interpreter": "cp311", "data": bytes}     by cloudpickle, for functions without a file
"""

from __future__ import annotations

from mapreduce.code.bundle import MAX_BUNDLE_BYTES, from_file, from_object
from mapreduce.code.loader import Bundle, interpreter_tag, load, tag_of

__all__ = ["MAX_BUNDLE_BYTES", "Bundle", "from_file", "from_object", "interpreter_tag", "load", "tag_of"]
