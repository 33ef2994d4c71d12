"""`import mapreduce`: names that come when they are asked for look like names that are there. And what is packed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPTS = {
    "a name": "import mapreduce; assert mapreduce.Job.__module__ == 'mapreduce.job'",
    "its modules": "import mapreduce; mapreduce.errors.JobFailed, mapreduce.job.Job, mapreduce.spec.InputFormat",
    "a module, after names": "import mapreduce; mapreduce.count; assert mapreduce.job.count is mapreduce.count",
    "from": "from mapreduce import job, errors, Job; assert job.Job is Job",
    "all": "from mapreduce import *; Job, JobFailed, InputFormat, sampled_ranges",
    "dir": "import mapreduce; assert {'Job', 'errors', 'job', 'spec', *mapreduce.__all__} <= {*dir(mapreduce)}",
    "help": "import mapreduce, pydoc; assert 'mapreduce.job.Job' in pydoc.render_doc(mapreduce)",
    "members": "import mapreduce, inspect; assert mapreduce.Job in dict(inspect.getmembers(mapreduce)).values()",
    "copies": """
import copy, pickle, mapreduce
fmt = mapreduce.InputFormat()
assert pickle.loads(pickle.dumps(fmt)) == copy.deepcopy(fmt) == copy.copy(fmt) == fmt
assert pickle.loads(pickle.dumps(mapreduce.Job)) is mapreduce.Job
""",
    "a pickle, before anything": """
import pickle, sys
assert "mapreduce" not in sys.modules
error = pickle.loads(b"cmapreduce\\nUsageError\\n(S'no'\\ntR.")
assert str(error) == "no" and sys.modules["mapreduce"].UsageError is type(error)
""",
    "nothing": "import sys, mapreduce; assert 'mapreduce.job' not in sys.modules",
    "no name": "import mapreduce; assert not hasattr(mapreduce, 'jobs') and not hasattr(mapreduce, '__wrapped__')",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_fresh_process(script: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_source_distribution_has_all_that_the_compiler_needs(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    listing = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    ended = subprocess.run(listing, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    (listed,) = tmp_path.glob("*.egg-info/SOURCES.txt")
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mapreduce" / "csrc").glob("*.[ch]")}
    assert "mapreduce/csrc/loops.h" in sources
    assert sources <= set(listed.read_text(encoding="utf-8").splitlines())
