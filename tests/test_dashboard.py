"""The dashboard in a real browser, against real jobs on RabbitMQ."""

from __future__ import annotations

import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mapreduce.dashboard import server
from mapreduce.dashboard.app import make_app
from tests.dashboard_job import HOSTILE
from tests.support import Process, workers
from tests.test_dashboard_server import TOKEN, Source

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium"),
]
JOB = Path(__file__).parent / "dashboard_job.py"
#: what the browser may not do by itself
QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
PATIENCE_MS = 30_000
#: a job's records a second as the page would write them
RATE = """async (job) => {
    const { pace } = await (await fetch(`/api/jobs/${job}`)).json();
    return (await import("/static/format.js")).short(pace.records);
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        home = {"HOME": str(tmp_path_factory.mktemp("home"))}
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=QUIET, env={**home}
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pool(rabbit_url: str) -> Iterator[str]:
    """Two executors for the jobs of this module alone."""
    with workers(rabbit_url, executors=2, pool="dashboard"):
        yield "dashboard"


class Dashboard:
    """`mr dashboard` as a process; ``link`` is what it prints."""

    def __init__(self, url: str, *options: Any, port: int = 0, env: Optional[dict[str, str]] = None) -> None:
        self.process = Process("dashboard", "--broker", url, "--port", port, *options, env=env)
        assert self.process.popen.stdout is not None
        self.link = self.process.popen.stdout.readline().decode().strip()
        assert self.link, self.process.errors

    @property
    def address(self) -> str:
        return self.link.partition("/#")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@pytest.fixture(scope="module")
def dashboard(rabbit_url: str) -> Iterator[Dashboard]:
    served = Dashboard(rabbit_url)
    yield served
    served.process.stop()
    assert served.process.popen.returncode == 0
    assert not any("rror" in line for line in served.process.errors), served.process.errors


class Trouble:
    """What a page must never do: open a dialog (user data ran as code), break its own policy, raise."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.seen.append(f"raised {error}"))
        page.on("console", self._console)

    def _dialog(self, dialog: Any) -> None:
        self.seen.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        # a server that is down, or refuses an action, is told there, too; that is no trouble of the page
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.seen.append(message.text)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    shown = context.new_page()
    trouble = Trouble(shown)
    yield shown
    context.close()
    assert not trouble.seen


def run(url: str, pool: str, folder: Path, *orders: str) -> Process:
    """The job, with one task for each order."""
    folder.mkdir(exist_ok=True)
    text = folder / "orders.txt"
    text.write_text("".join(f"{order:<40}\n" for order in orders))
    options = [
        "--split-size",
        41,
        "--pool",
        pool,
        "--partitions",
        2,
        "--retain",
        "5m",
        "--keep",
        "5m",
        "--tries",
        2,
    ]
    return Process("run", JOB, text, "-p", f"folder={folder}", *options, "--broker", url)


def show(page: Page, dashboard: Dashboard, job: Process) -> None:
    """The page of the job, as soon as it is submitted."""
    found = re.search(r"job (\S+) is submitted", job.wait_for("submitted"))
    assert found is not None
    page.goto(dashboard.link)
    page.goto(f"{dashboard.address}/#/jobs/{found[1]}")
    expect(page.locator("#phase")).to_be_visible()


def test_a_job_from_its_start_to_its_kept_log(
    page: Page, dashboard: Dashboard, rabbit_url: str, pool: str, tmp_path: Path
) -> None:
    page.goto(dashboard.link)
    assert "token" not in page.url  # it is kept, and gone from the address
    expect(page.locator(".state")).to_contain_text("live")
    orders = ["print", "retry", "wait straggler", *["short"] * 9]
    job = run(rabbit_url, pool, tmp_path / "a", *orders)
    try:
        card = page.locator("a.job", has_text=HOSTILE)  # it shows up without a reload
        card.click()
        expect(page.locator("h1")).to_have_text(f"look {HOSTILE}")
        expect(page.locator("#phase")).to_contain_text("running")
        running = page.locator("#bars g.running").first
        expect(running).to_have_attribute("aria-label", re.compile(r"^map \d+.*: running, .* on \S+:\d+"))
        expect(page.locator("#bars g.failed")).to_have_attribute(
            "aria-label", re.compile("failed.*only the first time")
        )
        expect(page.locator("#bars g.won")).to_have_count(11)
        expect(page.locator(".stages li").first).to_contain_text("11 done, 1 running")
    finally:
        (tmp_path / "a" / "go").touch()
    job.output()
    job.stop()
    expect(page.locator("#phase")).to_contain_text("done")
    expect(page.locator("#errors")).to_contain_text(f"ValueError: only the first time {HOSTILE}")
    expect(page.locator("#errors .record")).to_contain_text("retry")
    expect(page.locator("#errors .traceback")).to_contain_text("dashboard_job.py")
    expect(page.locator("#log")).to_contain_text(f"printed {HOSTILE}")
    expect(page.locator("#counters")).to_contain_text(f"short {HOSTILE}")
    expect(page.locator("#slowest tbody tr").first).to_contain_text("map")
    rate = page.evaluate(RATE, page.url.rpartition("/")[2])  # of the whole job, as `mr status` says it
    expect(page.locator(".figure", has_text="Records a second").locator(".value")).to_have_text(rate)
    expect(page.locator("#partitions svg")).to_have_attribute(
        "aria-label", re.compile("reduce: 2 partitions")
    )
    expect(page.locator("#throughput svg").first).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    page.reload()  # its log is kept
    expect(page.locator("#phase")).to_contain_text("done")
    expect(page.locator("#bars g.failed")).to_have_count(1)

    page.set_viewport_size({"width": 360, "height": 740})
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    for place in (page.url.partition("#")[2], "/workers", "/"):
        page.goto(f"{dashboard.address}/#{place}")
        expect(page.locator("main h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_everything(
    page: Page, dashboard: Dashboard, rabbit_url: str, pool: str, tmp_path: Path
) -> None:
    job = run(rabbit_url, pool, tmp_path / "k", "short", "short", "short")
    job.output()
    job.stop()
    show(page, dashboard, job)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    assert page.url.endswith(f"#/jobs/{page.locator('.jobhead code').inner_text()}")  # it is still this page
    page.keyboard.press("t")
    expect(page.locator("#bars g:focus")).to_have_count(1)
    first = page.locator("#bars g:focus").get_attribute("aria-label")
    expect(page.get_by_role("tooltip")).to_contain_text("outcome")
    page.keyboard.press("End")
    expect(page.locator("#bars g:focus")).not_to_have_attribute("aria-label", first or "")
    expect(page.locator("#bars g[tabindex='0']")).to_have_count(1)
    page.keyboard.press("+")
    expect(page.locator(".zoom")).to_contain_text("2 ×")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("w")
    expect(page.locator("h1")).to_have_text("Workers")
    expect(page.locator("article.worker").first).to_contain_text("mapreduce ")
    page.keyboard.press("g")
    expect(page.locator("h1")).to_have_text("Jobs")


def test_a_failure_and_a_cancelled_job(
    page: Page, dashboard: Dashboard, rabbit_url: str, pool: str, tmp_path: Path
) -> None:
    failing = run(rabbit_url, pool, tmp_path / "f", "fail", "short")
    assert failing.popen.wait() == 1
    failing.stop()
    show(page, dashboard, failing)
    expect(page.locator("#phase")).to_contain_text("failed")
    expect(page.locator("main .note.bad")).to_contain_text(f"RuntimeError: for good {HOSTILE}")
    expect(page.locator("#errors summary")).to_contain_text("2 times")

    waiting = run(rabbit_url, pool, tmp_path / "c", "wait")
    try:
        show(page, dashboard, waiting)
        page.evaluate("sessionStorage.clear()")  # as if the page had been opened without the token
        expect(page.locator("#phase")).to_contain_text("running")
        page.keyboard.press("c")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token").fill("wrong")
        dialog.get_by_role("button", name="Cancel the job").click()
        expect(dialog.get_by_role("alert")).to_contain_text("token")
        dialog.get_by_label("Token").fill(dashboard.link.partition("token=")[2])
        dialog.get_by_role("button", name="Cancel the job").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("#phase")).to_contain_text("cancelled")
        expect(page.locator("#news")).to_contain_text("cancelled")  # for those who do not see it
        assert waiting.popen.wait(30) == 130
    finally:
        (tmp_path / "c" / "go").touch()
        waiting.stop()
    with urllib.request.urlopen(f"{dashboard.address}/metrics") as answer:
        text = answer.read().decode()
    assert re.search(r'^mapreduce_executors\{.*state="idle".*\} \d', text, re.MULTILINE)
    assert re.search(r'^mapreduce_jobs\{phase="failed"\} [1-9]', text, re.MULTILINE)


def test_signing_in_where_other_hosts_may_come(page: Page) -> None:
    """The application as it is on an address that others reach; here it is on loopback all the same."""
    source = Source()
    with server.listen("127.0.0.1", 0) as listener:
        app = make_app(source, TOKEN, "0.0.0.0")
        served = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            page.goto(address)
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("not the token")
            page.get_by_label("Token").fill(TOKEN)
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator("h1")).to_have_text("Jobs")
            expect(page.locator(".state")).to_contain_text("live")
            page.context.clear_cookies()
            page.goto(f"{address}/#token={TOKEN}")  # the link that was printed
            expect(page.locator(".state")).to_contain_text("live")
            assert "token" not in page.url
            page.context.clear_cookies()  # as if the dashboard had been started anew, with a new token
            source.feed.end()  # the stream ends
            expect(page.get_by_label("Token")).to_be_visible()
        finally:
            source.feed.end()
            served.should_exit = True
            thread.join()


#: the modules of the page on made-up snapshots, in the browser; what they describe, as text and keys
DRAWN = """async ([module, name, job]) => {
    const isElement = (node) => typeof node === "object";
    const said = (node) =>
        isElement(node) ? [node.attributes["aria-label"], ...node.children.map(said)].join(" ") : String(node);
    const keys = (node) =>
        isElement(node) ? [node.attributes.key, ...node.children.flatMap(keys)].filter(Boolean) : [];
    const drawn = [(await import(`/static/${module}.js`))[name](job)].flat();
    return [drawn.map(said).join(" "), drawn.flatMap(keys)];
}"""


def test_what_is_said_of_odd_jobs(page: Page, dashboard: Dashboard) -> None:
    page.goto(dashboard.address)
    stages = [{"name": "map"}, {"name": "reduce"}]

    def skew(found: Any) -> str:
        sizes = {"stage": 1, "each": 1, "count": 4, "bytes": [0, 0, 100_000_000, 0], "skew": found}
        text: str = page.evaluate(
            DRAWN, ["partitions", "partitions", {"stages": stages, "partitions": [sizes]}]
        )[0]
        return text

    assert "! most are empty" in skew([0, 100_000_000, 2])
    assert "times" not in skew([0, 100_000_000, 2])
    assert "! largest is 4.0 × the median" in skew([25, 100, 2])
    assert "! " not in skew([60, 100, 2])
    assert "median" not in skew(None)  # it is not known yet

    errors = [
        {
            "at": 1000 + n,
            "stage": 0,
            "index": n,
            "worker": "w",
            "kind": "raised",
            "message": f"m{n % 2}",
            "record": "",
        }
        for n in range(60)
    ]
    shown = [
        page.evaluate(DRAWN, ["errors", "errors", {"stages": stages, "errors": errors[at : at + 50]}])[1]
        for at in (0, 10)
    ]
    assert shown[0] == shown[1]  # so that what the reader has folded out stays, while older ones go
    assert len(shown[0]) == 2


def test_the_page_comes_back_when_the_dashboard_does(page: Page, rabbit_url: str, tmp_path: Path) -> None:
    told = tmp_path / "browser"  # says how it was called, which everybody on the machine may see
    told.write_text('#!/bin/sh\necho "opened $*." >&2\n')
    told.chmod(0o700)
    served = Dashboard(rabbit_url, "--open", env={"BROWSER": str(told)})
    try:
        assert served.process.wait_for("opened") == f"opened {served.address}/."
        page.goto(served.link)
        expect(page.locator(".state")).to_contain_text("live")
        served.process.kill()
        expect(page.locator(".state")).to_contain_text("no connection")
        served.process.stop()
        served = Dashboard(rabbit_url, port=served.port)
        expect(page.locator(".state")).to_contain_text("live")
    finally:
        served.process.stop()
