"""What a delta says of user modules: changed items, and modules that are too far behind. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.cursor import Cursor, Rest
from schemas.protocol import ALL_MODULES, ModuleEntry
from schemas.rows import ModuleRow
from syncapi.delta import ABOVE_ALL
from syncapi.room import Room

MODULE_ROWS_MAX: Final = 2_000
"""Rows of changed module items read for one answer; with more, all modules are fetched anew."""


@dataclass(frozen=True, slots=True)
class ModulePage:
    """Module items of one answer, modules that are too far behind, and what is left to the next."""

    items: tuple[ModuleEntry, ...]
    resets: tuple[str, ...]
    rest: Rest


def page(
    cursor: Cursor, rest: Rest, rows: Sequence[ModuleRow], most: int, room: Room
) -> ModulePage:
    """Choose the module items of one answer, newest first.

    A module with more changed items than the first answer takes is too far behind: it alone is to
    be fetched anew, which is said once. What "more" is stays as it was on the first page, or a
    client that asks for less later would be told of neither. If there are more rows than were read,
    it is not known which modules the others are of: all are behind.
    """
    if not rest.modules_below:
        return ModulePage((), (), rest)
    if not rows:
        # As nearly always. The bound is kept, whatever the next page finds.
        begun = rest.modules_below == ABOVE_ALL
        return ModulePage(
            (), (), replace(rest, modules_below=0, modules_max=most if begun else rest.modules_max)
        )
    if len(rows) > MODULE_ROWS_MAX:
        return ModulePage((), (ALL_MODULES,), replace(rest, modules_below=0))
    found: dict[tuple[str, str], ModuleRow] = {}
    for row in rows:
        held = found.get((row.module, row.item_id))
        newer = cursor.modules_version < row.version <= rest.modules_version
        if newer and (held is None or row.item_version > held.item_version):
            found[row.module, row.item_id] = row
    begun = rest.modules_below == ABOVE_ALL
    rest = replace(rest, modules_max=most) if begun else rest
    counts = Counter(row.module for row in found.values())
    behind = {module for module, count in counts.items() if count > rest.modules_max}
    resets = tuple(sorted(behind)) if begun else ()
    if not room.ids(resets):
        return ModulePage((), (ALL_MODULES,), replace(rest, modules_below=0))
    todo = sorted(
        (
            row
            for row in found.values()
            if row.module not in behind and row.version < rest.modules_below
        ),
        key=lambda row: row.version,
        reverse=True,
    )
    items: list[ModuleEntry] = []
    for row in todo:
        if len(items) == most or not room.item(row.module, row.item_id):
            break
        items.append(ModuleEntry(row.module, row.item_id, row.op, row.item_version, row.version))
        rest = replace(rest, modules_below=row.version)
    if len(items) == len(todo):
        rest = replace(rest, modules_below=0)
    return ModulePage(tuple(items), resets, rest)
