"""A job in a notebook: a real kernel, and what it tells the front end to show."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from mapreduce import events as ev
from mapreduce.display.notebook import NotebookDisplay, as_html
from mapreduce.spec import JobSpec
from mapreduce.views import JobView
from tests.support import DEADLINE_SECS
from tests.test_display import AT, WORKER, busy_view, dispatched, failed, feed, started

JOB = """
    import time
    from mapreduce import Job

    def words(line):
        print("reading", line)
        time.sleep({secs})
        for word in line.split():
            yield word, 1

    job = Job(words, fold=sum)
    print(dict(job.run({text!r}, executors=1, split_bytes=7{options})))
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel()
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, text: Path, secs: float, options: str = "") -> list[Any]:
    """Run a cell; the messages to the front end."""
    text.write_text("to be\nor not\nto be\n")
    code = textwrap.dedent(JOB.format(text=str(text), secs=secs, options=options))
    told: list[Any] = []
    reply = client.execute_interactive(
        code, output_hook=told.append, allow_stdin=False, timeout=DEADLINE_SECS
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return told


def streams(told: list[Any], name: str) -> str:
    return "".join(
        each["content"]["text"]
        for each in told
        if each["msg_type"] == "stream" and each["content"]["name"] == name
    )


def test_one_output_is_updated_and_ends_as_a_summary(kernel: BlockingKernelClient, tmp_path: Path) -> None:
    told = run(kernel, tmp_path / "text", 0.5)
    shown = [each for each in told if each["msg_type"] in ("display_data", "update_display_data")]
    assert [each["msg_type"] for each in shown[:2]] == ["display_data", "update_display_data"]
    assert len({each["content"]["transient"]["display_id"] for each in shown}) == 1
    first, last = shown[0]["content"]["data"], shown[-1]["content"]["data"]
    assert "<table" in first["text/html"] and "1 running" in first["text/html"]
    assert "map 0/" in first["text/plain"]
    assert "<pre" in last["text/html"] and " done after " in last["text/plain"]
    assert ast.literal_eval(streams(told, "stdout")) == {"be": 2, "not": 1, "or": 1, "to": 2}
    assert streams(told, "stderr").count("reading") == 3


def test_without_progress_there_is_none(kernel: BlockingKernelClient, tmp_path: Path) -> None:
    told = run(kernel, tmp_path / "text", 0.3, ", progress=False")
    assert not [each for each in told if each["msg_type"] == "display_data"]
    assert "'be': 2" in streams(told, "stdout")


def test_a_profile_that_was_asked_for_is_shown_also_of_a_short_job(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = NotebookDisplay()
    monkeypatch.setattr(display, "_show", lambda page, text: shown.append(text))
    view = JobView()
    display.begin(view, True)
    feed(view, ev.Submitted("job-1", JobSpec("job", {}, {}, 2, profile=True), "1", AT))
    feed(view, ev.Profiled(0, 0, 1, WORKER, 10, {"job.py:7:words": 10}))
    display.finish()
    assert len(shown) == 1 and "hottest lines of map" in shown[0] and "job.py:7" in shown[0]


def test_what_others_have_written_is_escaped() -> None:
    view = busy_view(2)
    feed(view, dispatched(5), started(5), failed(5, 6, "<script>"))
    page = as_html(view, 1.0)
    assert "&lt;script&gt;" in page and "<script>" not in page
