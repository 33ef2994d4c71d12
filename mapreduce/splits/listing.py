"""From what the user names (files, folders, patterns, URLs, "-") to a list of files.

Only the listing itself is asked: no file is opened, but for those that say they are empty (as all do in /proc). An
input that is named twice is read twice.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapreduce.errors import InputError, UsageError
from mapreduce.splits.input_file import InputFile
from mapreduce.splits.opening import is_url, local_pin, reason
from mapreduce.splits.remote import list_url

STANDARD_INPUT = "<stdin>"
#: a file that jobs leave beside their output, no data
_SUCCESS_MARKER = "_SUCCESS"


def list_inputs(inputs: Sequence[str], directory: str = "") -> list[InputFile]:
    """All files, in the order of ``inputs``, sorted within each. Raises `InputError`, `UsageError`.

    ``directory``: where relative names start from, if not here; files are still called by their relative names.
    """
    if not inputs:
        raise UsageError("no input; name files, folders, patterns or URLs, or - for standard input")
    for name in inputs:
        if not isinstance(name, str):
            raise UsageError(f"an input is the name of a file or folder, a pattern or a URL, not {name!r}")
    if list(inputs).count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    return [file for name in inputs for file in _list_from(directory, name)]


def digest(files: Sequence[InputFile]) -> str:
    """What tells one listing from another: "FILES:BYTES:DIGEST"; "" if some of it can be read once only."""
    if any(file.stream for file in files):
        return ""
    lines = "".join(f"{file.name}\0{file.path}\0{file.size}\0{file.pin}\n" for file in files)
    import hashlib  # late: with it comes OpenSSL, and executors do not list

    known = hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{len(files)}:{sum(file.size for file in files)}:{known}"


def _list_from(directory: str, name: str) -> list[InputFile]:
    if not directory or name == "-" or is_url(name) or os.path.isabs(name):
        return _list_one(name)
    start = os.path.join(directory, "")
    return [replace(file, name=file.name[len(start) :]) for file in _list_one(start + name)]


def _list_one(name: str) -> list[InputFile]:
    if name == "-":
        return [InputFile(STANDARD_INPUT, "-", 0, stream=True)]
    if is_url(name):
        return list_url(name)
    if glob.has_magic(name) and not os.path.lexists(name):
        return _list_pattern(name)
    status = _status(name)
    if stat.S_ISDIR(status.st_mode):
        files = sorted(_walk(name, ((status.st_dev, status.st_ino),)), key=lambda file: file.name)
        if not files:
            raise InputError(f"{name}: the folder holds no files (hidden ones do not count)")
        return files
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        return [InputFile(name, os.path.abspath(name), 0, stream=True)]
    return [_regular(name, status)]


def _list_pattern(pattern: str) -> list[InputFile]:
    matches = sorted(glob.glob(pattern, recursive=True))
    found: dict[str, InputFile] = {}  # with **, a file is found by itself and in its folder
    for match in matches:
        if os.path.basename(match) == _SUCCESS_MARKER:
            continue
        status = _status(match)
        if stat.S_ISDIR(status.st_mode):
            files = _walk(match, ((status.st_dev, status.st_ino),))
            found.update((os.path.normpath(file.name), file) for file in files)
        else:
            found.setdefault(os.path.normpath(match), _regular(match, status))
    if not found:
        raise InputError(f"{pattern}: no file matches this pattern")
    return [found[name] for name in sorted(found)]


def _walk(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[InputFile]:
    """The files in a folder and below it. ``above``: the folders on the way, to notice loops."""
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read: {reason(error)}") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name == _SUCCESS_MARKER:
            continue
        status = _status(entry.path)
        if not stat.S_ISDIR(status.st_mode):
            yield _regular(entry.path, status)
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise InputError(f"{entry.path}: this link leads back to a folder above it; remove it")
        yield from _walk(entry.path, (*above, here))


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        text = "the link leads to nothing" if os.path.islink(path) else "there is no such file or folder"
        raise InputError(f"{path}: {text}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def _regular(name: str, status: os.stat_result) -> InputFile:
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name}: is neither a file nor a folder")
    if not os.access(name, os.R_OK):
        raise InputError(f"{name}: cannot be read: permission denied")
    if status.st_size == 0 and _holds_something(name):
        return InputFile(name, os.path.abspath(name), 0, stream=True)
    return InputFile(name, os.path.abspath(name), status.st_size, local_pin(status))


def _holds_something(path: str) -> bool:
    """Whether a file whose size is 0 is empty: what the kernel makes up has no size."""
    try:
        with open(path, "rb", buffering=0) as file:
            return bool(file.read(1))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
