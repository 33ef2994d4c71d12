"""Displays without a terminal or a job: what they make of a view, and when."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
from typing import Any, Optional

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import events as ev
from mapreduce.commands import options
from mapreduce.display import choice, texts
from mapreduce.display.base import Display
from mapreduce.display.frame import MOST_COLUMNS, frame
from mapreduce.display.jsonlines import JsonDisplay
from mapreduce.display.live import LiveDisplay
from mapreduce.display.plain import MOST_WARNINGS, PlainDisplay, rates
from mapreduce.display.printed import BURST_LINES, PrintedLines, Unseen
from mapreduce.display.quiet import QuietDisplay, Unwatched
from mapreduce.display.region import Line, Region
from mapreduce.display.summary import one_line, paragraph
from mapreduce.errors import JobFailed, UsageError
from mapreduce.refs import Failure, Segment, Split
from mapreduce.spec import JobSpec
from mapreduce.submission import Options
from mapreduce.views import JobView

WORKER = "host:1:aa"
AT = 1_000_000.0


def submitted(stages: int = 2) -> ev.Submitted:
    return ev.Submitted("job-1", JobSpec("job", {}, {}, stages), "1", AT)


def splits(count: int) -> list[Any]:
    split = ev.SplitInput(Split((Segment("text", "text", 0, 100, 0, False),)))
    return [ev.Splits(0, (split,) * count), ev.InputComplete(count)]


def dispatched(task: int, dispatch: Optional[int] = None) -> ev.Dispatched:
    return ev.Dispatched((ev.DispatchRef(dispatch or task + 1, 0, task),))


def started(task: int, dispatch: Optional[int] = None) -> ev.Started:
    number = dispatch or task + 1
    return ev.Started(number, 0, task, 0, number, WORKER)


def done(task: int, counters: Optional[dict[str, int]] = None) -> ev.Done:
    stats = {"records_in": 1000, "records_out": 10, "bytes_in": 100_000, "bytes_out": 2048}
    return ev.Done(task + 1, 0, task, 0, task + 1, WORKER, {0: 1}, counters or {}, stats, (), 2.0, 0)


def failed(task: int, dispatch: int, text: str = "ValueError: bad") -> ev.AttemptFailed:
    return ev.AttemptFailed(dispatch, 0, task, 0, dispatch, WORKER, Failure("raised", text))


def printed(text: str, task: int = 3, dropped: int = 0) -> ev.Printed:
    return ev.Printed(0, task, task + 1, WORKER, text, dropped)


def feed(view: JobView, *entries: Any, step: float = 1.0) -> None:
    """One so many seconds after the other."""
    for entry in entries:
        view.note(entry, max(view.latest_at, AT) + step)


class Watched:
    """A display on a stream and a clock of the test's own, with a job of ten tasks of which three are done."""

    def __init__(self, kind: type[Display], **options: Any) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.display = kind(self.stream, clock=lambda: self.now, **options)
        view = self.display.new_view()
        if view is not None:
            self.display.begin(view, local=False)
            self.view = view
            self.feed(submitted(), *splits(10))
            for task in range(5):
                self.feed(dispatched(task), started(task))
            for task in range(3):
                self.feed(done(task, {"seen": 2}))

    def feed(self, *entries: Any) -> None:
        feed(self.view, *entries, step=0.001)

    def after(self, secs: float) -> list[str]:
        """What it writes when it is looked at so many seconds after its start."""
        self.now = 100.0 + secs
        self.display.refresh()
        return self.said()

    def said(self) -> list[str]:
        """What it has written since."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text.splitlines()


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("secs", "long", "short"),
    [
        (0.04, "0.0 s", "0:00"),
        (59.9, "59.9 s", "0:59"),
        (59.96, "1 min 00 s", "0:59"),
        (125, "2 min 05 s", "2:05"),
        (3 * 3600 + 7 * 60, "3 h 07 min", "3:07:00"),
        (52 * 3600, "2 d 4 h", "52:00:00"),
        (-1.0, "0.0 s", "0:00"),
    ],
)
def test_times(secs: float, long: str, short: str) -> None:
    assert (texts.secs(secs), texts.clock(secs)) == (long, short)


def test_numbers() -> None:
    assert [texts.size(n) for n in (0, 1023, 1024, 1024**2 - 1, 5 * 1024**3)] == [
        "0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 GiB",
    ]  # fmt: skip
    assert [texts.rate(n) for n in (7, 999.6, 1500, 2.5e7, 1e16)] == [
        "7",
        "1.0 k",
        "1.5 k",
        "25.0 M",
        "10000.0 T",
    ]
    assert texts.count(1, "try", "tries") == "1 try" and texts.count(1234, "task") == "1,234 tasks"


@settings(deadline=None)
@given(st.text(st.sampled_from("ab\x1b[]?0;mKHA\x07\r\b\x9b\x00\t é\u202e"), max_size=30))
def test_nothing_that_user_code_prints_steers_the_terminal(line: str) -> None:
    cleaned = texts.clean(line)
    assert not [c for c in cleaned if c != "\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]


def test_printed_lines_are_marked_and_progress_bars_show_their_last_state() -> None:
    assert texts.printed("map 3", "one\n\x1b[31mtwo\x1b[0m\n10%\r20%\r\n", 7) == [
        "[map 3] (7 bytes left out here)", "[map 3] one", "[map 3] two", "[map 3] 20%",
    ]  # fmt: skip
    assert texts.printed("map 3", "half", 0) == ["[map 3] half"]
    assert texts.printed("map 3", "", 1) == ["[map 3] (1 byte left out here)"]


# ---------------------------------------------------------------- what is new


def test_a_deque_that_forgets_is_taken_once() -> None:
    unseen = Unseen()
    assert unseen.take([1, 2], 2) == ([1, 2], 0)
    assert unseen.take([1, 2], 2) == ([], 0)
    assert unseen.take([2, 3, 4], 4) == ([3, 4], 0)
    assert unseen.take([9, 10], 10) == ([9, 10], 4)


def test_what_is_printed_is_shown_at_once_but_not_more_than_can_be_read() -> None:
    now = [0.0]
    view = JobView()
    lines = PrintedLines(lambda: now[0])
    feed(view, submitted(), *splits(10), printed("hello\n"))
    assert lines.take(view) == ["[map 3] hello"]
    feed(view, printed("x\n" * (BURST_LINES + 50)))
    assert lines.take(view) == ["[map 3] x"] * (BURST_LINES - 1)
    feed(view, printed("y\n"))
    assert lines.take(view) == []
    now[0] += 1000
    assert lines.take(view) == ["mr: 52 lines that tasks have printed are not shown"]
    feed(view, printed("z\n"))
    assert lines.take(view, last=True) == ["[map 3] z"]


# ---------------------------------------------------------------- plain


def test_lines_come_after_ten_seconds_and_then_every_thirty() -> None:
    watched = Watched(PlainDisplay)
    assert watched.after(9.9) == []
    (line,) = watched.after(10)
    assert line.startswith("mr: job job-1 after 10.0 s: map 3/10 (2 running), reduce 0/?")
    assert watched.after(39.9) == []
    assert len(watched.after(40)) == 1


def test_warnings_of_a_short_run_are_not_told_and_of_a_long_one_at_once() -> None:
    watched = Watched(PlainDisplay)
    watched.feed(failed(3, 4))
    assert watched.after(5) == []
    warning, _ = watched.after(10)
    assert warning == f"mr: map 3 failed on {WORKER}: ValueError: bad"
    watched.feed(failed(4, 5, "OSError: \x1b[2J"))
    assert watched.after(11) == [f"mr: map 4 failed on {WORKER}: OSError: "]
    for number in range(100, 100 + MOST_WARNINGS + 5):
        watched.feed(dispatched(4, number), started(4, number), failed(4, number))
    assert len(watched.after(12)) == MOST_WARNINGS - 1
    assert watched.after(13) == []
    assert watched.after(41)[0] == "mr: 6 more warnings"


def test_what_tasks_print_and_what_the_engine_says_is_told_from_the_start() -> None:
    watched = Watched(PlainDisplay)
    watched.feed(printed("hello\n"))
    watched.display.report("info", "job job-1 is submitted")
    assert watched.after(0.1) == ["mr: job job-1 is submitted", "[map 3] hello"]
    watched.feed(printed("last\n"))
    watched.display.stop()
    assert watched.said() == ["[map 3] last"]
    watched.feed(printed("too late\n"))
    assert watched.after(50) == []


def test_where_nobody_looks_what_is_printed_is_told_and_the_job_is_not_folded_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Unwatched()
    view = display.new_view()
    display.begin(view, local=True)
    feed(view, submitted(), *splits(10), dispatched(3), started(3), printed("hello\n"))
    display.finish()
    assert capsys.readouterr() == ("", "[map 3] hello\n")
    assert view.submitted_at and view.state.splits == {} and view.state.attempts == 0
    display.wanted = True  # as by --notify
    assert type(display.new_view()) is JobView


@pytest.mark.parametrize(
    ("options", "secs", "lines"),
    [
        ({}, 9, 0),
        ({}, 11, 1),
        ({"attended": True}, 1, 0),
        ({"attended": True}, 3, 8),
        ({"summary": True}, 0.1, 8),
        ({"summary": False, "attended": True}, 100, 0),
    ],
)
def test_a_summary_where_it_is_wanted(options: dict[str, Any], secs: float, lines: int) -> None:
    watched = Watched(PlainDisplay, **options)
    watched.feed(failed(3, 4), ev.Failed(Failure("raised", "ValueError: bad"), 0, 3, 4))
    watched.now += secs
    watched.display.finish()
    assert len(watched.said()) == lines


def test_a_job_that_goes_on_without_us_is_not_summed_up() -> None:
    watched = Watched(PlainDisplay, attended=True)
    watched.now += 60
    watched.display.finish()
    assert watched.said() == []


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise ValueError("closed")


def test_a_stream_that_is_gone_is_no_reason_to_fail() -> None:
    PlainDisplay(Gone()).report("warning", "x")


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = QuietDisplay()
    assert display.new_view() is None
    display.report("warning", "the connection was lost")
    display.remark(["mr: left out 1 record:"])
    assert capsys.readouterr() == ("", "")
    display.trouble("--notify http://h/…: the server answers 500 \x1b[31mNo")
    display.finish()
    assert capsys.readouterr() == ("", "mr: --notify http://h/…: the server answers 500 \\x1b[31mNo\n")


# ---------------------------------------------------------------- summary


def test_only_where_no_try_came_to_nothing_each_was_the_first() -> None:
    view = JobView()
    feed(view, submitted(), *splits(2), dispatched(0), started(0), done(0), dispatched(1), started(1))
    assert ": 1 task done, 2 tries; " in one_line(view, True, 1.0)
    feed(view, done(1))
    assert ": 2 tasks, each at the first try; " in one_line(view, True, 1.0)
    view = JobView()  # where the first one failed before it was started
    feed(view, submitted(), *splits(1), dispatched(0, 9), failed(0, 9), dispatched(0), started(0), done(0))
    assert ": 1 task done, 1 try: 1 failed; " in one_line(view, True, 1.0)
    assert "first try" not in one_line(JobView(), True, 1.0), "there was none"


def test_a_summary_says_what_it_took_and_what_went_wrong() -> None:
    watched = Watched(PlainDisplay)
    watched.feed(failed(3, 4), ev.Lost(5, 0, 4), ev.Cancelled("enough"))
    lines = paragraph(watched.view, False, 50.0)
    assert lines[0].startswith("job job-1 was cancelled after ")
    text = "\n".join(lines)
    assert "map      3/10" in text and "3,000" in text and "293.0 KiB" in text
    assert "3 tasks done, 5 tries: 1 failed, 1 lost; 6.0 KiB through the broker" in text
    assert f"slowest: map 0 (2.0 s on {WORKER})" in text and "counters: seen 6" in text
    assert f"! map 3 failed on {WORKER}: ValueError: bad" in text
    assert one_line(watched.view, True, 50.0).endswith(
        "3 tasks done, 5 tries: 1 failed, 1 lost; 6.0 KiB between processes"
    )


# ---------------------------------------------------------------- JSON


def test_each_event_of_the_log_is_told_once_also_when_it_is_read_again() -> None:
    watched = Watched(JsonDisplay)
    told = [json.loads(line) for line in watched.said()]
    assert [each["event"] for each in told[:4]] == ["submitted", "input_complete", "started", "started"]
    assert all(each["job"] == "job-1" and each["at"] > AT for each in told)
    assert told[-1]["event"] == "done" and told[-1]["counters"] == {"seen": 2} and told[-1]["secs"] == 2.0
    watched.view.restart()
    watched.feed(submitted(), *splits(10))
    assert watched.said() == []
    watched.view.restart()
    watched.feed(submitted(), *splits(10))
    for task in range(5):
        watched.feed(dispatched(task), started(task))
    for task in range(3):
        watched.feed(done(task, {"seen": 2}))
    assert watched.said() == []
    watched.feed(printed("hé\n", dropped=3))
    (line,) = map(json.loads, watched.said())
    assert (line["event"], line["text"], line["dropped"], line["index"]) == ("printed", "hé\n", 3, 3)


def test_that_a_dispatch_is_lost_is_told_unless_it_had_ended() -> None:
    watched = Watched(JsonDisplay)
    watched.said()
    watched.feed(ev.Lost(1, 0, 0), ev.Lost(4, 0, 3))
    told = [json.loads(line) for line in watched.said()]
    assert [(each["event"], each["index"]) for each in told] == [("lost", 3)]


def test_progress_reports_and_the_summary_are_events() -> None:
    watched = Watched(JsonDisplay)
    watched.feed(ev.Back("another"))
    watched.said()
    assert watched.after(0.9) == []
    (progress,) = map(json.loads, watched.after(1.0))
    assert progress["event"] == "progress" and progress["stages"][0]["done"] == 3
    assert progress["workers"] == 1, "another one has said something, and has no task"
    assert watched.after(1.9) == []
    watched.display.report("warning", "lost the connection")
    (report,) = map(json.loads, watched.said())
    assert (report["event"], report["level"]) == ("report", "warning")
    watched.feed(ev.Cancelled("enough"))
    watched.display.finish()
    cancelled, summary = map(json.loads, watched.said())
    assert (cancelled["event"], cancelled["reason"]) == ("job_cancelled", "enough")
    assert (summary["event"], summary["phase"], summary["tasks"]) == ("summary", "cancelled", 3)


# ---------------------------------------------------------------- frames


def busy_view(stages: int) -> JobView:
    view = JobView()
    feed(view, submitted(stages), *splits(10))
    for task in range(5):
        feed(view, dispatched(task), started(task))
    feed(view, done(0), failed(1, 2, "ValueError: \t漢字" * 50), failed(2, 3), failed(3, 4), failed(4, 5))
    return view


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(2, 20), st.booleans())
def test_a_frame_fits_into_any_terminal(columns: int, rows: int, stages: int, local: bool) -> None:
    lines = frame(busy_view(stages), local, 12.3, columns, rows)
    assert 1 <= len(lines) <= max(1, rows - 1)
    assert all(line.cell_len <= max(1, min(columns - 1, MOST_COLUMNS)) for line in lines)
    assert not any("\n" in line.plain or "\t" in line.plain for line in lines)


def test_a_frame_shows_what_there_is_to_know() -> None:
    text = "\n".join(line.plain for line in frame(busy_view(2), False, 12.3, 100, 24))
    assert text.startswith("job-1  0:12")
    assert "map" in text and "1/10  9 waiting  4 failed" in text and "reduce" in text
    assert f"! map 4 failed on {WORKER}: ValueError: bad" in text
    narrow = "\n".join(line.plain for line in frame(busy_view(2), False, 12.3, 40, 24))
    assert "━" not in narrow and "1/10  9 waiting" in narrow


def test_rates_are_shown_once_something_is_known() -> None:
    view = busy_view(2)
    assert rates(view, view.latest_at) == ["167 records/s, 16.3 KiB/s"]
    assert rates(JobView(), AT) == []


def test_of_many_stages_those_at_work_are_shown() -> None:
    lines = [line.plain for line in frame(busy_view(20), False, 1.0, 80, 10)]
    assert len(lines) <= 9 and any(line.startswith("map") for line in lines)


# ---------------------------------------------------------------- the region


class Screen:
    """A region that draws on an emulated terminal of 80 columns and 24 rows, by way of a pipe."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        self.region = Region(self.write, "utf-8")
        self.emulated = pyte.HistoryScreen(80, 24, history=10_000)
        self.emulated.set_mode(pyte.modes.LNM)  # a pipe has no line discipline that adds carriage returns
        self._stream = pyte.ByteStream(self.emulated)

    def lines(self) -> list[str]:
        """All that was written, what has scrolled away first."""
        try:
            while data := os.read(self.read, 1 << 20):
                self._stream.feed(data)
        except BlockingIOError:
            pass
        gone = ["".join(line[x].data for x in range(80)) for line in self.emulated.history.top]
        text = "\n".join(line.rstrip() for line in [*gone, *self.emulated.display])
        return text.rstrip("\n").split("\n") if text.strip() else []

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


TEXT = st.text("abc", min_size=1, max_size=80)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(TEXT, max_size=8), st.lists(TEXT, max_size=30)), max_size=6))
def test_what_scrolls_by_stays_and_frames_replace_each_other(
    steps: list[tuple[list[str], list[str]]],
) -> None:
    screen = Screen()
    try:
        above: list[str] = []
        for frame_lines, lines in steps:
            screen.region.draw([Line(text, len(text)) for text in frame_lines], lines)
            above += lines
            assert screen.lines() == above + frame_lines
            assert screen.emulated.cursor.x == 0 and not screen.emulated.cursor.hidden
        screen.region.clear(["end"])
        assert screen.lines() == [*above, "end"]
    finally:
        screen.close()


def test_a_terminal_that_takes_nothing_is_not_waited_for() -> None:
    screen = Screen()
    try:
        os.set_blocking(screen.write, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(screen.write, b"\r" * 4096)
        for number in itertools.count():
            screen.region.draw([Line("frame", 5)], [f"line {number}"])
            if number == 3:
                break
        screen.lines()  # it takes something again
        screen.region.draw([Line("frame", 5)])
        assert screen.lines() == ["line 0", "line 1", "line 2", "line 3", "frame"]
    finally:
        screen.close()


def test_the_engine_is_imported_without_rich() -> None:
    code = "import sys, mapreduce.run, mapreduce.commands.run; sys.exit('rich' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


# ---------------------------------------------------------------- which one


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


@pytest.mark.parametrize(
    ("stream", "term", "kind", "attended"),
    [
        (io.StringIO(), "xterm", PlainDisplay, False),
        (Tty(), "dumb", PlainDisplay, True),
        (Tty(), "", PlainDisplay, True),
        (Tty(), "xterm", LiveDisplay, True),
        (None, "xterm", PlainDisplay, False),
    ],
)
def test_the_display_goes_by_what_standard_error_is(
    monkeypatch: pytest.MonkeyPatch, stream: Any, term: str, kind: type[Display], attended: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    display = choice.for_command()
    assert type(display) is kind and display.attended is attended
    assert type(choice.for_command(quiet=True)) is QuietDisplay
    assert type(choice.for_command(as_json=True)) is JsonDisplay
    assert type(choice.for_python(None)) is Unwatched
    assert type(choice.for_python(False)) is Unwatched
    assert type(choice.for_python(True)) is kind


def test_with_json_an_error_is_an_event_and_is_not_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        error = JobFailed("ValueError: é", "Traceback …")
        with pytest.raises(JobFailed), options.telling_errors(as_json):
            raise error
        assert error.told is as_json
    (event,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (event["event"], event["exit_code"]) == ("error", 1)
    assert (event["text"], event["details"]) == ("ValueError: é", "Traceback …")


def test_options_that_exclude_each_other() -> None:
    for as_json, summary in ((True, None), (False, True)):
        with pytest.raises(UsageError, match="does not go with"):
            options.choose_display(True, as_json, summary)
    assert type(options.choose_display(True, False, False)) is QuietDisplay
    with pytest.raises(UsageError, match="progress is True, False or None"):
        Options(progress="yes")  # type: ignore[arg-type]
