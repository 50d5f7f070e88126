"""User modules in a delta: items in pages, and modules that reset alone."""

from __future__ import annotations

import pytest

from schemas.limits import ANSWER_BYTES_MIN
from schemas.protocol import ALL_MODULES
from schemas.rows import MODULES_MARK, ModuleRow
from syncapi import delta
from syncapi import modules as modules_module
from syncapi.modules import ModulePage
from syncapi.modules import page as module_page
from syncapi.room import Room
from tests.unit.syncapi.support import T0, WINDOW_MS, cursor, row


def item(version: int, item_version: int, item_id: str = "x", at: int = T0) -> ModuleRow:
    return ModuleRow(at, "friends", item_id, version, "update", item_version)


def modules(
    *rows: ModuleRow, since: int = 0, most: int = 10, before: ModulePage | None = None
) -> ModulePage:
    stand = cursor(modules_version=since)
    mark = row(MODULES_MARK, state_version=max(one.version for one in rows))
    rest = delta.begin(stand, (mark,), b"", T0) if before is None else before.rest
    return module_page(stand, rest, rows, most, Room(ANSWER_BYTES_MIN))


def test_modules_above_the_cursor_come_newest_first() -> None:
    made = modules(item(5, 1, "x"), item(6, 1, "y"), item(7, 1, "z"), since=5)
    assert [one.item_id for one in made.items] == ["z", "y"]


def test_of_a_module_item_the_greatest_version_is_told_once() -> None:
    made = modules(item(9, 2, at=T0 + WINDOW_MS), item(5, 3))
    assert [(one.item_version, one.version) for one in made.items] == [(3, 5)]


def test_items_of_the_same_name_in_other_modules_are_others() -> None:
    made = modules(item(5, 1), ModuleRow(T0, "folders", "x", 6, "insert", 1))
    assert len(made.items) == 2


def test_items_that_do_not_fit_are_left_to_the_next_page() -> None:
    both = (item(5, 1, "x"), ModuleRow(T0, "folders", "y", 6, "insert", 1))
    first = modules(*both, most=1)
    assert ([one.item_id for one in first.items], first.rest.modules_below) == (["y"], 6)
    then = modules(*both, most=1, before=first)
    assert ([one.item_id for one in then.items], then.rest.modules_below) == (["x"], 0)


def test_a_module_too_far_behind_resets_alone_and_once() -> None:
    rows = (
        *(item(5 + n, 1, f"x{n}") for n in range(3)),
        ModuleRow(T0, "folders", "y", 9, "insert", 1),
    )
    made = modules(*rows, most=2)
    assert ([one.module for one in made.items], made.resets) == (["folders"], ("friends",))
    assert made.rest.modules_below == 0
    assert modules(*rows, most=2, before=made) == ModulePage((), (), made.rest)


def test_a_client_that_asks_for_less_later_is_told_of_all() -> None:
    rows = [
        ModuleRow(T0, name, f"{name}{n}", 5 + 3 * n + place, "insert", 1)
        for place, name in enumerate(("friends", "folders"))
        for n in range(3)
    ]
    told, before = set(), None
    for most in (4, 2, 1, 1):
        before = modules(*rows, most=most, before=before)
        assert before.resets == ()
        told |= {one.item_id for one in before.items}
    assert (len(told), before.rest.modules_below) == (6, 0)


def test_more_rows_than_are_read_reset_all_modules_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules_module, "MODULE_ROWS_MAX", 2)
    rows = [item(5 + n, 1, f"x{n}") for n in range(3)]
    first = modules(*rows)
    assert (first.items, first.resets) == ((), (ALL_MODULES,))
    assert modules(*rows, before=first).resets == ()


def test_names_that_do_not_fit_are_all_modules() -> None:
    names = [f"module{n:02}" + "x" * 50 for n in range(90)]
    rows = [
        ModuleRow(T0, name, f"i{n}", 5 + 2 * place + n, "insert", 1)
        for place, name in enumerate(names)
        for n in range(2)
    ]
    made = modules(*rows, most=1)
    assert (made.items, made.resets) == ((), (ALL_MODULES,))
