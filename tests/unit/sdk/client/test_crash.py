"""A process that dies at any statement of a sync, of the queue, or between two pages.

After each death the file holds what was before some transaction or after it, never a part of one;
and whoever starts again from there ends where an undisturbed client ends.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.conversations import ConversationState, OwnState
from schemas.protocol import Reason
from sdk.client import SyncClient
from sdk.client.errors import NetworkError, StoreError
from sdk.client.limits import FULL_EVERY_MS
from sdk.client.rows import UPSERT, row_of
from sdk.client.store import Store
from tests.unit.sdk.client.support import T0, Killable, Killed, ModelServer

ROOT = Path(__file__).parents[4]

Act = Callable[[ModelServer, Path], None]


def client(server: ModelServer, path: Path, **options: Any) -> SyncClient:
    return SyncClient(
        user_id="u1",
        device_id="phone",
        store=path,
        transport=server,
        clock=lambda: T0,
        **options,
    )


def contents(path: Path) -> dict[str, list[Any]]:
    """Every table of a store, read by a connection of its own."""
    store = Store(path, "u1", "phone")
    tables = ("sync_state", "conversations", "drafts", "modules", "pending")
    found = {t: store._db.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in tables}
    store.close()
    return found


def world() -> ModelServer:
    server = ModelServer()
    for number in range(7):
        server.change(f"sg_{number}", number + 1)
    server.change("n_1", 3)
    server.module("friends", "f1", 1)
    return server


def changed(server: ModelServer) -> None:
    server.change("sg_1", 20)
    server.change("sg_2", read_seq=2)
    server.change("sg_3", own=OwnState(pinned=True))
    server.change("sg_new", 1)
    server.module("friends", "f1", 2)


def synced_then_changed(path: Path) -> ModelServer:
    """Sync, acknowledge half, write a draft; then the server goes on."""
    server = world()
    with client(server, path) as c:
        c.sync()
        for entry in c.pending(4):
            c.ack(entry)
        c.set_draft("sg_2", "half a")
    changed(server)
    return server


def synced_then_lost(path: Path) -> ModelServer:
    server = synced_then_changed(path)
    server.lose("sg_4")
    # So long ago that nothing keeps another full correction from being begun.
    store = Store(path, "u1", "phone")
    store._db.execute("UPDATE sync_state SET full_at_ms = ?", (T0 - FULL_EVERY_MS,))
    store.close()
    return server


def synced_then_damaged(path: Path) -> ModelServer:
    """Rows that changed, are missing, or should not be there, and news on top."""
    server = synced_then_changed(path)
    store = Store(path, "u1", "phone")
    store._db.execute("DELETE FROM conversations WHERE conversation_id IN ('sg_0', 'n_1')")
    store._db.execute("UPDATE conversations SET max_seq = 99 WHERE conversation_id = 'sg_6'")
    store._db.execute("UPDATE conversations SET pinned = 1 WHERE conversation_id = 'sg_4'")
    for number in range(2):
        extra = ConversationState(f"sg_extra_{number}", 5, T0)
        store._db.execute(UPSERT, row_of(extra, 1))
    store.close()
    return server


def not_synced(path: Path) -> ModelServer:
    del path
    return world()


def sync_in_pages(server: ModelServer, path: Path) -> None:
    with client(server, path, page_max=2, changes_max=2) as c:
        c.sync()


def verify(server: ModelServer, path: Path) -> None:
    with client(server, path, page_max=100, changes_max=2) as c:
        c.sync(verify=True)


def verify_in_pages(server: ModelServer, path: Path) -> None:
    with client(server, path, page_max=2, changes_max=2) as c:
        c.sync(verify=True)


def recover(server: ModelServer, path: Path, act: Act) -> None:
    """Start again after a death: as any app does; and verify, if that is what was done."""
    with client(server, path, page_max=2, changes_max=2) as c:
        c.sync(verify=act in {verify, verify_in_pages})
        assert c.state() == server.states


def work_on_the_queue(server: ModelServer, path: Path) -> None:
    with client(server, path) as c:
        entries = c.pending()
        for number, entry in enumerate(entries):
            if number % 2:
                c.ack(entry)
            else:
                c.retry(entry, "no")


CASES: list[tuple[Callable[[Path], ModelServer], Act]] = [
    (not_synced, sync_in_pages),
    (synced_then_changed, sync_in_pages),
    (synced_then_lost, sync_in_pages),
    (synced_then_damaged, verify),
    (synced_then_damaged, verify_in_pages),
    (synced_then_changed, work_on_the_queue),
]


class Start:
    """Where every run begins: made once and copied, because a test begins a hundred times."""

    def __init__(self, prepare: Callable[[Path], ModelServer], folder: Path) -> None:
        self._path = folder / "start.db"
        self._server = prepare(self._path)

    def at(self, path: Path) -> ModelServer:
        if self._path.exists():
            shutil.copyfile(self._path, path)
        return copy.deepcopy(self._server)


def stages(start: Start, act: Act, folder: Path) -> list[Any]:
    """Contents before and after each transaction of an undisturbed run, in order."""
    path = folder / "undisturbed.db"
    server = start.at(path)
    found = [contents(path)]
    original = Store.apply, Store.pending, Store.ack, Store.retry

    def record(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(self: Store, *arguments: Any) -> Any:
            result = method(self, *arguments)
            found.append(contents(path))
            return result

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for method in original:
            patch.setattr(Store, method.__name__, record(method))
        patch.setattr("sdk.client.client.random.Random", Jitter)
        act(server, path)
    found.append(contents(path))
    return found


class Jitter:
    def random(self) -> float:
        return 0.5


@pytest.mark.parametrize(("prepare", "act"), CASES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dying_at_any_statement(
    prepare: Callable[[Path], ModelServer],
    act: Act,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: bool,
) -> None:
    monkeypatch.setattr("sdk.client.client.random.Random", Jitter)
    start = Start(prepare, tmp_path)
    allowed = stages(start, act, tmp_path)
    reached = set()
    for at in range(1, 1_000):
        path = tmp_path / f"{at}.db"
        server = start.at(path)
        killable = Killable(at, after=after)
        with monkeypatch.context() as patch:
            patch.setattr("sdk.client.database.sqlite3.connect", killable.connect)
            try:
                act(server, path)
            except Killed:
                died = True
            else:
                died = False
        killable.close()
        left = contents(path)
        assert left in allowed, f"statement {at}: neither before nor after a transaction"
        reached.add(allowed.index(left))
        recover(server, path, act)
        if not died:
            break
    assert len(reached) > 1
    assert reached == {allowed.index(stage) for stage in allowed}, "every stage was a stop"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_process_that_is_killed(case: int, tmp_path: Path) -> None:
    """The same with real deaths: a child process per statement, which exits without a goodbye."""
    script = (
        "import sys; from pathlib import Path;"
        "from tests.unit.sdk.client.test_crash import kill_children;"
        f"kill_children({case}, Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def kill_children(case: int, folder: Path) -> None:
    """Run in a process of its own, because it forks."""
    prepare, act = CASES[case]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdk.client.client.random.Random", Jitter)
        start = Start(prepare, folder)
        allowed = stages(start, act, folder)
        for at in range(1, 1_000):
            path = folder / f"{at}.db"
            server = start.at(path)
            child = os.fork()
            if child == 0:
                _live_until(at, act, server, path)
            _, status = os.waitpid(child, 0)
            assert contents(path) in allowed, at
            recover(server, path, act)
            if os.waitstatus_to_exitcode(status) == 0:
                assert at > 10, "the child lived too early: nothing was counted"
                return
            assert os.waitstatus_to_exitcode(status) == 9, at
    raise AssertionError("the child never came to its end")


def _live_until(at: int, act: Act, server: ModelServer, path: Path) -> None:
    killable = Killable(at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdk.client.database.sqlite3.connect", killable.connect)
        patch.setattr("tests.unit.sdk.client.support.Killable.die", lambda _: os._exit(9))
        act(server, path)
    os._exit(0)


@pytest.mark.parametrize("stop", range(1, 5))
@pytest.mark.parametrize("lost", [False, True], ids=["request", "answer"])
def test_a_correction_goes_on_after_the_page_that_was_stored(
    tmp_path: Path, stop: int, *, lost: bool
) -> None:
    server = world()
    asked: list[str | None] = []

    def cut(request: Any) -> None:
        asked.append(request.page)
        if len(asked) == stop:
            raise NetworkError("cut")

    if lost:
        server.lost = cut
    else:
        server.fault = cut
    with client(server, tmp_path / "im.db", page_max=2) as c, pytest.raises(NetworkError):
        c.sync()
    changed(server)
    with client(server, tmp_path / "im.db", page_max=2) as c:
        report = c.sync()
        assert asked[stop] == asked[stop - 1], "the same page is asked for again"
        assert (report.path, report.reason) == ("full", "fresh")
        assert len(asked) == len(set(asked)) + 1, "and no other page is asked for twice"
        c.sync()
        assert c.state() == server.states


@pytest.mark.parametrize("stop", range(1, 4))
@pytest.mark.parametrize("lost", [False, True], ids=["request", "answer"])
def test_a_delta_goes_on_after_the_page_that_was_stored(
    tmp_path: Path, stop: int, *, lost: bool
) -> None:
    path = tmp_path / "im.db"
    server = world()
    sync_in_pages(server, path)
    changed(server)
    asked: list[str | None] = []

    def cut(request: Any) -> None:
        asked.append(request.cursor)
        if len(asked) == stop:
            raise NetworkError("cut")

    setattr(server, "lost" if lost else "fault", cut)
    with client(server, path, changes_max=1) as c, pytest.raises(NetworkError):
        c.sync()
    stored = len(server.answers)
    # What changes now has left the delta under way, and comes with the next one.
    server.change("sg_3", 30)
    server.change("sg_newest", 1)
    with client(server, path, changes_max=1) as c:
        assert c.sync().path == "delta"
        assert asked[stop] == asked[stop - 1], "the same page is asked for again"
        assert len(asked) == len(set(asked)) + 1, "and no other page is asked for twice"
        told = [e.conversation_id for a in server.answers[stored:] for e in a.conversations]
        assert len(told) == len(set(told))
        c.sync()
        assert c.state() == server.states


@pytest.mark.parametrize("stop", range(1, 4))
@pytest.mark.parametrize("why", ["refused", "reset"])
def test_a_correction_whose_token_no_longer_counts_starts_again(
    tmp_path: Path, stop: int, why: str
) -> None:
    server = world()
    count = 0

    def cut(request: Any) -> None:
        nonlocal count
        del request
        count += 1
        if count == stop + 1:
            raise NetworkError("cut")

    server.fault = cut
    with client(server, tmp_path / "im.db", page_max=2) as c:
        with pytest.raises(NetworkError):
            c.sync()
        server.lose("sg_0")
        if why == "refused":
            server.refuse(Reason.UNREADABLE)
        server.fault = lambda _: None
        c.sync()
        assert c.state() == server.states
        assert "sg_0" not in {view.conversation_id for view in c.conversations()}


def test_a_disk_that_is_full_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    server = synced_then_changed(path)
    before = contents(path)
    for number in range(300):
        server.change(f"sg_many_{number}", 1)
    with client(server, path) as c:
        pages = c._store._db.execute("PRAGMA page_count").fetchone()[0]
        c._store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full"):
            c.sync()
        assert contents(path) == before
        c._store._db.execute("PRAGMA max_page_count = 1000000")
        c.sync()
        assert c.state() == server.states
