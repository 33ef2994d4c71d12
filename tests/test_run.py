"""`job.run`: what is left of it once it has returned, and what its options make of the job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mapreduce import Job, sampled_ranges, splits
from mapreduce.errors import JobError, JobFailed, UsageError
from mapreduce.refs import Split
from mapreduce.run import run_job
from mapreduce.spec import InputFormat, JobSpec
from mapreduce.submission import Inputs, Options, make_spec
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


def test_an_option_that_there_is_not_is_named_with_the_nearest(text: Path) -> None:
    with pytest.raises(UsageError, match=r"^job.run has no option 'split_size'; did you mean split_bytes\?$"):
        run_job(Job(one), str(text), split_size=10)
    with pytest.raises(
        UsageError, match=r"no option 'zzz'; there are broker, params, executors, .*, report$"
    ):
        run_job(Job(one), str(text), zzz=1)


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


def spec_of(job: Job, **options: Any) -> JobSpec:
    return make_spec(job, {}, InputFormat(), Options(**options), Inputs((), iter(()), ""))


def test_options_reach_the_job() -> None:
    spec = spec_of(Job(one), client_timeout_secs=5, expiry_secs=6.0, retain_secs=7.0, copies=False)
    assert (spec.client_timeout_secs, spec.expiry_secs, spec.retain_secs) == (5, 6.0, 7.0)
    assert not spec.copies and spec_of(Job(one)).copies


def limits(spec: JobSpec) -> tuple[Any, ...]:
    return spec.tries, spec.stage_tries, spec.skip_bad, spec.task_timeout_secs, spec.max_memory


def test_limits_come_from_the_run_else_from_the_job_else_from_the_defaults() -> None:
    assert limits(spec_of(Job(one))) == (4, {}, 0, 0.0, 0)
    job = Job(one, fold=sum, tries={1: 2}, skip_bad=3, task_timeout="5m", max_memory="300M")
    assert limits(spec_of(job)) == (4, {1: 2}, 3, 300.0, 300 << 20)
    assert limits(spec_of(job, tries={0: 7})) == (4, {0: 7, 1: 2}, 3, 300.0, 300 << 20)
    mine = {"tries": 6, "skip_bad": 0, "task_timeout": 90, "max_memory": 2**31}
    assert limits(spec_of(job, **mine)) == (6, {}, 0, 90.0, 2**31)
    assert limits(spec_of(job, tries={None: 5, 1: 9})) == (5, {1: 9}, 3, 300.0, 300 << 20)


@pytest.mark.parametrize("params", [{"n": object()}, {"n": [object()]}])
def test_a_parameter_that_cannot_travel_is_named(params: dict[str, Any]) -> None:
    def with_n(line: str, n: Any = None) -> Any:
        yield line, n

    with pytest.raises(JobError, match="the parameter n cannot travel"):
        spec_of(Job(with_n), params=params)


@pytest.mark.parametrize("inputs", [[1, 2], 5, [b"a"], [None], None, []])
def test_inputs_that_are_no_names_are_refused(inputs: Any) -> None:
    with pytest.raises(UsageError, match="input"):
        run_job(Job(one), inputs, executors=1)


def test_a_stage_that_the_job_does_not_have() -> None:
    with pytest.raises(UsageError, match="no stage 2, the job has stages 0 to 1"):
        spec_of(Job(one, fold=sum), tries={2: 3})


def test_local_files_and_urls_never_share_a_split(text: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://mr/remote", "wb") as file:
        file.write(b"c\n")
    planned: list[Split] = list(
        splits.plan([str(text), "memory://mr/remote", str(text)], InputFormat(), 1000, str(tmp_path))
    )
    assert [["://" in s.path for s in split.segments] for split in planned] == [[False], [True], [False]]


def die(line: str) -> Any:
    os._exit(7)


def loop(line: str) -> Any:
    while True:
        pass


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda line: [(object(), 1)], "object"),
        (lambda line: [line], "'a b', which is not a (key, value) tuple"),
        (lambda line: [(int(line), 1)], "ValueError: invalid literal for int() with base 10: 'a b'"),
        (lambda line: sys.exit(3), "SystemExit: 3"),
        (die, "exited with status 7"),
        (loop, "ran for more than 2 s"),
    ],
)
def test_whatever_the_map_does_while_it_is_sampled_is_told(text: Path, made: Any, says: str) -> None:
    limit = 2 if made is loop else None  # a loaded machine may take its time for the others
    job = Job(made, reduce=lambda key, values: [(key, 1)], partition=sampled_ranges(), task_timeout=limit)
    with pytest.raises(JobFailed) as caught:
        run_job(job, str(text), executors=1, tries=1)
    message = str(caught.value)
    assert says in message and "\n" not in message
    assert f"while sampling {text}" in message and message.endswith("for sampled_ranges()")


def ranges(function: Any) -> Job:
    return Job(function, fold=sum, partition=sampled_ranges())


@pytest.mark.parametrize("ends", ["raises", "dies"])
def test_what_may_be_left_out_of_the_job_may_be_left_out_of_its_sample(tmp_path: Path, ends: str) -> None:
    (tmp_path / "text").write_text("1\nx\n2\n")

    def parse(line: str) -> Any:
        if ends == "dies" and line == "x":
            os._exit(7)
        yield int(line), 1

    with run_job(ranges(parse), str(tmp_path / "text"), executors=1, skip_bad=1, tries=1) as result:
        assert list(result) == [(1, 1), (2, 1)]
        assert [each.record.offset for each in result.skipped] == [2]
    with pytest.raises(JobFailed, match=f"while sampling {tmp_path / 'text'}, byte 2"):
        run_job(ranges(parse), str(tmp_path / "text"), executors=1, tries=2)


def test_a_sample_is_tried_as_often_as_a_task(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("1\n2\n")
    tried = str(tmp_path / "tried")

    def third_time(line: str) -> Any:
        with open(tried, "a+") as file:
            file.seek(0)
            if len(file.read()) < 2:
                file.write(".")
                raise OSError("not yet")
        yield line, 1

    with run_job(ranges(third_time), str(tmp_path / "text"), executors=1, tries=3) as result:
        assert len(list(result)) == 2
    os.unlink(tried)
    with pytest.raises(JobFailed, match="not yet"):
        run_job(ranges(third_time), str(tmp_path / "text"), executors=1, tries=2)


def test_what_cannot_be_encoded_is_one_clear_line(text: Path) -> None:
    with pytest.raises(JobFailed) as caught:
        run_job(Job(lambda line: [(line, object())]), str(text), executors=1, tries=1)
    message = str(caught.value)
    assert message.count("map <lambda>") == 1 and f"{text}, bytes 0 to 6" in message


@pytest.mark.parametrize(
    "options",
    [
        {"executors": -1}, {"executors": 0}, {"tries": 0}, {"partitions": -1}, {"partitions": 10**6},
        {"tries": {0: 0}}, {"tries": {-1: 2}}, {"tries": "4"}, {"skip_bad": -1}, {"skip_bad": True},
        {"task_timeout": 0}, {"task_timeout": "5 minutes"}, {"task_timeout": float("nan")}, {"max_memory": "2X"},
        {"max_memory": 0}, {"copies": 1}, {"params": 5}, {"input": 5}, {"client_timeout_secs": 0},
        {"expiry_secs": "1"}, {"retain_secs": -1}, {"split_bytes": 1.5},
        {"pool": 5}, {"pool": "p" * 240}, {"pool": "a\nb"}, {"interpreter": "x" * 300},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Options(**options)
