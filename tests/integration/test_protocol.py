"""The sync API over HTTP, on real Cassandra: tokens, resets, paging, and answers while writes go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from diffusion.system import System
from infra.clock import now_ms
from schemas import ids
from schemas.cursor import Cursor, PageToken, seal, unseal, user_digest
from schemas.events import Message
from schemas.protocol import ResetReason, SyncResponse
from schemas.versions import version_of
from syncapi.auth import cursor_key
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]


class Caller:
    """Speaks the protocol without the SDK, as a client in another language would."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.http = httpx.Client(base_url=system.url)

    def post(self, user: str, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.system.token(user)}"}
        return self.http.post("/v1/sync", json={"device_id": "d", **body}, headers=headers)

    def sync(self, user: str, **body: Any) -> SyncResponse:
        answer = self.post(user, **body)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=SyncResponse)


@pytest.fixture
def caller(system: System) -> Iterator[Caller]:
    made = Caller(system)
    yield made
    made.http.close()


def chats(unique: Unique, count: int) -> tuple[str, list[str], list[Message]]:
    """A user with `count` one-to-one chats of one message each."""
    user = unique("hub")
    others = [unique(f"peer{number}") for number in range(count)]
    ids_ = [ids.one_to_one(user, other) for other in others]
    events = [
        Message(chat, 1, other, NOW_MS + number, (user, other))
        for number, (chat, other) in enumerate(zip(ids_, others, strict=True))
    ]
    return user, ids_, events


def test_a_full_correction_is_paged_and_misses_nothing_that_happens_meanwhile(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, conversations, events = chats(unique, 5)
    world.write(*events)
    first = caller.sync(user, page_max=2)
    assert (first.path, first.reset, first.cursor) == ("full", ResetReason.FRESH, None)
    # Between the pages: a change of a conversation whose page is gone, and a new conversation that
    # sorts before it.
    peer, newcomer = unique("peer0"), unique("aaa")
    early = ids.one_to_one(newcomer, user)
    world.write(
        Message(conversations[0], 2, peer, NOW_MS + 50, (user, peer)),
        Message(early, 1, newcomer, NOW_MS + 51, (newcomer, user)),
    )
    second = caller.sync(user, page=first.page, page_max=2)
    third = caller.sync(user, page=second.page, page_max=2)
    assert second.cursor is None
    assert third.page is None
    paged = [
        entry.conversation_id for page in (first, second, third) for entry in page.conversations
    ]
    assert paged == sorted(paged, key=str.encode)
    assert set(conversations) <= set(paged)
    delta = caller.sync(user, cursor=third.cursor)
    assert delta.path == "delta"
    news = {entry.conversation_id: entry for entry in delta.conversations}
    assert news[conversations[0]].max_seq == 2
    assert early in news or early in paged


def test_a_delta_repeated_with_the_same_cursor_is_the_same(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, _, events = chats(unique, 3)
    start = caller.sync(user).cursor
    world.write(*events)
    once, again = caller.sync(user, cursor=start), caller.sync(user, cursor=start)
    assert once.conversations == again.conversations
    assert len(once.conversations) == 3
    versions = [entry.version for entry in once.conversations]
    assert versions == sorted(versions, reverse=True)
    assert caller.sync(user, cursor=once.cursor).conversations == ()


def test_too_many_changes_are_answered_with_the_first_page_of_everything(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, conversations, events = chats(unique, 4)
    start = caller.sync(user).cursor
    world.write(*events)
    answer = caller.sync(user, cursor=start, changes_max=3)
    assert (answer.path, answer.reset) == ("full", ResetReason.TOO_MANY)
    assert {entry.conversation_id for entry in answer.conversations} == set(conversations)
    assert caller.sync(user, cursor=start, changes_max=4).path == "delta"


def test_every_unusable_cursor_is_a_reset_with_its_reason(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, _, events = chats(unique, 1)
    world.write(*events)
    good = caller.sync(user).cursor
    assert good is not None
    key = cursor_key(system.settings.api)
    cursor = unseal(good, Cursor, key)
    replace = msgspec.structs.replace
    day_ms = 86_400_000
    cases = {
        ResetReason.OTHER_USER: seal(replace(cursor, user_digest=user_digest("x")), key),
        ResetReason.EPOCH_CHANGED: seal(replace(cursor, epoch=cursor.epoch + 1), key),
        ResetReason.EXPIRED: seal(replace(cursor, issued_at_ms=now_ms() - 7 * day_ms), key),
        ResetReason.AHEAD: seal(replace(cursor, version=version_of(cursor.epoch, 10**9)), key),
        ResetReason.UNREADABLE: seal(cursor, b"another key"),
    }
    for reason, token in cases.items():
        answer = caller.sync(user, cursor=token)
        assert (answer.path, answer.reset) == ("full", reason)
        assert len(answer.conversations) == 1
    forged_page = seal(PageToken(replace(cursor, user_digest=user_digest("x")), ""), key)
    assert caller.sync(user, page=forged_page).reset is ResetReason.OTHER_USER
    assert caller.sync(user, cursor="not a token").reset is ResetReason.UNREADABLE


def test_a_user_reads_only_his_own(system: System, caller: Caller, unique: Unique) -> None:
    world = World(system)
    _, conversations, events = chats(unique, 2)
    world.write(*events)
    stranger = unique("stranger")
    assert caller.sync(stranger).conversations == ()
    peer = unique("peer0")
    seen = {entry.conversation_id for entry in caller.sync(peer).conversations}
    assert seen == {conversations[0]}


@pytest.mark.parametrize(
    "body",
    [
        {"device_id": ""},
        {"device_id": 5},
        {"changes_max": 0},
        {"changes_max": 10**9},
        {"page_max": "many"},
        {"cursor": "x" * 10_000},
        {"surprise": True},
        {"v": 2},
    ],
)
def test_a_request_that_does_not_fit_gets_a_problem_document(
    caller: Caller, body: dict[str, Any]
) -> None:
    answer = caller.post("anybody", **body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    assert problem["detail"]


def test_without_a_valid_token_nothing_is_told(caller: Caller) -> None:
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic x"}):
        answer = caller.http.post("/v1/sync", json={"device_id": "d"}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_health_readiness_metrics_and_the_openapi_document(caller: Caller) -> None:
    assert caller.http.get("/healthz").text == "ok"
    assert caller.http.get("/readyz").text == "ok"
    assert "diffusion_api_syncs_total" in caller.http.get("/metrics").text
    document = caller.http.get("/schema/openapi.json").json()
    assert "/v1/sync" in document["paths"]
    assert caller.http.get("/schema").status_code == 200
