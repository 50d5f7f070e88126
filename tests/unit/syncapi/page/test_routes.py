"""Who sees the page, what a browser may do with it, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.connection import ASGIConnection
from litestar.testing import TestClient

from infra.settings import ApiSettings, Settings
from syncapi.app import build
from syncapi.page.routes import CONTENT_SECURITY_POLICY, FILES, FOLDER, is_local
from tests.unit.syncapi.support import Moody

PATHS = ["/", "/figures", *(f"/page/{name}" for name in FILES)]
HERE = ("127.0.0.1", 50_000)


class From:
    """An application as one asks who comes from there."""

    def __init__(self, app: Any, client: tuple[str, int] | None) -> None:
        self.app, self.client = app, client

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, "client": self.client}, receive, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.app, name)


def status(
    page: bool | None, client: tuple[str, int] | None, path: str = "/", **headers: str
) -> int:
    settings = Settings(api=ApiSettings(page=page))
    app: Any = From(build(settings, Moody()), client)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with TestClient(app, base_url="http://127.0.0.1:18080") as asked:
        found: int = asked.get(path, headers=sent).status_code
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Any]]:
    app: Any = From(build(Settings(), Moody()), HERE)
    with TestClient(app, base_url="http://127.0.0.1:18080") as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("page", "where", "expected"),
    [
        (None, HERE, 200),
        (None, ("::1", 1), 200),
        (None, ("10.0.0.5", 1), 404),
        (None, ("a name", 1), 404),
        (None, None, 404),
        (True, ("10.0.0.5", 1), 200),
        (False, HERE, 404),
    ],
)
def test_by_default_it_is_for_this_machine(
    path: str, page: bool | None, where: tuple[str, int] | None, expected: int
) -> None:
    assert status(page, where, path) == expected


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_not_through_a_proxy_of_this_machine(name: str) -> None:
    assert status(None, HERE, **{name: "for=10.0.0.5"}) == 404
    assert status(True, HERE, **{name: "for=10.0.0.5"}) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("127.0.0.1:18080", 200),
        ("[::1]:18080", 200),
        ("sync.example.com", 404),
        ("localhost.example.com:18080", 404),
        ("127.0.0.1.example.com", 404),
    ],
)
def test_not_by_a_name_that_another_site_lets_lead_here(host: str, expected: int) -> None:
    assert status(None, HERE, Host=host) == expected


def test_not_through_a_proxy_that_speaks_http_1_0() -> None:
    """As nginx does where nobody told it otherwise: it names nobody whom it speaks for."""

    def connection(version: str) -> ASGIConnection[Any, Any, Any, Any]:
        headers = [(b"host", b"127.0.0.1:18080")]
        scope: Any = {"type": "http", "client": HERE, "headers": headers, "http_version": version}
        return ASGIConnection(scope)

    assert is_local(connection("1.1"))
    assert not is_local(connection("1.0"))


def test_whom_it_is_not_for_is_told_how_to_change_that() -> None:
    app: Any = From(build(Settings(), Moody()), ("10.0.0.5", 1))
    with TestClient(app) as asked:
        assert "DIFFUSION_API_PAGE" in asked.get("/").json()["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_is_held_to_this_origin(client: TestClient[Any], path: str) -> None:
    answer = client.get(path, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not any(name.startswith("access-control-") for name in answer.headers)
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


def test_files_have_their_types_and_there_are_no_others(client: TestClient[Any]) -> None:
    for path, kind in {
        "/": "text/html",
        **{f"/page/{name}": FILES[name] for name in FILES},
    }.items():
        told = client.get(path).headers["content-type"]
        assert told.partition(";")[0] == kind
        assert told.endswith("charset=utf-8") or kind == "image/svg+xml"
    for name in ("routes.py", "..%2Fapp.py", "nothing"):
        assert client.get(f"/page/{name}").status_code == 404
    assert {path.name for path in FOLDER.iterdir() if path.suffix not in {"", ".py"}} == {
        "index.html",
        *FILES,
    }


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_nothing_is_from_elsewhere_and_no_element_carries_code_or_style(name: str) -> None:
    text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert "//" not in re.sub(r"^\s*//.*$|; //.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"\sstyle=|\son\w+=|innerHTML|eval\(|@import|url\(", text)


def test_figures_name_nobody_and_say_no_address(client: TestClient[Any]) -> None:
    found = client.get("/figures").json()
    assert found.keys() == {
        *("at_ms", "seconds", "volume", "policy", "lateness", "store", "sync", "processes"),
        *("tap", "missing"),
    }
    assert [(one["name"], one["address"]) for one in found["processes"]] == [("api", "")]


def test_what_the_page_reads_is_what_the_figures_have(client: TestClient[Any]) -> None:
    """The script asks for fields by name: each is one of the answer."""
    found = client.get("/figures").json()
    text = (FOLDER / "page.js").read_text()
    asked = set(re.findall(r"\b(?:f\.)?(volume|sync|lateness|store|policy)\.(\w+)", text))
    assert len(asked) > 25
    for part, name in asked:
        assert name in found[part], (part, name)
    for name in set(
        re.findall(r"\bone\.(state|cores|resident_bytes|uptime_s|problem|advice)\b", text)
    ):
        assert name in found["processes"][0]
