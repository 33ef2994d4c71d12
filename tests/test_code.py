"""Job files and job objects as bundles, and back."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any, Iterator

import pytest

from mapreduce import Job, JobError, code
from mapreduce.code import loader
from mapreduce.code.local import is_standard

JOB = """
from mapreduce import Job

def words(line, min_length=1):
    for word in line.split():
        if len(word) >= min_length:
            yield word, 1

job = Job(words)
"""


@pytest.fixture(autouse=True)
def forget_bundles() -> Iterator[None]:
    """Leave no user module behind in this process."""
    before = set(sys.modules)
    yield
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, loader.BundleFinder)]
    for name in set(sys.modules) - before:
        del sys.modules[name]


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> str:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def run_map(job: Job, record: Any = "a bb") -> list[Any]:
    function = job.stages[0].map
    assert function is not None
    return list(function(record))


def elsewhere(bundle: code.Bundle, expression: str) -> str:
    """``expression`` of ``job`` in a fresh process that sees nothing but the bundle."""
    text = (
        "import sys; from mapreduce.code import load\n"
        f"job = load({bundle!r})\nmap = job.stages[0].map\nprint({expression})"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- files


def test_a_file_that_changes_the_folder_does_not_change_ours(folder: Folder, tmp_path: Path) -> None:
    """Names of inputs and outputs are read after the file was imported, and meant before."""
    here = os.getcwd()
    path = folder.write("job.py", f"import os; os.chdir({str(tmp_path)!r})" + JOB)
    code.from_file(path)
    assert os.getcwd() == here


def test_a_file_becomes_its_job_and_a_bundle_of_its_source(folder: Folder) -> None:
    job, bundle = code.from_file(folder.write("wc.py", JOB))
    assert run_map(job) == [("a", 1), ("bb", 1)]
    assert (bundle["kind"], bundle["main"], list(bundle["files"])) == ("source", "wc.py", ["wc.py"])
    assert run_map(code.load(bundle)) == [("a", 1), ("bb", 1)]
    assert elsewhere(bundle, "list(map('x'))") == "[('x', 1)]"


def test_local_modules_come_along_and_others_do_not(folder: Folder) -> None:
    folder.write("helpers.py", "import json, deeper\nfrom shapes.round import RADIUS\nK = 3 * RADIUS\n")
    folder.write("deeper.py", "import msgpack\n")
    folder.write("shapes/__init__.py", "from . import square\n")
    folder.write("shapes/square.py", "from .sides import SIDES\n")
    folder.write("shapes/sides.py", "SIDES = 4\n")
    folder.write("shapes/round.py", "RADIUS = 2\n")
    folder.write("unused.py", "raise SystemExit\n")
    folder.write("json.py", "raise SystemExit('hides the standard library')\n")
    main = folder.write(
        "wc.py",
        """
        from mapreduce import Job
        import helpers

        def mapper(line):
            import lazy.inner
            from importlib import import_module
            named = import_module("by_name")
            yield line, helpers.K + lazy.inner.N + named.N

        job = Job(mapper)
        """,
    )
    folder.write("lazy/inner.py", "N = 100\n")  # a folder without __init__.py is a package too
    folder.write("by_name.py", "N = 1000\n")
    job, bundle = code.from_file(main)
    assert list(bundle["files"]) == [
        "by_name.py",
        "deeper.py",
        "helpers.py",
        "lazy/inner.py",
        "shapes/__init__.py",
        "shapes/round.py",
        "shapes/sides.py",
        "shapes/square.py",
        "wc.py",
    ]
    assert run_map(job, "a") == [("a", 1106)]
    bundle["directory"] = "/not/on/this/host"
    assert elsewhere(bundle, "list(map('a'))") == "[('a', 1106)]"


def test_a_star_import_brings_the_modules_of_the_package(folder: Folder) -> None:
    folder.write("tools/__init__.py", "__all__ = ['one', 'two']\n")
    folder.write("tools/one.py", "N = 1\n")
    folder.write("tools/two.py", "N = 2\n")
    text = "from mapreduce import Job\nfrom tools import *\njob = Job(lambda r: [(one.N, two.N)])\n"
    _, bundle = code.from_file(folder.write("wc.py", text))
    assert elsewhere(bundle, "list(map('a'))") == "[(1, 2)]"


def test_modules_see_sensible_names(folder: Folder) -> None:
    text = "from mapreduce import Job\njob = Job(lambda r: [(__name__, __file__)])\n"
    main = folder.write("wc.py", text)
    assert run_map(code.from_file(main)[0]) == [("wc", main)]


@pytest.mark.parametrize("name", ["json.py", "word-count.py", "mapreduce.py", "2.py"])
def test_a_file_whose_name_cannot_be_a_modules_is_called_job(folder: Folder, name: str) -> None:
    text = "from mapreduce import Job\njob = Job(lambda r: [(__name__, r)])\n"
    assert run_map(code.from_file(folder.write(name, text))[0], 1) == [("job", 1)]
    assert importlib.import_module("json").loads("1") == 1


def test_other_encodings_are_read_as_declared(folder: Folder) -> None:
    path = folder.path / "wc.py"
    path.write_bytes(
        "# coding: latin-1\nfrom mapreduce import Job\njob = Job(lambda r: [('é', r)])\n".encode("latin-1")
    )
    job, bundle = code.from_file(str(path))
    assert run_map(job, 1) == [("é", 1)]
    assert run_map(code.load(bundle), 1) == [("é", 1)]


def test_tracebacks_show_lines_that_are_on_no_disk(folder: Folder) -> None:
    folder.write("helpers.py", "def boom(x):\n    return 1 // x  # here\n")
    text = "from mapreduce import Job\nimport helpers\njob = Job(lambda r: helpers.boom(0))\n"
    _, bundle = code.from_file(folder.write("wc.py", text))
    bundle["directory"] = "/not/on/this/host"
    with pytest.raises(ZeroDivisionError) as caught:
        run_map(code.load(bundle))
    shown = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert 'File "/not/on/this/host/helpers.py", line 2, in boom\n    return 1 // x  # here' in shown


def test_bundles_do_not_mix(folder: Folder) -> None:
    text = "from mapreduce import Job\nimport helpers\njob = Job(lambda r: [(helpers.N, r)])\n"
    folder.write("a/helpers.py", "N = 1\n")
    folder.write("b/helpers.py", "N = 2\n")
    first, _ = code.from_file(folder.write("a/wc.py", text))
    second, _ = code.from_file(folder.write("b/wc.py", text))
    assert (run_map(first, 0), run_map(second, 0)) == ([(1, 0)], [(2, 0)])


def test_one_of_several_jobs_is_chosen_by_name(folder: Folder) -> None:
    main = folder.write("two.py", JOB + "small = Job(words, name='small')\nalias = small\n")
    with pytest.raises(
        JobError, match=r"two\.py holds 2 Jobs \(job, small\): choose one, as in two\.py:small"
    ):
        code.from_file(main)
    job, bundle = code.from_file(f"{main}:alias")
    assert job.name == code.load(bundle).name == "small"
    with pytest.raises(JobError, match=r"two\.py: 'words' is not a Job in it"):
        code.from_file(f"{main}:words")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "wc.py holds no Job"),
        ("x = 1\ndef f(:\n", "wc.py:2: SyntaxError: .*: def f"),
        ("def f():\nreturn 1\n", "wc.py:2: IndentationError"),
        (
            "x = 1\nimport not_there.at_all\n",
            r"wc.py:2: needs the module 'not_there', which is not installed",
        ),
        ("import broken\n", "broken.py:2: SyntaxError"),
        ("import failing\n", "failing.py:3: ZeroDivisionError: .*zero"),
        (
            "x = 1\nimport sys\nsys.exit(3)\n",
            r"wc.py:3: the job file exits while it is loaded \(SystemExit\(3\)\)",
        ),
        (JOB + "job.run('x')\n", "wc.py:10: the job file calls run\\(\\) while it is loaded"),
        ("from mapreduce import Job\n\njob = Job('x')\n", "wc.py:3: map is not a function but 'x'"),
        ("from . import other\n", "wc.py:1: ImportError: attempted relative import"),
        ("x = '\0'\n", "wc.py"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_clear_line(folder: Folder, text: str, says: str) -> None:
    folder.write("broken.py", "x = 1\nif x\n")
    folder.write("failing.py", "x = 1\n\n1 // 0\n")
    with pytest.raises(JobError, match=says) as caught:
        code.from_file(folder.write("wc.py", text))
    assert "\n" not in str(caught.value)


def test_what_is_no_python_file_is_refused(folder: Folder) -> None:
    with pytest.raises(JobError, match=r"nowhere\.py: there is no such file"):
        code.from_file(str(folder.path / "nowhere.py"))
    with pytest.raises(JobError, match="is a folder"):
        code.from_file(str(folder.path))
    with pytest.raises(JobError, match=r"ends in \.py"):
        code.from_file(folder.write("job.txt", JOB))
    (folder.path / "binary.py").write_bytes(b"\xff\xfe\0")
    with pytest.raises(JobError, match=r"binary\.py: not a text of Python"):
        code.from_file(str(folder.path / "binary.py"))


def test_a_bundle_has_a_limit(folder: Folder) -> None:
    folder.write("large.py", "DATA = '" + "x" * (9 * 1024 * 1024) + "'\n")
    with pytest.raises(JobError, match=r"more than 8 MiB; large\.py is the largest"):
        code.from_file(folder.write("wc.py", "import large\n" + JOB))


# ---------------------------------------------------------------- objects


def test_the_job_of_a_local_module_travels_as_source(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("project/__init__.py", "N = 5\n")
    folder.write("project/near.py", "M = 7\n")
    text = (
        "from mapreduce import Job\nfrom . import N\nfrom .near import M\njob = Job(lambda r: [(r, N + M)])\n"
    )
    folder.write("project/counting.py", text)
    monkeypatch.syspath_prepend(str(folder.path))
    bundle = code.from_object(importlib.import_module("project.counting").job)
    assert (bundle["kind"], bundle["main"], bundle["attr"]) == ("source", "project/counting.py", "job")
    assert sorted(bundle["files"]) == ["project/__init__.py", "project/counting.py", "project/near.py"]
    bundle["directory"] = "/not/on/this/host"
    assert elsewhere(bundle, "list(map('a'))") == "[('a', 12)]"


def test_a_job_from_a_file_travels_as_that_file(folder: Folder) -> None:
    job, bundle = code.from_file(folder.write("wc.py", JOB))
    assert code.from_object(job) == {**bundle, "attr": "job"}


def test_closures_travel_by_pickle_with_their_local_modules(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("nearby.py", "def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(folder.path))
    nearby = importlib.import_module("nearby")
    offset = 3

    def mapper(record: Any) -> Iterator[Any]:
        yield record, nearby.double(record) + offset

    bundle = code.from_object(Job(mapper))
    assert (bundle["kind"], bundle["interpreter"]) == ("pickle", code.interpreter_tag())
    assert run_map(code.load(bundle), 1) == [(1, 5)]
    assert elsewhere(bundle, "list(map(1))") == "[(1, 5)]"


def test_functions_of_main_travel_by_pickle() -> None:
    text = JOB + "from mapreduce import code\nprint(code.from_object(job)['kind'])\n"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "pickle\n"


def test_what_cannot_be_pickled_is_named() -> None:
    class Lock:
        def __reduce__(self) -> Any:
            raise TypeError("cannot pickle 'Lock' object")

    lock = Lock()

    def guarded(record: Any) -> list[Any]:
        return [lock]

    with pytest.raises(JobError, match=r"map guarded cannot be sent: cannot pickle 'Lock'"):
        code.from_object(Job(guarded))


def test_a_pickle_of_another_python_is_refused() -> None:
    bundle = {**code.from_object(Job(lambda r: [])), "interpreter": "cp27"}
    with pytest.raises(JobError, match="pickled by cp27 and cannot be loaded by"):
        code.load(bundle)


def test_a_pickle_that_does_not_load_says_why() -> None:
    bundle = {"kind": "pickle", "interpreter": code.interpreter_tag(), "data": b"cnot_there\nx\n."}
    with pytest.raises(JobError, match="needs the module 'not_there', which is not installed"):
        code.load(bundle)
    with pytest.raises(JobError, match="cannot be loaded"):
        code.load({**bundle, "data": b"\x80"})


def test_large_closures_are_refused() -> None:
    ballast = b"x" * (9 * 1024 * 1024)
    with pytest.raises(JobError, match="more than 8 MiB"):
        code.from_object(Job(lambda r: [(r, len(ballast))]))


def test_the_tag_names_implementation_and_version() -> None:
    short = "pp" if hasattr(sys, "pypy_version_info") else "cp"
    assert code.interpreter_tag() == f"{short}{sys.version_info[0]}{sys.version_info[1]}"


def test_the_standard_library_is_known() -> None:
    assert all(map(is_standard, ["json", "sys", "concurrent", "_thread"]))
    assert not any(map(is_standard, ["msgpack", "mapreduce", "pytest", "no_such_thing"]))
