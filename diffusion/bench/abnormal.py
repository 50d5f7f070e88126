"""What goes wrong for a device, done to its store or to its clock, for `diffusion bench recovery`.

Each is done behind the SDK's back, while no client has the store open.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from msgspec.structs import replace

from diffusion.bench.correction import write
from diffusion.bench.damage import damage
from infra.clock import now_ms
from infra.settings import Settings
from schemas.cursor import Cursor, seal, unseal
from sdk.client.store import Store
from syncapi.auth import cursor_key

DAY_MS: Final = 24 * 3_600_000

OVERWRITTEN_AT: Final = 16 * 4_096
OVERWRITTEN: Final = b"\xa5" * 4_096
"""One page of SQLite's, inside of the table of conversations or of its index."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What an abnormal case needs to know to bring itself about."""

    path: Path
    user_id: str
    settings: Settings
    rng: random.Random


Harm = Callable[[Ground], None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, and the path on which it is to be mended, for the reason named.

    `verify`: a sync that is asked to compare all that is held. `soon`: straight after a full
    correction, when another one is put off.
    """

    name: str
    harm: Harm
    path: Literal["correction", "full"]
    reason: str
    verify: bool = False
    soon: bool = False


def _move_cursor(ground: Ground, change: Callable[[str], str]) -> None:
    with closing(sqlite3.connect(ground.path)) as db, db:
        (cursor,) = db.execute("SELECT cursor FROM sync_state").fetchone()
        db.execute("UPDATE sync_state SET cursor = ?", (change(cursor),))


def _reseal(ground: Ground, change: Callable[[Cursor], Cursor]) -> None:
    key = cursor_key(ground.settings.api)
    _move_cursor(ground, lambda cursor: seal(change(unseal(cursor, Cursor, key)), key))


def long_away(ground: Ground) -> None:
    """As if the cursor were of a day before the change log begins."""
    old_ms = now_ms() - ground.settings.log.retention_ms - DAY_MS
    _reseal(ground, lambda cursor: replace(cursor, issued_at_ms=old_ms))


def other_epoch(ground: Ground) -> None:
    """As if the log of changes had been begun anew since."""
    _reseal(ground, lambda cursor: replace(cursor, epoch=cursor.epoch + 1))


def unreadable(ground: Ground) -> None:
    """One character of the cursor is another."""
    _move_cursor(ground, lambda cursor: ("A" if cursor[0] != "A" else "B") + cursor[1:])


def rows(count: int) -> Harm:
    """So many rows are old, missing, or of no conversation."""

    def harm(ground: Ground) -> None:
        with closing(Store(ground.path)) as store:
            held = store.states()
        write(ground.path, damage(ground.user_id, held, count, ground.rng))

    return harm


def overwrite(ground: Ground) -> None:
    """A page in the middle of the file is garbage."""
    with ground.path.open("r+b") as file:
        file.seek(OVERWRITTEN_AT)
        file.write(OVERWRITTEN)


def remove(ground: Ground) -> None:
    """There is no file: a new device, or the app was installed anew."""
    ground.path.unlink(missing_ok=True)


TROUBLES: Final = (
    Trouble("1 row is wrong", rows(1), "correction", "digest_mismatch", verify=True),
    Trouble("100 rows are wrong", rows(100), "correction", "digest_mismatch", verify=True),
    Trouble("away for longer than the log reaches", long_away, "full", "expired"),
    Trouble("the server's log was begun anew", other_epoch, "full", "epoch_changed"),
    Trouble("... and again within the hour", other_epoch, "full", "epoch_changed", soon=True),
    Trouble("the cursor is damaged", unreadable, "full", "fresh"),
    Trouble("the file is damaged", overwrite, "full", "fresh"),
    Trouble("a new device", remove, "full", "fresh"),
)
"""In this order, to one device after the other: those after a case that is put off begin from a
store whose cursor is still refused, and mend that too."""
