"""`mr completion`: what a shell needs to complete the commands of `mr`, their options, and the ids of jobs."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(name="completion")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script for SHELL (bash 4.4 or later, zsh, fish) that completes the commands of mr with the tab key.

    Commands and options are completed, and where a broker is named by MR_BROKER or --broker, ids of its jobs and names
    of its workers, too.

    \b
    mr completion bash > ~/.local/share/bash-completion/completions/mr
    mr completion zsh > ~/.zfunc/_mr                  in a folder of $fpath; then compinit
    mr completion fish > ~/.config/fish/completions/mr.fish
    eval "$(mr completion bash)"                      for this session alone
    """
    from mapreduce.commands.main import cli

    machinery = get_completion_class(shell)
    assert machinery is not None
    complete = machinery(cli, {}, "mr", "_MR_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
