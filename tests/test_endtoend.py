"""Whole jobs as users run them: `mr run` without a broker and over RabbitMQ, always against a plain Python oracle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import DEADLINE_SECS, JOBS, ROOT, Process, count_words, make_text, mr, mr_ok, workers

WORDCOUNT = JOBS / "wordcount.py"
SMALL_SPLITS = ("--split-size", "64K")

SURROUNDED = """
import os, time
from mapreduce import Job

os.environ["IMPORTS"] = os.environ.get("IMPORTS", "") + "x"
os.chdir("/")

def found(line):
    open(os.path.join({folder!r}, line), "w").close()
    while not all(os.path.exists(os.path.join({folder!r}, name)) for name in "ab"):
        time.sleep(0.01)
    yield [os.environ["IMPORTS"], os.getcwd()], 1

job = Job(found, fold=sum)
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("data") / "text.txt", 1_500_000)


class TestWithoutABroker:
    @pytest.mark.parametrize("executors", [1, 3])
    def test_same_bytes_for_any_number_of_executors(self, text: Path, executors: int) -> None:
        assert mr_ok("run", WORDCOUNT, text, "-c", executors, *SMALL_SPLITS) == count_words(text)

    def test_amqp_is_never_imported(self, text: Path, tmp_path: Path) -> None:
        (tmp_path / "amqp.py").write_text("raise SystemExit('amqp was imported')\n")
        env = {"PYTHONPATH": f"{tmp_path}:{JOBS.parent}"}
        assert mr_ok("run", WORDCOUNT, text, env=env) == count_words(text)

    def test_standard_input(self, text: Path) -> None:
        assert mr_ok("run", WORDCOUNT, "-", *SMALL_SPLITS, stdin=text.read_bytes()) == count_words(text)

    def test_output_folder_holds_every_part_and_success(self, text: Path, tmp_path: Path) -> None:
        assert mr_ok("run", WORDCOUNT, text, "-o", tmp_path / "out") == b""
        files = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert files == ["_SUCCESS", *(f"part-{part:05d}" for part in range(8))]
        parts = [(tmp_path / "out" / name).read_bytes() for name in files[1:]]
        assert b"".join(parts) == count_words(text)

    def test_local_needs_no_broker_whatever_the_environment_says(self, text: Path) -> None:
        env = {"MR_BROKER": "amqp://127.0.0.1:1"}
        assert mr("run", WORDCOUNT, text, env=env).returncode == 6
        assert mr_ok("run", WORDCOUNT, text, "--local", env=env) == count_words(text)

    def test_input_that_a_worker_finds_bad_is_an_input_error(self, tmp_path: Path) -> None:
        (tmp_path / "bad").write_bytes(b"fine\n\xff\n")
        result = mr("run", WORDCOUNT, tmp_path / "bad")
        assert result.returncode == 4 and b"bad, byte 5" in result.stderr, result.stderr

    def test_what_the_job_s_import_does_to_the_client_reaches_no_executor(self, tmp_path: Path) -> None:
        """Each of the tasks waits for the other, so that both executors take part: one began before the import."""
        (tmp_path / "job.py").write_text(SURROUNDED.format(folder=str(tmp_path)))
        for name in "ab":
            (tmp_path / f"{name}.txt").write_text(f"{name}\n")
        inputs = (tmp_path / "a.txt", tmp_path / "b.txt")
        output = mr_ok("run", tmp_path / "job.py", *inputs, "-c", 2, "--split-size", 1, "--format", "jsonl")
        ((found, tasks),) = map(json.loads, output.splitlines())
        assert (found, tasks) == (["x", str(Path.cwd())], 2)

    def test_empty_input_gives_empty_output(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert mr_ok("run", WORDCOUNT, tmp_path / "empty") == b""

    def test_head_ends_it_quietly(self, text: Path) -> None:
        process = Process("run", WORDCOUNT, text)
        assert process.popen.stdout is not None
        process.popen.stdout.read(10)
        process.popen.stdout.close()
        assert process.popen.wait(60) in (0, 128 + signal.SIGPIPE)
        process.wait_for("(end)")
        assert process.errors == ["(end)"]
        process.stop()


@pytest.fixture(scope="module")
def fleet(rabbit_url: str) -> Iterator[tuple[str, ...]]:
    """Two workers for tests that leave them as they were; what `mr run` has to be told to use them."""
    with workers(rabbit_url, 2, 2, "fleet"):
        yield ("--broker", rabbit_url, "--pool", "fleet")


class TestOverRabbitMQ:
    @pytest.mark.parametrize(("count", "executors"), [(1, 1), (2, 3), (5, 1)])
    def test_same_bytes_for_any_number_of_workers(
        self, rabbit_url: str, text: Path, count: int, executors: int
    ) -> None:
        pool = f"same{count}"
        with workers(rabbit_url, count, executors, pool):
            output = mr_ok("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", pool, *SMALL_SPLITS)
        assert output == count_words(text)

    @pytest.mark.parametrize("job", ["top_words", "grep", "sort"])
    def test_same_bytes_for_two_steps_for_no_reduce_and_for_sampled_ranges(
        self, fleet: tuple[str, ...], text: Path, job: str
    ) -> None:
        params = ("-p", "pattern=tin") if job == "grep" else ()
        args = ("run", JOBS / f"{job}.py", text, *params, *SMALL_SPLITS)
        alone = mr_ok(*args, "--local", "-c", 1)
        assert mr_ok(*args, *fleet) == alone
        assert mr_ok(*args, "--local", "-c", 3) == alone and alone

    def test_shared_input_goes_by_reference(self, fleet: tuple[str, ...], text: Path) -> None:
        assert mr_ok("run", WORDCOUNT, text, *fleet, "--shared", *SMALL_SPLITS) == count_words(text)

    def test_a_late_worker_gets_work_and_the_job_says_what_it_waits_for(
        self, rabbit_url: str, text: Path
    ) -> None:
        job = Process("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "late")
        try:
            job.wait_for(r"waits: no worker")
            with workers(rabbit_url, pool="late"):
                assert job.output() == count_words(text)
        finally:
            job.stop()

    def test_a_detached_job_needs_no_client(
        self, rabbit_url: str, fleet: tuple[str, ...], text: Path, tmp_path: Path
    ) -> None:
        name = mr_ok("run", WORDCOUNT, text, *fleet, "--detach").decode().strip()
        assert mr_ok("results", name, "--broker", rabbit_url) == count_words(text)

    def test_a_detached_job_that_failed_tells_why_and_is_then_forgotten(
        self, rabbit_url: str, text: Path, tmp_path: Path
    ) -> None:
        job = tmp_path / "fails.py"
        job.write_text(
            "from mapreduce import Job\ndef parse(line):\n    yield int(line), 1\njob = Job(parse)\n"
        )
        pool = ("--broker", rabbit_url, "--pool", "failed")
        with workers(rabbit_url, pool="failed"):
            name = mr_ok("run", job, text, *pool, "--tries", 1, "--detach").decode().strip()
            time.sleep(5)  # its data is deleted by now, its log is not
            result = mr("results", name, "--broker", rabbit_url)
            assert result.returncode == 1, result.stderr
            assert b"ValueError: invalid literal" in result.stderr and b"map parse" in result.stderr
            time.sleep(2)
            result = mr("results", name, "--broker", rabbit_url)
            assert result.returncode == 9 and b"there is no job" in result.stderr

    def test_results_that_could_not_be_written_can_be_fetched_again(
        self, rabbit_url: str, fleet: tuple[str, ...], text: Path, tmp_path: Path
    ) -> None:
        job = mr_ok("run", WORDCOUNT, text, *fleet, "--detach")
        name = job.decode().strip()
        with open("/dev/full", "wb") as full:
            command = [sys.executable, "-m", "mapreduce.cli", "results", name, "--broker", rabbit_url]
            env = {**os.environ, "PYTHONPATH": str(JOBS.parent)}
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, env=env, timeout=DEADLINE_SECS
            )
        assert result.returncode == 5, result.stderr
        assert result.stderr == b"mr: cannot write to standard output: No space left on device\n"
        assert mr_ok("results", name, "--broker", rabbit_url) == count_words(text)

    def test_cancel_ends_a_job_and_its_client(
        self, rabbit_url: str, fleet: tuple[str, ...], text: Path, tmp_path: Path
    ) -> None:
        slow = tmp_path / "slow.py"
        slow.write_text(
            "import time\nfrom mapreduce import Job\ndef nap(line):\n    time.sleep(100)\n    yield line, 1\n"
            "job = Job(nap)\n"
        )
        name = mr_ok("run", slow, text, *fleet, "--detach").decode().strip()
        waiting = Process("results", name, "--broker", rabbit_url)
        try:
            time.sleep(2)
            assert mr_ok("cancel", name, "--broker", rabbit_url) == b""
            assert waiting.popen.wait(30) == 130
            assert "mr: the job was cancelled: mr cancel" in waiting.errors
        finally:
            waiting.stop()
        time.sleep(2)
        result = mr("cancel", name, "--broker", rabbit_url)
        assert result.returncode == 9 and result.stderr.count(b"\n") == 1
        assert b"there is no job" in result.stderr

    def test_a_waiting_client_that_leaves_does_not_end_the_job(self, rabbit_url: str, text: Path) -> None:
        job = mr_ok("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "leave", "--detach")
        name = job.decode().strip()
        waiting = Process("results", name, "--broker", rabbit_url)
        try:
            waiting.wait_for("waits")
            waiting.popen.send_signal(signal.SIGINT)
            assert waiting.popen.wait(30) == 130
        finally:
            waiting.stop()
        with workers(rabbit_url, pool="leave"):
            assert mr_ok("results", name, "--broker", rabbit_url) == count_words(text)

    def test_a_small_job_does_not_wait_for_a_large_one(
        self, rabbit_url: str, text: Path, tmp_path: Path
    ) -> None:
        slow = tmp_path / "slow.py"
        slow.write_text(
            "import time\nfrom mapreduce import Job\n"
            "def nap(line):\n    time.sleep(1.0)\n    yield line, 1\n"
            "job = Job(nap)\n"
        )
        lines = tmp_path / "lines"
        lines.write_text("".join(f"{n:03d}\n" for n in range(60)))
        with workers(rabbit_url, 1, 2, "fair"):
            large = Process("run", slow, lines, "--broker", rabbit_url, "--pool", "fair", "--split-size", "4")
            try:
                small = mr_ok("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "fair")
                assert small == count_words(text)
                assert large.popen.poll() is None, "the large job was over before the small one"
            finally:
                large.stop()

    def test_interrupt_cancels_the_job(self, rabbit_url: str, text: Path) -> None:
        job = Process("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "nobody")
        try:
            job.wait_for("waits")
            job.popen.send_signal(signal.SIGINT)
            assert job.popen.wait(30) == 130
        finally:
            job.stop()


def test_errors_are_one_line_with_their_own_exit_code(tmp_path: Path, text: Path, rabbit_url: str) -> None:
    (tmp_path / "syntax.py").write_text("def broken(:\n")
    (tmp_path / "missing.py").write_text("import no_such_module\n")
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text(
        "from mapreduce import Job\ndef f(x):\n    yield x, 1\na = Job(f)\nb = Job(f)\n"
    )
    _, _, rest = rabbit_url.partition("://")[2].partition("@")
    cases = [
        (("run", tmp_path / "syntax.py", text), 3),
        (("run", tmp_path / "missing.py", text), 3),
        (("run", tmp_path / "none.py", text), 3),
        (("run", tmp_path / "two.py", text), 3),
        (("run", tmp_path / "nowhere.py", text), 3),
        (("run", WORDCOUNT, tmp_path / "nowhere.txt"), 4),
        (("run", WORDCOUNT, tmp_path / "*.nothing"), 4),
        (("run", WORDCOUNT, text, "-o", tmp_path), 5),
        (("run", WORDCOUNT, text, "--broker", "amqp://127.0.0.1:1"), 6),
        (("run", WORDCOUNT, text, "--broker", f"amqp://nobody:wrong@{rest}"), 7),
        (("run", WORDCOUNT, text, "-p", "no_such=1"), 3),
        (("run", WORDCOUNT), 2),
        (("run", WORDCOUNT, text, "--local", "--broker", rabbit_url), 2),
        (("results", "no-such-job", "--broker", rabbit_url), 9),
    ]
    for args, code in cases:
        result = mr(*args)
        error = result.stderr.decode()
        assert result.returncode == code, (args, result.returncode, error)
        assert "Traceback" not in error and error.count("\n") == 1, (args, error)


def test_a_failing_map_names_function_file_offset_record_and_shows_the_users_traceback(
    tmp_path: Path,
) -> None:
    job = tmp_path / "fails.py"
    job.write_text(
        "from mapreduce import Job\n\ndef parse(line):\n    yield int(line), 1\n\njob = Job(parse)\n"
    )
    data = tmp_path / "data.txt"
    data.write_text("1\n2\nthree\n4\n")
    result = mr("run", job, data, "--tries", "2")
    error = result.stderr.decode()
    assert result.returncode == 1
    assert "ValueError: invalid literal for int() with base 10: 'three'" in error
    assert "map parse" in error and "byte 4" in error and str(data) in error
    assert 'fails.py", line 4, in parse' in error
    assert "mapreduce/" not in error.replace(str(tmp_path), "")


def test_a_dying_executor_is_a_failed_try(tmp_path: Path) -> None:
    job = tmp_path / "dies.py"
    job.write_text("import os\nfrom mapreduce import Job\ndef die(line):\n    os._exit(7)\njob = Job(die)\n")
    data = tmp_path / "data.txt"
    data.write_text("1\n")
    result = mr("run", job, data, "--tries", "2")
    assert result.returncode == 1
    assert b"exited with status 7" in result.stderr and b"2 tries" in result.stderr


def test_two_jobs_in_one_process(text: Path) -> None:
    from mapreduce import Job

    def words(line: str) -> list[tuple[str, int]]:
        return [(word, 1) for word in line.split()]

    results: list[dict[str, int]] = []

    def run() -> None:
        results.append(dict(Job(words, fold=sum).run(str(text), executors=1)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = b"".join(sorted(f"{word}\t{n}\n".encode() for word, n in results[0].items()))
    assert results[0] == results[1]
    assert lines == b"".join(sorted(count_words(text).splitlines(keepends=True)))


def test_what_a_job_file_writes_when_it_is_imported_is_no_output(tmp_path: Path, text: Path) -> None:
    job = tmp_path / "loud.py"
    job.write_text(
        "import os\nfrom jobs.wordcount import job\nprint('printed')\n"
        "os.write(1, b'written\\n')\nos.system('echo said')\n"
    )
    assert mr_ok("run", "--local", job, text) == count_words(text)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-"])
def test_closed_standard_streams(tmp_path: Path, text: Path, closed: str) -> None:
    out = tmp_path / "out"
    command = f"exec {sys.executable} -m mapreduce.cli run --local {WORDCOUNT} {text} -o {out} {closed}"
    result = subprocess.run(
        ["sh", "-c", command], capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 0, result.stderr
    assert b"".join(p.read_bytes() for p in sorted(out.glob("part-*"))) == count_words(text)
