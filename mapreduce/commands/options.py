"""Options that several subcommands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import click

from mapreduce import config, units
from mapreduce.errors import UsageError

if TYPE_CHECKING:
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


def tell_left_out(output: Output) -> None:
    """Lines on standard error for what is not in the result."""
    from mapreduce.run import describe_left_out  # the whole engine, which options do not need

    for line in describe_left_out(output.skipped):
        click.echo(f"mr: {line}", err=True)
