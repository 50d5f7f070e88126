"""Nobody is named: after requests of every kind, with ids and tokens that cannot be mistaken, none of
these is in any record of any log, nor in the metrics.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from infra.cassandra.session import StoreRefused, StoreUnavailable
from infra.settings import Settings, load
from schemas.protocol import SyncRequest
from syncapi.auth import issue
from syncapi.overload import LEAST
from tests.unit.syncapi.test_service import joined
from tests.unit.syncapi.test_sockets import Gate, Running, send, wait

USER, OTHER = "user-7f3a9c51", "user-e08d2b64"
DEVICE = "device-5b1e77d0"
CONVERSATION = "sg_conv-c4d19a3e"
IDS = (USER, OTHER, DEVICE, CONVERSATION)
MARK = "secret-91c7e2fa"
"""In every token that is no JSON Web Token."""

CLIENT_LOGS = ("httpx", "httpcore", "websockets.client")
"""Of the clients in this process, and not of the server."""


class Quoting(Gate):
    """A store whose errors quote what they were asked for."""

    fault: Callable[[str], Exception] | None = None

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.fault is not None:
            quoted = f"{cql} {[*values]} {IDS}"
            raise self.fault("away") from KeyError(quoted)
        return await super().aread(cql, values)


class Records(logging.Handler):
    """Every record of every log, as text: message, arguments, errors, and whatever else it has."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(CLIENT_LOGS):
            return
        said = [record.getMessage(), repr(record.__dict__)]
        if record.exc_info:
            said.append(logging.Formatter().formatException(record.exc_info))
        self.found.append((record.name, "\n".join(said)))


@pytest.fixture
def records() -> Iterator[Records]:
    found = Records()
    root = logging.getLogger()
    before, root.level = root.level, logging.NOTSET
    root.addHandler(found)
    try:
        yield found
    finally:
        root.level = before
        root.removeHandler(found)
        logging.getLogger("uvicorn").removeHandler(found)


@contextlib.contextmanager
def running(records: Records, **api: Any) -> Iterator[Running]:
    store = Quoting()
    store.add(*joined(CONVERSATION, user=USER))
    with Running(store, load(api=api)) as found:
        # Its log does not go to the root's handlers.
        logging.getLogger("uvicorn").addHandler(records)
        yield found


def signed(**changed: Any) -> str:
    api = Settings().api
    claims = {"sub": USER, "aud": api.jwt_audience, "exp": int(time.time()) + 600, **changed}
    return jwt.encode(claims, api.jwt_secret.get_secret_value(), algorithm="HS256")


@functools.cache
def tokens() -> dict[str, str]:
    """One of each kind, by what is the matter with it."""
    now_ms = time.time_ns() // 1_000_000
    good = issue(Settings().api, USER, now_ms=now_ms, lifetime_s=600)
    return {
        "good": good,
        "of a device": signed(device_id=DEVICE),
        "expired": signed(exp=1_000),
        "another audience": signed(aud=f"{MARK}-audience"),
        "another key": jwt.encode({"sub": USER}, "x" * 32, algorithm="HS256"),
        "an unknown key": jwt.encode({"sub": USER}, "x" * 32, headers={"kid": MARK}),
        "forged": good[:-6] + "AAAAAA",
        "not utf-8": signed(sub=f"{USER}\ud800"),
        "no token": f"{MARK}-nonsense",
        "long": MARK * 1_000,
    }


def requests(cursor: str) -> list[bytes]:
    asked: list[dict[str, Any]] = [
        {"device_id": DEVICE},
        {"device_id": DEVICE, "cursor": cursor},
        {"device_id": DEVICE, "page": cursor},
        {"device_id": DEVICE, "cursor": f"{MARK}-cursor"},
        {"device_id": [DEVICE]},
        {"device_id": DEVICE, "changes_max": CONVERSATION},
        {"device_id": DEVICE, "v": 99},
        {"device_id": f"{DEVICE}-2"},
        {"device_id": DEVICE * 100},
    ]
    return [*map(msgspec.json.encode, asked), f"{{{DEVICE}".encode(), DEVICE.encode()]


def everything(found: Running, kinds: Iterable[str] = ()) -> set[int]:
    """Ask in every way, with tokens of these kinds or of all; the statuses that were seen."""
    seen: set[int] = set()
    http = httpx.Client(base_url=f"http://127.0.0.1:{found.port}")

    def post(token: str, body: bytes, path: str = "/v1/sync") -> Any:
        answer = http.post(path, content=body, headers={"Authorization": f"Bearer {token}"})
        seen.add(answer.status_code)
        return answer.json()

    cursor = post(tokens()["good"], requests("")[0]).get("cursor", MARK)
    for token in (tokens()[kind] for kind in kinds or tokens()):
        for body in requests(cursor):
            post(token, body)
        for path in (f"/v1/sync/{CONVERSATION}", f"/{USER}?token={token[:500]}", f"/schema/{USER}"):
            post(token, b"{}", path)
        offers = (
            {"additional_headers": {"Authorization": f"Bearer {token}"}},
            {"subprotocols": ["diffusion.v1", f"bearer.{token}"]},
        )
        for offer in offers:
            try:
                frames(found, cursor, offer)
            except InvalidStatus as error:
                seen.add(error.response.status_code)
            except (ConnectionClosed, OSError, EOFError):
                pass  # a head that is too long, for instance
    http.close()
    return seen


def frames(found: Running, cursor: str, offer: dict[str, Any]) -> None:
    with found.dial(**offer) as connection:
        asked = (SyncRequest(DEVICE), SyncRequest(DEVICE, cursor=cursor), None)
        for number, request in enumerate(asked):
            send(connection, number, request)
            connection.recv(5)
        for body in requests(cursor):
            connection.send(body.decode())
            connection.recv(5)
            connection.send(b"\x01\x00" + body)
            connection.recv(5)
        connection.send(DEVICE.encode() + b"\xff", text=True)
        with contextlib.suppress(ConnectionClosed):
            connection.recv(5)


def check(found: Running, records: Records) -> None:
    metrics = httpx.get(f"http://127.0.0.1:{found.port}/metrics").text
    assert "diffusion_api_errors_total" in metrics
    secrets = [*IDS, MARK, *(part for one in tokens().values() for part in one.split(".")[1:])]
    for secret in secrets:
        assert secret not in metrics
        named = [(name, text) for name, text in records.found if secret in text]
        assert named == [], f"{secret} is in the log"


def test_who_asks_and_for_what_is_in_no_log_and_no_metric(records: Records) -> None:
    with running(records) as found:
        assert {200, 400, 401, 403, 404} <= everything(found)
        check(found, records)


FAULTS: dict[str, Callable[[str], Exception]] = {
    "unavailable": StoreUnavailable,
    "refused": StoreRefused,
    "a foreign error": lambda _: ValueError(f"{IDS} are not rows"),
    "a key": lambda _: KeyError(USER),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_is_logged_without_names(records: Records, name: str) -> None:
    with running(records) as found:
        found.store.fault = FAULTS[name]
        assert everything(found, ["good"]) & {500, 503}
        assert httpx.get(f"http://127.0.0.1:{found.port}/readyz").status_code in {500, 503}
        check(found, records)
        if name == "unavailable":
            return  # an outage is told by a sentence, and only now and then
        ours = "\n".join(text for log, text in records.found if log == "diffusion.api")
        assert "in aread" in ours, "the way there is told"
        assert "caused by KeyError" in ours


def test_who_asks_too_often_is_not_named_either(records: Records) -> None:
    limits = {"user_rate": 0.01, "user_burst": 5, "requests_max": LEAST}
    with running(records, **limits, trusted_proxies="127.0.0.1", address_burst=1) as found:
        assert 429 in everything(found, ["good", "forged"])
        gate = found.app.state.gate
        for _ in range(LEAST):
            gate.enter(OTHER)
        assert 503 in everything(found, ["good", "forged"])
        for _ in range(LEAST):
            gate.leave(OTHER)
        check(found, records)


def test_a_connection_that_breaks_names_nobody(records: Records) -> None:
    with running(records) as found:
        found.store.open.clear()
        with found.connect(USER) as connection:
            send(connection, 1, SyncRequest(DEVICE))
            connection.close_socket()
            found.store.open.set()
            wait(lambda: len(found.hub) == 0)
        check(found, records)


def test_the_records_of_this_test_would_show_a_name() -> None:
    found, error = Records(), KeyError(USER)
    failed = (KeyError, error, None)
    record = logging.LogRecord("any", logging.ERROR, "f", 1, "%s", (DEVICE,), failed)
    found.emit(record)
    assert USER in found.found[0][1]
    assert DEVICE in found.found[0][1]
