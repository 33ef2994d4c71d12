"""Options that several subcommands share."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import click

from mapreduce import config, units
from mapreduce.errors import JobFailed, MapReduceError, UsageError

if TYPE_CHECKING:
    from mapreduce.display.base import Display
    from mapreduce.run import Output

F = TypeVar("F", bound=Callable[..., Any])

_NOTHING = re.compile(r"0+(?:\.0+)?[SMHD]?", re.ASCII | re.IGNORECASE)
#: no more digits than anybody needs: Python converts no text of thousands of them
_TRIES = re.compile(r"(?:(\d{1,9})=)?(\d{1,9})", re.ASCII)

broker: Callable[[F], F] = click.option(
    "--broker", metavar="URL", default=None, help="amqp://user:password@host:port/vhost; also from MR_BROKER."
)
python: Callable[[F], F] = click.option(
    "--python",
    metavar="PYTHON",
    default=None,
    help="What runs the jobs' functions: pypy3, python3.12, or a path.  [default: this Python]",
)
output: Callable[[F], F] = click.option(
    "-o",
    "--output",
    metavar="DIR",
    default=None,
    help="Write part-00000 … and _SUCCESS into a new folder DIR.",
)
output_format: Callable[[F], F] = click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "jsonl", "csv", "msgpack"]),
    help="Of the output; text is key<TAB>value.  [default: what the job was submitted with, or text]",
)


def display(command: F) -> F:
    """What is shown of a job while it runs: `quiet`, `as_json` and `summary`, for `choose_display`."""
    for option in (
        click.option(
            "--summary/--no-summary",
            default=None,
            help="What it took, at the end.  [default: on a terminal, for jobs of more than two seconds]",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object an event, on standard error."),
        click.option("-q", "--quiet", is_flag=True, help="Nothing but errors on standard error."),
    ):
        command = option(command)
    return command


def choose_display(quiet: bool, as_json: bool, summary: Optional[bool]) -> Display:
    """By options, and by what standard error is. Raises `UsageError`."""
    if quiet and (as_json or summary):
        raise UsageError(f"-q shows nothing: it does not go with {'--json' if as_json else '--summary'}")
    from mapreduce.display.choice import for_command  # with half of the engine, which options do not need

    return for_command(quiet, as_json, summary)


@contextlib.contextmanager
def telling_errors(as_json: bool) -> Iterator[None]:
    """With ``as_json``, errors are events, too."""
    try:
        yield
    except MapReduceError as error:
        if as_json:
            from mapreduce.display.jsonlines import as_line

            details = error.details if isinstance(error, JobFailed) else ""
            fields = {"exit_code": error.exit_code, "text": str(error), "details": details}
            with contextlib.suppress(OSError):  # nobody reads it any more
                click.echo(as_line("error", time.time(), fields), err=True)
            error.told = True
        raise


def broker_url(given: Optional[str]) -> Optional[str]:
    """The broker that the user named, by option or environment; None: none."""
    return given or config.broker_url()


def required_broker_url(given: Optional[str]) -> str:
    """The same where there must be one. Raises `UsageError`."""
    url = broker_url(given)
    if not url:
        raise UsageError(
            "no broker: give --broker amqp://… or set MR_BROKER (`mr broker` starts a private one)"
        )
    return url


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in some versions, in others not
    """A number of bytes: 1048576, 512K, 8M."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return units.size(value)
        except ValueError as error:
            self.fail(str(error))


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """A number of seconds above 0: 90, 90s, 5m."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return units.seconds(value)
        except ValueError as error:
            self.fail(str(error))


class NonNegative(Seconds):
    """The same, or 0: 0, 0s."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        nothing = value == 0 or (isinstance(value, str) and _NOTHING.fullmatch(value.strip()))
        return 0.0 if nothing else super().convert(value, param, ctx)


class Tries(click.ParamType):  # type: ignore[type-arg]
    """N for all stages, as (None, N), or STAGE=N for one."""

    name = "tries"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Optional[int], int]:
        match = _TRIES.fullmatch(value)
        if match is None or int(match[2]) < 1:
            self.fail(f"{value[:70]!r} is neither N nor STAGE=N, as in 3 or 1=3; at least 1")
        return int(match[1]) if match[1] else None, int(match[2])


def tell_left_out(output: Output, display: Display) -> None:
    """Lines on standard error for what is not in the result."""
    from mapreduce.run import describe_left_out  # the whole engine, which options do not need

    display.remark([f"mr: {line}" for line in describe_left_out(output.skipped)])


@contextlib.contextmanager
def output_elsewhere() -> Iterator[None]:
    """Standard output goes where standard error goes, also for what writes to its descriptor."""
    if sys.stdout is not None:
        sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
