"""Ctrl-C and SIGTERM before a command has begun: `mr` ends at once, with the signal's exit code and without a word."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import JOBS, ROOT

MR = "from mapreduce.cli import main; main()"
#: the signal comes when a module is looked for
DURING = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
{then}
"""
#: Python drops what is raised in a callback
IN_A_CALLBACK = """
import os, signal, weakref
from mapreduce import signals
class Thing:
    pass
def callback(ref):
    os.kill(os.getpid(), {number})
signals.end_at_once()
signals.unwind()
thing = Thing()
ref = weakref.ref(thing, callback)
del thing
while True:
    signal.pause()
"""
#: what is no signal goes where it went before
NO_SIGNAL = """
import sys
from mapreduce import signals
class Thing:
    def __del__(self):
        raise ValueError("mine")
sys.unraisablehook = lambda lost: print("heard", lost.exc_value)
for _ in range(2):
    signals.end_at_once()
    signals.unwind()
Thing()
"""
#: of `mr run`: before its handlers change, after, and when an executor runs already
MODULES = ["mapreduce.commands.main", "click", "mapreduce.commands.run", "mapreduce.run", "mapreduce.worker"]
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def python(*args: str) -> subprocess.CompletedProcess[bytes]:
    """Its end, and that of all that it has started: they have closed its output by then."""
    return subprocess.run([sys.executable, *args], capture_output=True, cwd=ROOT, timeout=60, check=False)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_while_mr_is_imported(
    module: str, number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = DURING.format(module=module, number=number, then=MR)
    ended = python("-c", script, "run", str(JOBS / "wordcount.py"), __file__, "-c", "1")
    said = ended.stderr.strip()  # click ends the line on which a terminal has put its ^C
    assert (ended.returncode, ended.stdout, said, list(tmp_path.iterdir())) == (code, b"", b"", [])


def test_as_a_module_of_python() -> None:
    """`python -m mapreduce`."""
    runpy = "import runpy; runpy.run_module('mapreduce', run_name='__main__', alter_sys=True)"
    ended = python("-c", DURING.format(module="click", number=int(signal.SIGINT), then=runpy))
    assert (ended.returncode, ended.stderr) == (130, b"")
    assert python("-m", "mapreduce", "--version").stdout.startswith(b"mr, version ")


def test_little_is_imported_before_the_handler() -> None:
    listing = "import json, sys, mapreduce.cli; print(json.dumps(list(sys.modules)))"
    modules = json.loads(python("-c", listing).stdout)
    ours = [name for name in modules if name.startswith("mapreduce")]
    assert ours == ["mapreduce", "mapreduce.signals", "mapreduce.cli"]
    assert not {"click", "typing", "dataclasses", "threading"} & set(modules)


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_what_python_drops_comes_again(number: int, code: int) -> None:
    ended = python("-c", IN_A_CALLBACK.format(number=int(number)))
    assert ended.returncode in (code, -number) and b"ignored" not in ended.stderr


def test_what_else_python_drops_goes_to_the_hook_that_was_there() -> None:
    ended = python("-c", NO_SIGNAL)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"heard mine\n", b"")


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_while_the_job_file_is_imported_is_no_fault_of_the_file(
    number: int, code: int, tmp_path: Path
) -> None:
    job = tmp_path / "job.py"
    job.write_text(f"import os\nif os.getpid() == os.getsid(0):\n    os.kill(os.getpid(), {int(number)})\n")
    command = [sys.executable, "-m", "mapreduce", "run", str(job), __file__, "-c", "1"]
    ended = subprocess.run(
        command, capture_output=True, cwd=ROOT, timeout=60, check=False, start_new_session=True
    )
    assert (ended.returncode, ended.stderr.strip()) == (code, b"")


def test_what_is_ignored_stays_ignored() -> None:
    script = f"import os; import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{DURING}"
    ended = python("-c", script.format(module="click", number=int(signal.SIGINT), then=MR), "--version")
    assert ended.returncode == 0
