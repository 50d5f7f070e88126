"""Every route and every message refuses whoever does not show whose it is. A route that is added
has to be put into `OPEN` or `CLOSED`, or the first test fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from infra.settings import Settings
from schemas.frames import ClientFrame, ServerFrame
from schemas.protocol import SyncRequest
from syncapi.app import build
from syncapi.auth import issue
from tests.unit.syncapi.support import Moody
from tests.unit.syncapi.test_service import joined

API = Settings().api
CLOSED = {("/v1/sync", "POST"), ("/v1/connect", "websocket")}
OPEN = {
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
    ("/schema", "GET"),
    ("/schema/openapi.json", "GET"),
    ("/schema/oauth2-redirect.html", "GET"),
    ("/schema/swagger", "GET"),
    ("/schema/{path:str}", "GET"),
    ("/", "GET"),
    ("/page/{name:str}", "GET"),
    ("/figures", "GET"),
}
"""Routes that tell nothing of any user: health, metrics, the description of the API; and the page
of figures, which is shown to whom `syncapi.page.routes.may_see` lets see it.
"""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Any]]:
    store = Moody()
    store.add(*joined("sg_1"))
    store.add(*joined("sg_2", user="bob"))
    settings = Settings(api=API.model_copy(update={"page": True}))
    with TestClient(build(settings, store), raise_server_exceptions=False) as client:
        yield client


def now_s() -> int:
    return int(time.time())


def signed(secret: str | None = None, **changed: Any) -> str:
    claims = {"sub": "ann", "aud": API.jwt_audience, "exp": now_s() + 600, **changed}
    said = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(said, secret or API.jwt_secret.get_secret_value(), algorithm="HS256")


def good(user: str = "ann", device_id: str | None = None) -> str:
    return issue(API, user, now_ms=now_s() * 1_000, lifetime_s=600, device_id=device_id)


TOKENS = {
    "no token": None,
    "no sense": "Bearer nonsense",
    "another scheme": "Basic YW5uOmFubg==",
    "an expired one": f"Bearer {signed(exp=now_s() - 3_600)}",
    "without an end": f"Bearer {signed(exp=None)}",
    "a wrong audience": f"Bearer {signed(aud='another-service')}",
    "no audience": f"Bearer {signed(aud=None)}",
    "another signature": f"Bearer {signed(secret='x' * 32)}",
    "nobody's": f"Bearer {signed(sub='')}",
    "not good yet": f"Bearer {signed(nbf=now_s() + 3_600)}",
}


def routes(client: TestClient[Any]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for route in client.app.routes:
        methods = getattr(route, "methods", None) or {"websocket"}
        found |= {(route.path, method) for method in methods if method not in {"OPTIONS", "HEAD"}}
    return found


def headers(authorization: str | None) -> dict[str, str]:
    return {} if authorization is None else {"Authorization": authorization}


def connect(client: TestClient[Any], authorization: str | None) -> Any:
    return client.websocket_connect("/v1/connect", headers=headers(authorization))


def test_every_route_is_in_the_table(client: TestClient[Any]) -> None:
    assert routes(client) == CLOSED | OPEN


@pytest.mark.parametrize(("path", "method"), sorted(CLOSED))
@pytest.mark.parametrize("name", TOKENS)
def test_a_closed_route_refuses(client: TestClient[Any], path: str, method: str, name: str) -> None:
    authorization = TOKENS[name]
    if method == "websocket":
        with pytest.raises(WebSocketDisconnect) as caught, connect(client, authorization):
            pass
        assert caught.value.code == 4_401
        return
    answer = client.request(
        method, path, json={"device_id": "phone"}, headers=headers(authorization)
    )
    assert answer.status_code == 401
    assert answer.json()["title"] == "Not authenticated"


def ask(
    client: TestClient[Any], how: str, token: str, **request: Any
) -> tuple[int, dict[str, Any]]:
    """Status (200 where it is an answer), and what was told."""
    if how == "POST":
        told = client.post("/v1/sync", json=request, headers=headers(f"Bearer {token}"))
        return told.status_code, told.json()
    asked = msgspec.convert(request, SyncRequest)
    with connect(client, f"Bearer {token}") as socket:
        socket.send_text(msgspec.json.encode(ClientFrame(1, asked)).decode())
        frame = msgspec.json.decode(socket.receive_text(), type=ServerFrame)
    if frame.problem is not None:
        return frame.problem.status, msgspec.to_builtins(frame.problem)
    return 200, msgspec.to_builtins(frame.answer)


@pytest.mark.parametrize("how", ["POST", "websocket"])
def test_another_users_cursor_is_refused(client: TestClient[Any], how: str) -> None:
    status, told = ask(client, how, good("bob"), device_id="phone")
    assert status == 200
    for name in ("cursor", "page"):
        status, refusal = ask(client, how, good("ann"), device_id="phone", **{name: told["cursor"]})
        assert status == 400
        assert "refused" in refusal["title"]


@pytest.mark.parametrize("how", ["POST", "websocket"])
def test_another_devices_token_is_refused(client: TestClient[Any], how: str) -> None:
    phone = good("ann", device_id="phone")
    assert ask(client, how, phone, device_id="phone")[0] == 200
    status, refusal = ask(client, how, phone, device_id="tablet")
    assert status == 403
    assert "another device" in refusal["detail"]


@pytest.mark.parametrize("how", ["POST", "websocket"])
def test_a_user_is_told_of_his_own_only(client: TestClient[Any], how: str) -> None:
    for user, mine in (("ann", "sg_1"), ("bob", "sg_2")):
        _, told = ask(client, how, good(user), device_id="phone")
        assert [one["conversation_id"] for one in told["conversations"]] == [mine]


@pytest.mark.parametrize("path", sorted(path for path, _ in OPEN if "{" not in path))
def test_an_open_route_names_nobody(client: TestClient[Any], path: str) -> None:
    ask(client, "POST", good("ann"), device_id="phone")
    answer = client.get(path)
    text = answer.text
    assert "sg_1" not in text
    assert '"ann"' not in text
    assert path not in {"/", "/figures"} or answer.status_code == 200
