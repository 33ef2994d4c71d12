"""`mr` with other limits of time: python impatient.py mapreduce.watch.UNSTARTED_SECS=2 … -- worker …

Each NAME=VALUE sets a constant of a module before anything runs, so that a test need not wait as long as people do.
"""

from __future__ import annotations

import importlib
import sys

from mapreduce import cli

end = sys.argv.index("--")
for setting in sys.argv[1:end]:
    name, _, value = setting.partition("=")
    module, _, constant = name.rpartition(".")
    target = importlib.import_module(module)
    setattr(
        target, constant, type(getattr(target, constant))(value)
    )  # there must be one: a renamed one shows
del sys.argv[1 : end + 1]
cli.main()
