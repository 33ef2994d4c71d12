"""`mr run --profile`: what executors see of their time, on CPython and PyPy, and what becomes of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import interpreters, profiling, wire
from mapreduce.blame import ENGINE
from mapreduce.brokers import base
from mapreduce.display.profile import hottest_lines
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed, ExecutorProfiled
from mapreduce.events import Profiled
from mapreduce.profiling import EVERY_SECS, MAX_LINES, Profiler
from mapreduce.sort import read_blocks
from mapreduce.views.profile import ProfileView, StageProfile, to_plain
from tests.test_executor import Bench
from tests.test_worker import Bench as WorkerBench
from tests.test_worker import logged, published

JOBS = Path(__file__).with_name("profile_jobs.py")
SOURCE = JOBS.read_text().splitlines()


def lines_with(comment: str) -> set[str]:
    """Places of the job's lines that end so."""
    return {f"{JOBS}:{number}" for number, line in enumerate(SOURCE, 1) if line.endswith(f"# {comment}")}


def lines_of(function: str) -> set[str]:
    start = SOURCE.index(next(line for line in SOURCE if line.startswith(f"def {function}("))) + 1
    length = next(n for n, line in enumerate(SOURCE[start:]) if not line)
    return {f"{JOBS}:{number}" for number in range(start, start + length + 1)}


def secs_in(profile: ExecutorProfiled, places: set[str]) -> float:
    assert sum(profile.lines.values()) <= profile.samples
    found = sum(n for line, n in profile.lines.items() if line.rpartition(":")[0] in places)
    return found * EVERY_SECS


@pytest.fixture(
    scope="module", params=[pytest.param(None, id="cpython"), pytest.param("pypy3", marks=pytest.mark.pypy)]
)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    python = interpreters.find(request.param)
    with Bench(
        tmp_path_factory.mktemp("bench"), jobs=JOBS, interpreter=python, profile=True
    ).pool_closed() as made:
        yield made


def profile_of(bench: Bench, name: str, end: type = ExecutorDone) -> ExecutorProfiled:
    events = bench.wait(bench.submit(name))
    assert isinstance(events[-1], end), events[-1]
    (profile,) = [event for event in events if isinstance(event, ExecutorProfiled)]
    return profile


def test_the_time_is_in_the_lines_that_use_it(bench: Bench) -> None:
    profile = profile_of(bench, "uneven_job")
    assert secs_in(profile, lines_of("busy")) >= 0.15


def test_what_a_library_does_is_charged_to_the_line_that_calls_it(bench: Bench) -> None:
    profile = profile_of(bench, "library_job")
    assert secs_in(profile, lines_of("by_library")) >= 0.1
    assert {line.split(":")[0] for line in profile.lines} <= {str(JOBS), *engine_files()}


def engine_files() -> set[str]:
    return {f"mapreduce/{path.relative_to(ENGINE)}" for path in Path(ENGINE).rglob("*.py")}


def test_who_sleeps_uses_no_time(bench: Bench) -> None:
    profiles = [e for e in bench.wait(bench.submit("sleepy_job")) if isinstance(e, ExecutorProfiled)]
    assert sum(secs_in(profile, lines_of("sleeps")) for profile in profiles) < 0.1


def test_a_try_that_fails_tells_what_it_did(bench: Bench) -> None:
    assert secs_in(profile_of(bench, "failing_job", ExecutorFailed), lines_of("busy")) >= 0.05


def test_user_code_may_have_the_timer_and_the_next_task_is_profiled_again(bench: Bench) -> None:
    events = bench.wait(bench.submit("own_job"))
    ((_, counts),) = read_blocks([event.block for event in events if isinstance(event, ExecutorBlock)])
    assert counts[0] > 5, "it got its signals, not we"
    assert profile_of(bench, "uneven_job").samples > 0


def test_a_long_call_into_c_has_the_samples_that_it_took(bench: Bench) -> None:
    *_, wrote, profile, _done = bench.wait(bench.submit("in_c_job"))
    (((took,), _),) = read_blocks([wrote.block])
    assert secs_in(profile, lines_with("one call")) >= 0.8 * took - 2 * EVERY_SECS


def test_without_profile_nobody_is_told_anything(tmp_path: Path) -> None:
    with Bench(tmp_path, jobs=JOBS).pool_closed() as bench:
        events = bench.wait(bench.submit("uneven_job"))
        assert not [event for event in events if isinstance(event, ExecutorProfiled)]


def test_a_job_that_has_taken_the_signal_is_not_disturbed(tmp_path: Path) -> None:
    job = tmp_path / "taken.py"
    job.write_text(
        "import signal, time\nfrom mapreduce import Job\ngot = []\n"
        "signal.signal(signal.SIGPROF, lambda number, frame: got.append(number))\n"
        "def busy(line):\n    end = time.process_time() + 0.1\n"
        "    while time.process_time() < end:\n        pass\n    yield len(got), 1\njob = Job(busy)\n"
    )
    with Bench(tmp_path, jobs=job, profile=True).pool_closed() as bench:
        wrote, done = bench.wait(bench.submit("job"))
        assert list(read_blocks([wrote.block])) == [([0], [1])] and isinstance(done, ExecutorDone)


# ---------------------------------------------------------------- the sampler itself


class Clock:
    def __init__(self) -> None:
        self.now = 5.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """CPU time as a test wants it; the signal and its timer are left alone."""
    clock = Clock()
    monkeypatch.setattr(profiling, "time", SimpleNamespace(process_time=lambda: clock.now))
    monkeypatch.setattr(signal, "setitimer", lambda *args: None)
    before = signal.getsignal(signal.SIGPROF)
    yield clock
    signal.signal(signal.SIGPROF, before)


def frame(path: str, line: int, name: str = "f", back: Any = None) -> Any:
    code = SimpleNamespace(co_filename=path, co_name=name)
    return SimpleNamespace(f_code=code, f_lineno=line, f_back=back)


BUNDLE = {"kind": "source", "directory": "/home/ann", "main": "job.py", "files": {"job.py": "", "a/b.py": ""}}


def sampled(clock: Clock, seen: Any, bundle: Optional[dict[str, Any]] = None) -> profiling.Profile:
    profiler = Profiler(BUNDLE if bundle is None else bundle)
    profiler.begin(lambda each: None)
    clock.now += EVERY_SECS
    profiler._on_signal(signal.SIGPROF, seen)
    return profiler.end()


def test_the_innermost_line_of_the_job_or_the_engine_has_the_sample(clock: Clock) -> None:
    library = signal.__file__
    engine = frame(f"{ENGINE}sort.py", 9)
    job = frame("/home/ann/a/b.py", 7, "g", engine)
    for seen, expected in (
        (job, "/home/ann/a/b.py:7:g"),
        (frame(library, 3, back=job), "/home/ann/a/b.py:7:g"),
        (frame(f"{ENGINE}job.py", 3, "count", job), "/home/ann/a/b.py:7:g"),
        (frame("<string>", 3, back=job), "/home/ann/a/b.py:7:g"),
        (frame(f"{ENGINE}profiling.py", 9, "_on_signal", job), "/home/ann/a/b.py:7:g"),
        (frame(library, 3, back=engine), "mapreduce/sort.py:9:f"),
        (frame(f"{ENGINE}splits/lines.py", 1, back=job), "mapreduce/splits/lines.py:1:f"),
    ):
        assert sampled(clock, seen).lines == {expected: 1}
    assert sampled(clock, None) == (0, 1, {})
    nameless = frame("<stdin>", 3, back=engine)
    assert sampled(clock, nameless).lines == {"mapreduce/sort.py:9:f": 1}
    assert sampled(clock, nameless, {"kind": "pickle"}).lines == {"<stdin>:3:f": 1}


@given(steps=st.lists(st.tuples(st.integers(1, 400), st.floats(0, 0.2)), max_size=300))
def test_samples_are_cpu_time_however_signals_come(steps: list[tuple[int, float]]) -> None:
    patch = pytest.MonkeyPatch()
    clock = Clock()
    before = signal.getsignal(signal.SIGPROF)
    try:
        patch.setattr(profiling, "time", SimpleNamespace(process_time=lambda: clock.now))
        patch.setattr(signal, "setitimer", lambda *args: None)
        profiler = Profiler(BUNDLE)
        profiler.begin(lambda each: None)
        for line, secs in steps:
            clock.now += secs
            profiler._on_signal(signal.SIGPROF, frame("/home/ann/job.py", line))
        profile = profiler.end()
    finally:
        patch.undo()
        signal.signal(signal.SIGPROF, before)
    assert abs(profile.samples - (clock.now - 5.0) / EVERY_SECS) <= 1.01
    assert len(profile.lines) <= MAX_LINES
    counts = list(profile.lines.values())
    assert counts == sorted(counts, reverse=True) and sum(counts) <= profile.samples
    if len({line for line, _ in steps}) <= MAX_LINES:
        assert sum(counts) == profile.samples


def test_a_long_attempt_tells_parts_as_soon_as_it_can(clock: Clock) -> None:
    profiler = Profiler(BUNDLE)
    told: list[profiling.Profile] = []
    can = False

    def tell(each: Profiler) -> None:
        if can:
            told.append(each.take())

    def works(secs: float, line: int) -> None:
        clock.now += secs
        profiler._on_signal(signal.SIGPROF, frame("/home/ann/job.py", line))

    profiler.begin(tell)
    works(9.0, 1)
    works(2.0, 2)
    assert not told, "a message is half written"
    can = True
    works(1.0, 3)
    works(9.5, 1)
    assert [(part.part, sorted(part.lines)) for part in told] == [
        (0, ["/home/ann/job.py:1:f", "/home/ann/job.py:2:f", "/home/ann/job.py:3:f"])
    ]
    last = profiler.end()
    assert (last.part, sorted(last.lines)) == (1, ["/home/ann/job.py:1:f"])
    assert abs(told[0].samples + last.samples - 2150) <= 1
    profiler.begin(tell)
    assert profiler.end() == (0, 0, {})


def test_user_code_at_its_limit_of_recursion_is_spared(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(frame: Any) -> None:
        raise RecursionError

    profiler = Profiler(BUNDLE)
    monkeypatch.setattr(profiler, "_note", deep)
    profiler._on_signal(signal.SIGPROF, None)


# ---------------------------------------------------------------- the view


def profiled(attempt: int, lines: dict[str, int], stage: int = 0, rest: int = 0, part: int = 0) -> Profiled:
    return Profiled(stage, 0, attempt, "worker", sum(lines.values()) + rest, lines, part)


CODE = {**BUNDLE, "files": {"job.py": "import x\n\tfor word in line.split():\n", "a/b.py": "pass\n"}}


def view_of(*entries: Profiled) -> list[StageProfile]:
    view = ProfileView()
    for entry in entries:
        view.note(entry)
    return view.stages(CODE, most=3)


def test_attempts_are_merged_by_stage_and_count_once() -> None:
    first, second = "/home/ann/job.py:2:words", "mapreduce/sort.py:9:f"
    map_stage, reduce_stage = view_of(
        profiled(1, {first: 20, second: 10}),
        profiled(1, {first: 20, second: 10}),
        profiled(1, {first: 10}, part=1),
        profiled(2, {second: 45}, rest=15),
        profiled(3, {"/home/ann/a/b.py:1:total": 5}, stage=1),
        profiled(4, {}, stage=2),
    )
    assert (map_stage.stage, map_stage.attempts, map_stage.samples, map_stage.secs) == (0, 2, 100, 1.0)
    assert [tuple(line) for line in map_stage.lines] == [
        ("mapreduce/sort.py", 9, "f", 55, pytest.approx(0.55), 0.55, ""),
        ("job.py", 2, "words", 30, pytest.approx(0.3), 0.3, "for word in line.split():"),
    ]
    assert [tuple(line)[:4] for line in reduce_stage.lines] == [("a/b.py", 1, "total", 5)]
    assert to_plain([reduce_stage])[0]["lines"][0]["text"] == "pass"


@pytest.mark.parametrize(
    "place",
    [
        "",
        ":",
        "::",
        "x",
        "/home/ann/job.py:0:f",
        "/home/ann/job.py:99:f",
        "/home/ann/../job.py:1:f",
        "a:b:c:²:f",
    ],
)
def test_places_that_make_no_sense_are_shown_as_they_are(place: str) -> None:
    ((line,),) = [stage.lines for stage in view_of(profiled(1, {place: 1}))]
    assert line.samples == 1 and line.text == ""


def test_the_table_shows_the_text_of_lines() -> None:
    profile = view_of(
        profiled(
            1,
            {"/home/ann/job.py:2:words": 30, "/tmp/\x1b[31mx.py:1:<lambda>": 9, "mapreduce/errors.py:1:f": 1},
        )
    )
    head, *rows = hottest_lines(profile, stages=2)
    assert head == "hottest lines of map: 0.4 s of CPU time in 1 try"
    assert [" ".join(row.split()) for row in rows] == [
        "75.0% 0.3 s job.py:2 words for word in line.split():",
        "22.5% 0.1 s /tmp/x.py:1 <lambda>",
        '2.5% 0.0 s mapreduce/errors.py:1 f """Everything that can go wrong, as one tree, with the exit code of eac…',
    ]


def test_what_is_no_file_is_not_read() -> None:
    _, row = hottest_lines(view_of(profiled(1, {"/dev/zero:1:f": 1})), stages=2)
    assert row.split() == ["100.0%", "0.0", "s", "/dev/zero:1", "f"]


# ---------------------------------------------------------------- the worker


def test_the_log_is_told_before_done_and_nobody_waits_for_it() -> None:
    bench = WorkerBench()
    attempt = bench.run()
    lines = {"job.py:1:f": 7}
    (told,) = published(bench.tell(ExecutorProfiled(attempt.slot, attempt.number, 2, 9, lines)))
    assert wire.decode(told.head)[0] == Profiled(0, 0, attempt.number, "w", 9, lines, 2)
    assert logged(bench.done(attempt)) == ["Done"], "whether or not that is confirmed"
    assert bench.tell(base.Confirmed(told.token)) == bench.tell(base.Unroutable(told.token, "")) == []
    assert bench.tell(ExecutorProfiled(0, attempt.number + 1, 0, 9, lines)) == [], "an attempt that is over"
