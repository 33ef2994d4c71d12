"""What the commands of `mr` say of themselves: --help with examples, docs/commands.md with all of them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mapreduce import config, errors
from mapreduce.commands.main import COMMANDS, cli

DOCS = (Path(__file__).parent.parent / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples(name: str) -> None:
    context = click.Context(cli, info_name="mr")
    command = cli.get_command(context, name)
    assert command is not None
    shown = command.get_help(click.Context(command, parent=context, info_name=name)).partition("\nOptions:")[
        0
    ]
    usage, _, text = shown.partition("\n\n")
    assert usage.startswith(f"Usage: mr {name}")
    assert re.search(rf"(?m)^ +(?:.*[ (])?mr {name}\b", text), shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_examples(name: str) -> None:
    _, heading, section = DOCS.partition(f"\n## mr {name}\n")
    assert heading, f"docs/commands.md has no section on mr {name}"
    section = section.partition("\n## ")[0]
    example = rf"(?m)^\$ (?:.*[ (])?mr {name}\b"
    assert re.search(example, section), f"the section on mr {name} in docs/commands.md has no example"


def test_there_is_no_section_on_anything_else() -> None:
    assert sorted(re.findall(r"(?m)^## mr (.+)$", DOCS)) == sorted(COMMANDS)


def test_every_variable_is_explained() -> None:
    table = DOCS.partition("\n## Environment\n")[2].partition("\n## ")[0]
    known = set(re.findall(r"\bMR_[A-Z_]+", config.__doc__ or ""))
    assert known and known == set(re.findall(r"`(MR_[A-Z_]+)`", table))


def test_every_exit_code_is_explained() -> None:
    kinds = [errors.MapReduceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.exit_code for kind in kinds} | {0, 2, 130, 143}  # the latter: those of signals.py
    table = DOCS.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    assert codes == {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)}
