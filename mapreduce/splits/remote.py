"""Listing URLs through fsspec: objects, folders and patterns in buckets, files of web servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapreduce.errors import InputError, MapReduceError
from mapreduce.shown import without_secrets
from mapreduce.splits.input_file import InputFile
from mapreduce.splits.opening import file_system, reason, url_pin


def list_url(url: str) -> list[InputFile]:
    """The object, all objects of a folder, or all that match a pattern, sorted. Raises `InputError`."""
    fs, path = file_system(url)
    fs.invalidate_cache()
    try:
        found = _find(fs, path, url)
        if not found:
            raise InputError(f"{without_secrets(url)}: nothing is there, or no file matches the pattern")
        return [_file(fs, name, info) for name, info in sorted(found.items())]
    except MapReduceError:
        raise
    except FileNotFoundError as error:
        # fsspec calls it that too when a server cannot be reached; the cause tells
        cause = f" ({reason(error.__cause__)})" if error.__cause__ else ""
        raise InputError(without_secrets(f"{url}: there is no such file or folder{cause}")) from error
    except Exception as error:  # each file system has its own errors
        raise InputError(without_secrets(f"{url}: cannot be read: {reason(error)}")) from error


def _find(fs: Any, path: str, url: str) -> dict[str, Mapping[str, Any]]:
    """URL → what the file system knows of it."""
    pattern = "*" in path or (not _is_web(url) and any(sign in path for sign in "?["))
    try:
        info = fs.info(path)
    except FileNotFoundError:
        if not pattern:
            raise
        info = {}
        listed = fs.glob(path, detail=True)
    else:
        if info.get("type") != "directory":
            return {url: info}
        listed = fs.find(path, detail=True)
    kept = {name: info for name, info in listed.items() if info.get("type") != "directory"}
    prefix = path if info else path.partition("*")[0].rpartition("/")[0]
    return {fs.unstrip_protocol(name): i for name, i in kept.items() if not _hidden(name, prefix)}


def _hidden(name: str, folder: str) -> bool:
    below = name[len(folder) :] if name.startswith(folder) else name.rpartition("/")[2]
    return any(part.startswith(".") or part == "_SUCCESS" for part in below.split("/"))


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _file(fs: Any, url: str, info: Mapping[str, Any]) -> InputFile:
    if info.get("size") is None or (_is_web(url) and not _knows_ranges(fs, url, info)):
        return InputFile(url, url, 0, stream=True)
    return InputFile(url, url, int(info["size"]), url_pin(info))


def _knows_ranges(fs: Any, url: str, info: Mapping[str, Any]) -> bool:
    """Whether the web server gives a part of a file. It need not say so, and many that cannot are silent
    too."""
    if info["size"] < 2:
        return True
    try:
        with fs.open(url, "rb", block_size=1) as file:
            file.seek(info["size"] - 1)
            return len(file.read(1)) == 1
    except ValueError:
        return False
