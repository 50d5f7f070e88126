"""The site: it builds without a warning, has every document, and loads nothing from elsewhere."""

from __future__ import annotations

import html.parser
import logging
import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from infra.site import hook, links

ROOT = Path(__file__).parents[4]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
LOADED_RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}

READ_ELSEWHERE = {"tests/data/README.md"}
"""Markdown of the repository that is no page of the site: about the traces of the tests."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning fails it: `strict`."""
    folder = tmp_path_factory.mktemp("site")
    said: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = said.append  # type: ignore[method-assign]
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
    assert [one.getMessage() for one in said] == []
    return folder


class Loaded(html.parser.HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "link" and not LOADED_RELATIONS & set((named.get("rel") or "").split()):
            return
        address = named.get(LOADING.get(tag, ""))
        if address:
            self.addresses.append(address)


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_document_has_its_page(site: Path) -> None:
    for document in hook.documents():
        page = links.page_of(document)
        built = site / ("index.html" if page == "index.md" else f"{page[:-3]}/index.html")
        assert built.is_file(), document
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
    }
    assert tracked - READ_ELSEWHERE == set(hook.documents()), "add it to infra.site.links.DOCUMENTS"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    found = []
    for page in pages(site):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses, "every page has its style"
        found += [f"{page}: {one}" for one in parser.addresses if "//" in one]
        # The theme fetches a library from elsewhere to draw such blocks.
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")
    assert found == []
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?:", style.read_text(encoding="utf-8")) == []


def test_source_that_documents_name_is_shown(site: Path) -> None:
    page = site / "source/infra/settings.py/index.html"
    assert "class KafkaSettings" in re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    folder = (site / "source/infra/dashboards/index.html").read_text(encoding="utf-8")
    assert 'href="rules.yml/"' in folder
    assert (site / "source/infra/dashboards/rules.yml/index.html").is_file()


def test_no_link_or_markup_is_left_over(site: Path) -> None:
    """What is no code has no traces of Markdown: a list or a table that was not taken for one."""
    for page in pages(site):
        if "source" in page.relative_to(site).parts:
            continue
        text = page.read_text(encoding="utf-8")
        article = text[text.index("<article") : text.index("</article>")]
        bare = re.sub(r"<(pre|code|h\d)\b.*?</\1>", "", article, flags=re.DOTALL)
        plain = re.sub(r"<[^>]+>", "", bare)
        assert re.findall(r"^\s*(?:\|.*\||[-*] \S.*|```.*|\d+\. \S.*)$", plain, re.MULTILINE) == []
        assert "](" not in plain


def test_a_link_to_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for document in links.DOCUMENTS:
        (tmp_path / document).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / document).write_text("# a\n")
    (tmp_path / "README.md").write_text("[gone](infra/gone.py)\n")
    with pytest.raises(FileNotFoundError, match=r"README\.md links to infra/gone\.py"):
        hook.sources(tmp_path)


def test_what_is_too_long_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * (hook.SHOWN_BYTES_MAX + 1))
    assert "too long to be shown" in hook.page_of_source(tmp_path, "long.txt")
