"""The sync API over HTTP, on real Cassandra: tokens, resets, paging, and answers while writes go on."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from diffusion.system import System
from infra.clock import now_ms
from schemas import digests, ids, sketch
from schemas.cursor import Cursor, PageToken, seal, unseal, user_digest
from schemas.events import Message, ModuleChanged, UserConversationSettings
from schemas.protocol import Reason, SyncResponse, merge
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
    assert (first.path, first.reason, first.cursor) == ("full", Reason.FRESH, None)
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
    assert (second.reason, first.total) == (Reason.PAGING, 5)
    paged = [
        entry.conversation_id for page in (first, second, third) for entry in page.conversations
    ]
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


def test_more_changes_than_the_client_takes_come_in_pages_newest_first(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, conversations, events = chats(unique, 4)
    start = caller.sync(user).cursor
    world.write(*events)
    first = caller.sync(user, cursor=start, changes_max=3)
    assert (first.path, first.reason, first.has_more) == ("delta", Reason.PAGING, True)
    then = caller.sync(user, cursor=first.cursor, changes_max=3)
    assert (then.reason, then.has_more) == (None, False)
    told = [entry.conversation_id for page in (first, then) for entry in page.conversations]
    assert sorted(told) == sorted(conversations)
    versions = [entry.version for page in (first, then) for entry in page.conversations]
    assert versions == sorted(versions, reverse=True)
    assert caller.sync(user, cursor=then.cursor).cursor is None, "the cursor is kept"


def test_more_changes_than_one_delta_tells_are_the_first_page_of_the_snapshot(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, count = unique("hub"), system.settings.api.changes_per_delta_max + 1
    start = caller.sync(user).cursor
    peers = [unique(f"peer{number}") for number in range(count)]
    world.write(
        *(
            Message(ids.one_to_one(user, peer), 1, peer, NOW_MS + number, (user, peer))
            for number, peer in enumerate(peers)
        )
    )
    answer = caller.sync(user, cursor=start, page_max=500)
    assert (answer.path, answer.reason, answer.total) == ("full", Reason.TOO_MANY, count)
    newest = ids.one_to_one(user, peers[-1])
    assert answer.conversations[0].conversation_id == newest, "newest first"
    told, pages = {entry.conversation_id for entry in answer.conversations}, 1
    while answer.page is not None:
        answer = caller.sync(user, page=answer.page, page_max=500)
        told |= {entry.conversation_id for entry in answer.conversations}
        pages += 1
    assert (len(told), pages) == (count, 5)
    # Its window holds more rows than are worth reading again: from here on they are filtered.
    assert caller.sync(user, cursor=answer.cursor).path == "delta"
    world.write(Message(newest, 2, peers[-1], NOW_MS + count, (user, peers[-1])))
    (entry,) = caller.sync(user, cursor=answer.cursor).conversations
    assert (entry.conversation_id, entry.max_seq) == (newest, 2)


def test_a_state_that_drifted_is_corrected_by_what_differs(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, _, events = chats(unique, 6)
    world.write(*events)
    first = caller.sync(user)
    states = [merge(None, entry) for entry in first.conversations]
    rows = digests.in_order(map(digests.digest_row, states))
    equal = caller.sync(user, cursor=first.cursor, root=b64encode(digests.root_of(rows)).decode())
    assert (equal.path, equal.root) == ("delta", digests.root_of(rows))
    drifted = [msgspec.structs.replace(states[0], max_seq=9), *states[2:]]
    held = digests.in_order(map(digests.digest_row, drifted))
    differs = caller.sync(user, cursor=first.cursor, root=b64encode(digests.root_of(held)).decode())
    assert (differs.path, differs.reason) == ("correction", Reason.DIGEST_MISMATCH)
    assert digests.differing(differs.parts[0], held)
    made = b64encode(sketch.sketch_of(held, sketch.cells_for(2))).decode()
    found = caller.sync(user, cursor=first.cursor, correct={"sketch": made})
    assert {entry.conversation_id for entry in found.conversations} == {
        states[0].conversation_id,
        states[1].conversation_id,
    }
    assert found.root == digests.root_of(rows)


def test_the_pinned_list_comes_when_it_changed(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, conversations, events = chats(unique, 3)
    world.write(*events)
    first = caller.sync(user)
    assert first.pinned == ()
    world.write(UserConversationSettings(user, conversations[1], pinned=True))
    pinned = caller.sync(user, cursor=first.cursor)
    assert pinned.pinned == (conversations[1],)
    world.write(UserConversationSettings(user, conversations[1], muted=True))
    assert caller.sync(user, cursor=pinned.cursor).pinned is None
    assert caller.sync(user).pinned == (conversations[1],)


def test_a_module_too_far_behind_resets_alone(
    system: System, caller: Caller, unique: Unique
) -> None:
    world = World(system)
    user, conversations, events = chats(unique, 1)
    start = caller.sync(user).cursor
    friends = [ModuleChanged(user, "friends", f"f{n}", "insert", 1) for n in range(4)]
    world.write(*events, *friends, ModuleChanged(user, "folders", "work", "insert", 1))
    answer = caller.sync(user, cursor=start, modules_max=3)
    assert (answer.path, answer.module_resets) == ("delta", ("friends",))
    assert [item.item_id for item in answer.modules] == ["work"]
    assert [entry.conversation_id for entry in answer.conversations] == conversations
    assert caller.sync(user, cursor=answer.cursor).module_resets == ()


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
        Reason.EPOCH_CHANGED: seal(replace(cursor, epoch=cursor.epoch + 1), key),
        Reason.EXPIRED: seal(replace(cursor, issued_at_ms=now_ms() - 7 * day_ms), key),
        Reason.AHEAD: seal(replace(cursor, version=version_of(cursor.epoch, 10**9)), key),
    }
    for reason, token in cases.items():
        answer = caller.sync(user, cursor=token)
        assert (answer.path, answer.reason) == ("full", reason)
        assert len(answer.conversations) == 1


def test_a_token_that_is_not_this_users_is_refused_with_its_reason(
    system: System, caller: Caller, unique: Unique
) -> None:
    user = unique("u")
    good = caller.sync(user).cursor
    assert good is not None
    key = cursor_key(system.settings.api)
    cursor = unseal(good, Cursor, key)
    foreign = msgspec.structs.replace(cursor, user_digest=user_digest("x"))
    for body, reason in [
        ({"cursor": seal(foreign, key)}, "other_user"),
        ({"page": seal(PageToken(foreign, ""), key)}, "other_user"),
        ({"cursor": seal(cursor, b"another key")}, "unreadable"),
        ({"cursor": "not a token"}, "unreadable"),
        ({"page": good}, "unreadable"),
    ]:
        answer = caller.post(user, **body)
        assert (answer.status_code, answer.json()["reason"]) == (400, reason)


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


def test_unknown_fields_are_ignored_and_unknown_versions_refused(
    caller: Caller, unique: Unique
) -> None:
    assert caller.post(unique("u"), of_the_future=[1]).status_code == 200
    refused = caller.post(unique("u"), v=2)
    assert (refused.status_code, refused.json()["supported"]) == (400, [1])


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
