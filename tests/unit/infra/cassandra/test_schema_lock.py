"""The lock of migrations: one holds it, others wait, it expires, and is given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from infra.cassandra import schema_lock
from infra.cassandra.schema_lock import GIVE_BACK, KEEP, LOCK_S, TAKE, MigrationUnderWay, held
from infra.cassandra.session import StoreUnavailable


class OneCell:
    """Cassandra as far as the lock rests on it: one cell that expires, and conditional writes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.away = False
        self._owner: str | None = None
        self._expires_s = 0.0

    @property
    def owner(self) -> str | None:
        return self._owner if self.now_s < self._expires_s else None

    def read(self, cql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self.away:
            raise StoreUnavailable("away")
        holds = self.owner == (None if cql == TAKE else values[-1])
        if holds and cql == GIVE_BACK:
            self._owner = None
        elif holds:
            ttl_s, self._owner = values[:2]
            self._expires_s = self.now_s + ttl_s
        return [(True,) if holds else (False, self.owner)]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> OneCell:
    made = OneCell()
    monkeypatch.setattr(schema_lock, "monotonic_s", lambda: made.now_s)
    return made


def silent(_: str) -> None:
    raise AssertionError("nobody else holds it")


def test_it_is_held_in_the_block_and_given_back(cell: OneCell) -> None:
    with held(cell, silent):
        assert cell.owner is not None
    assert cell.owner is None
    with pytest.raises(KeyError), held(cell, silent):
        raise KeyError
    assert cell.owner is None


def test_another_waits_until_it_is_given_back(cell: OneCell) -> None:
    said: list[str] = []
    first = held(cell, silent)
    first.__enter__()

    def sleep(seconds: float) -> None:
        cell.sleep(seconds)
        if cell.now_s > LOCK_S / 2:
            first.__exit__(None, None, None)

    with held(cell, said.append, sleep):
        assert cell.owner is not None
        assert cell.now_s < LOCK_S
    assert said == ["another migration runs: waiting for it"]


def test_the_lock_of_one_that_was_killed_expires(cell: OneCell) -> None:
    killed = held(cell, silent)
    killed.__enter__()
    with held(cell, lambda _: None, cell.sleep):
        assert LOCK_S <= cell.now_s < LOCK_S + 1


def test_who_keeps_it_has_it_for_as_long_as_it_takes(cell: OneCell) -> None:
    with held(cell, silent) as keep:
        owner = cell.owner
        for _ in range(10):
            cell.sleep(LOCK_S - 1)
            keep()
        assert cell.owner == owner


def test_who_stood_still_for_too_long_goes_on_with_nothing(cell: OneCell) -> None:
    with held(cell, silent) as keep:
        cell.sleep(LOCK_S)
        with held(cell, silent):
            theirs = cell.owner
            with pytest.raises(MigrationUnderWay, match="Run it again"):
                keep()
            assert cell.owner == theirs


def test_what_was_taken_over_is_not_given_back_by_who_had_it(cell: OneCell) -> None:
    first = held(cell, silent)
    first.__enter__()
    cell.sleep(LOCK_S)
    with held(cell, silent):
        first.__exit__(None, None, None)
        assert cell.owner is not None


def test_nobody_waits_for_ever(cell: OneCell) -> None:
    endless = held(cell, silent)
    keep = endless.__enter__()

    def sleep(seconds: float) -> None:
        cell.sleep(seconds)
        keep()

    with (
        pytest.raises(MigrationUnderWay, match="run this one again"),
        held(cell, lambda _: None, sleep),
    ):
        pass


def test_a_lock_that_cannot_be_given_back_expires(cell: OneCell) -> None:
    with held(cell, silent):
        cell.away = True
    cell.away = False
    cell.sleep(LOCK_S)
    assert cell.owner is None


def test_it_is_kept_with_its_life_and_by_its_owner_only() -> None:
    for cql in (TAKE, KEEP):
        assert " USING TTL ? " in cql
    for cql in (TAKE, KEEP, GIVE_BACK):
        assert " IF owner = " in cql


def test_tables_of_two_keyspaces_have_two_ids() -> None:
    one, other = schema_lock.create("one"), schema_lock.create("other")
    assert one == schema_lock.create("one")
    assert one.rpartition(" ")[2] != other.rpartition(" ")[2]
