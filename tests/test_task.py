"""One attempt in this process: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import errno
import os
import random
import traceback
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional

import pytest

from mapreduce import Job, count, sampled_ranges, source, whole
from mapreduce.blame import Blame, shorten
from mapreduce.refs import Block, Failure, Segment, Split, TaskSpec
from mapreduce.sort import read_blocks
from mapreduce.spec import InputFormat, JobSpec
from mapreduce.task import TaskFailed, run_task

Pairs = Iterable[tuple[Any, Any]]


class Runner:
    """Runs tasks of a job one after the other, as a serial engine would."""

    def __init__(self, folder: Path, partitions: int = 2, fmt: Optional[InputFormat] = None) -> None:
        self.folder = folder
        self.partitions = partitions
        self.fmt = fmt or InputFormat()
        self.counters: dict[str, int] = {}
        self.stats: dict[str, Any] = {}
        self.boundaries: dict[int, list[Any]] = {}
        self._attempts = 0

    def files(self, **texts: str) -> Split:
        segments = []
        for name, text in texts.items():
            path = self.folder / f"{name}.txt"
            path.write_bytes(text.encode())
            segments.append(Segment(f"{name}.txt", str(path), 0, len(text.encode()), 0, True))
        return Split(tuple(segments))

    def task(
        self, job: Job, stage: int, index: int, split: Optional[Split], blocks: Iterable[Block] = ()
    ) -> dict[int, list[Block]]:
        self._attempts += 1
        directory = self.folder / str(self._attempts)
        directory.mkdir()
        wrote: dict[int, list[Block]] = {}

        def emit(partition: int, seq: int, block: Block) -> None:
            assert seq == len(wrote.setdefault(partition, []))
            wrote[partition].append(block)

        spec = TaskSpec("job", stage, index, self._attempts, str(directory), split, tuple(blocks))
        job_spec = JobSpec(
            "job", {}, {}, len(job.stages), self.partitions, self.fmt, boundaries=self.boundaries
        )
        self.counters, self.stats = run_task(spec, job, job_spec, emit)
        return wrote

    def run(self, job: Job, *splits: Split) -> list[Any]:
        """The whole job; pairs in order of partition."""
        outputs = [self.task(job, 0, index, split) for index, split in enumerate(splits)]
        for stage in range(1, len(job.stages)):
            outputs = [
                self.task(job, stage, partition, None, self.blocks(outputs, partition))
                for partition in range(self.partitions)
            ]
        return [pair for output in outputs for pair in pairs_of(output.get(0, []))]

    def blocks(self, outputs: list[dict[int, list[Block]]], partition: int) -> list[Block]:
        """As a worker passes them: no two attempts share the number of a run."""
        result: list[Block] = []
        for number, output in enumerate(outputs):
            result += [b._replace(run=1000 * number + b.run) for b in output.get(partition, [])]
        return result

    def fails(self, job: Job, text: str = "a b\nc d\n", stage: int = 0) -> Failure:
        with pytest.raises(TaskFailed) as caught:
            if stage == 0:
                self.task(job, 0, 0, self.files(input=text))
            else:
                self.run(job, self.files(input=text))
        failure = caught.value.failure
        assert "\n" not in failure.message
        assert "/mapreduce/task.py" not in failure.traceback
        return failure


def pairs_of(blocks: Iterable[Block]) -> list[Any]:
    return [pair for keys, values in read_blocks(list(blocks)) for pair in zip(keys, values)]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def words(line: str) -> Pairs:
    for word in line.split():
        yield word, 1


def total(word: str, counts: Iterable[int]) -> Pairs:
    yield word, sum(counts)


# ---------------------------------------------------------------- what it writes


@pytest.mark.parametrize(
    "job",
    [
        Job(words, reduce=total),
        Job(words, reduce=total, combine=total),
        Job(words, fold=sum),
        Job(lambda line: [(word, 1) for word in line.split()], fold=sum),
        Job(words, reduce=total, partition=lambda key, n: len(key) % n),
    ],
)
def test_word_count(runner: Runner, job: Job) -> None:
    pairs = runner.run(job, runner.files(one="a b a\n", two="c\n\n"), runner.files(three="b a"))
    assert sorted(pairs) == [("a", 3), ("b", 2), ("c", 1)]


def test_no_input_no_output(runner: Runner) -> None:
    assert runner.run(Job(words, reduce=total), runner.files(empty="")) == []
    assert runner.stats["records_in"] == 0


def test_map_only_keeps_the_order_of_the_input(runner: Runner) -> None:
    text = "".join(f"{n}\n" for n in range(20_000, 0, -1))
    pairs = runner.run(Job(lambda line: [(int(line), None)]), runner.files(input=text))
    assert [key for key, _ in pairs] == list(range(20_000, 0, -1))
    assert runner.stats["records_in"] == runner.stats["records_out"] == 20_000
    assert runner.stats["bytes_in"] == len(text)


def test_further_steps_read_pairs(runner: Runner) -> None:
    job = Job(words, reduce=total).then(
        lambda pair: [(pair[1], pair[0])], reduce=lambda n, ws: [(n, sorted(ws))]
    )
    pairs = runner.run(job, runner.files(input="a b a\nc b\n"))
    assert sorted(pairs) == [(1, ["c"]), (2, ["a", "b"])]
    job = Job(words, reduce=total).then(lambda pair: [pair, pair])
    assert sorted(runner.run(job, runner.files(input="a a"))) == [("a", 2), ("a", 2)]


def test_keys_come_in_order_within_a_partition(runner: Runner) -> None:
    runner.partitions = 1
    text = " ".join(random.Random(1).choices("abcdefgh", k=200))
    pairs = runner.run(Job(words, fold=sum), runner.files(input=text))
    assert [key for key, _ in pairs] == sorted(set(text.split()))


def test_sampled_ranges_partition_by_their_borders(runner: Runner) -> None:
    runner.boundaries = {0: ["c"]}
    wrote = runner.task(
        Job(words, reduce=total, partition=sampled_ranges()), 0, 0, runner.files(input="d a c b")
    )
    assert {p: [key for key, _ in pairs_of(blocks)] for p, blocks in wrote.items()} == {
        0: ["a", "b"],
        1: ["c", "d"],
    }


def test_whole_functions_see_all_of_a_task(runner: Runner) -> None:
    @whole
    def longest(lines: Iterator[str]) -> Pairs:
        best = ""
        for line in lines:
            best = max(best, line, key=len)
        yield best, 1

    @whole
    def running(groups: Iterator[tuple[str, Iterator[int]]]) -> Pairs:
        so_far = 0
        for key, values in groups:
            so_far += sum(values)
            yield key, so_far

    runner.partitions = 1
    job = Job(longest, reduce=running)
    pairs = runner.run(job, runner.files(one="aaa\nb\n"), runner.files(two="cc\n"))
    assert pairs == [("aaa", 1), ("cc", 2)]


def test_values_that_a_reduce_leaves_are_skipped(runner: Runner) -> None:
    job = Job(words, reduce=lambda key, values: [(key, next(values))])
    assert sorted(runner.run(job, runner.files(input="a a b a b"))) == [("a", 1), ("b", 1)]


def test_counters_and_source(runner: Runner) -> None:
    def mapper(line: str) -> Pairs:
        count("lines")
        count(source(), 10)
        yield line, source()

    pairs = runner.run(Job(mapper), runner.files(one="a\nb\n", two="c\n"))
    assert pairs == [("a", "one.txt"), ("b", "one.txt"), ("c", "two.txt")]
    assert runner.counters == {"lines": 3, "one.txt": 20, "two.txt": 10}
    assert source() == ""


def test_random_is_the_same_for_every_try_of_a_task(runner: Runner) -> None:
    job = Job(lambda line: [(line, random.random())])
    split = runner.files(input="a\n")
    first, again, other = (pairs_of(runner.task(job, 0, index, split)[0]) for index in (0, 0, 1))
    assert first == again != other


# ---------------------------------------------------------------- what it says


def fail_on_c(line: str) -> Pairs:
    if line.startswith("c"):
        raise ValueError("invalid\nletter")
    yield line, 1


def test_a_map_that_raises_names_function_record_and_place(runner: Runner) -> None:
    failure = runner.fails(Job(fail_on_c), "ä\n" * 1000 + "c d\ne\n")
    assert (failure.kind, failure.message) == ("raised", "ValueError: invalid letter")
    assert (failure.function, failure.source, failure.offset) == ("map fail_on_c", "input.txt", 3000)
    assert failure.record == "'c d'"
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert 'raise ValueError("invalid\\nletter")' in failure.traceback
    assert failure.traceback.count("  File ") == 1


def test_the_record_is_found_for_every_shape_of_map(runner: Runner) -> None:
    def listed(line: str) -> Pairs:
        return [(int(word), 1) for word in line.split()]

    def lazily(line: str) -> Pairs:
        return ((int(word), 1) for word in line.split())

    @whole
    def looping(lines: Iterator[str]) -> Pairs:
        for line in lines:
            yield int(line), 1

    class Mapper:
        def __call__(self, line: str) -> Pairs:
            return [(int(line), 1)]

    functions: dict[str, Any] = {"listed": listed, "lazily": lazily, "looping": looping, "Mapper": Mapper()}
    for name, function in functions.items():
        failure = runner.fails(Job(function), "1\n2\nx\n4\n")
        assert failure.message == "ValueError: invalid literal for int() with base 10: 'x'"
        assert (failure.function, failure.offset, failure.record) == (f"map {name}", 4, "'x'")


@pytest.mark.parametrize("text", ["x1\nbad\nx2\n", "x1\nbad\n"])
def test_a_stray_stopiteration_does_not_drop_the_rest_of_the_data(runner: Runner, text: str) -> None:
    def pick(line: str) -> Pairs:
        return [(next(word for word in line.split() if word.startswith("x")), 1)]

    failure = runner.fails(Job(pick), text)
    assert "StopIteration" in failure.message and failure.function == "map pick" and failure.offset == 3


def test_nor_does_one_in_a_reduce_or_a_combine(runner: Runner) -> None:
    def words(line: str) -> Pairs:
        return [(word, 1) for word in line.split()]

    def total(key: str, values: Iterator[int]) -> Pairs:
        return [(key, next(v for v in values if v > 5) if key == "b" else sum(values))]

    def plain(key: str, values: Iterator[int]) -> Pairs:
        return [(key, sum(values))]

    text = "a b c\n" * 10
    assert "StopIteration" in runner.fails(Job(words, reduce=total), text, stage=1).message
    assert "StopIteration" in runner.fails(Job(words, reduce=plain, combine=total), text).message


def test_what_comes_after_the_loop_is_blamed_on_no_record(runner: Runner) -> None:
    @whole
    def at_the_end(lines: Iterator[str]) -> Pairs:
        for _ in lines:
            pass
        raise ValueError("end")
        yield

    failure = runner.fails(Job(at_the_end))
    assert (failure.source, failure.offset, failure.record) == ("", -1, "") or failure.record != "'c d'"


def test_reduce_and_combine_name_the_key(runner: Runner) -> None:
    def bad(key: str, values: Iterable[int]) -> Pairs:
        yield key, sum(values) // 0

    failure = runner.fails(Job(words, reduce=bad), "b a", stage=1)
    assert failure.function == "reduce bad"
    assert failure.source in ("key 'a'", "key 'b'")
    failure = runner.fails(Job(words, reduce=total, combine=bad), "a " * 9 + "b")
    assert (failure.function, failure.source) == ("combine bad", "key 'a'")


def test_a_fold_names_the_key(runner: Runner) -> None:
    job = Job(lambda line: [("k", line), ("k", 1)], fold=sum)
    failure = runner.fails(job)
    assert (failure.kind, failure.function, failure.source) == ("raised", "fold sum", "key 'k'")
    assert failure.message.startswith("TypeError: unsupported operand")
    failure = runner.fails(Job(lambda line: [(line, line)], fold=sum), "a", stage=1)
    assert (failure.function, failure.source) == ("fold sum", "key 'a'")


@pytest.mark.parametrize("result", [-1, 2, 0.0, "0", None, True])
def test_a_partition_out_of_range_is_named(runner: Runner, result: Any) -> None:
    def choose(key: str, n: int) -> int:
        return result  # type: ignore[no-any-return]

    failure = runner.fails(Job(words, reduce=total, partition=choose), "a")
    assert failure.function == "partition choose"
    assert f"returned {result!r} for the key 'a': it must be a whole number from 0 to 1" in failure.message


def test_a_partition_that_raises_is_named(runner: Runner) -> None:
    failure = runner.fails(Job(words, reduce=total, partition=lambda key, n: int(key)), "a")
    assert (failure.function, failure.source) == ("partition <lambda>", "key 'a'")


def test_stages_are_numbered_where_there_are_several(runner: Runner) -> None:
    def second(pair: tuple[str, int]) -> Pairs:
        raise KeyError(pair)

    job = Job(words, reduce=total).then(second, reduce=total)
    failure = runner.fails(job, "a", stage=1)
    assert (failure.function, failure.record) == ("map second of stage 1", "('a', 1)")
    assert failure.message == "KeyError: ('a', 1)"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda line: None, "map <lambda> returned None: it must yield (key, value) pairs"),
        (lambda line: 5, "map <lambda> returned int: it must yield (key, value) pairs"),
        (whole(lambda lines: None), "map <lambda> returned None: it must yield (key, value) pairs"),
        (lambda line: [line], "map <lambda> yielded"),
        (lambda line: (line, 1), "map <lambda> yielded"),
        (lambda line: [(line, 1, 2)], "map <lambda> yielded"),
        (lambda line: "ab", "map <lambda> yielded"),
    ],
)
def test_what_is_no_pair_is_explained(runner: Runner, function: Callable[..., Any], says: str) -> None:
    for job in (Job(function), Job(function, fold=sum), Job(function, reduce=total)):
        failure = runner.fails(job)
        assert failure.kind == "raised"
        assert failure.message.startswith(says)
        assert failure.function == "map <lambda>"


def test_a_reduce_that_returns_none_is_not_blamed_on_the_map_behind_it(runner: Runner) -> None:
    failure = runner.fails(Job(words, reduce=lambda key, values: None).then(words), stage=1)
    assert failure.message.startswith("reduce <lambda> returned None")
    failure = runner.fails(Job(words, reduce=total).then(lambda pair: None), stage=1)
    assert failure.message.startswith("map <lambda> returned None")


@pytest.mark.parametrize("value", [object(), range(3), [{"a": object()}]])
def test_values_that_cannot_travel_are_named(runner: Runner, value: Any) -> None:
    failure = runner.fails(Job(lambda line: [(line, value)]))
    assert (failure.kind, failure.function) == ("value", "map <lambda>")
    assert type(value).__name__ in failure.message or "object" in failure.message
    failure = runner.fails(Job(lambda line: [(line, value)], reduce=total))
    assert (failure.kind, failure.function) == ("value", "map <lambda>")
    combine = lambda key, values: [(key, value)]  # noqa: E731
    failure = runner.fails(Job(words, reduce=total, combine=combine), "a " * 9)
    assert (failure.kind, failure.function) == ("value", "map words or combine <lambda>")


def test_input_that_the_format_forbids_is_named(tmp_path: Path) -> None:
    runner = Runner(tmp_path, fmt=InputFormat("jsonl"))
    failure = runner.fails(Job(lambda record: [(str(record), 1)]), '{"a": 1}\n[2\n')
    assert (failure.kind, failure.source, failure.offset) == ("input", "input.txt", 9)
    assert failure.traceback == "" and "[2" in failure.record


def test_an_input_that_is_gone_is_the_inputs_fault(runner: Runner) -> None:
    split = runner.files(input="a\n")
    (runner.folder / "input.txt").unlink()
    with pytest.raises(TaskFailed) as caught:
        runner.task(Job(words), 0, 0, split)
    assert caught.value.failure.kind == "input"


def test_our_own_trouble_with_files_is_not_the_users(runner: Runner) -> None:
    job = Job(words, reduce=total)
    wrote = runner.task(job, 0, 0, runner.files(input="a"))
    blocks = runner.blocks([wrote], next(iter(wrote)))
    Path(blocks[0].path).unlink()
    with pytest.raises(TaskFailed) as caught:
        runner.task(job, 1, 0, None, blocks)
    assert caught.value.failure.kind == "disk"


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EMFILE, "files", "/folder: Too many open files; does user code close"),
        (errno.ENFILE, "files", "/folder: Too many open files in system; does user code close"),
        (errno.ENOSPC, "disk", "/folder: No space left on device, for the worker's own files; make room"),
        (errno.EBADF, "raised", "a file of the engine's was closed"),
    ],
)
def test_what_is_wrong_with_our_own_files_is_told_apart(number: int, kind: str, says: str) -> None:
    blame = Blame(Job(words).stages[0], 0, 1, "/folder", 0)
    failure = blame.failure(OSError(number, os.strerror(number)))
    assert failure.kind == kind and failure.message.startswith(says)


def test_the_users_own_oserror_is_the_users(runner: Runner) -> None:
    def mapper(line: str) -> Pairs:
        raise FileNotFoundError("no such file")

    failure = runner.fails(Job(mapper))
    assert (failure.kind, failure.function, failure.record) == ("raised", "map mapper", "'a b'")


def test_exits_and_interrupts_are_failures(runner: Runner) -> None:
    for error in (SystemExit(3), KeyboardInterrupt(), MemoryError(), GeneratorExit()):

        def mapper(line: str, error: BaseException = error) -> Pairs:
            raise error

        assert runner.fails(Job(mapper)).message.startswith(type(error).__name__)


def test_endless_recursion_is_told_in_short(runner: Runner) -> None:
    def mapper(line: str) -> Pairs:
        return mapper(line)

    failure = runner.fails(Job(mapper))
    assert failure.message.startswith("RecursionError")
    assert len(failure.traceback) < 12_000


def test_causes_are_shown_without_the_engines_frames(runner: Runner) -> None:
    def mapper(line: str) -> Pairs:
        try:
            count(5)  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError("second") from error
        return []

    failure = runner.fails(Job(mapper))
    assert failure.message == "ValueError: second"
    assert "direct cause" in failure.traceback and "job.py" not in failure.traceback


def test_exceptions_that_cannot_be_printed_are_survived(runner: Runner) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def mapper(line: str) -> Pairs:
        raise Odd

    assert "Odd" in runner.fails(Job(mapper)).message


def test_control_characters_reach_no_terminal(runner: Runner) -> None:
    def mapper(line: str) -> Pairs:
        raise ValueError("\0\a\x1b[2J\x9b\u202e\r.\ttab\nline")

    failure = runner.fails(Job(mapper))
    assert failure.message == r"ValueError: \x00\x07\x1b[2J\x9b\u202e\x0d." + "\ttab line"
    assert (
        not any(c in failure.traceback for c in "\0\a\x1b\x9b\u202e\r") and "\ttab\nline" in failure.traceback
    )


def test_a_whole_function_that_raises_after_its_last_record_names_no_iterator(runner: Runner) -> None:
    @whole
    def mapper(lines: Iterator[str]) -> Pairs:
        yield from [(line, 1) for line in lines]
        raise ValueError("late")

    failure = runner.fails(Job(mapper))
    assert (failure.message, failure.record, failure.source) == ("ValueError: late", "", "")


LARGE: list[Any] = [
    "x" * 10**6,
    b"x" * 10**6,
    ["y" * 1000] * 1000,
    {"k": "v" * 10**5},
    10**5000,
    [[[[[[1]]]]]],
]


@pytest.mark.parametrize("index", range(len(LARGE)))
def test_records_are_shown_in_short(index: int) -> None:
    assert len(shorten(LARGE[index])) <= 210


def test_the_original_exception_is_kept_as_cause(runner: Runner) -> None:
    with pytest.raises(TaskFailed) as caught:
        runner.task(Job(fail_on_c), 0, 0, runner.files(input="c\n"))
    assert isinstance(caught.value.__cause__, ValueError)
    assert "fail_on_c" in "".join(traceback.format_tb(caught.value.__cause__.__traceback__))
