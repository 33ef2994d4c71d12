"""What may be shown: texts of others, and how `mr` writes them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.commands import tables
from mapreduce.errors import InputError
from mapreduce.refs import Segment
from mapreduce.shown import CONTROLS, as_json, escaped, input_name, without_secrets
from mapreduce.splits.batches import BadRecord
from mapreduce.splits.opening import opened
from tests.support import ROOT, mr, mr_ok


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@host:1/x: cannot be read", "http://host:1/x: cannot be read"),
        ("http://ann:sec@ret@host/", "http://host/"),
        ("zip://a::https://ann@host/x?key=secret", "zip://a::https://host/x?…"),
        ("https://host/x?key=secret: cannot be read", "https://host/x?…: cannot be read"),
        ("400, url='https://host/x?key=secret&a=b' (no)", "400, url='https://host/x?…' (no)"),
        ("s3://bucket/a?.txt: nothing", "s3://bucket/a?.txt: nothing"),
        ("ann@host.org: a?b", "ann@host.org: a?b"),
        ("/data/a\x1b[31m\u202eb\tc", "/data/a\\x1b[31m\\u202eb\tc"),
    ],
)
def test_names_of_inputs(text: str, shown: str) -> None:
    assert input_name(text) == shown


@given(st.text())
def test_nothing_is_left_that_steers_a_terminal(text: str) -> None:
    assert not CONTROLS.search(escaped(text))
    assert without_secrets(without_secrets(text)) == without_secrets(text)


@given(st.text(st.characters(codec=None)), st.text("\\\\ud8dc/\ud800\udc00é\U0001f600"))
def test_json_holds_no_half_of_a_surrogate_pair(text: str, tricky: str) -> None:
    for each in (text, tricky):
        whole = each.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        shown = as_json({each: [each]})
        assert shown.isascii() and json.loads(shown) == {whole: [whole]}


def test_errors_of_inputs_name_no_secrets() -> None:
    url = "memory://ann:secret@host/x"
    reading = opened(Segment(url, url, 0, 1, 0, True))
    with pytest.raises(InputError, match=r"^memory://host/x: the file is gone, or was never here$"):
        reading.__enter__()
    assert str(BadRecord("https://host/x?key=secret", 3, "bad", "")) == "https://host/x?…: byte 3: bad"


def test_a_web_server_that_is_not_there_is_named_without_the_password() -> None:
    done = mr("run", ROOT / "jobs/wordcount.py", "http://ann:secret@127.0.0.1:1/x?key=secret", "--local")
    assert done.returncode != 0 and b"secret" not in done.stderr and b"http://127.0.0.1:1/x" in done.stderr


def test_names_and_counters_reach_a_terminal_without_what_steers_it(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[31m.txt").write_text("bad\n")
    (tmp_path / "fine.txt").write_text("fine\n")
    job = tmp_path / "job.py"
    job.write_text(
        "from mapreduce import Job, count\n"
        "def see(line):\n"
        "    count('evil\\x1b[32m')\n"
        "    if line == 'bad': raise ValueError(line)\n"
        "    yield line, 1\n"
        "job = Job(see)\n"
    )
    options = ("--local", "-c", 1, "--tries", 1, "--counters")
    failed = mr("run", job, tmp_path / "evil\x1b[31m.txt", *options)
    assert failed.returncode == 1 and b"evil\\x1b[31m.txt" in failed.stderr and b"\x1b" not in failed.stderr
    done = mr("run", job, tmp_path / "fine.txt", *options)
    assert done.returncode == 0 and b"evil\\x1b[32m\t1" in done.stderr and b"\x1b" not in done.stderr


def test_text_that_standard_output_cannot_hold_is_escaped() -> None:
    assert b"INPUT\\u2026" in mr_ok("run", "--help", env={"PYTHONIOENCODING": "latin-1"})


@pytest.mark.parametrize("args", [["completion", "bash"], ["--help"]])
def test_who_writes_to_a_reader_that_is_gone_ends_as_sort_would(args: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = mr(*args, stdout=writes)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("args", [["completion", "bash"], ["--help"]])
def test_output_that_cannot_be_written_is_one_line(args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = mr(*args, stdout=full)
    line = b"mr: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (5, line)


def test_a_table_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output may be closed."""
    monkeypatch.setattr(sys, "stdout", None)
    tables.show_table(["JOB"], [["words"]])
