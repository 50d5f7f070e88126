"""Whom a client believes to be its server, and what it is told when it does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from schemas.protocol import Reason, SyncRequest, SyncResponse
from sdk.client import NetworkError, SyncClient
from sdk.client.aio_transport import AsyncHttpTransport, AsyncSocketConnection
from sdk.client.sockets import SocketConnection
from sdk.client.tls import advice, context_of
from sdk.client.tokens import AsyncTokens, Tokens
from sdk.client.transport import HttpTransport
from tests.certificates import Authority
from tests.unit.sdk.client.http_server import Server

REQUEST = SyncRequest(device_id="phone")
ANSWER = SyncResponse("full", reason=Reason.FRESH, cursor="a-cursor", total=0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


class TlsServer(Server):
    def __init__(self, context: ssl.SSLContext) -> None:
        headers = {"Content-Type": "application/msgpack"}
        super().__init__(200, headers, msgspec.msgpack.encode(ANSWER))
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what is tested."""


@pytest.fixture
def server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(authority.sign().serving()) as running:
        yield running


def ask(url: str, tls: ssl.SSLContext | None, *, awaits: bool) -> SyncResponse:
    async def asynchronously() -> SyncResponse:
        transport = AsyncHttpTransport(url, "token", tls=tls)
        try:
            return await transport.send(REQUEST)
        finally:
            await transport.close()

    if awaits:
        return asyncio.run(asynchronously())
    transport = HttpTransport(url, "token", tls=tls)
    try:
        return transport.send(REQUEST)
    finally:
        transport.close()


def dial(url: str, tls: ssl.SSLContext | None, *, awaits: bool) -> None:
    async def asynchronously() -> None:
        connection = AsyncSocketConnection(url, AsyncTokens("token", lambda _: None), tls=tls)
        await connection.open(lambda _: None)

    if awaits:
        asyncio.run(asynchronously())
    else:
        SocketConnection(url, Tokens("token", lambda _: None), tls=tls).open(lambda _: None)


@pytest.mark.parametrize("awaits", [False, True])
def test_a_private_authority_is_believed_when_it_is_named(
    server: TlsServer, authority: Authority, *, awaits: bool
) -> None:
    assert ask(server.url, context_of(server.url, authority.file), awaits=awaits) == ANSWER


@pytest.mark.parametrize("way", [ask, dial])
@pytest.mark.parametrize("awaits", [False, True])
def test_no_other_authority_is_believed(
    server: TlsServer, tmp_path: Path, way: Any, *, awaits: bool
) -> None:
    other = context_of(server.url, Authority(tmp_path).file)
    for tls in (other, None):
        with pytest.raises(NetworkError, match="give its own as `ca_file`"):
            way(server.url, tls, awaits=awaits)
    assert server.seen == [], "nobody was shown the token"


@pytest.mark.parametrize("way", [ask, dial])
@pytest.mark.parametrize("awaits", [False, True])
def test_no_other_name_is_believed(
    server: TlsServer, authority: Authority, way: Any, *, awaits: bool
) -> None:
    url = server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(NetworkError, match="a name that the certificate has"):
        way(url, context_of(url, authority.file), awaits=awaits)
    assert server.seen == []


@pytest.mark.parametrize("way", [ask, dial])
@pytest.mark.parametrize("awaits", [False, True])
def test_a_server_without_tls_is_told_apart(way: Any, *, awaits: bool) -> None:
    with Server(200, {}, b"") as plain:
        url = plain.url.replace("http", "https")
        with pytest.raises(NetworkError, match="its address begins with http://"):
            way(url, None, awaits=awaits)


def test_a_connection_that_breaks_says_nothing_of_tls() -> None:
    refused = httpx.ConnectError("refused")
    assert advice("http://127.0.0.1:1", refused) == ""
    assert advice("https://127.0.0.1:1", refused) == ""
    cut = httpx.RemoteProtocolError("disconnected")
    assert advice("https://127.0.0.1:1", cut) == ""
    for one in (cut, httpx.ReadError(""), ConnectionResetError()):
        assert "https://" in advice("http://127.0.0.1:1", one)


def test_a_file_that_will_not_do_is_refused_when_the_client_is_made(
    tmp_path: Path, authority: Authority
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (tmp_path / "nowhere.pem", empty):
        with pytest.raises(ValueError, match=rf"the ca_file {file} cannot be used"):
            SyncClient(
                "https://im.example", token="t", user_id="ann", store=":memory:", ca_file=file
            )
    with pytest.raises(ValueError, match="has no use for a ca_file"):
        SyncClient("http://im.example", token="t", store=":memory:", ca_file=authority.file)


def test_a_context_verifies_and_speaks_no_old_version(authority: Authority) -> None:
    context = context_of("https://im.example", authority.file)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_a_client_syncs_with_a_server_of_a_private_authority(
    server: TlsServer, authority: Authority
) -> None:
    with SyncClient(
        server.url, token="t", user_id="ann", store=":memory:", ca_file=authority.file
    ) as client:
        client.sync()
    assert len(server.seen) == 1
