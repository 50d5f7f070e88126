"""User modules in a delta: items in pages, and modules that reset alone."""

from __future__ import annotations

from msgspec.structs import replace

from schemas.limits import ANSWER_BYTES_MIN
from schemas.rows import ModuleRow
from syncapi import delta
from syncapi.delta import ABOVE_ALL
from syncapi.modules import ModulePage
from syncapi.modules import page as module_page
from syncapi.room import Room
from tests.unit.syncapi.support import T0, WINDOW_MS, cursor


def item(version: int, item_version: int, item_id: str = "x", at: int = T0) -> ModuleRow:
    return ModuleRow(at, "friends", item_id, version, "update", item_version)


def modules(*rows: ModuleRow, since: int = 0, below: int = ABOVE_ALL, most: int = 10) -> ModulePage:
    stand = cursor(modules_version=since)
    rest = replace(delta.begin(stand, (), rows, (), T0), modules_below=below)
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
    then = modules(*both, most=1, below=first.rest.modules_below)
    assert ([one.item_id for one in then.items], then.rest.modules_below) == (["x"], 0)


def test_a_module_too_far_behind_resets_alone_and_once() -> None:
    rows = (
        *(item(5 + n, 1, f"x{n}") for n in range(3)),
        ModuleRow(T0, "folders", "y", 9, "insert", 1),
    )
    made = modules(*rows, most=2)
    assert ([one.module for one in made.items], made.resets) == (["folders"], ("friends",))
    assert made.rest.modules_below == 0
    assert modules(*rows, most=2, below=9).resets == ()
