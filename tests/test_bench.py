"""The benchmarks' own arithmetic: medians, goals, answers, figures, tables, and the report that cannot go stale."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Callable, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import answers, draw, model, report, results, tables
from bench.model import LIMIT, PEER, Contender, Verdict, Workload
from bench.processes import CommandFailed, Outcome, run
from bench.runner import Runner, figures
from bench.workloads import ALL

TITLES = {"us": "mr run", "pool": "by hand"}
ROUNDS = [
    {"us": {"seconds": 8.0}, "pool": {"seconds": 10.0, "warm": 6.0}},
    {"us": {"seconds": 9.0}, "pool": {"seconds": 10.0, "warm": 9.0}},
    {"us": {"seconds": 30.0}, "pool": {"seconds": 30.0, "warm": 27.0}},
]


# ---------------------------------------------------------------- goals


def test_a_goal_is_judged_by_the_median_of_the_rounds_own_ratios() -> None:
    verdict = model.judge(model.at_most(0.9, "us", of="pool"), ROUNDS, TITLES)
    assert verdict.values == [0.8, 0.9, 1.0]
    assert (verdict.value, verdict.met) == (0.9, True)
    assert verdict.text == "mr run ≤ 0.9 × by hand"
    assert verdict.allowed_secs == 9.0


def test_faster_is_better_the_larger_it_is() -> None:
    verdict = model.judge(model.faster(2, "us", than="pool"), ROUNDS, TITLES)
    assert verdict.value == pytest.approx(10 / 9)
    assert not verdict.met
    assert verdict.short_of_goal == pytest.approx(1.8)
    assert verdict.allowed_secs == 5.0


def test_warm_is_what_the_other_engine_needs_once_its_servers_are_up() -> None:
    verdict = model.judge(model.faster(1, "us", than="pool", warm=True), ROUNDS, TITLES)
    assert verdict.values == [0.75, 1.0, 0.9]
    assert verdict.text == "mr run faster than by hand (warm)"


def test_rounds_in_which_a_contender_did_not_run_do_not_count() -> None:
    rounds = [*ROUNDS[:1], {"us": {"seconds": 100.0}}]
    assert model.judge(model.at_most(0.9, "us", of="pool"), rounds, TITLES).values == [0.8]


def test_what_was_not_measured_is_not_met() -> None:
    verdict = model.judge(model.at_most(300, "us", figure="peak_mb", unit="MB"), ROUNDS, TITLES)
    assert (verdict.value, verdict.met, verdict.short_of_goal) == (None, False, None)


def test_a_stated_figure_has_nothing_to_miss() -> None:
    verdict = model.judge(model.stated("memory", "bytes", lambda one: 1.0), ROUNDS, TITLES)
    assert (verdict.value, verdict.met, verdict.short_of_goal) == (1.0, True, None)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 100))
def test_met_is_up_to_one_in_multiples_of_the_goal(ours: float, other: float, bound: float) -> None:
    rounds = [{"us": {"seconds": ours}, "pool": {"seconds": other}}]
    for goal in (model.at_most(bound, "us", of="pool"), model.faster(bound, "us", than="pool")):
        verdict = model.judge(goal, rounds, TITLES)
        assert verdict.short_of_goal is not None
        assert verdict.met == (verdict.short_of_goal <= 1) or verdict.short_of_goal == pytest.approx(1)


# ---------------------------------------------------------------- answers


def folder(path: Path, *parts: str) -> Path:
    path.mkdir(parents=True)
    for number, text in enumerate(parts):
        (path / f"part-{number:05d}").write_text(text)
    (path / "_SUCCESS").touch()
    (path / ".part-00000.crc").write_text("a checksum")
    return path


def test_how_lines_are_spread_over_parts_does_not_matter(tmp_path: Path) -> None:
    one, other = (
        folder(tmp_path / "1", "a\t1\nb\t2\n", "c\t3\n"),
        folder(tmp_path / "2", "c\t3\na\t1\n", "", "b\t2\n"),
    )
    assert answers.in_any_order(one) == answers.in_any_order(other)
    assert answers.in_order(one) != answers.in_order(other)


def test_parts_in_a_row_are_one_file(tmp_path: Path) -> None:
    assert answers.in_order(folder(tmp_path / "1", "a\n", "b\nc\n")) == answers.in_order(
        folder(tmp_path / "2", "a\nb\n", "c\n")
    )


def test_another_count_is_another_answer(tmp_path: Path) -> None:
    for answer in (answers.in_order, answers.in_any_order, answers.values_in_order):
        assert answer(folder(tmp_path / answer.__name__ / "1", "a\t1\n")) != answer(
            folder(tmp_path / answer.__name__ / "2", "a\t2\n")
        )


def test_values_are_what_stands_last(tmp_path: Path) -> None:
    assert answers.values_in_order(folder(tmp_path / "1", "k\t1\nl\t2\n")) == answers.values_in_order(
        folder(tmp_path / "2", "1\n2\n")
    )


# ---------------------------------------------------------------- running


def test_figures_of_a_program_win_over_those_from_outside() -> None:
    sample = figures(Outcome(9.0, 1.5, "INFO seconds 7\nwarm 2.5\nseconds 3\nsaid nothing 1\n"), brokers=0)
    assert sample == {"seconds": 3.0, "cpu_seconds": 1.5, "warm": 2.5}


def test_memory_of_a_broker_is_not_ours() -> None:
    sample = figures(Outcome(1.0, 1.0, "", [30.0], [[500.0, 400.0], [40.0, 60.0]]), brokers=1)
    assert (sample["client_mb"], sample["worker_mb"], sample["children_mb"]) == (30.0, 40.0, 60.0)
    assert (sample["peak_mb"], sample["total_mb"]) == (60.0, 130.0)


def test_what_a_command_and_its_children_compute_is_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('warm', 1)"
    outcome = run([sys.executable, "-c", child])
    assert outcome.cpu_seconds >= 0.3
    assert outcome.said == "warm 1\n"


ORPHAN = """
import os, subprocess, sys
grandchild = "import time, os\\nwhile time.process_time() < 0.2: pass\\nos.write(1, b'x')\\ntime.sleep(60)"
pipe, end = os.pipe()
child = subprocess.Popen([sys.executable, "-c", grandchild], stdout=end, start_new_session=True)
os.read(pipe, 1)
print("seconds", child.pid)
"""
ADOPT = f"""
import os, sys
from bench.processes import adopt_orphans, run
adopt_orphans()
outcome = run([sys.executable, "-c", {ORPHAN!r}])
try:
    os.kill(int(outcome.said.split()[1]), 0)
except ProcessLookupError:
    print("gone", outcome.cpu_seconds >= 0.2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_what_a_command_leaves_behind_is_counted_and_ended() -> None:
    # in a process of its own: it would adopt what other tests leave
    assert run([sys.executable, "-c", ADOPT]).said == "gone True\n"


def test_a_command_that_fails_or_takes_too_long_says_why() -> None:
    with pytest.raises(CommandFailed, match="exit 3: no such luck"):
        run([sys.executable, "-c", "import sys; print('no such luck', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(CommandFailed, match="not done in"):
        run([sys.executable, "-c", "import threading; threading.Event().wait()"], limit_secs=0.2)


PRINT = "{{python}} -c \"print('{}')\""


def workload(*contenders: Contender) -> Workload:
    return Workload(
        "try", "Trying", "About it.", contenders, (model.at_most(100, contenders[0].name),), answers.in_order
    )


def test_one_that_fails_is_told_and_does_not_stop_the_others() -> None:
    race = Runner(
        workload(
            Contender("good", "good", PRINT.format(1), prints_answer=True),
            Contender("wrong", "wrong", PRINT.format(2), prints_answer=True),
            Contender("bad", "bad", "{python} -c 1/0"),
            Contender("absent", "absent", "{peers} program.py", PEER),
            Contender("once", "once", PRINT.format(1), rounds=1, prints_answer=True),
            Contender("help", "help", PRINT.format(3), group=None, prints_answer=True),
        ),
        rounds=2,
        small=True,
        peers=(None, "there are no peers here"),
    ).run()
    assert race.failures["wrong"] == "its answer is not that of good"
    assert "ZeroDivisionError" in race.failures["bad"]
    assert race.failures["absent"] == "there are no peers here"
    assert [sorted(one) for one in race.rounds] == [["good", "help", "once"], ["good", "help"]]
    assert race.verdicts[0].met


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_goals_name_contenders_and_commands_name_places(one: Workload) -> None:
    names = {contender.name for contender in one.contenders}
    assert len(names) == len(one.contenders)
    places = {
        **dict.fromkeys(one.inputs, "x"),
        **dict.fromkeys(("mr", "python", "peers", "output", "scratch"), "x"),
    }
    if one.workers:
        places["broker"] = "x"
    for contender in one.contenders:
        contender.command.format_map(places)
    everything = {
        "input_bytes": 1e6,
        "seconds": 2.0,
        "cpu_seconds": 2.0,
        "warm": 2.0,
        "peak_mb": 2.0,
        "client_mb": 2.0,
        "worker_mb": 2.0,
    }
    rounds = [
        dict.fromkeys(names, everything)
        | {"t1000": {**everything, "input_bytes": 1e3}, "t1": {**everything, "seconds": 1.0}}
    ]
    for goal in one.goals:
        verdict = model.judge(goal, rounds, {contender.name: contender.title for contender in one.contenders})
        assert verdict.value is not None, goal.text


# ---------------------------------------------------------------- what is stored and shown


MACHINE: dict[str, Union[str, int, float]] = {
    "date": "2026-01-02",
    "cpu": "abacus",
    "cores": 2,
    "memory_gb": 8.0,
    "system": "none",
    "python": "CPython 3",
    "commit": "abc",
}


def result(name: str = "try") -> results.Result:
    verdicts = [
        Verdict("mr run ≤ 0.9 × by hand", 0.9, False, "×", [0.8, 0.84, 0.9], 0.84, True, "us", 9.0),
        Verdict("mr run ≥ 3 × faster than GNU <sort>", 3.0, True, "×", [2.0], 2.0, False, "us", 5.0),
        Verdict("memory", None, False, "bytes", [12345.0], 12345.0, True),
        Verdict("never", 1.0, False, "s", [], None, False),
    ]
    return results.Result(
        name,
        "Trying & telling",
        "About it.",
        3,
        MACHINE,
        {"GNU coreutils": "9.1"},
        [
            results.Standing(
                "us", "mr run", "ours", [{"seconds": n, "cpu_seconds": 2 * n} for n in (8.0, 8.4, 9.0)]
            ),
            results.Standing("pool", "by hand", PEER, [{"seconds": 10.0, "cpu_seconds": 18.0, "warm": 9.5}]),
            results.Standing("gnu", "GNU <sort>", LIMIT, [{"seconds": 1.0, "cpu_seconds": 2.0}]),
            results.Standing("slow", "slow", PEER, [{"seconds": 220.0, "cpu_seconds": 400.0}]),
            results.Standing("broken", "broken", PEER, [], "exit 1"),
        ],
        verdicts,
    )


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    results.store(result(), tmp_path)
    assert results.load("try", tmp_path) == result()
    assert results.load("other", tmp_path) is None


def test_a_goal_is_met_or_missed_by_so_much() -> None:
    marks = [mark for _, _, mark in tables.goal_rows(result())]
    assert marks == ["met", "missed by 50%", "stated", "not measured"]
    assert tables.goal_rows(result())[0][1] == "0.84 × (0.80 … 0.90)"


def test_tables_have_a_row_for_each_contender_and_only_the_columns_that_are_used() -> None:
    lines = tables.markdown(result()).splitlines()
    assert lines[0] == "|  | median, s | min … max | warm, s | CPU, s |"
    assert lines[2] == "| mr run | 8.40 | 8.00 … 9.00 |  | 16.8 |"
    assert "| broken | failed |  |  |  |" in lines
    assert "8.00 … 9.00" in tables.plain(result())


@pytest.mark.parametrize("draw_it", [draw.bars, lambda one: draw.overview([one])], ids=["bars", "overview"])
def test_pictures_are_well_formed_and_readable_in_the_dark(draw_it: Callable[[results.Result], str]) -> None:
    picture = draw_it(result())
    texts = [element.text for element in ElementTree.fromstring(picture).iter() if element.text]
    assert any("GNU <sort>" in text for text in texts)
    assert "prefers-color-scheme: dark" in picture


def test_the_report_rewrites_what_stands_between_its_marks() -> None:
    text = "# head\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nmine\n<!-- bench:b --><!-- /bench:b -->\n"
    once = report.replaced(text, {"a": "new \\1", "b": "too"})
    assert once == (
        "# head\n<!-- bench:a -->\nnew \\1\n<!-- /bench:a -->\nmine\n<!-- bench:b -->\ntoo\n<!-- /bench:b -->\n"
    )
    assert report.replaced(once, {"a": "new \\1", "b": "too"}) == once
    with pytest.raises(report.NoMarks, match="bench:c"):
        report.replaced(text, {"c": "nowhere"})


def test_the_document_has_a_place_for_every_workload() -> None:
    report.replaced(report.DOCUMENT.read_text(), dict.fromkeys([*(one.name for one in ALL), "summary"], ""))
    report.replaced(report.README.read_text(), {"front": ""})


def test_the_front_page_says_all_of_a_result_or_nothing(tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in (report.DOCUMENT, report.README)]
    for original, copy in zip((report.DOCUMENT, report.README), copies):
        copy.write_text(original.read_text())
    stored = tmp_path / "results"
    path = results.store(result(report.FRONT), stored)
    report.write(copies[0], tmp_path / "performance", copies[1], stored)
    sentence = "Trying & telling, by two processes on a machine with 2 cores:\n\n|  | seconds |"
    assert f"<!-- bench:front -->\n{sentence}" in copies[1].read_text()
    path.unlink()
    report.write(copies[0], tmp_path / "performance", copies[1], stored)
    assert "<!-- bench:front -->\n\n<!-- /bench:front -->" in copies[1].read_text()


def test_the_document_says_what_the_stored_results_say(tmp_path: Path) -> None:
    copies = {}
    for original in (report.DOCUMENT, report.README):
        copies[original] = tmp_path / original.name
        copies[original].write_text(original.read_text())
    report.write(copies[report.DOCUMENT], tmp_path / "performance", copies[report.README])
    for original, copy in copies.items():
        assert copy.read_text() == original.read_text(), "run: python -m bench.report"
