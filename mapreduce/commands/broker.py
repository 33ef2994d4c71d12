"""`mr broker`: a private RabbitMQ node in one command."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Optional

import click

from mapreduce import config
from mapreduce.node import PrivateNode


@click.command(name="broker")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: a free one]")
@click.option(
    "--dir", "directory", metavar="DIR", help="Where it keeps its data.  [default: in your data folder]"
)
def command(port: Optional[int], directory: Optional[str]) -> None:
    """Run a RabbitMQ node of your own on loopback; print its URL; stop with Ctrl-C.

    Needs RabbitMQ 3.9 or later to be installed (Debian: apt install rabbitmq-server); no root, no service. Data and
    password stay in its folder, so that a restart with the same port has the same URL.

    \b
    mr broker --port 5673
    export MR_BROKER=$(cat ~/.local/share/mapreduce/broker/url)
    """
    node = PrivateNode(Path(directory) if directory else config.data_dir() / "broker", port)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        node.start()
        click.echo(node.url)
        node.wait()
    except KeyboardInterrupt:
        pass
    finally:
        node.stop()
