"""`mr dashboard`: all jobs and workers of a broker in the browser."""

from __future__ import annotations

import signal
import sys
import webbrowser
from typing import Optional

import click

from mapreduce.commands import options
from mapreduce.effects import Report

PORT = 8990


@click.command(name="dashboard")
@options.broker
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--open", "browse", is_flag=True, help="Show the page in the browser; it asks for the token.")
def command(broker: Optional[str], port: int, host: str, browse: bool) -> None:
    """Serve a page with all jobs and workers of the broker, until Ctrl-C; prints its address.

    On loopback whoever uses this machine may read; to cancel a job takes the token, which the printed link holds. On
    any other address everything takes the token. Nothing is encrypted on the way: over a network that you do not
    trust, leave --host alone and use `ssh -L 8990:127.0.0.1:8990`. /metrics is for Prometheus.

    \b
    mr dashboard --broker amqp://user:password@host/
    mr dashboard --open                          with MR_BROKER set
    mr dashboard --host 0.0.0.0 --port 9000      for other hosts, with the token
    """
    # Late: Starlette and uvicorn take their time, which no other command must pay.
    from mapreduce.dashboard import server
    from mapreduce.dashboard.security import new_token
    from mapreduce.dashboard.watcher import Watcher

    url = options.required_broker_url(broker)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    token = new_token()
    listener = server.listen(host, port)
    watcher = Watcher(url, _report)

    def ready() -> None:
        link = server.link(listener, host, token)
        click.echo(link)
        if browse:
            # without the token: a command line, as that of the browser, can be read by whoever uses this machine
            webbrowser.open(link.partition("#")[0])

    problem = None
    try:
        watcher.start()
        problem = server.serve(watcher, listener, host, token, ready)
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        watcher.close()
    if problem is not None:
        raise problem


def _report(said: Report) -> None:
    click.echo(f"mr: {said.text}", err=True)
