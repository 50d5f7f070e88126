"""Files that cannot be the store: set aside whole, and what is begun in their place works."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from sdk.client import database, recovery
from sdk.client.course import SyncCourse
from sdk.client.errors import (
    StoreDamagedError,
    StoreError,
    StoreOwnerError,
    StoreVersionError,
)
from sdk.client.limits import STORE_OPENINGS_MAX
from sdk.client.store import Store
from tests.unit.sdk.client.support import T0, Killed, delta, entry, first

NAME = "im.db"
ASIDE = f"{NAME}.aside-20231114T221320Z-1"
"""What a file is called that is set aside at `T0`."""

PAGE = 4_096


def apply(store: Store, answer: Any) -> None:
    session = SyncCourse(store.load(), "phone")
    assert session.next_request() is not None
    store.apply(session.receive(answer), T0)


def fill(path: Path, *, conversations: int = 300) -> None:
    """Make a store of some dozens of pages with all in it that there is, and close it."""
    store = Store(path, "u1", "phone")
    rows = [entry(f"sg_{n:04}", 1, n + 1) for n in range(conversations)]
    apply(store, first(*rows, cursor="c1"))
    for n in range(0, conversations, 3):
        store.set_draft(f"sg_{n:04}", f"draft {n}", T0)
    for one in store.pending(100, T0):
        store.ack(one)
    store.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / NAME
    fill(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    path = tmp_path / NAME
    path.write_bytes(whole)
    return path


def files(path: Path) -> set[str]:
    return {one.name for one in path.parent.iterdir()}


def open_at(path: Path, user_id: str | None = "u1") -> Store:
    return Store(path, user_id, "phone", now_ms=T0)


def damage(path: Path, page: int = 12) -> bytes:
    """Overwrite a page in the middle; return what the file holds then."""
    raw = bytearray(path.read_bytes())
    raw[page * PAGE : (page + 1) * PAGE] = b"\xa5" * PAGE
    path.write_bytes(raw)
    return bytes(raw)


def use(store: Store) -> None:
    """Do what a sync and a screen do; a store that works bears all of it."""
    store.load()
    store.states()
    store.conversations(1_000, None)
    store.unread_total()
    store.failing(9)
    store.next_due_ms(T0)
    for one in store.pending(5, T0):
        store.retry(one, "no", T0, 0.5)
    for one in store.pending(5, T0):
        store.ack(one)
    store.pending_items(9, T0)
    make = delta if store.load().cursor is not None else first
    apply(store, make(*(entry(f"sg_{n:04}", 2, n + 2) for n in range(0, 330, 7)), cursor="c2"))
    store.set_draft("sg_0001", "text", T0)
    store.conversations(1_000, None)


# What is set aside.


def test_a_damaged_file_is_set_aside_whole_and_a_new_store_begun(path: Path) -> None:
    raw = damage(path)
    store = open_at(path)
    aside = store.set_aside
    assert aside is not None
    assert aside.path == str(path.parent / ASIDE)
    assert "damaged" in aside.why
    assert Path(aside.path).read_bytes() == raw
    assert store.load().cursor is None
    assert (store.user_id, store.device_id) == ("u1", "phone")
    use(store)
    store.close()
    again = open_at(path)
    assert again.set_aside is None
    again.close()


def test_drafts_are_carried_over(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    with sqlite3.connect(path) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'conversations'"
        (root,) = db.execute(query).fetchone()
    db.close()
    raw[(root - 1) * PAGE : root * PAGE] = bytes(PAGE)
    path.write_bytes(raw)
    store = open_at(path)
    assert store.set_aside is not None
    assert store.set_aside.drafts == 100
    apply(store, first(entry("sg_0003", 1, 1), cursor="c"))
    assert [view.draft for view in store.conversations(9, None)] == ["draft 3"]
    store.close()


@pytest.mark.parametrize("user_id", ["u1", None])
def test_a_store_goes_on_with_its_owner_and_device(path: Path, user_id: str | None) -> None:
    damage(path)
    store = Store(path, user_id, now_ms=T0)
    assert store.set_aside is not None
    assert (store.user_id, store.device_id) == ("u1", "phone")
    store.close()


def make_foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE recipes (name TEXT)")
    db.execute("INSERT INTO recipes VALUES ('soup')")
    db.commit()
    db.close()


def make_marked(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA application_id = 5")
    db.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("a text that is longer than a header" * 99),
        lambda path: path.write_text("short"),
        lambda path: path.write_bytes(bytes(3 * PAGE)),
        make_foreign,
        make_marked,
    ],
    ids=["text", "short text", "zeros", "another database", "another application id"],
)
def test_what_is_no_store_is_set_aside(tmp_path: Path, make: Any) -> None:
    path = tmp_path / NAME
    make(path)
    raw = path.read_bytes()
    store = open_at(path)
    assert store.set_aside is not None
    assert store.set_aside.drafts == 0
    assert Path(store.set_aside.path).read_bytes() == raw
    use(store)
    store.close()


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    store = open_at(tmp_path / NAME)
    assert store.set_aside is None
    use(store)
    store.close()


def test_names_are_never_taken_twice(path: Path, whole: bytes) -> None:
    kept = []
    (path.parent / f"{ASIDE}-wal").write_text("left by another death")
    for number in (2, 3, 4):
        path.write_bytes(whole)
        kept.append(damage(path, 10 + number))
        open_at(path).close()
    names = [ASIDE[:-1] + str(number) for number in (2, 3, 4)]
    assert [(path.parent / name).read_bytes() for name in names] == kept
    assert (path.parent / f"{ASIDE}-wal").read_text() == "left by another death"


def test_a_link_is_followed_to_the_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    raw = damage(path)
    store = open_at(link)
    assert store.set_aside is not None
    assert Path(store.set_aside.path).read_bytes() == raw
    assert link.is_symlink()
    store.close()


def with_wal(path: Path, work: Any) -> None:
    """Leave a log beside the file, as a process that was killed does."""
    folder = path.parent / "alive"
    folder.mkdir()
    shutil.copy(path, folder / NAME)
    store = Store(folder / NAME, "u1", "phone")
    work(store)
    for companion in ("", "-wal"):
        shutil.copy(folder / (NAME + companion), f"{path}{companion}")
    store.close()
    shutil.rmtree(folder)


def test_a_log_is_set_aside_with_its_file(path: Path) -> None:
    with_wal(path, lambda store: store.set_draft("sg_0001", "in the log", T0))
    damage(path)
    store = open_at(path)
    assert store.set_aside is not None
    assert store.set_aside.drafts > 0
    use(store)
    store.close()
    assert files(path) >= {NAME, ASIDE}


def test_a_log_whose_file_is_gone_is_kept_and_not_played(path: Path) -> None:
    with_wal(path, lambda store: store.set_draft("sg_0001", "in the log", T0))
    log = Path(f"{path}-wal").read_bytes()
    assert log
    path.unlink()
    store = open_at(path)
    aside = store.set_aside
    assert aside is not None
    assert aside.path.endswith("-wal")
    assert Path(aside.path).read_bytes() == log
    assert store.states() == []
    use(store)
    store.close()


# What is not.


def test_another_users_store_stays_damaged_or_not(path: Path) -> None:
    before = files(path)
    for _ in range(2):
        raw = path.read_bytes()
        with pytest.raises(StoreOwnerError):
            open_at(path, "u2")
        assert path.read_bytes() == raw
        damage(path, 20)
    assert files(path) == before


def test_a_newer_clients_store_stays(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE schema_compat SET compat_version = 99")
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()
    before = files(path)
    with pytest.raises(StoreVersionError):
        open_at(path)
    assert files(path) == before


def test_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(StoreError):
        open_at(tmp_path / NAME)
    assert files(tmp_path / NAME) == {NAME}


def test_a_locked_file_is_not_damaged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.database.STORE_BUSY_MS", 0)
    other = sqlite3.connect(path)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked") as caught:
        open_at(path)
    assert not isinstance(caught.value, StoreDamagedError)
    other.close()
    assert not any("aside" in name for name in files(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write anything")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_without_rights_stays(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(StoreError):
        open_at(path)
    path.chmod(0o600)
    assert files(path) == {NAME}


def test_where_no_name_can_be_taken_nothing_is_renamed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = damage(path)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sdk.client.recovery.os.open", full)
        with pytest.raises(StoreError, match="No space left"):
            open_at(path)
    assert files(path) == {NAME}
    assert path.read_bytes() == raw


def test_a_disk_that_damages_every_file_is_not_tried_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> None:
        raise StoreDamagedError("every page is")

    monkeypatch.setattr("sdk.client.database._check_structure", damaged)
    with pytest.raises(StoreError, match="look at the disk"):
        open_at(path)
    assert len([name for name in files(path) if "aside" in name]) <= STORE_OPENINGS_MAX


def test_memory_has_nothing_to_set_aside() -> None:
    store = Store(":memory:", "u1", "phone")
    apply(store, first(entry("sg_1", 1, 1), cursor="c"))
    aside = store.rebuild(T0)
    assert (aside.path, aside.drafts) == ("", 0)
    assert store.states() == []
    assert (store.user_id, store.device_id) == ("u1", "phone")
    store.close()


# In use.


def test_damage_that_is_found_in_use_says_so_and_is_mended(path: Path) -> None:
    store = open_at(path)
    with path.open("r+b") as raw:
        for page in range(2, path.stat().st_size // PAGE):
            raw.seek(page * PAGE)
            raw.write(b"\xa5" * PAGE)
    store._db.execute("PRAGMA shrink_memory")
    with pytest.raises(StoreDamagedError, match="a new one is begun"):
        use(store)
    aside = store.rebuild(T0)
    assert aside == store.set_aside
    assert Path(aside.path).exists()
    assert (store.user_id, store.device_id) == ("u1", "phone")
    use(store)
    store.close()


def test_a_header_that_forbids_writing_is_damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    assert raw[18] == 2
    raw[18] = 3
    path.write_bytes(raw)
    store = open_at(path)
    assert store.set_aside is None, "it can be read"
    with pytest.raises(StoreDamagedError, match="readonly"):
        use(store)
    assert Path(store.rebuild(T0).path).read_bytes() == raw
    use(store)
    store.close()


def test_a_value_of_another_type_is_damage(path: Path) -> None:
    store = open_at(path)
    wrong = {
        "conversations SET max_seq = 'x'": store.states,
        "conversations SET read_seq = x'00'": lambda: store.conversations(9, None),
        "conversations SET muted = 1.5": lambda: use(store),
        "pending SET ticket = 'x'": lambda: store.pending(9, T0),
        "sync_state SET cursor = x'ff'": store.load,
        "conversations SET deleted_at_ms = CAST(x'ff' AS TEXT)": store.states,
    }
    for change, act in wrong.items():
        store._db.execute("BEGIN")
        store._db.execute(f"UPDATE {change}")
        store._db.execute("COMMIT")
        with pytest.raises(StoreDamagedError):
            act()
        store.rebuild(T0)
        apply(store, first(*(entry(f"sg_{n}", 1, n) for n in range(1, 9)), cursor="c1"))
    store.close()


def test_a_number_that_is_too_great_is_damage(path: Path) -> None:
    store = open_at(path)
    store._db.execute("UPDATE conversations SET active_at_ms = 9223372036854775807, pinned = 1")
    with pytest.raises(StoreDamagedError):
        apply(store, delta(entry("sg_0001", 2, read_seq=1), cursor="c2"))
    store.close()


def test_who_comes_second_takes_the_store_that_the_first_began(path: Path) -> None:
    one, two = open_at(path), open_at(path)
    assert one.rebuild(T0).path
    apply(one, first(entry("sg_1", 1, 1), cursor="c9"))
    assert two.rebuild(T0).path == "", "it is another file by now"
    assert two.load().cursor == "c9"
    one.close()
    two.close()
    assert {name for name in files(path) if name.endswith("-1")} == {ASIDE}
    assert not any(name.endswith("-2") for name in files(path))


def test_a_process_that_goes_on_with_the_old_file_does_no_harm(path: Path) -> None:
    one, two = open_at(path), open_at(path)
    one.rebuild(T0)
    two.set_draft("sg_0001", "to the old file", T0)
    apply(one, first(entry("sg_1", 1, 1), cursor="c9"))
    two.close()
    apply(one, delta(entry("sg_1", 2, 2), cursor="c10"))
    one.close()
    again = open_at(path)
    assert (again.load().cursor, again.set_aside) == ("c10", None)
    again.close()


# Deaths.


class Renames:
    """Dies at the n-th rename, before or after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        self._replace = Path.replace

    def __call__(self, old: Path, new: str) -> Path:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        result = self._replace(old, new)
        if self.left == 0:
            raise Killed
        return result


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_dying_at_any_rename(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, log: bool, after: bool
) -> None:
    if log:
        with_wal(path, lambda store: store.set_draft("sg_0001", "in the log", T0))
    raw = damage(path)
    kept = {one: (path.parent / one).read_bytes() for one in files(path)}
    deaths = 0
    for at in range(1, 9):
        for name in files(path):
            (path.parent / name).unlink()
        for name, content in kept.items():
            (path.parent / name).write_bytes(content)
        with monkeypatch.context() as patch:
            killer = Renames(at, after=after)
            patch.setattr(Path, "replace", lambda old, new, killer=killer: killer(old, new))
            try:
                open_at(path).close()
            except Killed:
                deaths += 1
        store = open_at(path)
        use(store)
        store.close()
        everything = [(path.parent / name).read_bytes() for name in files(path)]
        # With a log, SQLite may have moved it into the file on closing, where it belongs.
        assert log or raw in everything, "the damaged file is there, whole"
        if killer.left > 0:
            break
    assert deaths >= 1


# Any damage.


def spoil(raw: bytearray, rng: random.Random) -> str:
    kind = rng.choice(["flip", "flips", "header", "cut", "zero page", "noise page", "tail"])
    pages = len(raw) // PAGE
    if kind == "flip":
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(40):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == "header":
        raw[rng.randrange(100)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del raw[rng.randrange(1, len(raw)) :]
    elif kind == "tail":
        del raw[rng.randrange(1, pages) * PAGE :]
    else:
        page = rng.randrange(pages)
        content = bytes(PAGE) if kind == "zero page" else rng.randbytes(PAGE)
        raw[page * PAGE : (page + 1) * PAGE] = content
    return kind


@pytest.mark.parametrize("seed", range(240))
def test_any_damage_leaves_a_store_that_works(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(path.read_bytes())
    kind = spoil(raw, rng)
    path.write_bytes(raw)
    try:
        store = open_at(path)
    except StoreOwnerError:
        # The damage is in the name of the owner: a store of somebody else.
        assert path.read_bytes() == raw
        return
    if store.set_aside is not None:
        assert Path(store.set_aside.path).read_bytes() == raw, kind
        assert store.states() == []
    try:
        use(store)
    except StoreDamagedError:
        store.rebuild(T0)
        use(store)
    store.close()
    again = open_at(path)
    use(again)
    again.close()


def test_renames_are_in_the_order_that_deaths_need() -> None:
    assert recovery.COMPANIONS == ("-wal", "-journal", "-shm")
    assert database.is_file("im.db")
    assert not any(map(database.is_file, (":memory:", "")))
