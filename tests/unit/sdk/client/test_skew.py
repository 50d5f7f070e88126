"""An app and its store of different releases: the newer app takes the store over, the older one uses
what it can, says what it cannot, or begins a new one. None spoils the file.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from pathlib import Path

import pytest

from sdk.client import database
from sdk.client.errors import StoreVersionError
from sdk.client.store import Store
from tests.unit.sdk.client.support import T0, delta, entry, first
from tests.unit.sdk.client.test_store import drain, feed, held, queued

MIGRATIONS = Path(database.__file__).parent / "migrations"

RELEASED = {
    "001_init.sql": "25c96c81697410e757899bae844bc9c12a5d24aac77b3793c5a66f205f0929ad",
    "002_add_total.sql": "f5494d2ba3634ec944bf9447da82de1d33fa46a4593e5b2e42356ba5adf24b78",
    "003_add_leases.sql": "63c9166b8b418a850af2727b2c133f5459877f10735020222309d52bc390c68a",
}
"""SHA-256 of each migration that was released. Released ones never change; new ones are added."""

ADDS = re.compile(
    r"CREATE (TABLE|INDEX) \w+|ALTER TABLE \w+ ADD COLUMN|UPDATE pending SET rank = "
    r"|INSERT INTO schema_compat"
)
"""What migrations may do. Of the UPDATE: it fills a column that was added just before."""

COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "im.db"
    store = Store(made, "u1", "phone")
    feed(store, first(entry("sg_1", 1, 5, 2), entry("sg_2", 1, 3), cursor="c1"))
    store.set_draft("sg_1", "half", T0)
    store.close()
    return made


def change(path: Path, *statements: str) -> None:
    """Do to a store what a newer app would."""
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    db.commit()
    db.close()


def test_released_migrations_are_as_they_were() -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in MIGRATIONS.glob("*.sql")
        if path.name in RELEASED
    }
    assert found == RELEASED, "write a new migration, and leave released ones as they are"


def test_migrations_only_add() -> None:
    for script in MIGRATIONS.glob("*.sql"):
        for statement in database._statements(COMMENT.sub("", script.read_text())):
            assert ADDS.match(statement.strip()), statement


def test_an_older_app_works_on_what_a_newer_one_only_added_to(path: Path) -> None:
    tables = [name for name in database._COLUMNS if name != "schema_compat"]
    change(
        path,
        *(f"ALTER TABLE {name} ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'" for name in tables),
        "CREATE TABLE reactions (conversation_id TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE INDEX conversations_by_colour ON conversations (colour)",
        "UPDATE conversations SET colour = 'red' WHERE conversation_id = 'sg_1'",
        "UPDATE sync_state SET colour = 'blue'",
        "UPDATE drafts SET colour = 'green'",
        "INSERT INTO reactions VALUES ('sg_1')",
    )
    store = Store(path, "u1")
    assert store.set_aside is None
    drain(store)
    feed(store, delta(entry("sg_1", 2, 9), entry("sg_3", 2, 1), cursor="c2"))
    store.set_draft("sg_1", "whole", T0 + 1)
    assert {one: state.max_seq for one, state in held(store).items()} == {
        "sg_1": 9,
        "sg_2": 3,
        "sg_3": 1,
    }
    assert set(queued(store)) == {"sg_1", "sg_3"}
    store.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION + 1,)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    colours = "SELECT colour FROM conversations ORDER BY conversation_id"
    assert db.execute(colours).fetchall() == [("red",), ("none",), ("none",)]
    assert db.execute("SELECT colour FROM sync_state").fetchall() == [("blue",)]
    assert db.execute("SELECT draft, colour FROM drafts").fetchall() == [("whole", "green")]
    assert db.execute("SELECT * FROM reactions").fetchall() == [("sg_1",)]
    db.close()


def test_an_older_app_leaves_alone_what_it_must_not_use(path: Path) -> None:
    change(path, f"UPDATE schema_compat SET compat_version = {database.SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreVersionError, match=r"update the app, or delete the file"):
            Store(path, "u1")
    assert path.read_bytes() == before
    path.unlink()
    Store(path, "u1").close()


def test_a_newer_store_that_says_too_little_is_set_aside_whole(path: Path) -> None:
    """Had a release taken away what this one needs, without saying so."""
    change(path, "DROP INDEX conversations_unread", "ALTER TABLE conversations DROP COLUMN unread")
    store = Store(path, "u1", now_ms=T0)
    assert store.set_aside is not None
    aside = sqlite3.connect(store.set_aside.path)
    assert aside.execute("SELECT count(*) FROM conversations").fetchone() == (2,)
    aside.close()
    assert (store.load().cursor, held(store)) == (None, {})
    store.close()
