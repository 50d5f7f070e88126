"""Too much is asked: one user's flood, one without tokens, and more than can be answered, through the
whole app and, where addresses matter, on a real socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from infra.cassandra.session import StoreUnavailable
from infra.settings import Settings, load
from schemas.frames import ClientFrame
from syncapi.admission import Gate
from syncapi.app import HEALTH, build
from syncapi.auth import Authenticator
from syncapi.overload import LEAST
from tests.unit.syncapi.support import Moody, run
from tests.unit.syncapi.test_app import GOOD, bearer, problem
from tests.unit.syncapi.test_connect import REQUEST, ask, connected
from tests.unit.syncapi.test_service import joined
from tests.unit.syncapi.test_sockets import Running, receive, running, send, wait

SLOW = 1e-4
"""A rate at which nothing comes back while a test runs."""


@contextlib.contextmanager
def api(**settings: Any) -> Iterator[TestClient[Any]]:
    store = Moody()
    for user in ("ann", "bob"):
        store.add(*joined("sg_1", user=user))
    app = build(load(api=settings), store)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def sync(client: TestClient[Any], user: str | None = "ann") -> int:
    return post(client, user).status_code


def post(client: TestClient[Any], user: str | None = "ann") -> httpx.Response:
    return client.post("/v1/sync", json=GOOD, headers=bearer(user) if user else {})


def gate_of(client: TestClient[Any]) -> Gate:
    gate: Gate = client.app.state.gate
    return gate


# One user.


def test_a_flood_of_one_user_is_refused_and_costs_another_nothing() -> None:
    with api(user_rate=SLOW, user_burst=10) as client:
        found = []
        for _ in range(10):
            found += [sync(client) for _ in range(10)]
            assert sync(client, "bob") == 200
        assert found == [200] * 10 + [429] * 90
        refusal = post(client)
        told = problem(refusal, 429)
        assert told["title"] == "Too many requests"
        assert told["retry_after_ms"] > 0
        assert int(refusal.headers["retry-after"]) * 1_000 >= told["retry_after_ms"]


def test_a_flood_of_frames_is_refused_and_the_connection_stays() -> None:
    with (
        api(user_rate=4, user_burst=5) as client,
        connected(client) as socket,
        connected(client, "bob") as other,
    ):
        refused = 0
        for number in range(8):
            told = ask(socket, ClientFrame(number, REQUEST), None)
            assert told.id == number
            if told.problem is not None:
                refused += 1
                assert told.problem.status == 429
                assert told.problem.retry_after_ms is not None
                assert 0 < told.problem.retry_after_ms <= 250
            assert number > 3 or ask(other, ClientFrame(number), None).problem is None
        assert refused
        # It is not read for as long as it was told to wait: the next is let in, give or take a timer.
        later = (ask(socket, ClientFrame(number, REQUEST), None) for number in range(9, 12))
        assert any(told.answer is not None for told in later)


def test_requests_and_frames_of_any_kind_count_together() -> None:
    with api(user_rate=SLOW, user_burst=5) as client, connected(client) as socket:
        socket.send_text("no frame")
        assert socket.receive()["type"] == "websocket.send"
        assert ask(socket, ClientFrame(1), None).problem is None
        assert ask(socket, ClientFrame(2, REQUEST), None).answer is not None
        assert [sync(client), sync(client)] == [200, 429]
        told = ask(socket, ClientFrame(3), None)
        assert told.problem is not None
        assert (told.id, told.problem.status) == (3, 429)
        with pytest.raises(WebSocketDisconnect) as caught, connected(client):
            pass
        assert caught.value.code == 4_429


def test_the_defaults_let_eight_devices_fetch_all_anew_at_once() -> None:
    with api() as client:
        assert [sync(client) for _ in range(8 * 20)] == [200] * 160


# One address. The test client's is a name, which is one for all that have none.


def test_a_flood_without_tokens_is_refused_before_anything_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = []
    checked = Authenticator._checked

    def counting(self: Authenticator, authorization: str | None) -> Any:
        checks.append(authorization)
        return checked(self, authorization)

    monkeypatch.setattr(Authenticator, "_checked", counting)
    with api(address_rate=SLOW, address_burst=20) as client:
        good = bearer()
        assert client.post("/v1/sync", json=GOOD, headers=good).status_code == 200
        checks.clear()
        forged = {"Authorization": good["Authorization"][:-8] + "aaaaaaaa"}
        found = [
            client.post("/v1/sync", content=b"{", headers=forged).status_code for _ in range(100)
        ]
        assert found == [401] * 20 + [429] * 80
        assert len(checks) == 20
        assert client.post("/v1/sync", json=GOOD, headers=good).status_code == 200
        refusal = client.post("/v1/sync", json=GOOD, headers={})
        problem(refusal, 429)
        assert "www-authenticate" not in refusal.headers
        with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/v1/connect"):
            pass
        assert caught.value.code == 4_429


async def never() -> Any:
    raise AssertionError("the body was asked for")


def scope(**changed: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/sync",
        "headers": [],
        "client": ("203.0.113.7", 1),
        **changed,
    }


def statuses(client: TestClient[Any], found: dict[str, Any], receive: Any = never) -> list[int]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    run(client.app(found, receive, send))
    return [message["status"] for message in sent if "status" in message]


def test_what_is_refused_for_its_number_is_not_read() -> None:
    with api(address_rate=SLOW, address_burst=1) as client:
        assert statuses(client, scope()) == [401]
        assert statuses(client, scope()) == [429]
        assert statuses(client, scope(client=("203.0.113.8", 1))) == [401]
        for path in ("/metrics", "/schema", "/nowhere"):
            assert statuses(client, scope(method="GET", path=path)) == [429]


def test_open_routes_count_and_health_never_does() -> None:
    with api(address_rate=SLOW, address_burst=30) as client:
        assert [client.get("/metrics").status_code for _ in range(5)] == [200] * 3 + [429] * 2
        problem(client.get("/schema/openapi.json"), 429)
        for path in HEALTH:
            assert [client.get(path).status_code for _ in range(50)] == [200] * 50


@contextlib.contextmanager
def behind_a_proxy(**settings: Any) -> Iterator[Running]:
    with running(address_rate=SLOW, address_burst=3, **settings) as found:
        yield found


def forwarded(found: Running, address: str, times: int) -> list[int]:
    url = f"http://127.0.0.1:{found.port}/v1/sync"
    with httpx.Client(headers={"X-Forwarded-For": address}) as client:
        return [client.post(url, json=GOOD).status_code for _ in range(times)]


def test_the_address_that_a_trusted_proxy_names_is_limited() -> None:
    with behind_a_proxy(trusted_proxies="127.0.0.1, 10.0.0.0/8") as found:
        assert forwarded(found, "203.0.113.7", 5) == [401] * 3 + [429] * 2
        assert forwarded(found, "203.0.113.8", 1) == [401], "another address"
        assert forwarded(found, "203.0.113.8, 203.0.113.7, 10.1.2.3", 1) == [429], (
            "the last that no proxy of ours wrote: what stands before it, the client did"
        )


def test_nobody_else_can_name_an_address() -> None:
    with behind_a_proxy(trusted_proxies="10.0.0.0/8") as found:
        assert forwarded(found, "203.0.113.7", 10) == [401] * 10


# More than can be answered.


@contextlib.contextmanager
def full(client: TestClient[Any]) -> Iterator[None]:
    """As many requests under way as may be."""
    gate = gate_of(client)
    for _ in range(LEAST):
        gate.enter("cid")
    try:
        yield
    finally:
        for _ in range(LEAST):
            gate.leave("cid")


def test_who_is_too_many_is_sent_away_and_health_stays_green(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with api(requests_max=LEAST) as client:
        assert sync(client) == 200
        with full(client):
            refusal = post(client)
            told = problem(refusal, 503)
            assert told["retry_after_ms"] >= 1_000
            assert int(refusal.headers["retry-after"]) * 1_000 >= told["retry_after_ms"]
            assert statuses(client, scope()) == [503], "before its token and its body"
            assert {client.get(path).status_code for path in HEALTH} == {200}
            assert client.get("/metrics").status_code == 200
            with pytest.raises(WebSocketDisconnect) as caught, connected(client):
                pass
            assert caught.value.code == 4_503
        assert sync(client) == 200
        found = client.get("/metrics").text
        assert 'diffusion_api_refused_total{reason="overload"}' in found
    assert not [one for one in caplog.records if one.name.startswith("diffusion")]


def test_not_all_who_are_sent_away_return_together() -> None:
    with api(requests_max=LEAST) as client, full(client):
        told = {post(client).json()["retry_after_ms"] for _ in range(20)}
        assert len(told) > 10


def test_a_frame_too_many_is_a_problem_and_the_connection_stays() -> None:
    with api(requests_max=LEAST) as client, connected(client) as socket:
        with full(client):
            told = ask(socket, ClientFrame(1, REQUEST), None)
            assert told.problem is not None
            assert (told.id, told.problem.status) == (1, 503)
            assert told.problem.retry_after_ms is not None
            assert ask(socket, ClientFrame(2), None).problem is None, "a ping is no work"
        assert ask(socket, ClientFrame(3, REQUEST), None).answer is not None


def test_frames_under_way_count_like_requests() -> None:
    with (
        running(requests_max=LEAST) as found,
        found.connect("ann") as one,
        found.connect("bob") as other,
    ):
        found.store.open.clear()
        gate: Gate = found.app.state.gate
        for number in range(LEAST // 2):
            send(one, number)
            send(other, number)
        assert gate._overload is not None
        wait(lambda: gate._overload.under_way == LEAST)
        url = f"http://127.0.0.1:{found.port}"
        headers = {"Authorization": f"Bearer {found.token('cid')}"}
        assert httpx.post(f"{url}/v1/sync", json=GOOD, headers=headers).status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200
        found.store.open.set()
        for connection in (one, other):
            for _ in range(LEAST // 2):
                assert receive(connection).answer is not None
        assert httpx.post(f"{url}/v1/sync", json=GOOD, headers=headers).status_code == 200


def under_way(client: TestClient[Any]) -> int:
    overload = gate_of(client)._overload
    assert overload is not None
    return overload.under_way


def test_what_ended_in_any_way_leaves_its_room() -> None:
    with api() as client:
        sync(client)
        client.post("/v1/sync", content=b"{", headers=bearer())
        store: Moody = client.app.state.service._session
        store.error = StoreUnavailable("away")
        assert sync(client) == 503
        store.error = ValueError("a bug")
        assert sync(client) == 500
        store.error = None
        with connected(client) as socket:
            ask(socket, ClientFrame(1, REQUEST), None)
        assert under_way(client) == 0


def test_a_body_that_drips_in_takes_nobodys_room() -> None:
    with api(requests_max=LEAST) as client:
        headers = [(b"authorization", bearer()["Authorization"].encode())]
        told: list[int] = []

        async def dripping() -> Any:
            await asyncio.sleep(3_600)

        async def send(message: Any) -> None:
            told.append(message.get("status", 0))

        async def work() -> None:
            slow = [
                asyncio.create_task(client.app(scope(headers=headers), dripping, send))
                for _ in range(2 * LEAST)
            ]
            await asyncio.sleep(0)
            assert under_way(client) == 0
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

        run(work())
        assert told == []
        assert sync(client) == 200


def test_a_late_loop_lets_in_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    with api(requests_max=10 * LEAST) as client, full(client):
        assert sync(client) == 200
        overload = gate_of(client)._overload
        assert overload is not None
        monkeypatch.setattr(overload, "_most", LEAST)
        overload.beat(3_600)
        assert sync(client) == 503
        assert client.get("/readyz").status_code == 200


def test_limits_are_off_where_a_machine_stands_for_thousands() -> None:
    unlimited = Settings().api.unlimited()
    assert (unlimited.user_rate, unlimited.address_rate, unlimited.requests_max) == (0, 0, 0)
    with api(user_rate=0, address_rate=0, requests_max=0, user_burst=1) as client:
        assert [sync(client) for _ in range(5)] == [200] * 5
        assert [sync(client, None) for _ in range(5)] == [401] * 5
        with connected(client) as socket:
            for number in range(20):
                assert ask(socket, ClientFrame(number, REQUEST), None).answer is not None
