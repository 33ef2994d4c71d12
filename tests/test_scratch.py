"""Temporary folders: whoever is killed leaves one, and the next one removes it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mapreduce.scratch import ScratchFolder

LIVE = """
import sys, tempfile, time
sys.path[:0] = [{root!r}]
tempfile.tempdir = {folder!r}
from mapreduce.scratch import ScratchFolder
with ScratchFolder("mr-test-") as path:
    print(path.path, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_lives_as_long_as_its_context(folder: Path) -> None:
    with ScratchFolder("mr-test-") as scratch:
        path = Path(scratch.path)
        (path / "deep").mkdir()
        (path / "deep" / "file").write_text("x")
        assert path.parent == folder
    scratch.close()
    assert list(folder.iterdir()) == []


def test_a_forgotten_folder_goes(folder: Path) -> None:
    scratch = ScratchFolder("mr-test-")
    assert list(folder.iterdir()) == [Path(scratch.path)]
    del scratch
    gc.collect()
    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads: the timeout's
def test_a_fork_that_ends_takes_nothing_along(folder: Path) -> None:
    with ScratchFolder("mr-test-") as scratch:
        pid = os.fork()
        if pid == 0:
            scratch.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert list(folder.iterdir()) == [Path(scratch.path)]
        with ScratchFolder("mr-test-"):
            assert Path(scratch.path).exists()


def test_folders_of_the_dead_go_and_those_of_the_living_stay(folder: Path) -> None:
    text = LIVE.format(root=str(Path(__file__).parent.parent), folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "file").write_text("x")
        with ScratchFolder("mr-test-"):
            assert theirs.exists()
        other.kill()
        other.wait()
    with ScratchFolder("mr-test-") as ours:
        assert list(folder.iterdir()) == [Path(ours.path)]


def test_what_is_not_ours_is_left_alone(folder: Path) -> None:
    (folder / "mr-test-file").write_text("x")
    (folder / "mr-test-open").mkdir(mode=0o755)
    (folder / "elsewhere").mkdir(mode=0o700)
    (folder / "mr-test-link").symlink_to("elsewhere")
    before = set(folder.iterdir())
    with ScratchFolder("mr-test-"):
        pass
    assert set(folder.iterdir()) == before
