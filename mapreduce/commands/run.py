"""`mr run`: one job from start to end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, Optional

import click

from mapreduce import code, interpreters, spawn
from mapreduce.commands import options
from mapreduce.commands.ending import AtEnd, at_end_options
from mapreduce.commands.options import NonNegative, Seconds, Size, Tries
from mapreduce.errors import JobError, JobFailed, UsageError
from mapreduce.shown import escaped
from mapreduce.spec import (
    DEFAULT_KEEP_SECS,
    DEFAULT_PARTITIONS,
    DEFAULT_SPLIT_BYTES,
    DEFAULT_TRIES,
    MAX_PARTITIONS,
    JobSpec,
)

if TYPE_CHECKING:
    from mapreduce.display.base import Display
    from mapreduce.run import JobRun

#: what can be said of a job that was submitted before
_WITH_RESUME = {
    "job_file", "inputs", "resume", "broker", "output", "output_format", "counters", "quiet", "as_json", "summary",
    "notify", "on_done",
}  # fmt: skip


@click.command(name="run")
@click.argument("job_file", metavar="JOB", required=False)
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
@click.option(
    "--tries",
    type=Tries(),
    multiple=True,
    metavar="N",
    help=f"Per task; STAGE=N for one stage, repeatable.  [default: the job's own, or {DEFAULT_TRIES}]",
)
@click.option(
    "--skip-bad",
    type=click.IntRange(0),
    metavar="N",
    help="Leave out up to N records on which the job's functions fail.  [default: the job's own, or 0]",
)
@click.option(
    "--task-timeout", type=Seconds(), metavar="TIME", help="For one try: 90, 90s, 5m.  [default: none]"
)
@click.option("--max-memory", type=Size(), metavar="SIZE", help="Of one process: 300M, 2G.  [default: none]")
@click.option("--no-copies", is_flag=True, help="Never run a slow task a second time beside the first.")
@click.option(
    "--shared", is_flag=True, help="The input's paths exist on the workers too: send references, not bytes."
)
@click.option(
    "--shared-dir",
    metavar="DIR",
    help="A folder that the workers see too: what tasks write goes there, not through the broker.  "
    "[default: MR_SHARED_DIR, or none]",
)
@options.python
@click.option(
    "--interpreter",
    metavar="TAG",
    help="Which workers' Python: cp311, pp39, … or any.  [default: that of --python, or this one's]",
)
@click.option("--pool", default="default", show_default=True, help="Which workers.")
@click.option("--detach", is_flag=True, help="Print the job's id and leave once the input is in.")
@click.option("--resume", metavar="JOB", help="Go on with the job JOB (its id), whose client died.")
@click.option(
    "--client-timeout",
    "client_timeout_secs",
    type=Seconds(),
    default=JobSpec.client_timeout_secs,
    show_default=True,
    metavar="TIME",
    help="Give the job up when this client is gone for so long.",
)
@click.option(
    "--expiry",
    "expiry_secs",
    type=Seconds(),
    default=JobSpec.expiry_secs,
    show_default=True,
    metavar="TIME",
    help="Keep the results of a detached job for so long.",
)
@click.option(
    "--retain",
    "retain_secs",
    type=NonNegative(),
    metavar="TIME",
    help="Keep the job's log for so long after its results were fetched.  [default: MR_RETAIN, or 10m]",
)
@click.option(
    "--keep",
    "keep_secs",
    type=NonNegative(),
    metavar="TIME",
    help="Keep all of the job for so long after it has failed: mr debug, mr retry.  [default: MR_KEEP, or 1h]",
)
@click.option(
    "--debug",
    is_flag=True,
    help="Without a broker: when the job has failed, stop in pdb where its code did. With one: mr debug.",
)
@click.option("--profile", is_flag=True, help="Print each stage's hottest lines at the end.")
@click.option("--counters", is_flag=True, help="Print the job's counters at the end, to standard error.")
@at_end_options
@options.display
@click.pass_context
def command(
    context: click.Context,
    /,
    job_file: Optional[str],
    inputs: tuple[str, ...],
    broker: Optional[str],
    local: bool,
    output: Optional[str],
    output_format: Optional[str],
    detach: bool,
    resume: Optional[str],
    counters: bool,
    debug: bool,
    notify: tuple[str, ...],
    on_done: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    summary: Optional[bool],
    **settings: Any,
) -> None:
    """Run the job in the file JOB over INPUT: files, folders, globs, URLs, or - for standard input.

    JOB is FILE.py, or FILE.py:NAME where the file holds several jobs.

    \b
    mr run jobs/wordcount.py data/*.txt
    mr run jobs/grep.py logs/ -p pattern=ERROR
    mr run jobs/flight_delays.py flights.csv.gz -o delays --format csv
    cat data.txt | mr run jobs/wordcount.py -
    mr run jobs/wordcount.py data/ --broker amqp://user:password@host/
    mr run jobs/wordcount.py data/ --profile
    mr run jobs/wordcount.py data/ -o counts --on-done 'mail -s "$MR_JOB $MR_OUTCOME" me < /dev/null'
    mr run --resume wordcount-1f2e3d4c
    """
    with options.telling_errors(as_json), contextlib.ExitStack() as stack:

        def show() -> Display:
            return stack.enter_context(options.choose_display(quiet, as_json, summary))

        at_end = stack.enter_context(AtEnd(notify, on_done, detach))
        if local and broker:
            raise UsageError("--local and --broker do not go together")
        if debug and not local and options.broker_url(broker):
            raise UsageError(
                "--debug is for a job on this machine (--local); of one on a broker: mr debug JOB"
            )
        if resume is not None:
            given = () if job_file is None else (job_file, *inputs)
            prepare = _resume(context, resume, given, broker, output, output_format or "", show)
        else:
            url = None if local else options.broker_url(broker)
            if detach and not url:
                raise UsageError("--detach needs a broker: without one, the job lives in this process")
            if detach and output:
                raise UsageError(
                    "--detach and -o do not go together; fetch the output later: mr results JOB -o DIR"
                )
            if debug:  # else nothing is left to look into
                settings["keep_secs"] = DEFAULT_KEEP_SECS
            prepare = _submit(job_file, inputs, url, detach, output_format or "", show, **settings)
        from mapreduce.write import open_sink

        at_end.follow(prepare)
        with prepare as run, open_sink(output) as sink:
            with _debugging(run, debug):
                result = run.collect()
            if run.client.detached:
                click.echo(run.client.job)
                return
            sink.write(result.parts, result.tasks, run.output_format)
            run.deliver()
        options.tell_left_out(result, run.display)
        for name in sorted(result.counters) if counters and not as_json else ():
            click.echo(f"{escaped(name)}\t{result.counters[name]}", err=True)


def _resume(
    context: click.Context,
    job: str,
    inputs: tuple[str, ...],
    broker: Optional[str],
    output: Optional[str],
    output_format: str,
    show: Callable[[], Display],
) -> JobRun:
    given = click.core.ParameterSource.COMMANDLINE
    for param in context.command.params:
        name = param.name or ""
        if name not in _WITH_RESUME and context.get_parameter_source(name) is given:
            text = f"--resume goes on with a job as it was submitted: {param.opts[-1]} does not go with it"
            raise UsageError(text)
    url = options.required_broker_url(broker)
    from mapreduce.census import find_job  # as in `_submit`
    from mapreduce.run import JobRun

    return JobRun.resume(find_job(url, job), inputs, url, output is not None, output_format, show())


def _submit(
    job_file: Optional[str],
    inputs: tuple[str, ...],
    url: Optional[str],
    detach: bool,
    output_format: str,
    show: Callable[[], Display],
    params: tuple[str, ...],
    split_size: int,
    input_format: Optional[str],
    tries: tuple[tuple[Optional[int], int], ...],
    no_copies: bool,
    **others: Any,
) -> JobRun:
    if job_file is None:
        raise UsageError("no job: mr run JOB INPUT…, as in mr run wordcount.py data/*.txt")
    if not inputs:
        raise UsageError("no input: name files, folders, globs or URLs, or - for standard input")
    # before the job's file is imported, which may change our environment and our folder: executors begin with these
    interpreter = interpreters.find(others["python"])
    if not url:
        spawn.ahead(interpreter)
    # only now: an executor imports its half of the engine while we import ours
    from mapreduce.formats import DEFAULT
    from mapreduce.run import JobRun, Options

    settings = Options(
        broker=url,
        params=dict(_split_param(text) for text in params),
        split_bytes=split_size,
        input=input_format,
        tries=dict(tries) if tries else None,
        copies=not no_copies,
        detached=detach,
        **others,
    )
    display = show()
    with options.output_elsewhere():  # the job's file is imported here, and what it prints is no output
        job, bundle = code.from_file(job_file)
        return JobRun.submit(job, bundle, inputs, settings, output_format or DEFAULT, interpreter, display)


@contextlib.contextmanager
def _debugging(run: JobRun, wanted: bool) -> Iterator[None]:
    """Stops in the debugger when the job has failed."""
    try:
        yield
        return
    except JobFailed as error:
        if not wanted:
            raise
        failed = error
    from mapreduce import debugging  # late: only here

    click.echo(f"mr: {failed}", err=True)
    failed.told = True
    debugging.debug_run(run)
    raise failed


def _split_param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise JobError(f"-p {text}: write NAME=VALUE")
    return name, value
