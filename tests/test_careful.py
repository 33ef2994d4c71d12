"""Careful attempts: the bytes of plain ones, the record that failed by name, and records left out without a trace."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Job, careful, count, mark, whole
from mapreduce.careful import run_careful
from mapreduce.mark import SLOT_BYTES, Mark, Place
from mapreduce.refs import Block, Failure, Segment, Skipped, Split, TaskSpec
from mapreduce.sort import read_blocks
from mapreduce.spec import JobSpec
from mapreduce.task import TaskFailed, run_task

Pairs = Iterable[tuple[Any, Any]]
PARTITIONS = 3


class Attempt:
    """What an attempt came to: its bytes by partition, blocks, counters, what was left out."""

    def __init__(self, folder: Path, job: Job, spec: TaskSpec) -> None:
        folder.mkdir()
        self.blocks: list[tuple[int, int, Block]] = []
        spec = replace(spec, directory=str(folder))
        job_spec = JobSpec("job", {}, {}, len(job.stages), PARTITIONS)

        def emit(partition: int, seq: int, block: Block) -> None:
            self.blocks.append((partition, seq, block))

        self.skipped: tuple[Skipped, ...] = ()
        if spec.careful:
            self.counters, self.stats, self.skipped = run_careful(spec, job, job_spec, emit)
        else:
            self.counters, self.stats = run_task(spec, job, job_spec, emit)
        kept = {str(folder / "mark"), *(block.path for _, _, block in self.blocks)}
        self.left = [path for path in folder.iterdir() if str(path) not in kept and path.stat().st_size]

    def result(self) -> Any:
        """All that must be the same."""
        parts = [(p, seq, b.run, b.kind, b.records, _bytes(b)) for p, seq, b in self.blocks]
        return parts, self.counters, random.random()


def _bytes(block: Block) -> bytes:
    with open(block.path, "rb") as file:
        file.seek(block.offset)
        return file.read(block.length)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0

    def split(self, lines: Iterable[str]) -> Split:
        self._number += 1
        path = self.folder / f"input{self._number}"
        path.write_text("".join(f"{line}\n" for line in lines))
        size = path.stat().st_size
        middle = path.read_bytes().find(b"\n", size // 2) + 1
        parts = [(0, middle), (middle, size)]  # two segments, so that there are several batches
        return Split(tuple(Segment("in.txt", str(path), a, b, a, True) for a, b in parts if a < b))

    def run(self, job: Job, split: Optional[Split], blocks: Iterable[Block] = (), **fields: Any) -> Attempt:
        self._number += 1
        stage = 0 if split is not None else 1
        spec = TaskSpec("job", stage, 0, 1, "", split, tuple(blocks), **fields)
        return Attempt(self.folder / str(self._number), job, spec)

    def fails(self, job: Job, split: Optional[Split], blocks: Iterable[Block] = (), **fields: Any) -> Failure:
        with pytest.raises(TaskFailed) as caught:
            self.run(job, split, blocks, careful=True, **fields)
        return caught.value.failure


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def words(line: str) -> Pairs:
    for word in line.split():
        count(word[:1])
        yield word, random.randrange(100) if word == "r" else len(line)


def total(word: str, counts: Iterable[int]) -> Pairs:
    yield word, sum(counts)


@whole
def numbered(lines: Iterator[str]) -> Pairs:
    for number, line in enumerate(lines):
        yield line, number


@whole
def together(groups: Iterator[tuple[str, Iterator[int]]]) -> Pairs:
    for key, values in groups:
        yield key, sum(values)


def wide(line: str) -> Pairs:
    return [(f"{line} {n}", n) for n in range(50)]


def by_length(key: str, n: int) -> int:
    count("asked")
    return (len(key) + random.randrange(1)) % n


JOBS = [
    Job(words),
    Job(words, reduce=total),
    Job(words, reduce=total, combine=total),
    Job(words, fold=sum),
    Job(words, reduce=total, partition=by_length),
    Job(wide, reduce=total),
    Job(numbered, reduce=together),
    Job(words, reduce=total).then(lambda pair: [pair, pair], fold=sum),
    Job(words, reduce=together).then(lambda pair: [pair], reduce=total),
]
LINES = st.lists(st.text("abr ", max_size=6), max_size=60)


@given(st.sampled_from(JOBS), LINES)
@settings(max_examples=60, deadline=None)
def test_the_bytes_are_those_of_a_plain_attempt(job: Job, lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        split = bench.split(lines)
        plain = bench.run(job, split)
        expected = plain.result()
        attempt = bench.run(job, split, careful=True, skip_limit=1)
        assert attempt.result() == expected and not attempt.left
        if len(job.stages) > 1:
            blocks = [block for partition, _, block in plain.blocks if partition == 0]
            expected = bench.run(job, None, blocks).result()
            attempt = bench.run(job, None, blocks, careful=True)
            assert attempt.result() == expected and not attempt.left


@pytest.mark.parametrize("job", [Job(words, reduce=total), Job(numbered, reduce=together)])
def test_a_sample_is_the_same_too(bench: Bench, job: Job) -> None:
    split = bench.split(["a b", "r a", "b", "a"])
    plain, *_ = bench.run(job, split, sample=3).result()  # it need not count what it leaves
    assert bench.run(job, split, sample=3, careful=True).result()[0] == plain


def touchy(line: str) -> Pairs:
    count("lines")
    for number, word in enumerate(line.split()):
        if word == "b":
            random.random()
            count("b")
            raise ValueError(word)
        yield (word, number) if word != "a" else (word, {number: object()})


@given(st.lists(st.text("abcr ", max_size=5), max_size=30))
@settings(max_examples=40, deadline=None)
def test_what_is_left_out_leaves_no_trace(lines: list[str]) -> None:
    good = [line for line in lines if "a" not in line.split() and "b" not in line.split()]
    bad = [n for n, line in enumerate(lines) if "a" in line.split() or "b" in line.split()]
    job = Job(touchy, reduce=total, combine=total)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        split = bench.split(lines)
        kept = bench.run(job, bench.split(good))
        expected = kept.result()
        attempt = bench.run(job, split, careful=True, skip_limit=len(bad))
        assert attempt.result() == expected
        assert [skipped.position for skipped in attempt.skipped] == bad
        starts = [len("".join(f"{line}\n" for line in lines[:n])) for n in bad]
        assert [(s.source, s.offset) for s in attempt.skipped] == [("in.txt", start) for start in starts]
        assert [s.record for s in attempt.skipped] == [repr(lines[n]) for n in bad]
        # the same when the coordinator names some of them
        given = bench.run(job, split, careful=True, skip=tuple(bad[::2]), skip_limit=len(bad[1::2]))
        assert given.result() == expected
        assert [s.position for s in given.skipped] == bad
        assert all(s.reason == careful.SKIPPED_BEFORE for s in given.skipped if s.position in bad[::2])
        if bad:  # one too few
            failure = bench.fails(job, split, skip_limit=len(bad) - 1)
            assert (failure.position, failure.record) == (bad[-1], repr(lines[bad[-1]]))


def test_the_reason_names_function_and_error(bench: Bench) -> None:
    attempt = bench.run(Job(touchy), bench.split(["c", "c b", "a"]), careful=True, skip_limit=2)
    raised, refused = (s.reason for s in attempt.skipped)
    assert raised == "map touchy: ValueError: b"
    assert refused.startswith("map touchy: object cannot be encoded: use str") and "[0]" in refused
    assert refused.count("map touchy") == 1
    assert attempt.counters == {"lines": 1}


def in_place(line: str) -> Pairs:
    seen: list[str] = []
    for word in line.split():
        seen.append(word)
        yield len(seen), seen


@pytest.mark.parametrize("held_bytes", [careful.HELD_BYTES, 0])
def test_a_value_that_is_changed_after_it_was_yielded_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, held_bytes: int
) -> None:
    monkeypatch.setattr(careful, "HELD_BYTES", held_bytes)
    with pytest.raises(TaskFailed) as caught:
        bench.run(Job(in_place), bench.split(["one", "a b"]), careful=True)
    failure = caught.value.failure
    assert (failure.kind, failure.position) == ("raised", 1)
    text = "map in_place yielded (1, ['a', 'b']) and changed it afterwards: it must yield a copy"
    assert failure.message == text
    assert len(bench.run(Job(in_place), bench.split(["one", "a b"]), careful=True, skip_limit=1).skipped) == 1


def test_a_search_that_finds_what_is_left_out_already_gives_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(careful._Search, "find", lambda self: Place(0, "input", 0, "x"))
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        bench.run(Job(always_at_the_end), bench.split(["a", "b"]), careful=True, skip_limit=9)


def test_an_attempt_searches_for_so_many_records_and_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(careful, "MAX_SEARCHES", 2)
    lines = ["a", "bad", "b", "bad", "c"]
    assert len(bench.run(LATE["fold"], bench.split(lines), careful=True, skip_limit=9).skipped) == 2
    failure = bench.fails(LATE["fold"], bench.split([*lines, "bad"]), skip_limit=9)
    assert "; 2 records were searched for and left out before it" in failure.message
    assert failure.message.startswith("TypeError: ") and failure.position == -1


def test_files_that_user_code_has_removed_hide_no_failure(bench: Bench) -> None:
    def mapper(line: str) -> Pairs:
        if line == "last":
            for path in bench.folder.rglob("*.blocks"):
                path.unlink()
            raise ValueError("the true cause")
        yield line, "x" * 3_000_000

    with pytest.raises(TaskFailed, match="the true cause"):
        bench.run(Job(mapper), bench.split(["a", "b", "last"]), careful=True)


# ---------------------------------------------------------------- errors that show only later


@whole
def always_at_the_end(lines: Iterator[str]) -> Pairs:
    yield from ((line, 1) for line in lines)
    raise ZeroDivisionError


def picky(key: str, n: int) -> int:
    return 1 // (key != "bad")


@whole
def at_the_end(lines: Iterator[str]) -> Pairs:
    seen = list(lines)
    for line in seen:
        yield line, 1 // (line != "bad")


@whole
def on_the_way(lines: Iterator[str]) -> Pairs:
    for line in lines:
        yield line, int(line != "bad") if line != "bad" else int(line)


LATE = {
    "partition": Job(lambda line: [(line, 1)], reduce=total, partition=picky),
    "value": Job(lambda line: [(line, object() if line == "bad" else 1)], reduce=total),
    "no pair": Job(lambda line: [line] if line == "bad" else [], reduce=total),
    "no list": Job(lambda line: None if line == "bad" else [], reduce=total),
    "whole at the end": Job(at_the_end, reduce=total),
    "whole on the way": Job(on_the_way, reduce=total),
    "combine": Job(lambda line: [("k", line if line == "bad" else 1)], reduce=total, combine=total),
    "fold": Job(lambda line: [("k", line if line == "bad" else 1)], fold=sum),
    "exit": Job(lambda line: exit(3) if line == "bad" else []),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("where", [0, 17, 39])
def test_the_record_is_found_however_late_it_fails(bench: Bench, name: str, where: int) -> None:
    lines = [f"line {n}" for n in range(40)]
    lines[where] = "bad"
    split = bench.split(lines)
    failure = bench.fails(LATE[name], split)
    assert (failure.position, failure.source, failure.record) == (where, "in.txt", "'bad'")
    assert failure.offset == sum(len(line) + 1 for line in lines[:where])
    left_out = bench.run(LATE[name], split, careful=True, skip_limit=1)
    del lines[where]
    assert left_out.result() == bench.run(LATE[name], bench.split(lines)).result()
    assert not left_out.left


def test_the_fault_is_the_first_value_not_the_next_one_that_it_does_not_go_with(bench: Bench) -> None:
    """A combiner sees both at once; only without the first do the rest of them go together."""
    failure = bench.fails(
        Job(lambda line: [("k", line if line == "bad" else 1)], fold=sum), bench.split(["bad", *"abc"])
    )
    assert failure.position == 0 and failure.function == "fold sum"


def test_a_failure_that_is_no_records_fault_names_none(bench: Bench) -> None:
    @whole
    def before(lines: Iterator[str]) -> Pairs:
        raise ValueError("too early")
        yield

    failure = bench.fails(Job(before), bench.split("abc"), skip_limit=3)
    assert (failure.message, failure.position) == ("ValueError: too early", -1)


def test_a_key_with_all_its_values_is_a_record(bench: Bench) -> None:
    def fussy(key: str, values: Iterable[int]) -> Pairs:
        yield key, len(list(values))
        if key == "bb":
            raise ValueError("fussy")

    job = Job(lambda line: [(word, 1) for word in line.split()], reduce=fussy)
    wrote = bench.run(job, bench.split(["aaa bb c bb", "dd bb c"])).blocks
    by_part = [[b for p, _, b in wrote if p == part] for part in range(PARTITIONS)]
    (blocks,) = (part for part in by_part if any("bb" in _keys(block) for block in part))
    position = sorted(key for block in blocks for key in _keys(block)).index("bb")
    failure = bench.fails(job, None, blocks)
    assert (failure.position, failure.source, failure.offset) == (position, "key 'bb'", -1)
    attempt = bench.run(job, None, blocks, careful=True, skip_limit=1)
    (skipped,) = attempt.skipped
    assert skipped == Skipped(position, "key 'bb'", -1, "", "reduce fussy: ValueError: fussy")
    assert not any("bb" in _keys(block) for _, _, block in attempt.blocks)


def _keys(block: Block) -> list[Any]:
    return [key for keys, _ in read_blocks([block]) for key in keys]


def test_a_record_of_many_pairs_is_held_on_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful, "HELD_BYTES", 10_000)

    def many(line: str) -> Pairs:
        for n in range(2000):
            yield f"{line} {n}", n
        if line == "bad":
            raise ValueError

    split = bench.split(["a", "bad", "b"])
    attempt = bench.run(Job(many), split, careful=True, skip_limit=1)
    assert attempt.result() == bench.run(Job(many), bench.split(["a", "b"])).result()
    assert not attempt.left


# ---------------------------------------------------------------- the mark


def test_the_mark_says_where_the_attempt_is(tmp_path: Path) -> None:
    fd = mark.prepare(str(tmp_path))
    assert mark.read(fd) is None
    writer = Mark(str(tmp_path))
    long = Place(2**40, "s\udcff" * 2000, 2**50, "\U0001f600" * 5000)
    for place in (Place(0, "in.txt", 0, "'a'"), Place(1, "in.txt", 9, "'b'"), long):
        writer.set(place)
        read = mark.read(fd)
        assert read is not None and read[::2] == place[::2]
        assert place.source.startswith(read.source) and place.record.startswith(read.record)
    writer.clear()
    assert mark.read(fd) is None
    writer.close()
    os.close(fd)


@given(st.integers(0, 2 * SLOT_BYTES), st.integers(0, 200))
def test_a_mark_that_is_half_written_is_not_read(end: int, number: int) -> None:
    """Whatever part of the next mark is there: what is read is that one, or the one before it."""
    with tempfile.TemporaryDirectory() as folder:
        fd = mark.prepare(folder)
        writer = Mark(folder)
        for n in range(number):
            writer.set(Place(n, "in.txt", n, "record"))
        before, old = mark.read(fd), os.pread(fd, 2 * SLOT_BYTES, 0)
        writer.set(Place(number, "in.txt", number, "record"))
        after, new = mark.read(fd), os.pread(fd, 2 * SLOT_BYTES, 0)
        os.pwrite(fd, new[:end] + old[end:], 0)
        assert mark.read(fd) in (before, after)
        os.pwrite(fd, old[:end] + new[end:], 0)
        assert mark.read(fd) in (before, after)
        writer.close()
        os.close(fd)
