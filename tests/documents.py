"""What the documents tell people to type: commands of shell blocks, commands in the text, and code.

Documents are those of the site, the README among them (`infra.site.hook.documents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from infra.site import hook, links

ROOT = Path(__file__).parents[1]

_COMMENT = re.compile(r"\s+#\s.*$")
_INLINE = re.compile(r"`([^`]+)`")
_BEGINS = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:\./dev(?= )|diffusion(?= [a-z])|python -m(?= (?:infra|schemas|syncapi|streams)\b))"
)
_INDENTED = re.compile(r" {4}(\./dev .*)")


class Command(NamedTuple):
    """A command, and where it is."""

    text: str
    document: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass
class Block:
    """A fenced block."""

    document: str
    line: int
    language: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Without the indentation of a list that it may be in."""
        indents = [len(one) - len(one.lstrip()) for one in self.lines if one.strip()]
        cut = min(indents, default=0)
        return "\n".join(one[cut:] for one in self.lines) + "\n"


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """Fenced blocks of all documents, in their order."""
    found = []
    for document in hook.documents():
        block: Block | None = None
        for number, line in enumerate(links.lines(read(document)), 1):
            if not line.is_code:
                continue
            stripped = line.text.strip()
            if block is None:
                block = Block(document, number, stripped.lstrip("`~"))
            elif stripped in {"```", "~~~"}:
                found.append(block)
                block = None
            else:
                block.lines.append(line.text)
    return [one for one in found if not languages or one.language in languages]


def commands_of(block: Block) -> Iterator[Command]:
    """Commands of a shell block, or those of a session, which begin with `$`. A loop is one."""
    loop: list[str] = []
    begun = 0
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        text = line.strip()
        if block.language != "sh":
            if not text.startswith("$ "):
                continue
            text = text.removeprefix("$ ")
        text = _COMMENT.sub("", text)
        if not text or text.startswith("#"):
            continue
        if text.startswith("for ") or loop:
            begun = begun if loop else number
            loop.append(text)
            if text == "done":
                yield Command("\n".join(loop), block.document, begun)
                loop = []
            continue
        yield Command(text, block.document, number)
    assert not loop, f"{block.document}: a loop without an end"


@cache
def shell_blocks() -> list[tuple[Block, list[Command]]]:
    """Blocks with commands."""
    found = [(block, list(commands_of(block))) for block in blocks()]
    return [(block, commands) for block, commands in found if commands]


@cache
def commands() -> list[Command]:
    """All commands that stand by themselves: of shell blocks, of sessions, and indented ones."""
    found = [one for _, some in shell_blocks() for one in some]
    for document in hook.documents():
        for number, line in enumerate(links.lines(read(document)), 1):
            indented = None if line.is_code else _INDENTED.fullmatch(line.text)
            if indented:
                found.append(Command(indented[1], document, number))
    return found


@cache
def mentions() -> list[Command]:
    """Commands in the text."""
    found = []
    for document in hook.documents():
        # Of the whole text, because a command may go on in the next line; without what is in fences.
        lines = links.lines(read(document))
        text = "\n".join("" if one.is_code else one.text for one in lines)
        for match in _INLINE.finditer(text):
            words = " ".join(match[1].split())
            if _BEGINS.match(words):
                number = text.count("\n", 0, match.start()) + 1
                found.append(Command(words, document, number))
    return found
