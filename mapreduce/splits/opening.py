"""Opening what a segment refers to: local files and, through fsspec, URLs. Translates their errors.

A file that is read by reference is pinned: what was planned is what gets read, or the job is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, BinaryIO, cast

from mapreduce.errors import InputError, MapReduceError, UsageError
from mapreduce.refs import Segment
from mapreduce.shown import without_secrets
from mapreduce.splits.batches import PIECE_BYTES

_URL_BLOCK_BYTES = 1024 * 1024
#: what file systems call the thing that changes when a file does, best first
_VERSION_KEYS = (
    *("ETag", "etag", "e_tag", "md5Hash", "md5", "checksum", "crc32c", "Content-MD5", "Digest", "generation"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created"),
)


def is_url(path: str) -> bool:
    """Whether ``path`` is for fsspec: `s3://…`, `https://…`, chained ones such as `zip://a::s3://b`."""
    return "://" in path


def reason(error: BaseException) -> str:
    """What went wrong, without the number and the path that `str(OSError)` has."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def local_pin(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}"


def url_pin(info: Mapping[str, Any]) -> str:
    """Size and version, with what the version is called: a listing and a single look-up may know different ones."""
    version = next((f"{key}={_plain(info[key])}" for key in _VERSION_KEYS if info.get(key)), "")
    return f"{info.get('size')}:{version}"


def _url_pin_now(fs: Any, path: str, before: str) -> str:
    """The pin as ``before`` was made; the size alone where that version is not to be had any more."""
    fs.invalidate_cache()  # a worker lives long, and so do listings that fsspec keeps
    info = fs.info(path)
    key, _, version = before.partition(":")[2].partition("=")
    if info.get(key):
        version = _plain(info[key])
    return f"{info.get('size')}:" + (f"{key}={version}" if key else "")


def _plain(version: Any) -> str:
    return str(version.timestamp() if isinstance(version, datetime) else version).strip('"')


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for ``url``, and the path in it. Raises `UsageError`, `InputError`."""
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(
            f"{without_secrets(url)}: reading URLs needs a package: pip install fsspec"
        ) from error
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(without_secrets(f"{url}: {reason(error)}")) from error
    except Exception as error:  # each file system has its own errors
        raise InputError(without_secrets(f"{url}: {reason(error)}")) from error
    return fs, str(path)


@contextmanager
def opened(segment: Segment) -> Iterator[BinaryIO]:
    """The file that ``segment`` lies in, checked against its pin when it is opened and again at the end.

    Raises `InputError`, also for trouble while it is being read.
    """
    try:
        if is_url(segment.path):
            fs, path = file_system(segment.path)
            _check(segment, _url_pin_now(fs, path, segment.pin))
            # fsspec's own default is 5 MiB, too much to fetch for the look around a border
            with fs.open(path, "rb", block_size=_URL_BLOCK_BYTES) as file:
                yield cast(BinaryIO, file)
            _check(segment, _url_pin_now(fs, path, segment.pin))
        else:
            raw = open(segment.path, "rb", buffering=0)  # noqa: SIM115  # closed below, whatever it says to that
            try:
                _check(segment, local_pin(os.fstat(raw.fileno())))
                yield cast(BinaryIO, raw)
                _check(segment, local_pin(os.fstat(raw.fileno())))
            finally:
                with suppress(OSError):  # user code has closed its descriptor: what was read is read
                    raw.close()
    except MapReduceError:
        raise
    except FileNotFoundError as error:
        here = "" if segment.path == segment.name else f" ({segment.path} on this machine)"
        raise InputError(
            without_secrets(f"{segment.name}: the file is gone, or was never here{here}")
        ) from error
    except OSError as error:
        raise InputError(without_secrets(f"{segment.name}: cannot be read: {reason(error)}")) from error
    except Exception as error:
        if not is_url(segment.path):
            raise
        raise InputError(without_secrets(f"{segment.name}: cannot be read: {reason(error)}")) from error


def read_range(file: BinaryIO, start: int, end: int, name: str, chunk_bytes: int = 0) -> Iterator[bytes]:
    """Bytes ``start`` to ``end`` in chunks of up to ``chunk_bytes`` (0: `PIECE_BYTES`).

    Raises `InputError` if the file ends before.
    """
    file.seek(start)
    while start < end:
        chunk = file.read(min(chunk_bytes or PIECE_BYTES, end - start))
        if not chunk:
            text = (
                f"{without_secrets(name)}: changed since the job was submitted (shorter now); submit it again"
            )
            raise InputError(text)
        start += len(chunk)
        yield chunk


def _check(segment: Segment, pin: str) -> None:
    if segment.pin and segment.pin != pin:
        text = f"{without_secrets(segment.name)}: changed since the job was submitted; submit the job again"
        raise InputError(f"{text} (size and version were {segment.pin}, now {pin})")
