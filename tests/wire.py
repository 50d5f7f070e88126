"""What a release writes, kept so that every later one is held to reading it.

`python -m tests.wire tests/data/wire_1_0` writes, from the present code:

* `records.json`: write events, change records and dead letters, as their bytes;
* `tokens.json`: cursors and page tokens, with the key that sealed them;
* `rows.json`: every statement that writes to Cassandra;
* `device.db.gz`: the store of a device, with drafts, modules, a queue, and a correction under way.

Beside each stands what was read from it then. It is done once a release that writes something new,
in a folder of its own: a folder that exists is refused, because what was released does not change.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from infra.cassandra import (
    changes_by_user,
    conversation_heads,
    devices_by_user,
    inbox,
    log_positions,
    members_by_conversation,
    module_changes_by_user,
    pinned_by_user,
    read_side_by_user,
    swept_conversations,
)
from infra.cassandra.devices_by_user import Device
from schemas import dead_letters
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.codec import (
    CONVERSATION_EVENTS,
    USER_EVENTS,
    decode_change,
    encode_change,
    encode_event,
    join_events,
)
from schemas.cursor import Cursor, PageToken, Rest, seal, unseal, user_digest
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    Reconsider,
    UserConversationSettings,
)
from schemas.heads import Activity, Head, Mode, ModeReason
from schemas.limits import OFFSET_BITS
from schemas.protocol import ModuleEntry
from sdk.client.kinds import Kinds
from sdk.client.store import Store as DeviceStore
from tests.unit.infra.cassandra.support import Bound, Cells
from tests.unit.sdk.client.support import entry, first, further
from tests.unit.sdk.client.test_store import feed
from tests.unit.syncapi.support import T0, Store

KEY: Final = "a key of thirty-two bytes or more"
DEVICE: Final = "device.db.gz"

CONVERSATION_RECORDS: Final = (
    Message("si_ann_bob", 7, "ann", T0, ("ann", "bob")),
    Message("sg_1", 1, "ann", T0),
    MembersJoined("sg_1", ("ann", "bob"), 0, T0, history=False),
    MembersLeft("sg_1", ("ann",), 5, T0, "kick"),
    ConversationSettings("sg_1", "always_read"),
    Reconsider("sg_1"),
)
USER_RECORDS: Final = (
    Read("ann", "sg_1", 3),
    UserConversationSettings("ann", "sg_1", pinned=True),
    UserConversationSettings("ann", "sg_1", muted=False),
    ConversationCleared("ann", "sg_1", 4),
    ConversationDeleted("ann", "sg_1", 9, T0),
    ModuleChanged("ann", "friends", "bob", "insert", 12),
)
CHANGES: Final[tuple[Change, ...]] = (
    MessageChange("sg_1", ("ann", "bob"), 5, T0, "ann"),
    MessageChange("sg_2", ("ann",), 6, T0),
    ReadChange("sg_1", ("ann",), 5),
    StateChange("sg_1", ("ann",), 77, Membership(member=True, user_max_seq=9, at_ms=T0), 3),
    StateChange("sg_2", ("ann",), 76, Membership(member=False, user_max_seq=9, at_ms=T0)),
    StateChange("sg_2", ("ann",), 78, deletion=Deletion(4, T0), pinned=True, muted=True),
    StateChange("sg_3", ("ann",), 79, read_side=True, mode_epoch=2),
    ModuleChange(("ann",), "friends", "bob", "delete", 3),
)
LETTER: Final = dead_letters.letter(("im.user-writes.v1", 3, 44), 2, "why", b"\xff{", T0)

CURSOR: Final = Cursor(
    user_digest("ann"),
    3,
    (3 << OFFSET_BITS) + 55,
    (3 << OFFSET_BITS) + 44,
    T0,
    T0 - 600_000,
    T0 + 5,
)
RESTING: Final = msgspec.structs.replace(
    CURSOR,
    heads_digest=b"heads",
    pinned_digest=b"pins",
    crowded=True,
    modules_to=(3 << OFFSET_BITS) + 50,
    rest=Rest(
        *((3 << OFFSET_BITS) + 60, T0, (3 << OFFSET_BITS) + 58),
        *((3 << OFFSET_BITS) + 60, T0, 0, 100, T0 - 1, "sg_7", T0 + 9, b"later"),
    ),
)


def plain(value: Any) -> Any:
    """A value as JSON has it, with the fields that have their defaults."""
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: plain(one) for name, one in fields.items() if one is not msgspec.UNSET}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Kinds):
        return value.value
    return msgspec.to_builtins(value)


def read_record(kind: str, value: str) -> Any:
    """What is read from a record."""
    raw = value.encode()
    if kind == "changes":
        return plain([decode_change(raw)])
    if kind == "dead_letters":
        return plain([dead_letters.decode(raw)])
    decoded = {"conversations": CONVERSATION_EVENTS, "users": USER_EVENTS}[kind].decode(raw)
    assert not decoded.rejected
    return plain(list(decoded.events))


def _records() -> list[dict[str, Any]]:
    conversations = [encode_event(event) for event in CONVERSATION_RECORDS]
    users = [encode_event(event) for event in USER_RECORDS]
    values = [
        *(("conversations", value) for value in (*conversations, join_events(conversations))),
        *(("users", value) for value in (*users, join_events(users))),
        *(("changes", encode_change(change)) for change in CHANGES),
        ("dead_letters", dead_letters.encode(LETTER)),
    ]
    return [
        {"kind": kind, "value": value.decode(), "read": read_record(kind, value.decode())}
        for kind, value in values
    ]


def read_token(kind: str, text: str, key: str) -> Any:
    """What is read from a token."""
    return plain(unseal(text, {"cursor": Cursor, "page": PageToken}[kind], key.encode()))


def _tokens() -> list[dict[str, Any]]:
    made = (("cursor", CURSOR), ("cursor", RESTING), ("page", PageToken(CURSOR, "sg_7")))
    texts = [(kind, seal(token, KEY.encode())) for kind, token in made]
    return [
        {"kind": kind, "text": text, "key": KEY, "read": read_token(kind, text, KEY)}
        for kind, text in texts
    ]


def read_rows(writes: Iterable[tuple[str, list[Any]]]) -> Any:
    """What is read of the tables after these writes."""
    cells = Cells()
    for cql, values in writes:
        cells.apply(Bound(cql, tuple(values)))

    async def read() -> dict[str, Any]:
        return {
            "heads": await conversation_heads.read(cells, ["sg_1", "sg_2"]),
            "members": [sorted(one) for one in await members_by_conversation.read(cells, "sg_1")],
            "inbox": await inbox.read_all(cells, "ann"),
            "changes": await changes_by_user.read_since(cells, "ann", 0, 100),
            "modules": await module_changes_by_user.read_newer(cells, "ann", 0, 0, 100),
            "pinned": await pinned_by_user.read(cells, "ann"),
            "read_side": await read_side_by_user.read(cells, "ann"),
            "devices": await devices_by_user.read(cells, "ann"),
            "reached": log_positions.all_reached(cells, 1),
            "swept": await swept_conversations.read(cells, swept_conversations.bucket_of("sg_1")),
        }

    return plain(asyncio.run(read()))


def _rows() -> dict[str, Any]:
    store = Store()
    store.add(*CHANGES)
    head = Head(
        "sg_1",
        mode=Mode.READ,
        mode_epoch=2,
        mode_since_ms=T0,
        mode_reason=ModeReason.COST,
    )
    counted = Activity(T0, 91, T0, 0.5, 20.25, -3.0)
    for statement in (
        conversation_heads.message(store, "sg_1", 5, T0, T0 + 1),
        conversation_heads.message(store, "sg_2", 6, T0, T0 + 1),
        conversation_heads.mode(store, head),
        conversation_heads.activity(store, "sg_1", counted),
        conversation_heads.member_count(store, "sg_1", 2, 90),
        conversation_heads.diffusion(store, "sg_1", "always_read", 90),
        members_by_conversation.member(store, "sg_1", "ann", is_member=True, stamp=90),
        members_by_conversation.member(store, "sg_1", "bob", is_member=False, stamp=91),
        devices_by_user.seen(store, "ann", Device("phone", 1, 7, T0, T0 + 2), 600),
        swept_conversations.put(store, head),
    ):
        store.apply(statement)
    writes = [(one.cql, list(one.values)) for one in store.writes]
    return {"writes": writes, "read": read_rows(writes)}


def read_device(path: Path) -> Any:
    """What is read of a device's store."""
    store = DeviceStore(path)
    try:
        return plain(
            {
                "user": store.user_id,
                "device": store.device_id,
                "set_aside": store.set_aside,
                "stands": store.load(),
                "states": store.states(),
                "list": store.conversations(100, None),
                "unread": store.unread_total(),
                "pending": store.pending(100, T0 + 9, 0),
                "items": store.pending_items(100, T0 + 9, 0),
                "failing": store.failing(100),
            }
        )
    finally:
        store.close()


def _device(path: Path) -> None:
    store = DeviceStore(path, "ann", "phone")
    friends = ModuleEntry("friends", "bob", "insert", 12, 9)
    feed(store, first(entry("sg_1", 1, 5, 2), entry("sg_2", 2, 7, 7), cursor="c1"), now_ms=T0)
    for claimed in store.pending(1, T0):
        store.retry(claimed, "no network", T0, 0.5)
    store.set_draft("sg_1", "half a sent", T0)
    feed(
        store,
        first(entry("sg_2", 3, 8), entry("sg_3", 4, 1), page="p1", modules=(friends,), total=3),
        further(entry("sg_4", 4, 1), page="p2"),
        fresh=True,
        now_ms=T0 + 5,
    )
    store.close()


def write(folder: Path) -> None:
    """Write all of it into a new folder. Raises `FileExistsError` for one that is there."""
    folder.mkdir()
    for name, value in (
        ("records.json", _records()),
        ("tokens.json", _tokens()),
        ("rows.json", _rows()),
    ):
        _write_json(folder / name, value)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "device.db"
        _device(path)
        # No time of day in it: the same code writes the same file.
        (folder / DEVICE).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        _write_json(folder / "device.json", read_device(path))


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
