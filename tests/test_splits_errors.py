"""Input that is not there or not what its format says: one line that says what, where, and what to do."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import os
import pickle
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mapreduce.errors import InputError
from mapreduce.spec import MIB, InputFormat
from mapreduce.splits import BadRecord, plan, read
from mapreduce.splits.batches import Batch


def error_of(inputs: list[str], fmt: InputFormat, split_bytes: int = MIB) -> str:
    """The one line."""
    with pytest.raises(InputError) as caught:
        for split in plan(inputs, fmt, split_bytes, "/nonexistent"):
            list(read(split, fmt))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_descriptor_that_somebody_has_closed_is_no_trouble_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    path = tmp_path / "in.txt"
    path.write_text("a\n" * MIB)
    (split,) = plan([str(path)], InputFormat(), 4 * MIB, "/nonexistent")
    batches = read(split, InputFormat())
    next(batches)
    (fd,) = (int(n) for n in os.listdir("/proc/self/fd") if _leads_to(n, path))
    os.close(fd)
    del batches
    gc.collect()
    assert not complaints


def _leads_to(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)
    except FileNotFoundError:  # the descriptor of the listing itself
        return False


# ---------------------------------------------------------------- what is not there


def test_input_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / "more").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "back").symlink_to("..")
    os.mkfifo(tmp_path / "empty" / "more" / "pipe")
    lines = InputFormat()
    assert error_of(["none.txt"], lines) == "none.txt: there is no such file or folder"
    assert error_of(["x/*.txt"], lines) == "x/*.txt: no file matches this pattern"
    assert error_of(["dangling"], lines) == "dangling: the link leads to nothing"
    assert error_of(["round"], lines).startswith("round/back/")
    assert error_of(["empty"], lines) == "empty/more/pipe: is neither a file nor a folder"
    (tmp_path / "empty" / "more" / "pipe").unlink()
    assert error_of(["empty"], lines) == "empty: the folder holds no files (hidden ones do not count)"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("x")
    with mock.patch("os.access", return_value=False):  # root may read everything
        assert error_of([str(path)], InputFormat()) == f"{path}: cannot be read: permission denied"
    denied = PermissionError(13, "Permission denied")
    (split,) = plan([str(path)], InputFormat(), MIB, "")
    opening = mock.patch("mapreduce.splits.opening.open", side_effect=denied, create=True)
    with opening, pytest.raises(InputError, match=r"secret.txt: cannot be read: permission denied$"):
        list(read(split, InputFormat()))


# ---------------------------------------------------------------- what is not as the format says


@pytest.mark.parametrize(
    ("fmt", "content", "offset", "expected"),
    [
        (InputFormat(), b"fine\nb\xe4d\n", 6, "0xe4 is not UTF-8 (invalid continuation byte); read it with"),
        (InputFormat(), "text".encode("utf-16"), 0, "it looks like UTF-16: convert it"),
        (
            InputFormat(),
            gzip.compress(b"text", mtime=0),
            1,
            "it looks like gzip: give it a name that ends with .gz",
        ),
        (InputFormat("jsonl"), b'{"a": 1}\n\n{"a": 1,}\n', 10, "this line is not JSON: "),
        (InputFormat("jsonl"), b"[" * 100_000, 0, "this line of JSON cannot be parsed: "),
        (InputFormat("jsonl"), b"[1\n,2]\n", 0, "this line is not JSON: "),
        (InputFormat("csv"), b"a,b\n1,2\n\n1,2,3\n", 9, "this row has 3 fields, the header 2"),
        (InputFormat("csv"), b"a,b,a\n1,2,3\n", 0, "the header names column 'a' more than once"),
        (InputFormat("csv"), b'a,b\n1,"2\n3,4\n', 6, "the quote that opens here is not closed"),
        (InputFormat("csv"), b"a,b\n1,2\n3\r4,5\n", 8, "this row holds a CR that ends no line"),
        (InputFormat("csv"), b'a,b\n"1\n\r",2\n3\r4,5', 12, "this row holds a CR that ends no line"),
        (InputFormat("csv"), b"a,b\n1,\xff\n", 6, "0xff is not UTF-8"),
        (
            InputFormat("fixed", record_bytes=4),
            b"123456789",
            8,
            "1 bytes are left after the last whole record",
        ),
    ],
)
@pytest.mark.parametrize("split_bytes", [MIB, 3])
def test_bad_records(
    tmp_path: Path, fmt: InputFormat, content: bytes, offset: int, expected: str, split_bytes: int
) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(content)
    line = error_of([str(path)], fmt, split_bytes)
    assert line.startswith(f"{path}: byte {offset}: ")
    assert expected in line


@pytest.mark.parametrize(("suffix", "library"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma), (".zst", None)])
def test_damaged_compressed_files(tmp_path: Path, suffix: str, library: Any) -> None:
    compress = library.compress if library else pytest.importorskip("zstandard").ZstdCompressor().compress
    whole = compress(os.urandom(1000) * 3)
    path = tmp_path / f"in{suffix}"
    for content, expected in ((whole[:-20], "ends too early"), (b"no such thing", "is damaged")):
        path.write_bytes(content)
        line = error_of([str(path)], InputFormat("files"))
        assert line.startswith(f"{path}: the ")
        assert expected in line


def test_what_is_left_in_a_compressed_file_of_fixed_records(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(b"12345", mtime=0))
    assert error_of([str(path)], InputFormat("fixed", record_bytes=2)).startswith(f"{path}: byte 4: 1 bytes")


def test_bad_records_travel_between_processes() -> None:
    error = BadRecord("a.txt", 7, "is bad", "'x'")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.source, copy.offset, copy.message, copy.record) == (
        "a.txt: byte 7: is bad",
        *("a.txt", 7, "is bad", "'x'"),
    )


def test_offsets_are_worked_out_when_asked_for() -> None:
    batch = Batch(["a"], "a.txt", mock.Mock(return_value=[5]))
    assert batch.locate(0) == batch.locate(0) == 5
    assert batch._find_offsets.call_count == 1  # type: ignore[attr-defined]
