"""Tells others that a job has ended: a POST to URLs, a command for the user's own shell.

Nothing here changes how the job, or `mr`, has ended: what fails is a line for people. The POST is made with urllib: it
is one request, and httpx would be five more packages and a tenth of a second for everybody who installs this. Nothing
is followed elsewhere, neither to another scheme nor to another host: what is sent names files and records.
"""

from __future__ import annotations

import base64
import http.client
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Callable, Optional

from mapreduce import __version__, config
from mapreduce.errors import UsageError
from mapreduce.frozen import frozen
from mapreduce.shown import as_json, escaped, without_secrets

#: of one request, for each of connecting, sending and hearing
TIMEOUT_SECS = 5.0
#: between tries; so many and one more
PAUSES_SECS = (1.0, 2.0)
#: of all requests together, with their repeats
LIMIT_SECS = 20.0
#: a command that takes longer is said to run; there is no limit
PATIENCE_SECS = 5.0
#: of what a server says of itself
_TROUBLE_CHARS = 200
#: worth another try: too many requests, and what is the server's own trouble
_AGAIN = {429, 500, 502, 503, 504}


@frozen
class Ended:
    """How a job has ended, as its client saw it."""

    job: str
    name: str
    #: "done", "failed", "cancelled"; "lost": nobody knows how, it was given up, or its data is gone
    outcome: str
    cause: str  #: why there is no output, "" if there is
    exit_code: int  #: of `mr`
    secs: float
    summary: Optional[dict[str, Any]] = None  #: see `views.plain.summary_to_plain`

    def as_json(self, at: float) -> bytes:
        """The body of the POST. ``at``: seconds since the epoch."""
        fields = {
            "event": "job_ended",
            "at": at,
            "job": self.job,
            "name": self.name,
            "outcome": self.outcome,
            "cause": self.cause,
            "exit_code": self.exit_code,
            "secs": round(self.secs, 3),
            "summary": self.summary,
        }
        return as_json(fields).encode()

    def environment(self) -> dict[str, str]:
        """For the command."""
        return {
            "MR_JOB": self.job,
            "MR_OUTCOME": self.outcome,
            "MR_EXIT_CODE": str(self.exit_code),
            "MR_SECS": f"{self.secs:.1f}",
        }


def check_url(text: str) -> str:
    """The URL. Raises `UsageError` for what cannot be posted to."""
    try:
        parts = urllib.parse.urlsplit(text)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
        # as it is when it is looked up: each label has 1 to 63 characters
        (parts.hostname or "").encode("idna")
    except ValueError:
        fits = False
    if not fits or not text.isprintable() or " " in text:
        raise UsageError(f"--notify {without_secrets(text)[:200]!r}: not a URL such as https://host/path")
    return text


def post(urls: Sequence[str], ended: Ended) -> list[str]:
    """Tell all of them, at the same time; what went wrong, a line for each. Takes no longer than `LIMIT_SECS`."""
    body = ended.as_json(time.time())
    troubles: list[Optional[str]] = [f"no end of an answer in {LIMIT_SECS:.0f} s"] * len(urls)

    def tell(number: int, url: str) -> None:
        troubles[number] = _post(url, body)

    # daemons: who does not end in time is left behind
    threads = [threading.Thread(target=tell, args=each, daemon=True) for each in enumerate(urls)]
    deadline = time.monotonic() + LIMIT_SECS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [f"--notify {_shown(url)}: {trouble}" for url, trouble in zip(urls, troubles) if trouble]


def run_command(command: str, ended: Ended, tell: Callable[[str], object]) -> Optional[str]:
    """Run it in the user's shell, and wait for it; a line if it fails. What it prints is no output of the job's.

    ``tell`` is called, from another thread, with a line that says what is waited for, if it takes long.
    """
    environment = config.child_environment(ended.environment())
    long = threading.Timer(PATIENCE_SECS, tell, [f"the job has ended; waits for --on-done to end: {command}"])
    long.daemon = True
    long.start()
    try:
        code = subprocess.run(
            command, shell=True, stdin=subprocess.DEVNULL, stdout=2, env=environment, check=False
        ).returncode
    except (OSError, ValueError) as error:
        return f"--on-done: cannot run it: {error}"
    finally:
        long.cancel()
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return f"--on-done: the command has failed ({how}): {command}" if code else None


def _post(url: str, body: bytes) -> Optional[str]:
    trouble: Optional[str] = None
    for pause in (*PAUSES_SECS, None):
        trouble, again = _try(_request(url, body))
        if trouble is None or not again or pause is None:
            break
        time.sleep(pause)
    return _one_line(trouble) if trouble is not None else None


def _one_line(trouble: str) -> str:
    """Parts of it are a server's words, which may be long, and meant to steer a terminal."""
    line = escaped(" ".join(trouble.split()))
    return line if len(line) <= _TROUBLE_CHARS else f"{line[:_TROUBLE_CHARS]}…"


def _try(request: urllib.request.Request) -> tuple[Optional[str], bool]:
    """What went wrong, None if nothing; and whether it may go better the next time."""
    try:
        with _opener().open(request, timeout=TIMEOUT_SECS):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        where = error.headers.get("Location", "") if 300 <= error.code < 400 else ""
        moved = f", it has moved to {_shown(where)}" if where.isprintable() and where else ""
        return f"the server answers {error.code} {error.reason}{moved}", error.code in _AGAIN
    except urllib.error.URLError as error:
        return f"{error.reason}", True
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # of a proxy's URL nobody has checked the host
        return f"{type(error).__name__}: {error}", True


def _request(url: str, body: bytes) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    headers = {"Content-Type": "application/json", "User-Agent": f"mapreduce-amqp/{__version__}"}
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return urllib.request.Request(url, body, headers, method="POST")


def _opener() -> urllib.request.OpenerDirector:
    """Proxies as the environment has them; nothing that follows redirects or reads files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _shown(url: str) -> str:
    """Without what may be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "a place that is no URL"
    if not parts.netloc:
        return "another path"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"
