"""`--notify` and `--on-done`: who is told of a job's end, what, and that nothing of it changes how it has ended."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pytest

from mapreduce import notify
from mapreduce.commands.ending import AtEnd
from mapreduce.errors import UsageError
from mapreduce.notify import Ended
from tests.support import Process, mr, workers

ENDED = Ended("words-1", "words", "failed", "ValueError: ‘x’ in map words", 1, 12.3456, {"tasks": 3})


class Hook:
    """A server on loopback that keeps what is posted and answers as it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  #: of the next requests; then 204
        self.gate = threading.Event()  #: requests wait for it
        self.gate.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.heard.append((self.path, dict(self.headers), json.loads(body)))
                hook.gate.wait()
                code, headers = hook.answers.pop(0) if hook.answers else (204, {})
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(Hook()) as made:
        yield made


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(notify, "PAUSES_SECS", (0.0, 0.0))


def test_all_urls_are_told_what_has_happened(hook: Hook) -> None:
    before = time.time()
    assert notify.post([hook.url, f"{hook.url}/2?a=b"], ENDED) == []
    assert {path for path, _, _ in hook.heard} == {"/hook", "/hook/2?a=b"}
    _, headers, body = hook.heard[0]
    assert headers["Content-Type"] == "application/json" and "Authorization" not in headers
    assert before <= body.pop("at") <= time.time()
    assert body == {
        "event": "job_ended",
        "job": "words-1",
        "name": "words",
        "outcome": "failed",
        "cause": "ValueError: ‘x’ in map words",
        "exit_code": 1,
        "secs": 12.346,
        "summary": {"tasks": 3},
    }


def test_user_and_password_of_a_url_are_a_header(hook: Hook) -> None:
    url = f"http://ann:p%40ss@127.0.0.1:{hook.port}/hook"
    assert notify.post([url], ENDED) == []
    _, headers, _ = hook.heard[0]
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'ann:p@ss').decode()}"
    assert headers["Host"] == f"127.0.0.1:{hook.port}"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("codes", [[503], [429, 500]])
def test_a_server_in_trouble_is_asked_again(hook: Hook, codes: list[int]) -> None:
    hook.answers = [(code, {}) for code in codes]
    assert notify.post([hook.url], ENDED) == []
    assert len(hook.heard) == len(codes) + 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("answers", "asked", "trouble"),
    [
        ([(500, {})] * 3, 3, "the server answers 500 Internal Server Error"),
        ([(404, {})], 1, "the server answers 404 Not Found"),
        ([(302, {"Location": "file:///etc/passwd"})], 1, "the server answers 302 Found, it has moved to another path"),
        ([(307, {"Location": "http://a:b@h/c?d"})], 1, "the server answers 307 Temporary Redirect, it has moved to http://h/…"),
        ([(301, {})], 1, "the server answers 301 Moved Permanently"),
        ([(302, {"Location": "http://[a"})], 1, "the server answers 302 Found, it has moved to a place that is no URL"),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_one_line(hook: Hook, answers: Any, asked: int, trouble: str) -> None:
    hook.answers = list(answers)
    assert notify.post([f"{hook.url}?secret=1"], ENDED) == [
        f"--notify http://127.0.0.1:{hook.port}/…: {trouble}"
    ]
    assert len(hook.heard) == asked, "and nobody goes where it points"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"HTTP/1.1 503 \x1b[2Jreason\r\n\r\n", r"the server answers 503 \x1b[2Jreason"),
        (b"\x1b[2Jx" * 1000 + b"\n", "BadStatusLine: " + r"\x1b[2Jx" * 23 + "\\…"),
    ],
)
def test_what_a_server_says_steers_no_terminal(answer: bytes, trouble: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(1 + len(notify.PAUSES_SECS)):
                with server.accept()[0] as asked:
                    asked.recv(65536)
                    asked.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        (line,) = notify.post([f"http://127.0.0.1:{server.getsockname()[1]}/"], ENDED)
    assert line.partition("…: ")[2] == trouble


@pytest.mark.usefixtures("at_once")
def test_where_nobody_listens_is_one_line() -> None:
    with socket.socket() as unheard:  # bound, but not listening
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        assert notify.post([f"http://ann:secret@127.0.0.1:{port}/x"], ENDED) == [
            f"--notify http://127.0.0.1:{port}/…: [Errno 111] Connection refused"
        ]


@pytest.mark.usefixtures("at_once")
def test_a_proxy_that_cannot_be_is_trouble_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://pro..xy:80")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    (line,) = notify.post(["http://host.invalid/x"], ENDED)
    assert line.startswith("--notify http://host.invalid/…: Unicode")


def test_who_does_not_answer_is_waited_for_no_longer_than_the_limit(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "LIMIT_SECS", 0.2)
    hook.gate.clear()
    (line,) = notify.post([hook.url], ENDED)
    assert line.endswith("no end of an answer in 0 s")


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "file:///etc/passwd", "https://", "host/x", "http://host:99999/", "http://[::1", "http://a b/", "http://host/\n",
     "http://ex..com/", f"http://{'a' * 64}.com/", "http://.com/", "http://ann:secret@host:99999/?secret"],
)  # fmt: skip
def test_what_cannot_be_posted_to_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="not a URL such as https://host/path") as refused:
        notify.check_url(url)
    assert "secret" not in str(refused.value)


def test_the_command_has_what_it_needs_and_its_output_is_no_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = f'echo "$MR_JOB $MR_OUTCOME $MR_EXIT_CODE $MR_SECS" > {tmp_path}/told; echo hello; cat'
    assert notify.run_command(command, ENDED, print) is None
    assert (tmp_path / "told").read_text() == "words-1 failed 1 12.3\n"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "hello\n")


@pytest.mark.parametrize(
    ("command", "how"), [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9"), ("no-such-command", "exit code 127")]
)  # fmt: skip
def test_a_command_that_fails_is_one_line(command: str, how: str) -> None:
    assert (
        notify.run_command(command, ENDED, print) == f"--on-done: the command has failed ({how}): {command}"
    )


def test_a_command_that_takes_long_is_said_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PATIENCE_SECS", 0.0)
    go, said = tmp_path / "go", []

    def tell(text: str) -> None:
        said.append(text)
        go.touch()

    command = f"until [ -e {go} ]; do sleep 0.01; done"
    assert notify.run_command(command, ENDED, tell) is None
    assert said == [f"the job has ended; waits for --on-done to end: {command}"]


@pytest.mark.parametrize("command", ["", " "])
def test_no_command_at_all_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match="--on-done: there is no command in it"):
        AtEnd((), (command,))


# ---------------------------------------------------------------- commands


def told(path: Path) -> Optional[str]:
    return path.read_text().strip() if path.exists() else None


def run(*args: Any, code: int = 0) -> tuple[bytes, list[str]]:
    """Standard output, and the lines of standard error."""
    ended = mr(*args)
    errors = ended.stderr.decode().splitlines()
    assert ended.returncode == code, errors
    return ended.stdout, errors


BAD = "from mapreduce import Job\ndef bad(line):\n    raise ValueError(line)\njob = Job(bad)\n"
GOOD = "from mapreduce import Job\ndef words(line):\n    yield line, 1\njob = Job(words, fold=sum)\n"


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "text").write_text("a\nb\na\n")
    return tmp_path


def test_a_run_tells_how_it_has_ended_and_ends_as_ever(jobs: Path, hook: Hook) -> None:
    hook.answers = [(404, {})]
    command = f"echo $MR_OUTCOME $MR_EXIT_CODE >> {jobs}/told; exit 7"
    options = ["--local", "-c", 1, "--notify", hook.url, "--on-done", command]
    _, told_quiet = run("run", jobs / "bad.py", jobs / "text", "--tries", 1, "-q", *options, code=1)
    assert told_quiet[:2] == [
        f"mr: --notify http://127.0.0.1:{hook.port}/…: the server answers 404 Not Found",
        f"mr: --on-done: the command has failed (exit code 7): {command}",
    ], "also with -q: nobody else would ever say so"
    _, errors = run("run", jobs / "good.py", jobs / "text", *options)
    assert told(jobs / "told") == "failed 1\ndone 0"
    (_, _, failed), (_, _, done) = hook.heard
    assert failed["outcome"] == "failed" and failed["cause"].startswith("ValueError: a in map bad")
    assert failed["summary"]["failed"] == 1, "also where nothing is shown of it"
    assert f"mr: --on-done: the command has failed (exit code 7): {command}" in errors
    assert done["outcome"] == "done" and done["exit_code"] == 0 and done["cause"] == ""


@pytest.mark.broker
def test_over_a_broker_the_job_of_another_is_told_of_once_it_has_ended(
    rabbit_url: str, jobs: Path, hook: Hook
) -> None:
    place = ["--broker", rabbit_url, "--pool", "notify"]
    job = run("run", jobs / "good.py", jobs / "text", *place, "--detach")[0].decode().strip()
    told_here = ["--broker", rabbit_url, "--notify", hook.url, "--on-done", f"echo $MR_JOB >> {jobs}/told"]
    waits = Process("results", job, *told_here)
    try:
        waits.wait_for("waits")
        waits.popen.terminate()
        waits.wait_for(f"job {job} has not ended: --notify and --on-done are left out")
        assert waits.popen.wait(20) == 143
    finally:
        waits.stop()
    assert not hook.heard and told(jobs / "told") is None
    with workers(rabbit_url, pool="notify"):
        assert sorted(run("results", job, *told_here)[0].split()) == [b"1", b"2", b"a", b"b"]
    ((_, _, body),) = hook.heard
    assert (body["job"], body["name"], body["outcome"]) == (job, "good", "done")
    assert body["summary"]["tasks"] == 3 and told(jobs / "told") == job


@pytest.mark.broker
def test_a_cancelled_run_tells_so(rabbit_url: str, jobs: Path, hook: Hook) -> None:
    process = Process(
        "run",
        jobs / "good.py",
        jobs / "text",
        "--broker",
        rabbit_url,
        "--pool",
        "nobody",
        "--notify",
        hook.url,
    )
    try:
        process.wait_for("waits")
        process.popen.terminate()
        assert process.popen.wait(20) == 143
    finally:
        process.stop()
    ((_, _, body),) = hook.heard
    assert (body["outcome"], body["exit_code"]) == ("cancelled", 143) and "SIGTERM" in body["cause"]


def test_detached_runs_leave_it_to_others(jobs: Path) -> None:
    _, errors = run(
        "run",
        jobs / "good.py",
        jobs / "text",
        "--broker",
        "amqp://x/",
        "--detach",
        "--on-done",
        "true",
        code=2,
    )
    assert errors[0].startswith("mr: --detach leaves before the job ends; give --notify and --on-done to")
