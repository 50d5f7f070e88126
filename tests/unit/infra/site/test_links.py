"""Links of documents: in the repository and on the site they lead to the same."""

from __future__ import annotations

import pytest

from infra.site import links


@pytest.mark.parametrize(
    ("document", "target", "expected"),
    [
        ("README.md", "docs/growth.md", "growth.md"),
        ("README.md", "schemas/PROTOCOL.md", "protocol.md"),
        ("README.md", "docs/openapi.json", "openapi.json"),
        ("README.md", "infra/settings.py", "source/infra/settings.py.md"),
        ("docs/deploy.md", "../README.md", "index.md"),
        ("docs/deploy.md", "../infra/deploy", "source/infra/deploy.md"),
        ("docs/deploy.md", "../infra/deploy/", "source/infra/deploy.md"),
        ("docs/deploy.md", "upgrades.md", "upgrades.md"),
        ("docs/policy.md", "../ARCHITECTURE.md#who-is-diffused", "architecture.md#who-is-diffused"),
        ("sdk/README.md", "../SECURITY.md", "security.md"),
        ("docs/compare.md", "https://example.com/a#b", "https://example.com/a#b"),
        ("docs/operate.md", "#alerts", "#alerts"),
    ],
)
def test_a_link_leads_to_the_page_of_what_it_names(
    document: str, target: str, expected: str
) -> None:
    assert links.on_site(target, document) == expected


def test_a_link_out_of_the_repository_by_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the repository"):
        links.on_site("../../elsewhere.md", "docs/deploy.md")


def test_links_are_translated_and_code_is_not() -> None:
    text = "a [b](c.md) `[d](e.md)` ![f [g]](h.png)\n```sh\n[i](j.md)\n```\n[`k`](l.py)"
    assert list(links.targets(text)) == ["c.md", "h.png", "l.py"]
    assert links.translated(text, str.upper) == (
        "a [b](C.MD) `[d](e.md)` ![f [g]](H.PNG)\n```sh\n[i](j.md)\n```\n[`k`](L.PY)"
    )


def test_pictures_of_html_are_translated_too() -> None:
    text = '<source media="(x)" srcset="a.png"> <img src="b.png" alt="c.png"> `<img src="d.png">`'
    assert list(links.targets(text)) == ["a.png", "b.png"]
    assert links.translated(text, str.upper) == (
        '<source media="(x)" srcset="A.PNG"> <img src="B.PNG" alt="c.png"> `<img src="d.png">`'
    )


def test_a_fence_ends_with_its_own_kind() -> None:
    text = "~~~\n```\n~~~\n[a](b.md)"
    assert [one.is_code for one in links.lines(text)] == [True, True, True, False]


def test_source_with_fences_is_shown_whole() -> None:
    page = links.shown("a/b.md", "x\n````\ny\n````\n", "text")
    assert page.endswith("`````text\nx\n````\ny\n````\n`````\n")
    assert "# a/b.md" in page
