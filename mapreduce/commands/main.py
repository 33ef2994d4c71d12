"""The command `mr`: finds the subcommand, runs it, turns errors into one line and an exit code.

Exit codes are those of the tree in `errors`; besides, 2 for a wrong option, 130 after Ctrl-C, 143 after SIGTERM, 141
when whoever read the output went away (as `sort | head` does). Subcommands are imported only when they are called.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, Optional

import click

from mapreduce import __version__, garbage, signals
from mapreduce.errors import JobFailed, MapReduceError, OutputError, ReaderGone
from mapreduce.shown import escaped

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: name -> (module, one line of help)
COMMANDS = {
    "run": (
        "mapreduce.commands.run",
        "Run a job over files; with --broker on all workers, else on this machine.",
    ),
    "worker": ("mapreduce.commands.worker", "Work on the jobs of a broker until stopped."),
    "broker": ("mapreduce.commands.broker", "Run a private RabbitMQ node, until Ctrl-C."),
    "status": ("mapreduce.commands.status", "How a job stands."),
    "logs": ("mapreduce.commands.logs", "What a job's code has printed, and what happened."),
    "attach": (
        "mapreduce.commands.attach",
        "Look on until a job has ended; write the output of a detached one.",
    ),
    "results": ("mapreduce.commands.results", "Wait for a detached job and write its output."),
    "retry": ("mapreduce.commands.retry", "Run what has failed of a job again, also with corrected code."),
    "debug": ("mapreduce.commands.debug", "Run a failed task here, and stop where it fails."),
    "cancel": ("mapreduce.commands.cancel", "End a job, from any host."),
    "jobs": ("mapreduce.commands.jobs", "The jobs of a broker, running or kept."),
    "workers": ("mapreduce.commands.workers", "The workers of a broker, and what each is doing."),
    "drain": ("mapreduce.commands.drain", "Tell a worker to finish and leave."),
    "dashboard": ("mapreduce.commands.dashboard", "All jobs and workers of a broker, in the browser."),
    "doctor": ("mapreduce.commands.doctor", "Look whether a broker and its workers are as they should be."),
    "completion": ("mapreduce.commands.completion", "Complete commands and jobs with the tab key."),
}


@contextlib.contextmanager
def _telling_that_the_reader_is_gone() -> Iterator[None]:
    """Raises `ReaderGone`. click, which would come to know of it next, ends the process with 1.

    Raises `OutputError` for what else keeps standard output from being written: a full disk, say.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone("whoever read the output went away") from error
    except OSError as error:
        if not _is_of_standard_output(error):
            raise
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _is_of_standard_output(error: OSError) -> bool:
    """Whether it was raised where text is printed. What is written as bytes has a check of its own, in `write`."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code is click.echo.__code__ and not frame.f_locals["err"] for frame in frames)


class Commands(click.Group):
    """Loads a subcommand's module when it is needed."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _telling_that_the_reader_is_gone():  # it has printed the help
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _telling_that_the_reader_is_gone():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> Optional[click.Command]:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        signals.unwind()  # from here on there may be something to clean up
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands; to import them all for that would take longer than people wait for a tab."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mr")
def cli() -> None:
    """MapReduce over AMQP: write map and reduce in Python, run them here or on every worker of a RabbitMQ.

    \b
    mr run jobs/wordcount.py data/*.txt             on this machine's cores
    mr broker                                       a private RabbitMQ; prints its URL
    mr worker --broker URL                          on as many hosts as you like
    mr run jobs/wordcount.py data/*.txt --broker URL
    """


def run() -> NoReturn:
    """All of `mr`, with its arguments in `sys.argv`."""
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # results are bytes, and text for people may be anything
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # ignored, as some parents leave it, it hides how children end
    garbage.seldom_collect(garbage.HOST)
    _leave_with(_run())


def _leave_with(status: int) -> NoReturn:
    """End the process, also if a job file has left threads behind that would keep it alive."""
    gc.freeze()  # nobody needs to look for garbage among all that there is: that takes longer than to leave it
    left = [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
    if not left:
        sys.exit(status)
    atexit._run_exitfuncs()  # temporary files go
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or its reader is gone
            stream.flush()
    os._exit(status)


def _open_standard_streams() -> None:
    """Closed ones lead nowhere. Else the next file opened, a pipe of ours say, would take their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(number, True)
        if number == 2:
            sys.stderr = open(number, "w", closefd=False)  # noqa: SIM115  # for as long as the process lives
    os.close(number)


def _run() -> int:
    try:
        status = cli.main(standalone_mode=False)
        return status if isinstance(status, int) else 0  # a command may end itself with a code of its own
    except MapReduceError as error:
        if not isinstance(error, ReaderGone) and not error.told:
            _tell(f"mr: {error}")
        if isinstance(error, JobFailed) and error.details and not error.told:
            _tell(f"\n{error.details.rstrip()}")
        if (
            isinstance(error, OutputError) and sys.stdout is not None
        ):  # Python would complain when it flushes standard output at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.exit_code
    except click.ClickException as error:
        if isinstance(
            error, getattr(click.exceptions, "NoArgsIsHelpError", ())
        ):  # newer than our oldest click
            error.show()
            return error.exit_code
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mr"
        _tell(f"mr: {' '.join(error.format_message().split())} ({path} --help)")
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        return 128 + signal.SIGINT


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone: its window was closed, say
        click.echo(escaped(text), err=True)
