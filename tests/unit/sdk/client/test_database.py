"""Opening a store: versions, migrations, owners, and files that are none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sdk.client import database
from sdk.client.errors import StoreError, StoreOwnerError, StoreVersionError
from tests.unit.sdk.client.support import Killable, Killed


def objects(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_a_new_file_has_the_newest_version(tmp_path: Path) -> None:
    db = database.connect(str(tmp_path / "im.db"))
    assert db.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION,)
    assert db.execute("PRAGMA application_id").fetchone() == (database.APPLICATION_ID,)
    assert db.execute("SELECT compat_version FROM schema_compat").fetchall() == [(1,)]
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (1,)
    db.close()


def test_migrations_are_numbered_without_gaps() -> None:
    folder = Path(database.__file__).parent / "migrations"
    numbers = sorted(int(path.name.split("_")[0]) for path in folder.glob("*.sql"))
    assert numbers == list(range(1, database.SCHEMA_VERSION + 1))


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "im.db")
    old = sqlite3.connect(path)
    old.executescript(database._script(1))
    old.execute("INSERT INTO sync_state (id, user_id, device_id, cursor) VALUES (1, 'u', 'd', 'c')")
    old.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    db = database.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION,)
    assert db.execute("SELECT user_id, cursor, total FROM sync_state").fetchall() == [
        ("u", "c", None)
    ]
    db.close()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "im.db")
    first = database.connect(path)
    before = objects(first)
    first.close()
    second = database.connect(path)
    assert objects(second) == before
    second.close()


def test_a_newer_store_is_used_as_far_as_it_allows(tmp_path: Path) -> None:
    path = str(tmp_path / "im.db")
    db = database.connect(path)
    db.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 3}")
    db.close()
    db = database.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION + 3,)
    db.execute("UPDATE schema_compat SET compat_version = ?", (database.SCHEMA_VERSION + 1,))
    db.close()
    with pytest.raises(StoreVersionError, match="update the app"):
        database.connect(path)


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "other.db")
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.commit()
    with pytest.raises(StoreError, match="something else"):
        database.connect(path)
    assert [name for name, _ in objects(other)] == ["recipes"]
    other.close()


@pytest.mark.parametrize("pragma", ["user_version = 5", "application_id = 5"])
def test_a_marked_file_without_tables_is_left_alone(tmp_path: Path, pragma: str) -> None:
    path = str(tmp_path / "other.db")
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA {pragma}")
    other.close()
    with pytest.raises(StoreError, match="something else"):
        database.connect(path)


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database, but a text that is longer than its header" * 20)
    with pytest.raises(StoreError, match="not a database"):
        database.connect(str(path))
    assert path.read_text().startswith("no database")


def test_a_folder_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        database.connect(str(tmp_path / "absent" / "im.db"))


def test_an_old_sqlite_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 23, 9))
    with pytest.raises(StoreError, match="too old"):
        database.connect(":memory:")


def test_a_store_belongs_to_one_user(tmp_path: Path) -> None:
    db = database.connect(str(tmp_path / "im.db"))
    database.bind(db, "u1", "phone")
    database.bind(db, "u1", "new phone")
    assert db.execute("SELECT user_id, device_id FROM sync_state").fetchall() == [
        ("u1", "new phone")
    ]
    with pytest.raises(StoreOwnerError, match="'u1'"):
        database.bind(db, "u2", "phone")
    assert db.execute("SELECT user_id FROM sync_state").fetchall() == [("u1",)]
    db.close()


def test_a_failed_transaction_leaves_nothing_and_can_be_repeated() -> None:
    db = database.connect(":memory:")
    database.bind(db, "u1", "phone")

    def fail() -> None:
        with database.transaction(db):
            db.execute("UPDATE sync_state SET cursor = 'c'")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not db.in_transaction
    with database.transaction(db):
        assert db.execute("SELECT cursor FROM sync_state").fetchone() == (None,)
        db.execute("UPDATE sync_state SET cursor = 'd'")
    assert db.execute("SELECT cursor FROM sync_state").fetchone() == ("d",)
    db.close()


def test_a_cursor_and_a_page_token_exclude_each_other() -> None:
    db = database.connect(":memory:")
    database.bind(db, "u1", "phone")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE sync_state SET cursor = 'c', page = 'p'")
    db.close()


@pytest.mark.parametrize("after", [False, True])
def test_dying_while_migrating_leaves_an_empty_file_or_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    whole = objects(database.connect(":memory:"))
    versions = set()
    for at in range(1, 100):
        path = str(tmp_path / f"{at}.db")
        killable = Killable(at, after=after)
        with monkeypatch.context() as patch:
            patch.setattr("sdk.client.database.sqlite3.connect", killable.connect)
            try:
                database.connect(path)
            except Killed:
                died = True
            else:
                died = False
        killable.close()
        raw = sqlite3.connect(path)
        version = raw.execute("PRAGMA user_version").fetchone()[0]
        assert objects(raw) == (whole if version else [])
        raw.close()
        versions.add(version)
        again = database.connect(path)
        assert objects(again) == whole
        again.close()
        if not died:
            break
    assert versions == {0, database.SCHEMA_VERSION}
