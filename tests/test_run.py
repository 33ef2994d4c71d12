"""`job.run`: what is left of it once it has returned, and what its options make of the job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mapreduce import Job, splits
from mapreduce.errors import JobFailed, UsageError
from mapreduce.refs import Split
from mapreduce.run import Options, make_spec, run_job
from mapreduce.spec import InputFormat
from tests.support import ROOT

CHECK = """
import os, subprocess, sys
from mapreduce import Job
def words(line):
    for word in line.split():
        yield word, 1
def main():
    result = Job(words, fold=sum).run(sys.argv[1], executors=2)
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    print([line for line in children.stdout.splitlines() if "python" in line])
    print(sorted(result), sorted(result), flush=True)
    return result
kept = main()
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("a b\na\n")
    return path


def one(line: str) -> Any:
    yield line, 1


def test_a_result_holds_no_process_and_goes_quietly(text: Path, tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(CHECK)
    (tmp_path / "tmp").mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run([sys.executable, script, text], capture_output=True, text=True, timeout=60, env=env)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "[('a', 2), ('b', 1)] [('a', 2), ('b', 1)]"]
    assert list((tmp_path / "tmp").iterdir()) == [], "the files go with the process"


def test_the_files_go_when_the_result_is_closed_or_forgotten(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    result = run_job(Job(one), str(text), executors=1)
    assert len(list(result)) == 2 and list((tmp_path / "tmp").iterdir())
    result.close()
    result.close()
    assert not list((tmp_path / "tmp").iterdir())
    with run_job(Job(one), str(text), executors=1):
        pass
    assert not list((tmp_path / "tmp").iterdir())


def test_options_reach_the_job() -> None:
    options = Options(client_timeout_secs=5, expiry_secs=6.0, retain_secs=7.0)
    spec, _ = make_spec(Job(one), {}, InputFormat(), iter(()), options)
    assert (spec.client_timeout_secs, spec.expiry_secs, spec.retain_secs) == (5, 6.0, 7.0)
    with pytest.raises(UsageError, match="client_timeout_secs"):
        make_spec(Job(one), {}, InputFormat(), iter(()), Options(client_timeout_secs=0))


def test_local_files_and_urls_never_share_a_split(text: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://mr/remote", "wb") as file:
        file.write(b"c\n")
    planned: list[Split] = list(
        splits.plan([str(text), "memory://mr/remote", str(text)], InputFormat(), 1000, str(tmp_path))
    )
    assert [["://" in s.path for s in split.segments] for split in planned] == [[False], [True], [False]]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda line: [(object(), 1)], "a key cannot be, or hold, a builtins.object"),
        (lambda line: [line], "'a b' is not a (key, value) tuple"),
        (lambda line: [(int(line), 1)], "ValueError: invalid literal for int() with base 10: 'a b'"),
    ],
)
def test_sampling_names_function_and_source_once(text: Path, made: Any, says: str) -> None:
    from mapreduce import sampled_ranges

    job = Job(made, reduce=lambda key, values: [(key, 1)], partition=sampled_ranges())
    with pytest.raises(JobFailed) as caught:
        run_job(job, str(text), executors=1)
    message = str(caught.value)
    assert message == f"{says}, in map <lambda>, while sampling {text} for sampled_ranges()"


def test_what_cannot_be_encoded_is_one_clear_line(text: Path) -> None:
    with pytest.raises(JobFailed) as caught:
        run_job(Job(lambda line: [(line, object())]), str(text), executors=1, tries=1)
    message = str(caught.value)
    assert message.count("map <lambda>") == 1 and f"{text}, bytes 0 to 6" in message


@pytest.mark.parametrize(
    "options",
    [
        {"executors": -1}, {"executors": 0}, {"tries": 0}, {"partitions": -1}, {"partitions": 10**6},
        {"split_bytes": 1.5}, {"pool": 5}, {"pool": "p" * 240}, {"pool": "a\nb"}, {"interpreter": "x" * 300},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Options(**options)
