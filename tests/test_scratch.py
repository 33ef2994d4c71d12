"""Temporary folders: whoever is killed leaves one, and the next one removes it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mapreduce.scratch import scratch_folder

LIVE = """
import sys, tempfile, time
sys.path[:0] = [{root!r}]
tempfile.tempdir = {folder!r}
from mapreduce.scratch import scratch_folder
with scratch_folder("mr-test-") as path:
    print(path, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_lives_as_long_as_its_context(folder: Path) -> None:
    with scratch_folder("mr-test-") as path:
        (Path(path) / "deep").mkdir()
        (Path(path) / "deep" / "file").write_text("x")
        assert Path(path).parent == folder
    assert list(folder.iterdir()) == []


def test_folders_of_the_dead_go_and_those_of_the_living_stay(folder: Path) -> None:
    text = LIVE.format(root=str(Path(__file__).parent.parent), folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "file").write_text("x")
        with scratch_folder("mr-test-"):
            assert theirs.exists()
        other.kill()
        other.wait()
    with scratch_folder("mr-test-") as ours:
        assert list(folder.iterdir()) == [Path(ours)]


def test_what_is_not_ours_is_left_alone(folder: Path) -> None:
    (folder / "mr-test-file").write_text("x")
    (folder / "mr-test-open").mkdir(mode=0o755)
    (folder / "elsewhere").mkdir(mode=0o700)
    (folder / "mr-test-link").symlink_to("elsewhere")
    before = set(folder.iterdir())
    with scratch_folder("mr-test-"):
        pass
    assert set(folder.iterdir()) == before
