"""Planning: what is listed, in which order, and how it is packed; what is read is what was planned."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mapreduce.errors import InputError, UsageError
from mapreduce.refs import Segment, Split
from mapreduce.spec import MIB, InputFormat
from mapreduce.splits import Nearby, inline, plan, read
from mapreduce.splits.opening import opened

LINES = InputFormat()


def splits_of(
    inputs: list[str], split_bytes: int = MIB, fmt: InputFormat = LINES, spool: str = ""
) -> list[Split]:
    return list(plan(inputs, fmt, split_bytes, spool or "/nonexistent"))


def sources(inputs: list[str], fmt: InputFormat = LINES) -> list[str]:
    names = [batch.source for split in splits_of(inputs, fmt=fmt) for batch in read(split, fmt)]
    return [os.path.basename(name) for name in names]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """a.txt, b/c.txt, b/d/e.log, z.txt, and what is to be skipped."""
    for name in ["z.txt", "b/d/e.log", "b/c.txt", "a.txt", ".hidden", "b/.git/config", "b/_SUCCESS"]:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "in" / "empty").mkdir()
    return tmp_path / "in"


# ---------------------------------------------------------------- listing


def test_folders_are_listed_recursively_sorted_without_hidden_files(tree: Path) -> None:
    assert sources([str(tree)]) == ["a.txt", "c.txt", "e.log", "z.txt"]
    assert sources([str(tree) + "/"]) == ["a.txt", "c.txt", "e.log", "z.txt"]


def test_the_order_of_a_listing_is_not_that_of_the_disk(tree: Path) -> None:
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Any) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> Any:
            return iter(sorted(self._entries, key=lambda entry: entry.name, reverse=True))

        def __exit__(self, *exc_info: object) -> None:
            self._entries.close()

    expected = splits_of([str(tree)])
    with mock.patch("os.scandir", Backwards):
        assert splits_of([str(tree)]) == expected


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt", "z.txt"]),
        ("*", ["a.txt", "c.txt", "e.log", "z.txt"]),
        ("**", ["a.txt", "c.txt", "e.log", "z.txt"]),
        ("**/*.txt", ["a.txt", "c.txt", "z.txt"]),
        ("[ab]", ["c.txt", "e.log"]),
    ],
)
def test_patterns_are_sorted_and_folders_that_match_are_listed(
    tree: Path, pattern: str, found: list[str]
) -> None:
    assert sources([str(tree / pattern)]) == found


def test_a_file_may_have_the_name_of_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert sources([str(tmp_path / "a[1].txt")]) == ["a[1].txt"]


def test_several_inputs_keep_their_order_and_one_named_twice_is_read_twice(tree: Path) -> None:
    z, a = str(tree / "z.txt"), str(tree / "a.txt")
    assert sources([z, a, z]) == ["z.txt", "a.txt", "z.txt"]


def test_names_stay_as_the_user_wrote_them(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (split,) = splits_of(["b", "a.txt"])
    assert [segment.name for segment in split.segments] == ["b/c.txt", "b/d/e.log", "a.txt"]
    assert all(os.path.isabs(segment.path) for segment in split.segments)


def test_links_are_followed(tree: Path) -> None:
    (tree / "b" / "link.txt").symlink_to(tree / "a.txt")
    (tree / "folder").symlink_to(tree / "b" / "d")
    assert sources([str(tree)]) == ["a.txt", "c.txt", "e.log", "link.txt", "e.log", "z.txt"]


# ---------------------------------------------------------------- packing


def test_small_files_and_tails_are_packed(tmp_path: Path) -> None:
    sizes = [250, 30, 30, 40, 100, 10]
    names = [str(tmp_path / str(number)) for number in range(len(sizes))]
    for name, size in zip(names, sizes):
        Path(name).write_bytes(b"x" * (size - 1) + b"\n")
    packed = [
        [(int(Path(s.name).name), s.start, s.end) for s in split.segments] for split in splits_of(names, 100)
    ]
    assert packed == [
        [(0, 0, 100)],
        [(0, 100, 200)],
        [(0, 200, 250), (1, 0, 30)],
        [(2, 0, 30), (3, 0, 40)],
        [(4, 0, 100)],
        [(5, 0, 10)],
    ]


def test_a_split_lists_a_bounded_number_of_files(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03d}").write_bytes(b"")
    files = splits_of([str(tmp_path)], fmt=InputFormat("files"))
    assert [len(split.segments) for split in files] == [256, 256, 88]
    assert splits_of([str(tmp_path)]) == []


def test_planning_opens_no_file_and_thousands_take_no_time(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number}.txt").write_bytes(b"small\n")
    with mock.patch("builtins.open", side_effect=AssertionError("opened")):
        start = time.perf_counter()
        for kind in ("lines", "csv"):
            splits = splits_of([str(tmp_path)], fmt=InputFormat(kind))
            assert sum(len(split.segments) for split in splits) == 5000
        assert time.perf_counter() - start < 2


def test_large_csv_files_are_cut_and_each_segment_knows_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\nid,"te\nxt"\n1,"a\nb"\n2,c\n')
    splits = splits_of([str(tmp_path / "a.csv")], 1, InputFormat("csv"))
    headers = [(s.origin, s.header) for split in splits for s in split.segments]
    assert headers == [(12, ("id", "te\nxt")), (20, ("id", "te\nxt"))]


def test_bad_settings_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    a = str(tmp_path / "a")
    for fmt in (InputFormat("xml"), InputFormat(errors="ignore"), InputFormat("fixed")):
        with pytest.raises(UsageError):
            plan([a], fmt, MIB, "")
    for inputs, split_bytes in (([], MIB), ([a], 0), (["-", a, "-"], MIB), (["nosuch://x"], MIB)):
        with pytest.raises(UsageError):
            plan(inputs, LINES, split_bytes, "")


# ---------------------------------------------------------------- what was planned is what is read


@pytest.mark.parametrize("change", ["append", "touch", "replace", "shrink", "delete"])
def test_a_change_after_planning_is_told(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some text\n" * 100)
    splits = splits_of([str(path)], 300)
    if change == "append":
        path.write_bytes(path.read_bytes() + b"x")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "replace":
        status = path.stat()
        path.write_bytes(b"other text" * 100)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "shrink":
        path.write_bytes(b"x")
    else:
        path.unlink()
    expected = (
        "a.txt: the file is gone" if change == "delete" else "a.txt: changed since the job was submitted"
    )
    for split in splits:
        with pytest.raises(InputError, match=expected):
            list(read(split, LINES))
        with pytest.raises(InputError, match=expected):
            list(inline(split, LINES)[1])
        with pytest.raises(InputError, match=expected):
            list(inline(split, LINES, Nearby())[1])


def test_what_was_read_together_is_what_was_planned_and_what_comes_after_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapreduce.splits.nearby.BLOCK_BYTES", 50)
    path = tmp_path / "a.txt"
    path.write_bytes(b"".join(b"line %04d\n" % number for number in range(20)))
    splits, nearby = splits_of([str(path)], 10), Nearby()
    first = b"".join(inline(splits[0], LINES, nearby)[1])
    status = path.stat()
    path.write_bytes(b"other txt\n" * 20)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    rest = [b"".join(inline(split, LINES, nearby)[1]) for split in splits[1:5]]
    assert [first, *rest] == [b"line %04d\n" % number for number in range(5)]
    with pytest.raises(InputError, match=r"a.txt: changed since the job was submitted"):
        inline(splits[5], LINES, nearby)


def test_small_splits_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"nine char\n" * 20_000)
    opens: list[str] = []

    def counted(segment: Segment) -> Any:
        opens.append(segment.path)
        return opened(segment)

    monkeypatch.setattr("mapreduce.splits.nearby.opened", counted)
    nearby = Nearby()
    found = [b"".join(inline(split, LINES, nearby)[1]) for split in splits_of([str(path)], 10)]
    assert found == [b"nine char\n"] * 20_000 and opens == [str(path)] * 4


def test_a_change_while_a_file_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some text\n" * 300_000)
    (split,) = splits_of([str(path)], 8 * MIB)
    batches = read(split, LINES)
    next(batches)
    path.write_bytes(b"some text\n" * 300_001)
    with pytest.raises(InputError, match="changed since the job was submitted"):
        list(batches)


# ---------------------------------------------------------------- pipes and URLs


def test_a_named_pipe_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    splits = plan([str(path)], LINES, 5, str(tmp_path / "spool"))
    writer = threading.Thread(target=path.write_bytes, args=(b"one\ntwo\nthree\n",))
    writer.start()
    batches = [batch for split in splits for batch in read(split, LINES)]
    writer.join()
    assert [(batch.source, batch.records) for batch in batches] == [
        (str(path), ["one", "two"]),
        (str(path), ["three"]),
    ]


@pytest.fixture
def bucket() -> Any:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden", "deep/_SUCCESS"):
        fs.pipe(f"/bucket/{name}", f"text of {name}\n".encode() * 10)
    return fs


def test_urls_objects_folders_and_patterns(bucket: Any) -> None:
    deep = ["a.txt", "b.txt", "c.txt"]
    assert sources(["memory://bucket"]) == deep
    assert sources(["memory://bucket/*.txt"]) == ["a.txt", "b.txt"]
    assert sources(["memory://bucket/b.txt"]) == ["b.txt"]
    for kind in ("lines", "csv", "files"):
        fmt = InputFormat(kind)
        for split in splits_of(["memory://bucket"], 70, fmt):
            assert all("://" in segment.path and segment.pin for segment in split.segments)
            moved, pieces = inline(split, fmt)
            assert sum(map(len, pieces)) == moved.length
    lines = [
        line for s in splits_of(["memory://bucket"], 70) for batch in read(s, LINES) for line in batch.records
    ]
    assert lines == [f"text of {name}" for name in ("a.txt", "b.txt", "deep/c.txt") for _ in range(10)]


def test_an_object_that_changed_is_told(bucket: Any) -> None:
    (split,) = splits_of(["memory://bucket/a.txt"])
    bucket.pipe("/bucket/a.txt", b"other")
    with pytest.raises(InputError, match=r"^memory://bucket/a.txt: changed since the job was submitted"):
        list(read(split, LINES))


def test_urls_that_lead_nowhere(bucket: Any) -> None:
    for url in ("memory://bucket/none", "memory://bucket/*.gz"):
        with pytest.raises(InputError, match="^" + url.replace("*", r"\*")):
            splits_of([url])
