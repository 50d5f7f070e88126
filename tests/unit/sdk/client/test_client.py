"""The shell: reports, threads, and what it refuses."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import sdk.client
from schemas.conversations import OwnState
from schemas.limits import ANSWER_BYTES_MAX, ANSWER_BYTES_MIN
from schemas.protocol import ModuleEntry, Reason, SyncRequest, SyncResponse
from sdk.client import (
    AuthError,
    InvalidAnswerError,
    NetworkError,
    ServerBusyError,
    StoreOwnerError,
    SyncClient,
    SyncReport,
)
from sdk.client.limits import CONVERSATIONS_MAX, DRAFT_CHARS_MAX, PENDING_MAX, RETRY_BASE_MS
from sdk.client.transport import HttpTransport
from tests.unit.sdk.client.support import T0, ModelServer, Scripted, delta, entry, first, further


def client(transport: Any, **options: Any) -> SyncClient:
    options = {"store": ":memory:", "clock": lambda: T0, **options}
    return SyncClient(user_id="u1", device_id="phone", transport=transport, **options)


def test_a_report_says_what_a_sync_did() -> None:
    item = ModuleEntry("friends", "f1", "insert", 1, 1)
    wire = Scripted(
        first(entry("sg_1", 1, 1), entry("sg_2", 1, 1), page="p1", total=3),
        further(entry("sg_3", 1, 1), cursor="c1"),
        delta(entry("sg_1", 2, 2), cursor="c2", modules=(item,)),
        delta(cursor="c3"),
        first(entry("sg_1", 1, 2), cursor="c4", reason=Reason.EXPIRED),
    )
    with client(wire) as c:
        full = c.sync()
        assert (full.path, full.reason, full.round_trips) == ("full", "fresh", 2)
        assert (full.entries, full.modules, full.enqueued, full.removed) == (3, 0, 3, 0)
        assert full.total == 3
        assert full.bytes_up > 0 < full.bytes_down
        assert full.seconds >= 0
        news = c.sync()
        assert (news.path, news.reason, news.round_trips) == ("delta", None, 1)
        assert (news.entries, news.modules, news.enqueued, news.total) == (1, 1, 2, None)
        nothing = c.sync()
        assert (nothing.path, nothing.reason, nothing.entries) == ("nothing", None, 0)
        again = c.sync()
        assert (again.path, again.reason, again.removed) == ("full", "expired", 2)
        assert again.enqueued == 0


def test_a_verified_sync_reports_what_was_wrong() -> None:
    server = ModelServer()
    for number in range(30):
        server.change(f"sg_{number}", number + 1)
    with client(server) as c:
        c.sync()
        equal = c.sync(verify=True)
        assert (equal.path, equal.reason, equal.round_trips) == ("nothing", None, 1)
        c._store._db.execute("DELETE FROM conversations WHERE conversation_id = 'sg_7'")
        c._store._db.execute("UPDATE conversations SET read_seq = 9 WHERE conversation_id = 'sg_3'")
        assert c.sync().path == "nothing", "nobody looks unless asked to"
        report = c.sync(verify=True)
        assert (report.path, report.reason, report.total) == ("correction", "digest_mismatch", None)
        assert (report.round_trips, report.entries, report.removed) == (2, 2, 0)
        assert c.state() == server.states
        # The reason of the first sync is that of a full correction, and this is none.
        assert c.sync(verify=True).reason is None


def test_what_is_told_beside_entries_is_news_too() -> None:
    wire = Scripted(
        first(cursor="c1"),
        delta(cursor="c2", module_resets=("friends",)),
        delta(cursor="c3", pinned=()),
        delta(cursor=None),
    )
    with client(wire) as c:
        assert [c.sync().path for _ in range(4)] == ["full", "delta", "delta", "nothing"]


def test_requests_carry_what_the_last_answer_said() -> None:
    wire = Scripted(first(page="p1"), further(cursor="c1"), delta(cursor="c2"), first(cursor="c3"))
    with client(wire, changes_max=3, page_max=4, bytes_max=9_000) as c:
        c.sync()
        c.sync()
        c.sync(full=True)
    common = {"device_id": "phone", "changes_max": 3, "page_max": 4, "bytes_max": 9_000}
    assert wire.requests == [
        SyncRequest(**common),
        SyncRequest(**common, page="p1"),
        SyncRequest(**common, cursor="c1"),
        SyncRequest(**common),
    ]


def test_a_failed_sync_changes_nothing_and_the_next_goes_on() -> None:
    wire = Scripted(
        first(entry("sg_1", 1, 1), cursor="c1"),
        NetworkError("cut"),
        AuthError("expired"),
        ServerBusyError("busy", None),
        further(entry("sg_9", 9, 9), cursor="c9"),
        delta(entry("sg_1", 2, 2), cursor="c2"),
    )
    with client(wire) as c:
        c.sync()
        for error in (NetworkError, AuthError, ServerBusyError, InvalidAnswerError):
            before = c.state()
            with pytest.raises(error):
                c.sync()
            assert c.state() == before
        assert c.sync().path == "delta"
        assert [request.cursor for request in wire.requests] == [None] + ["c1"] * 5


def test_the_queue_by_way_of_the_client() -> None:
    now_ms = T0
    answer = first(entry("sg_1", 1, 1), entry("sg_2", 1, 2), cursor="c1", module_resets=("*",))
    wire = Scripted(answer)
    with client(wire, clock=lambda: now_ms) as c:
        c.sync()
        (newest,) = c.pending(limit=1)
        assert newest.conversation_id == "sg_2"
        assert c.ack(newest)
        (other,) = c.pending()
        c.retry(other, OSError("no route"))
        assert c.pending() == []
        now_ms += RETRY_BASE_MS
        assert [(e.attempts, e.last_error) for e in c.pending()] == [(1, "OSError: no route")]
        (refresh,) = c.pending_items()
        assert refresh.op == "refresh"
        assert c.ack(refresh)
        assert c.pending_items() == []


def test_the_list_by_way_of_the_client() -> None:
    wire = Scripted(
        first(
            entry("sg_1", 1, 5, 3),
            entry("sg_2", 1, 9, 2, OwnState(muted=True)),
            entry("sg_3", 1, 1, 1, OwnState(pinned=True)),
            entry("sg_4", 1, 1, 0, OwnState(deleted_seq=1)),
            entry("n_1", 1, 8),
            cursor="c1",
        )
    )
    with client(wire) as c:
        c.sync()
        page = c.conversations(limit=2)
        assert [v.conversation_id for v in page] == ["sg_3", "sg_2"]
        assert [v.conversation_id for v in c.conversations(after=page[-1])] == ["sg_1"]
        assert [v.unread for v in c.conversations()] == [0, 7, 2]
        assert c.unread_total() == 2
        deleted = c.conversation("sg_4")
        assert deleted is not None
        assert not deleted.listed
        assert c.conversation("absent") is None
        c.set_draft("sg_1", "half a")
        assert [v.draft for v in c.conversations()] == ["", "", "half a"]


def test_one_sync_at_a_time() -> None:
    server = ModelServer()
    server.change("sg_1", 1)
    inside, go_on = threading.Event(), threading.Event()
    running = most = 0

    def watch(request: SyncRequest) -> None:
        nonlocal running, most
        del request
        running += 1
        most = max(most, running)
        inside.set()
        assert go_on.wait(10)
        running -= 1

    server.fault = watch
    reports: list[SyncReport] = []
    with client(server) as c:
        threads = [threading.Thread(target=lambda: reports.append(c.sync())) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert inside.wait(10)
        # Reading does not wait for the network.
        assert c.conversations() == []
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert most == 1
    # Who asked before the first was sent shares it; the others share what comes after it.
    assert sorted({report.path for report in reports}) in (["full"], ["full", "nothing"])
    assert len(server.answers) <= 2


def test_closing_waits_for_the_sync_and_leaves_a_given_transport_open(tmp_path: Path) -> None:
    wire = Scripted(first(entry("sg_1", 1, 1), cursor="c1"))
    with client(wire, store=tmp_path / "im.db") as c:
        c.sync()
    assert not wire.closed
    with client(wire, store=tmp_path / "im.db") as c:
        assert set(c.state()) == {"sg_1"}
    with pytest.raises(StoreOwnerError):
        SyncClient(user_id="u2", device_id="phone", transport=wire, store=tmp_path / "im.db")


def test_an_own_transport_is_made_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[HttpTransport] = []

    def close(self: HttpTransport) -> None:
        closed.append(self)

    monkeypatch.setattr(HttpTransport, "close", close)
    c = SyncClient("http://localhost:1", user_id="u1", device_id="d", token="t", store=":memory:")
    c.close()
    assert len(closed) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"user_id": ""},
        {"user_id": "u" * 129},
        {"device_id": ""},
        {"device_id": "d" * 129},
        {"changes_max": 0},
        {"changes_max": 1_001},
        {"page_max": 0},
        {"page_max": 1_001},
        {"bytes_max": ANSWER_BYTES_MIN - 1},
        {"bytes_max": ANSWER_BYTES_MAX + 1},
        {"transport": None},
        {"transport": None, "url": "im.example"},
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_a_file_is_made(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    given = {"user_id": "u1", "device_id": "d", "transport": Scripted(), **options}
    with pytest.raises(ValueError, match=r"must|not the address"):
        SyncClient(store=tmp_path / "im.db", **given)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_refused() -> None:
    with client(Scripted()) as c:
        for number in (0, -1):
            for method in (c.pending, c.pending_items, c.conversations):
                with pytest.raises(ValueError, match="limit must be 1 to"):
                    method(limit=number)
        with pytest.raises(ValueError, match="1,000"):
            c.pending(limit=PENDING_MAX + 1)
        with pytest.raises(ValueError, match="1,000"):
            c.conversations(limit=CONVERSATIONS_MAX + 1)
        with pytest.raises(ValueError, match="draft"):
            c.set_draft("sg_1", "x" * (DRAFT_CHARS_MAX + 1))
        with pytest.raises(ValueError, match="conversation_id"):
            c.set_draft("", "x")


def test_an_unexpected_error_lets_the_next_sync_in() -> None:
    class Broken(Scripted):
        def send(self, request: SyncRequest) -> SyncResponse:
            if not self.requests:
                self.requests.append(request)
                raise KeyboardInterrupt
            return super().send(request)

    with client(Broken(first(cursor="c1"))) as c:
        with pytest.raises(KeyboardInterrupt):
            c.sync()
        assert c.sync().path == "full"


def test_what_is_exported_exists_and_is_sorted() -> None:
    assert sorted(sdk.client.__all__) == sdk.client.__all__
    for name in sdk.client.__all__:
        assert getattr(sdk.client, name).__name__ == name
