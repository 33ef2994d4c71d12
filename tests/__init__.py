"""Tests look for leftovers as soon as a job has ended: none is kept, in no process, unless a test says so."""

import os

os.environ["MR_RETAIN"] = os.environ["MR_KEEP"] = "0"
