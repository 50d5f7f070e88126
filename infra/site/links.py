"""Where the links of a document lead on the site. Pure: texts in, texts out.

A document is read in two places: as a file of the repository, where its links are paths beside it,
and as a page of the site. Links are written for the first; here they become those of the second. A
link to a document leads to its page, and a link to a file of the source, or to a folder of it, to a
page that shows it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

DOCS: Final = "docs"
"""The folder that MkDocs reads by itself."""

DOCUMENTS: Final = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "schemas/PROTOCOL.md": "protocol.md",
    "sdk/README.md": "sdk.md",
}
"""Documents that are elsewhere -> their page."""

SOURCE: Final = "source"
"""The folder of the site with pages that show source."""

_LINK: Final = re.compile(r"(!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()([^()\s]+)(\))")
_PICTURE: Final = re.compile(r'(\b(?:src|srcset)=")([^"\s]+)(")')
"""Of HTML in a document: a picture for dark pages can be named in no other way."""

_CODE: Final = re.compile(r"(`+)(?:(?!\1).)+\1")
_FENCE: Final = re.compile(r"\s*(```|~~~)")


class Line(NamedTuple):
    """A line of a document."""

    text: str
    is_code: bool
    """In a fence, or one of its ends."""


def lines(text: str) -> Iterator[Line]:
    """The lines of a document, those of fenced code marked."""
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
            yield Line(line, is_code=True)
        else:
            yield Line(line, is_code=bool(fence))
            if found and found[1] == fence:
                fence = ""


def targets(text: str) -> Iterator[str]:
    """What the links of a document name, without those in code."""
    found: list[str] = []

    def collected(target: str) -> str:
        found.append(target)
        return target

    translated(text, collected)
    yield from found


def translated(text: str, translate: Callable[[str], str]) -> str:
    """The document with each link's target replaced; code stays as it is."""

    def in_line(line: str) -> str:
        for kind in (_PICTURE, _LINK):
            line = kind.sub(partial(replaced, _code_in(line)), line)
        return line

    def replaced(code: list[tuple[int, int]], found: re.Match[str]) -> str:
        if any(begin < found.start() < end for begin, end in code):
            return found[0]
        return f"{found[1]}{translate(found[2])}{found[3]}"

    return "\n".join(one.text if one.is_code else in_line(one.text) for one in lines(text))


def _code_in(line: str) -> list[tuple[int, int]]:
    return [found.span() for found in _CODE.finditer(line)]


def is_outside(target: str) -> bool:
    """Whether a link leads out of the repository, or stays in its document."""
    return "://" in target or target.startswith(("#", "mailto:"))


def path_of(target: str, document: str) -> tuple[str, str]:
    """The path in the repository that a link of a document names, and its `#fragment`.

    Raises `ValueError` for one that leads out of the repository.
    """
    path, mark, fragment = target.partition("#")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
    if found.startswith("../"):
        raise ValueError(f"{document} links to {target}, which is not in the repository.")
    return found, mark + fragment


def page_of(path: str) -> str:
    """The file of the site that shows a path of the repository; folders end in nothing special."""
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{SOURCE}/{path}.md"


def on_site(target: str, document: str) -> str:
    """A link of a document, as the page of that document has it."""
    if is_outside(target):
        return target
    path, fragment = path_of(target, document)
    here = posixpath.dirname(page_of(document))
    return posixpath.relpath(page_of(path), here or ".") + fragment


def shown(path: str, text: str, language: str) -> str:
    """The page of a file of the source. Longer fences than it has itself keep it whole."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{_head(path)}{fence}{language}\n{text.rstrip()}\n{fence}\n"


def listed(path: str, names: list[str]) -> str:
    """The page of a folder of the source: its files and folders, each with its page."""
    folder = posixpath.basename(path)
    return _head(path) + "\n".join(f"- [{name}]({folder}/{name}.md)" for name in names) + "\n"


def _head(path: str) -> str:
    # Found by the documents that name it, not by a search for a word.
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
