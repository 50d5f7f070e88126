"""What MkDocs calls (`hooks` of `mkdocs.yml`): documents outside `docs/` become pages where they
are, links are translated, and the source that they name is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from infra.site import links

ROOT: Final = Path(__file__).resolve().parents[2]

LANGUAGES: Final = {
    ".py": "python",
    ".json": "json",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""Ending -> what colours it."""

HIDDEN: Final = frozenset({"__pycache__"})

SHOWN_BYTES_MAX: Final = 100_000
"""A page of more takes seconds to colour, and nobody reads it."""


def documents(root: Path = ROOT) -> list[str]:
    """Paths of all documents that the site has a page of."""
    inside = sorted(path.relative_to(root).as_posix() for path in (root / "docs").glob("*.md"))
    return [*links.DOCUMENTS, *inside]


def sources(root: Path = ROOT) -> list[str]:
    """Paths of the source that documents link to, with what is in the folders of them.

    Raises `FileNotFoundError` for a link to what is not there.
    """
    found: dict[str, None] = {}
    for document in documents(root):
        for target in links.targets((root / document).read_text(encoding="utf-8")):
            if links.is_outside(target):
                continue
            path = links.path_of(target, document)[0]
            if not (root / path).exists():
                raise FileNotFoundError(f"{document} links to {target}, which is not there.")
            if links.page_of(path).startswith(f"{links.SOURCE}/"):
                found |= dict.fromkeys(_with_children(root, path))
    return list(found)


def _with_children(root: Path, path: str) -> list[str]:
    if (root / path).is_file():
        return [path]
    inside = [_with_children(root, f"{path}/{name}") for name in _children(root / path)]
    return [path, *(one for some in inside for one in some)]


def _children(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name not in HIDDEN)


def page_of_source(root: Path, path: str) -> str:
    """What the site shows of a file or a folder."""
    place = root / path
    if place.is_dir():
        return links.listed(path, _children(place))
    text = place.read_text(encoding="utf-8")
    if len(text) > SHOWN_BYTES_MAX:
        text = f"{len(text):,} characters: too long to be shown."
    return links.shown(path, text, LANGUAGES.get(place.suffix, "text"))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the documents that are elsewhere, and the pages of the source."""
    for path, page in links.DOCUMENTS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for path in sources():
        page = links.page_of(path)
        files.append(File.generated(config, page, content=page_of_source(ROOT, path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Translate the links of a document."""
    del config, files
    uri = page.file.src_uri
    if uri.startswith(f"{links.SOURCE}/"):
        return markdown
    elsewhere = {one: path for path, one in links.DOCUMENTS.items()}
    document = elsewhere.get(uri, f"{links.DOCS}/{uri}")
    return links.translated(markdown, lambda target: links.on_site(target, document))
