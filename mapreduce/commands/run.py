"""`mr run`: one job from start to end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Optional

import click

from mapreduce import code
from mapreduce.commands import options
from mapreduce.errors import JobError, UsageError
from mapreduce.run import JobRun, Options
from mapreduce.spec import (
    DEFAULT_PARTITIONS,
    DEFAULT_SPLIT_BYTES,
    DEFAULT_TRIES,
    MAX_PARTITIONS,
    MIB,
    JobSpec,
)
from mapreduce.write import open_sink

_UNITS = {"": 1, "B": 1, "K": 1024, "KB": 1024, "KIB": 1024, "M": MIB, "MB": MIB, "MIB": MIB, "G": 1024 * MIB}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in some versions, in others not
    """A number of bytes: 1048576, 512K, 8M."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        digits = value.rstrip("BKMGIbkmgi")
        unit = _UNITS.get(value[len(digits) :].upper())
        if not digits.isdecimal() or unit is None or int(digits) * unit < 1:
            self.fail(f"{value!r} is not a size such as 8M or 65536")
        return int(digits) * unit


SECONDS = click.FloatRange(0, min_open=True)


@click.command(name="run")
@click.argument("job_file", metavar="JOB")
@click.argument("inputs", metavar="INPUT…", nargs=-1)
@options.broker
@click.option("--local", is_flag=True, help="On this machine, without a broker, even if MR_BROKER is set.")
@options.output
@options.output_format
@click.option(
    "-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="Set a parameter of the job."
)
@click.option(
    "-c", "--executors", type=click.IntRange(1), help="Processes, without a broker.  [default: one per core]"
)
@click.option(
    "-i",
    "--input",
    "input_format",
    metavar="FORMAT",
    help="lines, jsonl, csv, files or fixed:BYTES.  [default: the job's own, or lines]",
)
@click.option(
    "--encoding-errors",
    type=click.Choice(["strict", "replace", "latin-1"]),
    help="What to do with bytes that are not UTF-8.  [default: strict]",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, MAX_PARTITIONS),
    help=f"[default: the job's own, or {DEFAULT_PARTITIONS}]",
)
@click.option("--split-size", type=Size(), default=DEFAULT_SPLIT_BYTES, metavar="SIZE", help="[default: 8M]")
@click.option("--tries", type=click.IntRange(1), default=DEFAULT_TRIES, show_default=True, help="Per task.")
@click.option(
    "--shared", is_flag=True, help="The input's paths exist on the workers too: send references, not bytes."
)
@click.option("--interpreter", metavar="TAG", help="cp311, pp39, … or any.  [default: this one's]")
@click.option("--pool", default="default", show_default=True, help="Which workers.")
@click.option("--detach", is_flag=True, help="Print the job's id and leave once the input is in.")
@click.option(
    "--client-timeout",
    "client_timeout_secs",
    type=SECONDS,
    default=JobSpec.client_timeout_secs,
    show_default=True,
    metavar="SECONDS",
    help="Give the job up when this client is gone for so long.",
)
@click.option(
    "--expiry",
    "expiry_secs",
    type=SECONDS,
    default=JobSpec.expiry_secs,
    show_default=True,
    metavar="SECONDS",
    help="Keep the results of a detached job for so long.",
)
@click.option(
    "--retain",
    "retain_secs",
    type=click.FloatRange(0),
    default=JobSpec.retain_secs,
    show_default=True,
    metavar="SECONDS",
    help="Keep the job's log for so long after its results were fetched.",
)
@click.option("--counters", is_flag=True, help="Print the job's counters at the end, to standard error.")
def command(
    job_file: str,
    inputs: tuple[str, ...],
    broker: Optional[str],
    local: bool,
    output: Optional[str],
    output_format: str,
    params: tuple[str, ...],
    detach: bool,
    counters: bool,
    split_size: int,
    input_format: Optional[str],
    **others: Any,
) -> None:
    """Run the job in the file JOB over INPUT: files, folders, globs, URLs, or - for standard input.

    JOB is FILE.py, or FILE.py:NAME where the file holds several jobs.

    \b
    mr run jobs/wordcount.py data/*.txt
    mr run jobs/grep.py logs/ -p pattern=ERROR
    mr run jobs/flight_delays.py flights.csv.gz -o delays --format csv
    cat data.txt | mr run jobs/wordcount.py -
    mr run jobs/wordcount.py data/ --broker amqp://user:password@host/
    """
    if local and broker:
        raise UsageError("--local and --broker do not go together")
    url = None if local else options.broker_url(broker)
    if detach and not url:
        raise UsageError("--detach needs a broker: without one, the job lives in this process")
    if detach and output:
        raise UsageError("--detach and -o do not go together; fetch the output later: mr results JOB -o DIR")
    if not inputs:
        raise UsageError("no input: name files, folders, globs or URLs, or - for standard input")
    settings = Options(
        broker=url,
        params=dict(_split_param(text) for text in params),
        split_bytes=split_size,
        input=input_format,
        detached=detach,
        **others,
    )
    with _output_elsewhere():  # the job's file is imported here, and what it prints is no output
        job, bundle = code.from_file(job_file)
        prepare = JobRun.submit(job, bundle, inputs, settings)
    with prepare as run, open_sink(output, output_format) as sink:
        result = run.collect()
        if detach:
            click.echo(run.client.job)
            return
        sink.write(result.batches(), result.tasks)
        run.deliver()
    for name in sorted(result.counters) if counters else ():
        click.echo(f"{name}\t{result.counters[name]}", err=True)


def _split_param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise JobError(f"-p {text}: write NAME=VALUE")
    return name, value


@contextlib.contextmanager
def _output_elsewhere() -> Iterator[None]:
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
