"""The golden vectors, read as somebody would who has only PROTOCOL.md: with his own arithmetic.

What this module computes by itself (digests, sketches) it computes from the text of the protocol,
without the code it tests, so that the text and the vectors and the code cannot part unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas import digests, sketch
from schemas.conversations import ConversationState, activity_ms, is_listed, last_seq, unread
from schemas.encoding import Coding, Format, decode, pack, unpack
from schemas.frames import ClientFrame, ServerFrame
from schemas.protocol import ConversationEntry, SyncRequest, SyncResponse, merge

FOLDER = Path(__file__).parents[3] / "schemas" / "vectors"
P = 2**40 - 87
MULTIPLIERS = (0x6A09E667F3, 0xBB67AE8584, 0x3C6EF372FE, 0xA54FF53A5F)


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def cases(name: str) -> list[Any]:
    return [
        pytest.param(case, id=case.get("name", str(number)))
        for number, case in enumerate(load(name)["cases"])
    ]


def state_of(plain: dict[str, Any]) -> ConversationState:
    return msgspec.convert(plain, ConversationState)


# As the protocol says it.


def canonical(state: dict[str, Any]) -> bytes:
    own = state.get("own", {})
    member = own.get("member", True)
    cap = own.get("user_max_seq", 2**53 - 1)
    active = state.get("active_at_ms", 0) if member else own.get("membership_at_ms", 0)
    numbers = [
        min(state.get("max_seq", 0), cap),
        active,
        state.get("read_seq", 0),
        int(member),
        own.get("membership_at_ms", 0),
        cap,
        own.get("min_seq", 0),
        own.get("deleted_seq", -1),
        own.get("deleted_at_ms", 0),
        int(own.get("pinned", False)),
        int(own.get("muted", False)),
    ]
    return (",".join(map(str, numbers)) + ";" + state["conversation_id"]).encode()


def digest(state: dict[str, Any]) -> int:
    return int.from_bytes(hashlib.blake2b(canonical(state), digest_size=16).digest(), "big")


def key(conversation_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(conversation_id.encode(), digest_size=8).digest(), "big")


def sketched(states: list[dict[str, Any]], cells: int) -> str:
    quarter = cells // 4
    numbers = [0] * (2 * cells + 1)
    for state in states:
        one = key(state["conversation_id"]) % 2**28 or 1
        weight = digest(state) % P
        for j, multiplier in enumerate(MULTIPLIERS):
            cell = j * quarter + one * multiplier % P % quarter
            numbers[2 * cell] += weight
            numbers[2 * cell + 1] += weight * one
        numbers[-1] += weight * one * one
    return "".join(f"{number % P:010x}" for number in numbers)


# Tests.


@pytest.mark.parametrize("case", cases("merge"))
def test_entries_merge_as_the_vectors_say(case: dict[str, Any]) -> None:
    held = None if case["held"] is None else state_of(case["held"])
    for entry in case["entries"]:
        held = merge(held, msgspec.convert(entry, ConversationEntry))
    assert held == state_of(case["state"])
    assert case["derived"] == {
        "unread": unread(held),
        "last_seq": last_seq(held),
        "activity_ms": activity_ms(held),
        "listed": is_listed(held),
    }


@pytest.mark.parametrize(("name", "kind"), [("requests", SyncRequest), ("answers", SyncResponse)])
def test_both_formats_are_the_same_record_and_are_written_so(name: str, kind: Any) -> None:
    for case in load(name)["cases"]:
        packed = bytes.fromhex(case["msgpack"])
        record = decode(packed, kind, Format.MSGPACK)
        assert record == decode(case["json"].encode(), kind, Format.JSON), case["name"]
        assert msgspec.msgpack.encode(record) == packed
        assert msgspec.json.encode(record).decode() == case["json"]


@pytest.mark.parametrize(("name", "kind"), [("requests", SyncRequest), ("answers", SyncResponse)])
def test_unknown_fields_are_ignored(name: str, kind: Any) -> None:
    for case in load(name)["cases"]:
        more = json.loads(case["json"]) | {"of_the_future": {"deep": [1, None]}}
        record = decode(json.dumps(more).encode(), kind, Format.JSON)
        assert record == decode(case["json"].encode(), kind, Format.JSON)


@pytest.mark.parametrize("case", cases("digests"))
def test_digests_follow_from_the_text_and_from_the_code(case: dict[str, Any]) -> None:
    plain, state = case["state"], state_of(case["state"])
    assert canonical(plain).decode() == case["canonical"] == digests.canonical(state).decode()
    assert f"{digest(plain):032x}" == case["row_digest"] == f"{digests.row_digest(state):032x}"
    assert case["row_digest"][-8:] == case["row_hash"]
    assert digests.row_hash(digests.digest_row(state)).hex() == case["row_hash"]
    name = plain["conversation_id"]
    assert f"{key(name):016x}" == case["key"] == f"{digests.key_of(name):016x}"


def test_root_and_parts_follow_from_the_text_and_from_the_code() -> None:
    vectors = load("digests")
    plain = [case["state"] for case in vectors["cases"]]
    rows = digests.in_order(digests.digest_row(state_of(one)) for one in plain)
    assert f"{sum(map(digest, plain)) % 2**128:032x}" == vectors["root"]
    assert digests.root_of(rows).hex() == vectors["root"]
    quarters = [0, 0, 0, 0]
    for one in plain:
        quarters[key(one["conversation_id"]) >> 62] += digest(one)
    assert "".join(f"{total % 2**32:08x}" for total in quarters) == vectors["parts"]
    assert digests.parts(digests.WHOLE, rows, 2).digests.hex() == vectors["parts"]


@pytest.mark.parametrize("case", cases("sketch"))
def test_sketches_follow_from_the_text_and_from_the_code(case: dict[str, Any]) -> None:
    vectors = load("sketch")
    plain = [one["state"] for one in load("digests")["cases"]]
    rows = [digests.digest_row(state_of(one)) for one in plain]
    assert sketched(plain, case["cells"]) == case["sketch"]
    assert sketch.sketch_of(rows, case["cells"]).hex() == case["sketch"]
    theirs = [digests.digest_row(state_of(one)) for one in vectors["server"]]
    found = sketch.decode(bytes.fromhex(case["sketch"]), theirs)
    if case["changed"] is None:
        assert found is None
    else:
        assert found is not None
        assert sorted(found.changed) == case["changed"]
        assert [f"{one:08x}" for one in sorted(found.gone)] == case["gone"]


def test_some_sketch_decodes_and_some_does_not() -> None:
    assert {case["changed"] is None for case in load("sketch")["cases"]} == {True, False}


@pytest.mark.parametrize("case", cases("frames"))
def test_frames_are_read_and_written_as_the_vectors_say(case: dict[str, Any]) -> None:
    kind = ClientFrame if case["from"] == "client" else ServerFrame
    frame = decode(case["text"].encode(), kind, Format.JSON)
    assert msgspec.json.encode(frame).decode() == case["text"]
    binary = bytes.fromhex(case["binary"])
    assert binary[:2] == b"\x01\x00"
    assert pack(frame, Coding.IDENTITY) == binary
    packed = bytes.fromhex(case["deflate"])
    assert zlib.decompress(packed[2:]) == binary[2:]
    for one in (binary, packed):
        assert unpack(one, kind, 1_000) == frame
