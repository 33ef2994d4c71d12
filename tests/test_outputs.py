"""The output folder: whole or absent, and never mixed with what another run left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.errors import OutputError
from mapreduce.formats import SEAMLESS
from mapreduce.outputs import OutputDirectory
from mapreduce.refs import Block
from mapreduce.sort import PlainWriter
from mapreduce.write import open_sink
from tests.strategies import values


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_parts_and_success_appear_at_commit(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    with OutputDirectory(path) as output:
        output.write(0, b"a\t1\n")
        output.write(0, b"b\t2\n")
        output.write(1, b"")
        output.write(12, b"c\t3\n")
        assert not path.exists()
        output.commit()
    assert names(path) == ["_SUCCESS", "part-00000", "part-00001", "part-00012"]
    assert (path / "part-00000").read_bytes() == b"a\t1\nb\t2\n"
    assert (path / "part-00001").read_bytes() == b""
    assert (path / "_SUCCESS").read_bytes() == b""
    assert names(tmp_path) == ["counts"]


def test_a_job_without_parts_still_succeeds(tmp_path: Path) -> None:
    with OutputDirectory(tmp_path / "counts") as output:
        output.commit()
    assert names(tmp_path / "counts") == ["_SUCCESS"]


def test_nothing_is_left_without_commit(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), OutputDirectory(tmp_path / "counts") as output:
        output.write(0, b"half")
        assert len(names(tmp_path)) == 1
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_exists_is_refused_at_once(tmp_path: Path, make: object) -> None:
    path = tmp_path / "counts"
    make(path)  # type: ignore[operator]
    with pytest.raises(OutputError, match=r"counts exists already: remove it, or choose another folder"):
        OutputDirectory(path)
    assert names(tmp_path) == ["counts"]


def test_an_empty_name_is_not_taken_for_the_folder_at_hand() -> None:
    with pytest.raises(OutputError, match="has no name"):
        OutputDirectory("")


def test_parents_are_made(tmp_path: Path) -> None:
    with OutputDirectory(tmp_path / "a" / "b") as output:
        output.commit()
    assert names(tmp_path / "a") == ["b"]


def test_a_relative_path_is_of_the_folder_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with OutputDirectory("counts/") as output:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        output.commit()
    assert names(tmp_path) == ["counts", "elsewhere"]


def test_a_parent_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputError, match=r"cannot write the output to .*file/counts: (Not a directory|File exists)"
    ):
        OutputDirectory(tmp_path / "file" / "counts")


def test_who_comes_second_loses_and_leaves_the_first_alone(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    with OutputDirectory(path) as second:
        second.write(0, b"second")
        with OutputDirectory(path) as first:
            first.write(0, b"first")
            first.commit()
        with pytest.raises(OutputError, match="somebody else made it"):
            second.commit()
    assert names(tmp_path) == ["counts"]
    assert (path / "part-00000").read_bytes() == b"first"


def test_what_cannot_be_written_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    limited = f"""if 1:
        import resource
        from mapreduce.errors import OutputError
        from mapreduce.outputs import OutputDirectory
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with OutputDirectory({str(tmp_path / "counts")!r}) as output:
                output.write(0, bytes(100_000))
                output.commit()
        except OutputError as error:
            print(error, end="")
    """
    said = subprocess.run([sys.executable, "-c", limited], check=True, capture_output=True, text=True).stdout
    assert said == f"cannot write the output to {tmp_path}/counts: File too large"
    assert names(tmp_path) == []


def test_parts_come_in_order(tmp_path: Path) -> None:
    with OutputDirectory(tmp_path / "counts") as output:
        output.write(1, b"")
        with pytest.raises(ValueError, match="part 0 after part 1"):
            output.write(0, b"")


def test_permissions_are_those_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with OutputDirectory(tmp_path / "counts") as output:
        output.commit()
    assert (tmp_path / "counts").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_leftovers_of_a_killed_run_go_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    killed = f"""if 1:
        import os, signal
        from mapreduce.outputs import OutputDirectory
        output = OutputDirectory({str(path)!r})
        output.write(0, b"of the dead")
        output.write(7, b"of the dead")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    (leftover,) = names(tmp_path)
    with OutputDirectory(path) as living:
        assert leftover not in names(tmp_path)
        with OutputDirectory(path):
            assert len(names(tmp_path)) == 2
        living.write(0, b"of the living")
        living.commit()
    assert names(tmp_path) == ["counts"]
    assert names(path) == ["_SUCCESS", "part-00000"]


def test_a_folder_with_a_similar_name_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / ".counts.mrs").mkdir()
    (tmp_path / ".counts[0].mr-1").mkdir()
    with OutputDirectory(tmp_path / "counts") as output:
        output.commit()
    assert names(tmp_path) == [".counts.mrs", ".counts[0].mr-1", "counts"]


def written(directory: Path, pairs: list[Any], output: str, asked: str) -> Union[bytes, str]:
    """What the output file holds after an executor has written ``pairs`` as ``output``, or the error."""
    blocks: list[Block] = []
    writer = PlainWriter(str(directory), lambda _, block: blocks.append(block), output)
    writer.write(pairs)
    writer.close()
    assert sum(block.records for block in blocks) == len(pairs)
    try:
        with open_sink(str(directory / f"out-{output}")) as sink:
            sink.write([(0, blocks)] if blocks else [], 1, asked)
    except OutputError as error:
        return str(error)
    return (directory / f"out-{output}" / "part-00000").read_bytes()


@given(pairs=st.lists(st.tuples(values, values), max_size=30), asked=st.sampled_from(SEAMLESS))
def test_what_executors_have_formatted_is_what_the_client_would_have_written(
    pairs: list[Any], asked: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert written(Path(name), pairs, asked, asked) == written(Path(name), pairs, "", asked)


def test_output_in_one_format_is_not_to_be_had_in_another(tmp_path: Path) -> None:
    assert written(tmp_path, [("a", 1)], "text", "jsonl") == (
        "the job was submitted with --format text: its output is there in no other"
    )
