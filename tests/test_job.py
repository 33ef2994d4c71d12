"""What users write: the constructor's checks, stages, parameters, what functions may call."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator

import pytest

from mapreduce import Job, JobError, code, count, sampled_ranges, source, units, whole
from mapreduce.job import Context, Fold, enter
from mapreduce.spec import InputFormat

Pairs = Iterator[tuple[Any, Any]]


def words(line: str, min_length: int = 1) -> Pairs:
    for word in line.split():
        if len(word) >= min_length:
            yield word, 1


def total(word: str, counts: Iterable[int]) -> Pairs:
    yield word, sum(counts)


def swap(pair: tuple[Any, Any]) -> Pairs:
    yield pair[1], pair[0]


def test_map_only_job_has_one_stage() -> None:
    (stage,) = Job(words).stages
    assert stage.map is words and stage.reduce is None and stage.combine is None


def test_reduce_makes_a_second_stage() -> None:
    first, second = Job(words, reduce=total, combine=total, partition=hash_of).stages
    assert (first.map, first.combine, first.partition, first.reduce) == (words, total, hash_of, None)
    assert (second.reduce, second.map, second.combine, second.partition) == (total, None, None, None)


def hash_of(key: Any, n: int) -> int:
    return len(key) % n


def test_then_runs_its_map_behind_the_reduce_before() -> None:
    stages = Job(words, reduce=total).then(swap, reduce=total, combine=total).stages
    assert [(s.reduce, s.map, s.combine) for s in stages] == [
        (None, words, None),
        (total, swap, total),
        (total, None, None),
    ]


def test_then_with_a_map_alone_adds_no_stage() -> None:
    assert [(s.reduce, s.map) for s in Job(words, reduce=total).then(swap).stages] == [
        (None, words),
        (total, swap),
    ]


def test_then_leaves_the_job_as_it_was() -> None:
    job = Job(words, reduce=total)
    assert len(job.then(reduce=total).stages) == 3
    assert len(job.stages) == 2


def test_fold_is_combine_and_reduce() -> None:
    first, second = Job(words, fold=sum).stages
    assert first.combine == second.reduce == Fold(sum)
    assert list(Fold(sum)("a", [1, 2])) == [("a", 3)]


def test_jobs_are_frozen_and_survive_pickle() -> None:
    job = Job(words, reduce=total, name="count", input="csv", partitions=3)
    with pytest.raises(AttributeError):
        job.name = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Job(None), "needs a map"),  # type: ignore[arg-type]
        (lambda: Job("words"), "map is not a function but 'words'"),  # type: ignore[arg-type]
        (lambda: Job(words, reduce=total, fold=sum), "either fold or those"),
        (lambda: Job(words, combine=total), "combine without reduce"),
        (lambda: Job(words, partition=hash_of), "partition without reduce"),
        (lambda: Job(words, reduce=swap), "reduce swap.* must take two arguments"),
        (lambda: Job(hash_of), "map hash_of.* must take one argument"),
        (
            lambda: Job(words, reduce=total, combine=whole(lambda groups: groups)),
            "whole is for a map or a reduce",
        ),
        (lambda: Job(words, reduce=total, partitions=0), "whole number from 1"),
        (lambda: Job(words).then(reduce=total), "the step before has no reduce"),
        (lambda: Job(words, reduce=total).then(), "give a map, a reduce or both"),
        (lambda: Job(words, reduce=total).then(reduce=total, partition=sampled_ranges()), "first step"),
        (lambda: Job(words, reduce=lambda k, vs, min_length="x": []), "let the types of the defaults agree"),
        (lambda: whole(len), "not a function written in Python"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, says: str) -> None:
    with pytest.raises(JobError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- parameters


def many(
    line: str,
    flag: bool = False,
    n: int = 1,
    x: float = 0.5,
    text: str = "a",
    name: Any = None,
    items: Any = [1],  # noqa: B006
    table: Any = {},  # noqa: B006
    _cache: Any = {},  # noqa: B006
    how: Any = len,
) -> Pairs:
    yield line, (flag, n, x, text, name, items, table)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("flag", "yes", True),
        ("flag", "TRUE", True),
        ("flag", "0", False),
        ("n", "-3", -3),
        ("x", "1e3", 1000.0),
        ("text", "7", "7"),
        ("name", "7", "7"),
        ("items", "[1, 2]", [1, 2]),
        ("table", '{"a": 1}', {"a": 1}),
    ],
)
def test_parameters_are_converted_by_their_defaults(name: str, text: str, value: Any) -> None:
    converted = Job(many).convert(name, text)
    assert converted == value and type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("flag", "maybe"), ("n", "1.5"), ("x", "much"), ("items", "{}"), ("table", "{")]
)
def test_text_of_another_type_is_refused(name: str, text: str) -> None:
    with pytest.raises(JobError, match=f"parameter {name} is of type"):
        Job(many).convert(name, text)


def test_only_plain_named_defaults_are_parameters() -> None:
    assert list(Job(many, fold=sum).parameters) == ["flag", "n", "x", "text", "name", "items", "table"]


def test_unknown_parameter_lists_those_that_exist() -> None:
    with pytest.raises(JobError, match="no parameter 'min'; it has: min_length=1"):
        Job(words).bind({"min": 2})
    with pytest.raises(JobError, match="it has: none"):
        Job(swap).convert("min", "2")


def test_bind_reaches_every_function_that_has_the_name() -> None:
    def keep(word: str, counts: Iterable[int], min_length: int = 1) -> Pairs:
        yield word, min_length

    first, second = Job(words, reduce=keep).bind({"min_length": 3}).stages
    assert first.map is not None and list(first.map("a bbb")) == [("bbb", 1)]
    assert second.reduce is not None and list(second.reduce("a", [])) == [("a", 3)]


def test_whole_survives_binding() -> None:
    @whole
    def top(records: Iterable[Any], n: int = 1) -> Pairs:
        yield None, n

    from mapreduce.job import is_whole

    (stage,) = Job(top).bind({"n": 2}).stages
    assert stage.map is not None and is_whole(stage.map)
    assert list(stage.map([])) == [(None, 2)]
    assert is_whole(functools.partial(top, n=4)) and not is_whole(words)


# ---------------------------------------------------------------- what functions call


def test_count_and_source_outside_a_task_harm_nothing() -> None:
    count("seen")
    assert source() == ""


def test_count_adds_up_in_a_task() -> None:
    context = Context()
    before = enter(context)
    count("seen")
    count("seen", 4)
    enter(before)
    count("seen")
    assert context.counters == {"seen": 5}


@pytest.mark.parametrize(("name", "n"), [(1, 1), ("a", 1.5), ("a", True)])
def test_count_takes_a_name_and_an_int(name: Any, n: Any) -> None:
    with pytest.raises(TypeError, match="count"):
        count(name, n)


def test_input_formats_by_name() -> None:
    assert Job(words, input="fixed:100").input == InputFormat("fixed", record_bytes=100)
    assert Job(words, input="jsonl").input == InputFormat("jsonl")
    with pytest.raises(JobError, match="choose"):
        Job(words, input="xml")


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys; from mapreduce import Job; print([m for m in sys.modules if m.startswith('mapreduce.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(eval(loaded)) == [
        "mapreduce.errors",
        "mapreduce.frozen",
        "mapreduce.job",
        "mapreduce.parameters",
        "mapreduce.settings",
        "mapreduce.spec",
        "mapreduce.units",
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": 5}, "name is a text"),
        ({"name": " "}, "name is a text"),
        ({"input": 5}, "input is a format"),
        ({"tries": 0}, "tries is a whole number"),
        ({"tries": {"map": 2}}, "stages are numbered from 0"),
        ({"skip_bad": "many"}, "skip_bad is a whole number"),
        ({"task_timeout": "-5"}, "task_timeout: '-5' is not a time"),
        ({"max_memory": "300 apples"}, "max_memory: '300 apples' is not a size"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(JobError, match=says):
        Job(words, **settings)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512K", 2**19), ("300M", 300 * 2**20), ("2GiB", 2**31), ("8mb", 2**23), (7, 7)],
)
def test_sizes(text: Any, size: int) -> None:
    assert units.size(text) == size


@pytest.mark.parametrize(
    ("text", "secs"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1D", 86400), (0.5, 0.5)]
)
def test_times(text: Any, secs: float) -> None:
    assert units.seconds(text) == secs


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "1e3", "5 m", "²", "inf", "nan", None, True, [], float("inf"), "9" * 400]
)
def test_neither_sizes_nor_times(value: Any) -> None:
    for parse in (units.size, units.seconds):
        with pytest.raises(ValueError, match="is not a"):
            parse(value)


def test_both_lines_of_an_import_error_are_shown(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('cannot load it\\nlibfoo.so: not found')\n")
    with pytest.raises(JobError, match=r"ImportError: cannot load it libfoo\.so: not found"):
        code.from_file(str(tmp_path / "broken.py"))
