"""Whole jobs as users run them: `mr run` without a broker and over RabbitMQ, always against a plain Python oracle."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.support import JOBS, Process, count_words, make_text, mr, mr_ok, workers

WORDCOUNT = JOBS / "wordcount.py"
SMALL_SPLITS = ("--split-size", "64K")


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


class TestOverRabbitMQ:
    @pytest.mark.parametrize(("count", "executors"), [(1, 1), (2, 3), (5, 1)])
    def test_same_bytes_for_any_number_of_workers(
        self, rabbit_url: str, text: Path, count: int, executors: int
    ) -> None:
        pool = f"same{count}"
        with workers(rabbit_url, count, executors, pool):
            output = mr_ok("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", pool, *SMALL_SPLITS)
        assert output == count_words(text)

    def test_shared_input_goes_by_reference(self, rabbit_url: str, text: Path) -> None:
        with workers(rabbit_url, pool="shared"):
            output = mr_ok(
                "run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "shared", "--shared", *SMALL_SPLITS
            )
        assert output == count_words(text)

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

    def test_a_detached_job_needs_no_client(self, rabbit_url: str, text: Path, tmp_path: Path) -> None:
        with workers(rabbit_url, pool="detached"):
            job = mr_ok("run", WORDCOUNT, text, "--broker", rabbit_url, "--pool", "detached", "--detach")
            name = job.decode().strip()
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
