"""The blocking client when threads, listeners, tokens, lines and the end of it get in each other's
way. The asynchronous one: `test_aio.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import pytest
from websockets.sync.server import Server as WebSocketServer
from websockets.sync.server import serve

from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import AuthError, ClientError, InvalidAnswerError, NetworkError, SyncClient
from sdk.client.aio_transport import AsyncSocketConnection
from sdk.client.database import connect, transaction
from sdk.client.events import State, SyncFinished
from sdk.client.sockets import SocketConnection
from sdk.client.tokens import AsyncTokens, Tokens
from tests.unit.sdk.client.http_server import ModelHttp, Server
from tests.unit.sdk.client.support import ModelServer

PATIENCE_S = 20.0
TOKEN = "e30.eyJzdWIiOiJ1MSJ9.x"


class Slow(ModelServer):
    """Answers when `gate` is open; `begun` says that a request is here."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.sends = 0

    def send(self, request: SyncRequest) -> SyncResponse:
        self.sends += 1
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().send(request)


class Call:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001
            self.result = error

    def end(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it never returns"
        return self.result


def client(server: ModelServer, **options: Any) -> SyncClient:
    return SyncClient(user_id="u1", transport=server, **{"store": ":memory:", **options})


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def test_who_shares_a_round_whose_driver_raises_is_served_by_the_next() -> None:
    server = Slow()
    server.change("sg_1", 1)
    made = client(server)
    server.gate.clear()
    server.error = ZeroDivisionError("a bug of the app's transport")
    made._pump._driving.acquire()  # so that both ask for the same round
    calls = [Call(made.sync), Call(made.sync)]
    until(lambda: made._pump.session._want is not None)
    time.sleep(0.05)
    made._pump._let_go()
    assert server.begun.wait(PATIENCE_S)
    server.gate.set()
    ends = [call.end() for call in calls]
    assert sorted(type(end).__name__ for end in ends) == ["SyncReport", "ZeroDivisionError"]
    assert Call(made.close).end() is None


@pytest.mark.parametrize("what", ["sync", "close"])
def test_a_listener_that_would_wait_for_itself_is_told(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    def listen(event: object) -> None:
        if isinstance(event, SyncFinished):
            getattr(made, what)()

    with client(ModelServer(), on_event=listen) as made:
        assert Call(made.sync).end().path == "full"
    assert "let another thread do it" in caplog.text


def test_following_can_begin_again_after_what_ended_it() -> None:
    given: list[str] = []

    def token() -> str:
        given.append("")
        if len(given) == 1:
            raise ZeroDivisionError("a bug of the app's")
        return TOKEN

    model = ModelServer()
    model.change("sg_1", 1)
    with (
        ModelHttp(model) as server,
        SyncClient(server.url, token=token, user_id="u1", store=":memory:", live="poll") as made,
    ):
        with pytest.raises(ZeroDivisionError):
            next(made.changes())
        assert next(made.changes()).version >= 0


@pytest.mark.parametrize("tokens", [Tokens, AsyncTokens])
def test_where_tokens_come_from_may_be_away(tokens: type[Tokens | AsyncTokens]) -> None:
    def away() -> str:
        raise ConnectionResetError("the login server is away")

    def present(source: Any) -> None:
        made = tokens(source, lambda _: None).present()
        if asyncio.iscoroutine(made):
            asyncio.run(made)

    with pytest.raises(NetworkError, match="login server"):
        present(away)
    with pytest.raises(AuthError):
        present(lambda: None)


def test_a_client_that_is_closed_says_so_and_its_changes_end() -> None:
    server = ModelServer()
    server.change("sg_1", 1)
    made = client(server)
    eating = Call(lambda: [made.ack(change) for change in made.changes()])
    until(lambda: made._pump.session.state is State.LIVE and not made.pending_count())
    made.close()
    made.close()
    assert eating.end() == [True, True], "the conversation, and that modules are to be fetched"
    for call in (made.sync, made.follow, lambda: next(made.changes())):
        with pytest.raises(ClientError, match="closed"):
            call()
    assert not any(thread.name == "sync-client" for thread in threading.enumerate())


def test_closing_waits_for_one_answer_and_not_for_all_pages() -> None:
    server = Slow()
    for number in range(50):
        server.change(f"sg_{number}", 1)
    made = client(server, page_max=2)
    server.gate.clear()
    made.follow()
    assert server.begun.wait(PATIENCE_S)
    closing = Call(made.close)
    until(lambda: made._pump.closing)
    server.gate.set()
    assert closing.end() is None
    assert server.sends == 1


def test_interrupted_right_after_it_began_a_transaction_is_not_left_open() -> None:
    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *arguments)
            if sql.startswith("BEGIN"):
                raise KeyboardInterrupt
            return done

    db = sqlite3.connect(":memory:", factory=Interrupted, isolation_level=None)
    with pytest.raises(KeyboardInterrupt), transaction(db):
        pass
    assert not db.in_transaction
    db.close()
    usual = connect(":memory:")
    with transaction(usual):
        pass
    usual.close()


class Portal(Server):
    """Sends everybody to its page, as networks of hotels do."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.FOUND, {"Location": "http://127.0.0.1:1/login"}, b"")


def test_a_captive_portal_ends_nothing() -> None:
    with Portal() as portal:
        portal.redirect = "http://127.0.0.1:1/login"
        with SyncClient(portal.url, token=TOKEN, store=":memory:") as made:
            with pytest.raises(InvalidAnswerError):
                made.sync()
            made.follow()
            until(lambda: made._pump.session.state is State.BACKING_OFF)
            assert made._pump.session.following
            made.check()


# A line that stands and takes no bytes.


@contextmanager
def deaf() -> Iterator[str]:
    hold = threading.Event()

    def handle(_: Any) -> None:
        hold.wait(PATIENCE_S)

    server: WebSocketServer
    with serve(handle, "127.0.0.1", 0, max_queue=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            hold.set()
            server.shutdown()
            thread.join()


MUCH = b"x" * 1_000_000
TIMES = 50  # far more than all buffers on the way


def test_a_line_that_takes_nothing_is_given_up() -> None:
    with deaf() as url:
        line = SocketConnection(url, Tokens("t", lambda _: None), seconds=0.5)
        line.open(lambda _: None)
        assert line._line is not None
        write = line._line._write

        def fill() -> None:
            for _ in range(TIMES):
                write(MUCH)

        assert isinstance(Call(fill).end(), NetworkError)
        assert Call(line.close).end() is None


def test_a_line_that_takes_nothing_is_given_up_by_the_asynchronous_client_too() -> None:
    async def main(url: str) -> None:
        line = AsyncSocketConnection(url, AsyncTokens("t", lambda _: None), seconds=0.5)
        await line.open(lambda _: None)
        assert line._line is not None
        write = line._line._write

        async def fill() -> None:
            for _ in range(TIMES):
                await write(MUCH)

        with pytest.raises(NetworkError):
            await fill()
        line._line._socket.transport.abort()
        with suppress(NetworkError):
            await line.close()

    with deaf() as url:
        asyncio.run(asyncio.wait_for(main(url), PATIENCE_S))
