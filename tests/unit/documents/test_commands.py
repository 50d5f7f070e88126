"""Every command of the documents is in the table of how it is tested, and the table is true."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import shlex
from functools import cache
from pathlib import Path

import orjson
import pytest
from cyclopts import App, CycloptsError

from diffusion.cli import app
from diffusion.examples import commands as words_of
from diffusion.importing import plan
from infra.logs.forms import FIELDS
from infra.logs.json_form import BASE
from schemas.codec import EventDecoder
from schemas.events import ConversationEvent
from tests import documents
from tests.documented import (
    CODE,
    DEV_WORDS,
    MODULES,
    TABLE,
    Elsewhere,
    Reduced,
    Run,
    Started,
    Unrun,
)
from tests.unit.documents.checks import CHECKS

ROOT = Path(__file__).parents[3]
KNOWN: dict[str, App] = dict(words_of(app))

SAMPLES = {"FILE": "a.ndjson", "USER": "ann", "CONVERSATION": "sg_42", "N": "2"}
"""What stands for something in the text, and an example of it."""


def key(text: str) -> str:
    """As the table names it: one that goes on in the background is the same command."""
    return text.removesuffix("&").rstrip()


def is_export(text: str) -> bool:
    return text.startswith("export ")


def words(text: str) -> list[str]:
    """What the command line gets: of `./dev`, and of `diffusion` in the text."""
    text = re.sub(r"^source <\((.*)\)$", r"\1", text)
    parts = shlex.split(re.sub(r"\s>.*$", "", text))
    while re.fullmatch(r"[A-Z_]+=.*", parts[0]):
        parts = parts[1:]
    assert parts[0] in {"./dev", "diffusion"}, text
    return parts[1:]


def command_of(given: list[str]) -> str:
    """The longest words that are a command."""
    for count in range(len(given), 0, -1):
        if " ".join(given[:count]) in KNOWN:
            return " ".join(given[:count])
    raise KeyError(f"no command: {given}")


def options_of(command: App) -> set[str]:
    if command.default_command is None:
        return set()
    arguments = command.assemble_argument_collection()
    return {name for argument in arguments for name in argument.names}


@cache
def covered() -> set[str]:
    """Commands of the command line that are run somewhere."""
    return {command_of(words(text)) for text in TABLE if is_ours(text) and not is_dev_word(text)}


def is_ours(text: str) -> bool:
    return re.match(r"(?:source <\()?(?:[A-Z_]+=\S+ )*(\./dev|diffusion) ", text) is not None


def is_dev_word(text: str) -> bool:
    return words(text)[0] in DEV_WORDS


def test_documents_have_commands() -> None:
    assert {one.document for one in documents.commands()} >= {"README.md", "docs/start.md"}
    assert len(documents.commands()) > 50
    assert len(documents.mentions()) > 50


def test_every_command_of_a_block_is_in_the_table() -> None:
    missing = [
        f"{one.place}: {one.text}"
        for one in documents.commands()
        if not is_export(one.text) and key(one.text) not in TABLE
    ]
    assert missing == [], "say in tests/documented.py how it is tested"


def test_the_table_has_nothing_that_no_document_says() -> None:
    said = {key(one.text) for one in documents.commands()}
    said |= {re.sub(r"\bdiffusion (?=[a-z])", "./dev ", one.text) for one in documents.mentions()}
    assert set(TABLE) - said == set()


@pytest.mark.parametrize("text", [text for text in TABLE if is_ours(text)])
def test_a_command_of_a_block_parses(text: str) -> None:
    if not is_dev_word(text):
        app.parse_args(words(text), exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "text", sorted({one.text for one in documents.mentions() if is_ours(one.text)})
)
def test_a_command_in_the_text_exists_and_is_run_somewhere(text: str) -> None:
    """Options are held to those of the command; what stands for something is put in."""
    if is_dev_word(text):
        for name in words(text)[1:]:
            assert (ROOT / name).exists() or name == "serve" or name.startswith("--"), name
        return
    alternatives = [
        part.split("|") for part in words(text.replace("[", "").replace("]", "")) if part
    ]
    for given in itertools.product(*alternatives):
        parts = [SAMPLES.get(part, part) for part in given]
        command = command_of(parts)
        options = {part for part in parts if part.startswith("--")}
        known = options_of(KNOWN[command])
        assert options <= known
        assert any(run == command or run.startswith(f"{command} ") for run in covered()), (
            f"nothing runs `{command}`: say in tests/documented.py what does"
        )


def test_what_no_command_line_knows_would_be_found() -> None:
    for wrong in ("./dev bench growht", "./dev top --onec", "./dev dlq show changes x"):
        with pytest.raises((CycloptsError, KeyError)):
            app.parse_args(words(wrong), exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "name", sorted({one.text for one in documents.mentions() if one.text.startswith("python -m")})
)
def test_a_module_that_writes_files_is_there_and_its_files_are_tested(name: str) -> None:
    module = name.removeprefix("python -m ")
    package = f"{module}.__main__"
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.submodule_search_locations is None or importlib.util.find_spec(package) is not None
    assert (ROOT / MODULES[module]).is_file()


ELSEWHERE = [
    *((text, how) for text, how in TABLE.items() if isinstance(how, Elsewhere)),
    *DEV_WORDS.items(),
]


@pytest.mark.parametrize(("text", "how"), ELSEWHERE)
def test_the_test_that_runs_it_elsewhere_does(text: str, how: Elsewhere) -> None:
    file, _, function = how.test.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    if function:
        found = re.search(
            rf"^def {function}\(.*?(?=^(?:def|class|@)\s?|\Z)", source, re.MULTILINE | re.DOTALL
        )
        assert found is not None, f"{how.test} is not there any more"
        source = found[0]
    for one in how.words:
        assert one in source, f"{how.test} no longer has {one!r}: does it still run {text!r}?"


UNRUN = [(text, how) for text, how in TABLE.items() if isinstance(how, Unrun)]


@pytest.mark.parametrize(("text", "how"), UNRUN)
def test_what_cannot_be_run_names_what_is_there(text: str, how: Unrun) -> None:
    assert how.reason
    CHECKS[how.check](text)


@pytest.mark.parametrize(
    ("text", "how"), [(text, how) for text, how in TABLE.items() if isinstance(how, Reduced)]
)
def test_what_is_run_smaller_is_the_same_command_and_its_constants_are_there(
    text: str, how: Reduced
) -> None:
    given = how.arguments.format(traces="traces", folder="folder").split()
    app.parse_args(given, exit_on_error=False, print_error=False)
    assert command_of(given) == command_of(words(text))
    for name, smaller in how.constants.items():
        module, _, constant = name.rpartition(".")
        known = getattr(importlib.import_module(module), constant)
        assert type(known) is type(smaller) or isinstance(known, int | float) or callable(known)


def test_each_is_tested_in_one_way() -> None:
    assert {type(how) for how in TABLE.values()} == {Run, Started, Reduced, Elsewhere, Unrun}


def first_line(block: documents.Block) -> str:
    return f"{block.document}: {block.text.splitlines()[0]}"


def test_every_python_block_is_in_the_table_and_compiles() -> None:
    found = documents.blocks("python")
    assert {first_line(block) for block in found} == set(CODE), "tests/documented.py: CODE"
    for block in found:
        compile(block.text, block.document, "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT
    assert all(how == "run" or (ROOT / how).is_file() for how in CODE.values())


def test_every_json_block_is_what_it_says() -> None:
    found = documents.blocks("json")
    assert found
    for block in found:
        for line in block.text.splitlines():
            if block.document == "docs/import.md":
                assert list(plan.events(plan.decode(line.encode())))
            elif block.document == "docs/tracing.md":
                assert set(orjson.loads(line)) <= {*BASE, *FIELDS}, "a line of a log"
            else:
                told = EventDecoder(ConversationEvent).decode(line.encode())
                assert (len(told.events), told.rejected) == (1, ())
