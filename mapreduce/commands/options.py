"""Options that several subcommands share."""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar

import click

from mapreduce import config
from mapreduce.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

broker: Callable[[F], F] = click.option(
    "--broker", metavar="URL", default=None, help="amqp://user:password@host:port/vhost; also from MR_BROKER."
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
    default="text",
    show_default=True,
    help="Of the output; text is key<TAB>value.",
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
