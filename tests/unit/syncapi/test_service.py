"""The service: the reads a plan needs, in the order that makes them safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from infra.cassandra.session import StoreUnavailable
from infra.settings import Settings, load
from schemas.changes import Membership, MessageChange, ModuleChange, ReadChange, StateChange
from schemas.conversations import NO_CAP
from schemas.cursor import Cursor, PageToken, unseal
from schemas.errors import RefusedTokenError
from schemas.protocol import ALL_MODULES, Reason, SyncRequest, SyncResponse
from schemas.versions import version_of
from syncapi import full as full_module
from syncapi import modules
from syncapi import service as service_module
from syncapi.delta import CURSOR_KEPT_MS, READ_SIDE_MARGIN_MS
from syncapi.service import SyncService
from tests.unit.infra.cassandra.support import Cells
from tests.unit.syncapi.support import (
    HOUR_MS,
    KEY,
    RETENTION_MS,
    T0,
    WINDOW_MS,
    Store,
    cursor,
    page_token,
    request,
    run,
)

INDEX = {"changes_by_user", "module_changes_by_user", "read_side_by_user"}
STATE = {"inbox", "conversation_heads"}


class Watched(Store):
    """A store that may do something of its own right after a read of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[str, Callable[[], None]] = {}

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows = await super().aread(cql, values)
        self.after.pop(table_of(cql), lambda: None)()
        return rows

    def tables_read(self) -> list[str]:
        found = [table_of(cql) for cql, _ in self.reads]
        self.reads.clear()
        return found


def table_of(cql: str) -> str:
    return cql.partition(" ks.")[2].split()[0]


class Api:
    """A service on a store, with a clock that tests move."""

    def __init__(self, store: Store | None = None, settings: Settings | None = None) -> None:
        self.store = store or Watched()
        self.now_ms = T0
        self.kept: str | None = None
        """The cursor of the last answer that had one, as a client keeps it."""
        self.service = SyncService(settings or Settings(), self.store, KEY, lambda: self.now_ms)
        self.service._heads._monotonic_s = lambda: self.now_ms / 1_000
        self.service._states._monotonic_s = lambda: self.now_ms / 1_000

    def sync(self, asked: SyncRequest | None = None, user: str = "ann") -> SyncResponse:
        answer = run(self.service.sync(user, asked or request()))
        self.kept = answer.cursor or self.kept
        return answer

    def stand(self, answer: SyncResponse) -> Cursor:
        assert answer.cursor is not None
        return unseal(answer.cursor, Cursor, KEY)

    def next(self, answer: SyncResponse, **limits: Any) -> SyncResponse:
        """Continue from an answer, as a client does."""
        if answer.page is not None:
            return self.sync(SyncRequest(device_id="phone", page=answer.page, **limits))
        cursor = answer.cursor or self.kept
        return self.sync(SyncRequest(device_id="phone", cursor=cursor, **limits))


def joined(*groups: str, user: str = "ann") -> list[StateChange]:
    there = Membership(member=True, user_max_seq=NO_CAP, at_ms=T0)
    return [StateChange(group, (user,), 1, membership=there) for group in groups]


def message(group: str, seq: int, user: str = "ann") -> MessageChange:
    return MessageChange(group, (user,), seq, T0 + seq)


def ids(answer: SyncResponse) -> list[str]:
    return [entry.conversation_id for entry in answer.conversations]


# Deltas.


def test_nothing_new_is_an_empty_delta_that_keeps_the_cursor() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.now_ms += CURSOR_KEPT_MS - 1
    assert api.next(first) == SyncResponse(path="delta", server_time_ms=api.now_ms)


def test_a_cursor_that_stands_still_is_renewed_before_it_is_old() -> None:
    api = Api()
    last = api.store.add(*joined("sg_1"))
    first = api.sync()
    api.now_ms += CURSOR_KEPT_MS
    renewed = api.stand(api.next(first))
    assert (renewed.version, renewed.issued_at_ms) == (last, api.now_ms)


def test_a_delta_tells_what_changed_and_no_more() -> None:
    api = Api()
    api.store.add(*joined("sg_1", "sg_2"))
    first = api.sync()
    last = api.store.add(message("sg_2", 4))
    answer = api.next(first)
    assert [(entry.conversation_id, entry.max_seq) for entry in answer.conversations] == [
        ("sg_2", 4)
    ]
    assert api.stand(answer).version == last
    assert api.next(answer).conversations == ()


def test_the_index_is_read_before_the_state() -> None:
    api = Api()
    first = api.sync()
    api.store.add(*joined("sg_1"))
    api.store.tables_read()
    api.next(first)
    found = [table for table in api.store.tables_read() if table in INDEX | STATE]
    assert found == ["changes_by_user", "read_side_by_user", "inbox", "conversation_heads"]


def test_without_news_the_index_alone_is_read() -> None:
    api = Api()
    api.store.add(*joined("sg_1"), ModuleChange(("ann",), "friends", "bob", "insert", 1))
    answer = api.next(api.sync())
    api.next(answer)
    api.store.tables_read()
    assert api.next(answer).cursor is None
    assert api.store.tables_read() == ["changes_by_user"]


def test_state_that_moves_on_after_the_index_was_read_is_at_least_as_new() -> None:
    api = Api()
    first = api.sync()
    api.store.add(*joined("sg_1"))
    newer = StateChange("sg_1", ("ann",), 2, pinned=True)
    api.store.after["read_side_by_user"] = lambda: api.store.add(newer) and None
    answer = api.next(first)
    assert answer.conversations[0].own.pinned is True
    again = api.next(answer)
    assert ids(again) == ["sg_1"], "it comes again by its own version: harmless, and not lost"


def test_a_change_that_appears_while_an_answer_is_made_comes_with_the_next() -> None:
    api = Api()
    api.store.add(*joined("sg_1", "sg_2"))
    first = api.sync()
    api.store.add(message("sg_1", 1))
    api.store.after["changes_by_user"] = lambda: api.store.add(message("sg_2", 1)) and None
    answer = api.next(first)
    assert ids(answer) == ["sg_1"]
    assert ids(api.next(answer)) == ["sg_2"]


def test_a_message_entry_reads_no_state() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.store.add(message("sg_1", 1))
    api.store.tables_read()
    api.next(first)
    assert not STATE & set(api.store.tables_read())


def test_modules_are_read_after_the_index_that_points_at_them() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    at = api.store.add(ModuleChange(("ann",), "friends", "bob", "insert", 1))
    newer = ModuleChange(("ann",), "friends", "eve", "insert", 1)
    api.store.after["changes_by_user"] = lambda: api.store.add(newer) and None
    answer = api.next(first)
    assert {found.item_id for found in answer.modules} == {"bob"}, "newer than the mark: not yet"
    assert api.stand(answer).modules_version == api.stand(answer).version == at
    then = api.next(answer)
    assert [found.item_id for found in then.modules] == ["eve"]
    assert api.next(then).modules == ()


def test_a_user_reads_his_own_partitions_only() -> None:
    api = Api()
    first = api.sync()
    api.store.add(*joined("sg_1", user="bob"))
    api.store.reads.clear()
    assert api.next(first).conversations == ()
    users = {values[0] for cql, values in api.store.reads if "user_id = ?" in cql}
    assert users == {"ann"}


def test_a_cursor_of_another_user_is_refused() -> None:
    api = Api()
    first = api.sync()
    with pytest.raises(RefusedTokenError):
        api.sync(SyncRequest(device_id="phone", cursor=first.cursor), user="bob")


def test_a_delta_looks_no_further_back_than_it_must() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.store.reads.clear()
    api.next(first)
    starts = [values[1] for cql, values in api.store.reads if "window_ms >= ?" in cql]
    assert starts[0] == T0 - WINDOW_MS


# The read side.


def read_side(api: Api, *groups: str) -> None:
    api.store.add(
        *joined(*groups),
        *(StateChange(g, ("ann",), 1, read_side=True, mode_epoch=1) for g in groups),
    )


def test_heads_of_the_read_side_are_told_when_they_were_written_since() -> None:
    api = Api()
    read_side(api, "sg_1", "sg_2")
    first = api.sync()
    api.now_ms += HOUR_MS
    second = api.next(first)
    api.store.head("sg_2", 9, api.now_ms)
    api.now_ms += 2_000
    answer = api.next(second)
    assert [(one.conversation_id, one.max_seq) for one in answer.conversations] == [("sg_2", 9)]


def test_a_head_written_before_the_cursor_but_readable_only_later_is_not_missed() -> None:
    api = Api()
    read_side(api, "sg_1")
    first = api.sync()
    api.now_ms += HOUR_MS
    second = api.next(first)
    api.store.head("sg_1", 9, api.now_ms - READ_SIDE_MARGIN_MS)
    api.now_ms += 2_000
    assert ids(api.next(second)) == ["sg_1"]


def test_a_head_that_was_cached_is_told_once_the_cache_is_older() -> None:
    api = Api()
    read_side(api, "sg_1")
    first = api.sync()
    api.now_ms += HOUR_MS
    second = api.next(first)
    api.store.head("sg_1", 9, api.now_ms)
    third = api.next(second)  # the head of a moment ago
    api.now_ms += HOUR_MS // 60
    assert ids(third) + ids(api.next(third)) == ["sg_1"]


def test_who_left_gets_no_news_even_if_the_set_still_names_it() -> None:
    api = Api()
    read_side(api, "sg_1")
    gone = Membership(member=False, user_max_seq=3, at_ms=T0)
    api.store.add(StateChange("sg_1", ("ann",), 2, membership=gone))
    first = api.sync()
    api.store.head("sg_1", 9, api.now_ms)
    api.now_ms += 2_000
    assert api.next(first).conversations == ()


def test_a_marker_of_who_never_belonged_is_not_told() -> None:
    api = Api()
    first = api.sync()
    api.store.add(ReadChange("sg_1", ("ann",), 3))
    answer = api.next(first)
    assert answer.conversations == ()
    assert api.sync().conversations == ()
    api.store.add(*joined("sg_1"))
    assert api.next(answer).conversations[0].read_seq == 3


# Resets.


def test_a_cursor_above_all_that_was_applied_is_ahead() -> None:
    api = Api()
    last = api.store.add(*joined("sg_1"))
    answer = api.sync(request(cursor(version=last + 1)))
    assert (answer.path, answer.reason, ids(answer)) == ("full", Reason.AHEAD, ["sg_1"])


def test_a_cursor_at_the_last_applied_is_not_ahead() -> None:
    api = Api()
    last = api.store.add(*joined("sg_1"))
    for _ in range(2):  # read, and then remembered
        assert api.sync(request(cursor(version=last))).path == "delta"


def test_a_cursor_on_a_log_that_nothing_was_applied_from_is_ahead() -> None:
    answer = Api().sync(request(cursor(version=version_of(1, 0))))
    assert answer.reason is Reason.AHEAD


def test_what_is_newest_of_the_log_before_is_not_ahead_of_a_new_log() -> None:
    """World 22 of the simulation: in a partition of the new log without a record yet, every sync
    was a full one.
    """
    api = Api()
    api.store.add(*joined("sg_1"))
    api.store.take_epoch(2)
    first = api.sync()
    assert (first.path, api.stand(first).epoch) == ("full", 2)
    answer = api.next(first)
    assert (answer.path, answer.reason) == ("delta", None)


def test_a_user_without_changes_is_not_ahead() -> None:
    assert Api().sync(request(cursor())).path == "delta"


def test_what_was_reached_later_is_looked_up_again() -> None:
    """Another process applied more since; a cursor from there is honest."""
    api = Api()
    last = api.store.add(*joined("sg_1"))
    assert api.sync(request(cursor(version=last))).path == "delta"
    later = api.store.add(ReadChange("sg_1", ("bob",), 1))
    assert api.sync(request(cursor(version=later))).path == "delta"


def test_more_changes_than_the_client_takes_come_in_pages_newest_first() -> None:
    api = Api()
    api.store.add(*joined("sg_1", "sg_2", "sg_3"))
    first = api.sync()
    last = api.store.add(*(message(f"sg_{n}", 1) for n in (1, 2, 3)))
    page = api.next(first, changes_max=2)
    assert (page.path, page.reason, page.has_more) == ("delta", Reason.PAGING, True)
    assert ids(page) == ["sg_3", "sg_2"]
    assert api.stand(page).version < last, "and the cursor does not say that all was told"
    end = api.next(page, changes_max=2)
    assert (ids(end), end.reason, end.has_more) == (["sg_1"], None, False)
    assert api.stand(end).version == last


def test_a_delta_that_was_begun_long_ago_does_not_end_before_now() -> None:
    """World 687 of the simulation: a device that came back in the middle of a delta was told the rest
    of that, and took itself for current.
    """
    api = Api()
    api.store.add(*joined("sg_1", "sg_2"))
    first = api.sync()
    api.store.add(message("sg_1", 1), message("sg_2", 1))
    page = api.next(first, changes_max=1)
    assert (ids(page), page.has_more) == (["sg_2"], True)
    api.store.add(message("sg_1", 2))
    page = api.next(page, changes_max=1)
    assert (ids(page), page.has_more, page.reason) == ([], True, Reason.PAGING)
    page = api.next(page, changes_max=1)
    assert (ids(page), page.has_more, page.reason) == (["sg_1"], False, None)


def test_more_changes_than_one_delta_tells_are_the_first_page_of_a_snapshot() -> None:
    api = Api(settings=load(api={"changes_per_delta_max": 2}))
    api.store.add(*joined(*(f"sg_{n}" for n in range(9))))
    item = api.store.add(ModuleChange(("ann",), "friends", "bob", "insert", 1))
    first = api.sync()
    friend = ModuleChange(("ann",), "friends", "eve", "insert", 1)
    for n in (8, 5, 6):
        api.store.head(f"sg_{n}", 1 + n, T0 + 1 + n)
        api.store.add(message(f"sg_{n}", 1 + n))
    api.store.add(friend)
    answer = api.next(first, page_max=6)
    assert (answer.path, answer.reason, answer.total) == ("full", Reason.TOO_MANY, 9)
    assert ids(answer) == ["sg_8", "sg_6", "sg_5", "sg_0", "sg_1", "sg_2"]
    assert answer.module_resets == ()
    assert [one.item_id for one in answer.modules] == ["eve"], "modules go on where they were"
    assert unseal(answer.page, PageToken, KEY).cursor.modules_version > item
    while answer.page is not None:
        answer = api.next(answer)
    assert api.next(answer).modules == ()


def test_modules_that_do_not_fit_the_first_page_come_with_the_delta_after() -> None:
    api = Api(settings=load(api={"changes_per_delta_max": 1}))
    api.store.add(*joined("sg_1", "sg_2"))
    first = api.sync()
    api.store.add(message("sg_1", 1), message("sg_2", 1))
    api.store.add(ModuleChange(("ann",), "friends", "bob", "insert", 1))
    api.store.add(ModuleChange(("ann",), "folders", "work", "insert", 1))
    answer = api.next(first, modules_max=1)
    assert (answer.path, [one.item_id for one in answer.modules]) == ("full", ["work"])
    then = api.next(answer, modules_max=1)
    assert [one.item_id for one in then.modules] == ["work"]
    assert [one.item_id for one in api.next(then, modules_max=1).modules] == ["bob"]


def test_many_messages_of_few_conversations_are_not_too_many() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.store.add(*(message("sg_1", n) for n in range(1, 30)))
    assert api.next(first, changes_max=1).path == "delta"


def test_more_rows_than_may_be_read_is_a_full_answer() -> None:
    api = Api(settings=load(api={"rows_per_sync_max": 100}))
    api.store.add(*joined(*(f"sg_{n:03}" for n in range(101))))
    answer = api.sync(request(cursor()))
    assert answer.reason is Reason.TOO_MANY
    limits = [v[-1] for cql, v in api.store.reads if table_of(cql) == "changes_by_user"]
    assert limits[0] == 101, "one more than may be, and no more"


def test_more_module_items_than_may_be_read_reset_the_modules_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modules, "MODULE_ROWS_MAX", 2)
    api = Api()
    api.store.add(*(ModuleChange(("ann",), "friends", name, "insert", 1) for name in "xyz"))
    api.store.add(*joined("sg_1"))
    answer = api.sync(request(cursor()))
    assert (answer.path, answer.module_resets) == ("delta", (ALL_MODULES,))
    assert ids(answer) == ["sg_1"]
    assert api.next(answer).module_resets == ()


def test_a_row_of_a_newer_epoch_is_a_reset_into_that_epoch() -> None:
    """The service believes an epoch for seconds; a row that shows a newer one makes it look."""
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.store.take_epoch(2)
    api.store.add(message("sg_1", 1))
    answer = api.next(first)
    assert answer.reason is Reason.EPOCH_CHANGED
    assert api.stand(answer).epoch == 2
    assert api.next(answer).path == "delta"


def test_an_expired_cursor_is_a_reset_that_already_recovers() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    first = api.sync()
    api.now_ms += RETENTION_MS
    answer = api.next(first)
    assert (answer.reason, ids(answer)) == (Reason.EXPIRED, ["sg_1"])
    assert api.next(answer).path == "delta"


# Full corrections.


def test_a_full_answer_is_paged_in_order_and_says_reset_once() -> None:
    api = Api()
    names = [f"sg_{n}" for n in range(5)]
    api.store.add(*joined(*reversed(names)))
    pages = [api.sync(request(page_max=2))]
    while pages[-1].page is not None:
        assert pages[-1].cursor is None, "half a state has no cursor"
        pages.append(api.next(pages[-1], page_max=2))
    newest = names[0]
    assert ids(pages[0]) == [newest, "sg_1"]
    assert [ids(page) for page in pages[1:]] == [names[2:4], names[4:]]
    assert [page.reason for page in pages] == [Reason.FRESH, Reason.PAGING, Reason.PAGING]
    assert [page.total for page in pages] == [5, None, None]
    assert pages[-1].cursor is not None


def test_a_page_that_is_just_full_is_the_last() -> None:
    api = Api()
    api.store.add(*joined("sg_1", "sg_2"))
    assert api.sync(request(page_max=2)).page is None


def test_pages_go_on_in_byte_order_of_ids() -> None:
    api = Api()
    names = ["sg_Z", "sg_a", "sg_é", "sg_\N{GRINNING FACE}"]
    api.store.add(*joined(*names))
    seen, answer = [], api.sync(request(page_max=1))
    seen += ids(answer)
    while answer.page:
        answer = api.next(answer, page_max=1)
        seen += ids(answer)
    assert seen == names


def test_nobody_in_nothing_is_one_empty_page() -> None:
    answer = Api().sync()
    assert (answer.path, answer.conversations, answer.page) == ("full", (), None)
    assert answer.cursor is not None


def test_the_cursor_is_fixed_before_the_first_page_is_read() -> None:
    api = Api()
    api.store.add(*joined("sg_1"))
    api.store.tables_read()
    api.sync()
    found = [table for table in api.store.tables_read() if table in INDEX | STATE]
    assert set(found[:2]) == {"changes_by_user", "read_side_by_user"}
    assert found.index("inbox") == 2
    assert found[-1] == "conversation_heads", "and the inbox before the heads it names"


def test_what_happens_behind_the_page_comes_with_the_next_delta() -> None:
    api = Api()
    api.store.add(*joined("sg_2", "sg_3", "sg_4"))
    first = api.sync(request(page_max=1))
    fixed = unseal(first.page, PageToken, KEY).cursor
    api.store.add(*joined("sg_1"), message("sg_2", 9))
    answer = first
    while answer.page is not None:
        api.now_ms += 1_000
        answer = api.next(answer, page_max=1)
    assert unseal(answer.cursor, Cursor, KEY) == fixed, (
        "the last page gives the cursor of the first"
    )
    told = api.next(answer)
    assert told.path == "delta"
    assert set(ids(told)) == {"sg_1", "sg_2"}


def test_a_page_token_outlived_by_the_log_starts_again() -> None:
    api = Api()
    api.store.add(*joined("sg_1", "sg_2"))
    first = api.sync(request(page_max=1))
    api.now_ms += RETENTION_MS
    answer = api.next(first, page_max=1)
    assert (answer.reason, ids(answer)) == (Reason.EXPIRED, ["sg_1"])


def test_a_page_after_the_last_conversation_is_empty_and_last() -> None:
    api = Api()
    answer = api.sync(request(page_token("zzz")))
    assert (answer.conversations, answer.reason, answer.page) == ((), Reason.PAGING, None)
    assert api.stand(answer) == cursor()


def test_conversations_the_user_never_belonged_to_fill_no_page_for_ever() -> None:
    api = Api()
    api.store.add(*(ReadChange(f"sg_{n}", ("ann",), 1) for n in range(4)), *joined("sg_9"))
    seen, answer = [], api.sync(request(page_max=2))
    while answer.page:
        seen += ids(answer)
        answer = api.next(answer, page_max=2)
    assert seen + ids(answer) == ["sg_9"]


# The store.


class Away(Cells):
    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        raise StoreUnavailable("away")


def test_a_store_that_is_away_is_said_so() -> None:
    service = SyncService(Settings(), Away(), KEY, lambda: T0)
    with pytest.raises(StoreUnavailable):
        run(service.sync("ann", request()))
    with pytest.raises(StoreUnavailable):
        run(service.ready())


def test_a_log_without_an_epoch_is_not_ready() -> None:
    service = SyncService(Settings(), Cells(), KEY, lambda: T0)
    with pytest.raises(StoreUnavailable, match="diffusion migrate"):
        run(service.ready())


def test_ready_looks_every_time() -> None:
    api = Api()
    run(api.service.ready())
    api.store.tables_read()
    run(api.service.ready())
    assert api.store.tables_read() == ["topic_epochs"]


def test_the_epoch_is_not_read_for_every_request() -> None:
    api = Api()
    first = api.sync()
    api.store.tables_read()
    api.next(first)
    assert "topic_epochs" not in api.store.tables_read()


# Between two reads.


class Race(Watched):
    """A store in which something happens while the index is being read."""

    armed: Callable[[], object] | None = None

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.armed is not None and table_of(cql) == "changes_by_user":
            await asyncio.sleep(0)
            do, self.armed = self.armed, None
            do()
        return await super().aread(cql, values)


def side(group: str, stamp: int, *, on: bool, mode_epoch: int = 1) -> StateChange:
    return StateChange(group, ("ann",), stamp, read_side=on, mode_epoch=mode_epoch)


@pytest.mark.parametrize("emptied", [False, True])
def test_an_empty_read_side_is_believed_only_as_of_the_index(emptied: bool) -> None:
    """A switch between the two reads is past the cursor, and would never be looked for again."""
    api = Api(Race())
    api.store.add(*joined("sg_1", "sg_2"))
    if emptied:
        api.store.add(side("sg_2", 2, on=True))
        answer = api.sync()
        api.store.add(side("sg_2", 3, on=False, mode_epoch=2))
        api.store.armed = lambda: api.store.add(side("sg_1", 2, on=True))
        answer = api.next(answer)
    else:
        api.store.armed = lambda: api.store.add(side("sg_1", 2, on=True))
        answer = api.sync()
    api.now_ms += 400_000
    api.store.head("sg_1", 10, api.now_ms)
    told = api.next(answer)
    assert [(entry.conversation_id, entry.max_seq) for entry in told.conversations] == [
        ("sg_1", 10)
    ]


@pytest.mark.parametrize("most", [1_000, 2])
def test_a_module_change_is_told_though_its_mark_is_not_in_the_snapshot(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one page of newer rows lies above the mark, in a window that is not read again."""
    monkeypatch.setattr(service_module, "PAGE_ROWS", 3)
    monkeypatch.setattr(full_module, "PAGE_ROWS", 3)
    api = Api()
    groups = [f"sg_{n}" for n in range(5)]
    api.store.add(*joined(*groups))
    answer = api.sync()
    api.store.add(ModuleChange(("ann",), "friends", "bob", "insert", 1))
    for window in range(1, 4):
        for n, group in enumerate(groups):
            at_ms = T0 + window * WINDOW_MS
            api.store.add(message(group, window * 10 + n), window_ms=at_ms)
    api.service._changes_max = most
    told: list[str] = []
    for _ in range(4):
        answer = api.next(answer)
        told += [item.item_id for item in answer.modules]
    assert told == ["bob"]
