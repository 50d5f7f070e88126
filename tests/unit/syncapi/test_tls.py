"""Our server over TLS: requests, the connection that pokes, and whom it does not speak to. Slow readers
are in `test_sockets`.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect as dial

from infra.settings import load
from schemas.protocol import SyncRequest
from sdk.client import NetworkError, SyncClient
from tests.certificates import Authority
from tests.unit.syncapi.test_service import joined
from tests.unit.syncapi.test_sockets import Gate, Running, receive, send

LARGE = SyncRequest(device_id="phone", page_max=1_000, bytes_max=2**20)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def running(authority: Authority) -> Iterator[Running]:
    signed = authority.sign()
    store = Gate()
    store.add(*joined(*(f"sg_{n:04}" for n in range(1_000)), user="many"))
    settings = load(api={"tls_cert_file": signed.certificate, "tls_key_file": signed.key})
    with Running(store, settings) as found:
        yield found


def test_a_request_is_answered(running: Running, authority: Authority) -> None:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", running.port, context=authority.believing(), timeout=5
    )
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok"
    connection.close()


def test_the_connection_is_served_and_answers_of_any_size_come(
    running: Running, authority: Authority
) -> None:
    headers = {"Authorization": f"Bearer {running.token('many')}"}
    url = f"wss://127.0.0.1:{running.port}/v1/connect"
    with dial(url, ssl=authority.believing(), additional_headers=headers, compression=None) as one:
        for number in range(1, 4):
            send(one, number, LARGE)
        for number in range(1, 4):
            answer = receive(one, 10)
            assert answer.id == number
            assert answer.answer is not None
            assert len(answer.answer.conversations) > 100


def test_who_does_not_speak_tls_gets_nothing(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    connection.request("GET", "/healthz")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("awaits", [False, True])
def test_a_device_that_does_not_speak_tls_is_told_to(running: Running, *, awaits: bool) -> None:
    client = SyncClient(
        f"http://127.0.0.1:{running.port}", token="t", user_id="ann", store=":memory:"
    )

    def blocking() -> None:
        with client:
            client.sync()

    async def asynchronously() -> None:
        async with client as other:
            await other.sync()

    with pytest.raises(NetworkError, match="its address begins with https://"):
        asyncio.run(asynchronously()) if awaits else blocking()


def test_old_versions_are_not_spoken(running: Running, authority: Authority) -> None:
    context = authority.believing()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = http.client.HTTPSConnection("127.0.0.1", running.port, context=context, timeout=5)
    with pytest.raises(ssl.SSLError):
        connection.request("GET", "/healthz")
