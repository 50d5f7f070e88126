"""The examples of the documentation run: those of the docstrings, and those of the SDK's page."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from sdk.client import SyncClient, aio, client, local, metrics
from tests.unit.sdk.client.http_server import ModelHttp
from tests.unit.sdk.client.support import ModelServer

ROOT = Path(__file__).parents[4]
TOKEN = "e30.eyJzdWIiOiJib2IifQ.x"
"""Says that it is bob's, and is signed by nobody."""

MODULES = (client, local, aio, metrics)
EXPECTED = 9
URL_OF_EXAMPLES = "https://sync.example.com"


class Enough(BaseException):
    """Ends an example that would go on for ever."""


def examples() -> Iterator[doctest.DocTest]:
    """Examples of a module, whose imports they see; `inspect` finds a class where it is defined."""
    for module in MODULES:
        for found in doctest.DocTestFinder(recurse=True).find(module, module.__name__):
            if found.examples:
                yield found


def test_there_are_examples() -> None:
    assert len(list(examples())) >= EXPECTED


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What examples may use: a server with two conversations, and a client that is up to date."""
    monkeypatch.chdir(tmp_path)
    model = ModelServer()
    model.change("si_ann_bob", max_seq=2, read_seq=2)
    model.change("sg_hikers", max_seq=3)
    with ModelHttp(model) as server, SyncClient(server.url, token=TOKEN, store="held.db") as held:
        held.sync()
        yield {
            "asyncio": asyncio,
            "SyncClient": SyncClient,
            "url": server.url,
            "token": TOKEN,
            "client": held,
            "pull_messages": lambda conversation_id: print("pulled", conversation_id),
        }


@pytest.mark.parametrize("example", list(examples()), ids=lambda found: found.name)
def test_examples_of_docstrings(example: doctest.DocTest, world: dict[str, Any]) -> None:
    example.globs.update(world)
    said: list[str] = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run(code: CodeType, world: dict[str, Any]) -> None:
    result = eval(code, world)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(result)


@pytest.mark.parametrize("page", ["sdk/README.md", "README.md"])
def test_examples_of_pages(page: str, world: dict[str, Any]) -> None:
    """Each runs to the first change that it processes."""
    pulled: list[str] = []

    def pull_messages(conversation_id: str) -> Any:
        pulled.append(conversation_id)
        raise Enough

    ran = 0
    for block in blocks(page):
        if "SyncClient(" not in block:
            continue  # what a backend does is tested against a real Kafka
        world["pull_messages"] = pull_messages
        text = block.replace(URL_OF_EXAMPLES, world["url"])
        assert text != block
        code = compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with pytest.raises(Enough):
            run(code, world)
        Path("im.db").unlink()
        ran += 1
    assert ran >= 1
    assert pulled == ["sg_hikers"] * ran
