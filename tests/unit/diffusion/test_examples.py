"""Every command has examples, each is one that its own parser takes, and help fits a terminal."""

from __future__ import annotations

import io
import re
import shlex

import pytest
from cyclopts import App, CycloptsError
from rich.console import Console

from diffusion.cli import app
from diffusion.examples import EXAMPLES, attach, commands

COLUMNS = 80
COMMANDS = dict(commands(app))


def help_of(words: str) -> str:
    console = Console(width=COLUMNS, file=io.StringIO(), color_system=None)
    app.help_print(words.split(), console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def arguments(example: str) -> list[str]:
    """What a shell hands to the program: without what is set before it, and where it goes."""
    command, _, _ = example.partition("  #")
    command, _, _ = command.partition(" >")
    parts = shlex.split(command)
    at = parts.index("diffusion")
    assert all(re.fullmatch(r"DIFFUSION_[A-Z_]+=.+", part) for part in parts[:at])
    return parts[at + 1 :]


def test_the_commands_are_found() -> None:
    assert {"", "bench", "bench growth", "dlq show", "sync"} <= set(COMMANDS)


def test_every_command_has_examples_and_nothing_else_has() -> None:
    assert set(EXAMPLES) == set(COMMANDS), "diffusion.examples.EXAMPLES"


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_them_and_fits(words: str) -> None:
    text = help_of(words)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= COLUMNS
    assert "Examples:" in text
    for example in EXAMPLES[words]:
        assert f" {example}" in lines, "an example is one line, as it is typed"


@pytest.mark.parametrize(
    ("words", "example"), [(words, one) for words, some in EXAMPLES.items() for one in some]
)
def test_an_example_is_of_its_command_and_parses(words: str, example: str) -> None:
    given = arguments(example)
    assert " ".join(given).startswith(words)
    app.parse_args(given, exit_on_error=False, print_error=False)


def test_a_wrong_example_would_be_found() -> None:
    for wrong in (["bench", "growth", "--pages", "x"], ["dlq", "show", "changes", "x"], ["topp"]):
        with pytest.raises(CycloptsError):
            app.parse_args(wrong, exit_on_error=False, print_error=False)


def test_a_command_without_examples_still_runs() -> None:
    other = App(name="other")

    @other.command
    def lonely() -> None:
        pass

    attach(other)
    assert other["lonely"].help_epilogue is None
