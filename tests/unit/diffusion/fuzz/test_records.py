"""Hostile records hold every law, and each planted fault is found by its law.

`DIFFUSION_RECORDS=1000000` makes the long run; `diffusion fuzz` is the same by hand.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from consumers import materializer
from diffusion.fuzz import laws, records, runs
from diffusion.fuzz.laws import ACCOUNTED, BOUNDED, CRASH, READABLE, judge
from diffusion.fuzz.records import CHANGES, CONVERSATIONS, USERS, Specimen, specimen
from diffusion.fuzz.ways import Ways
from schemas import codec, dead_letters
from schemas.changes import ReadChange
from schemas.codec import Decoded, EventDecoder
from schemas.limits import MEMBERS_PER_EVENT_MAX
from streams import diffusion
from streams.diffusion import Diffusion

SEED = 20_261_129
RECORDS = int(os.environ.get("DIFFUSION_RECORDS", "20000"))
PLANTED_MAX = 4_000
"""A planted fault is found among the first so many."""


def broken(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, fault: Any) -> set[str]:
    monkeypatch.setattr(where, name, fault)
    found: set[str] = set()
    for first in range(0, PLANTED_MAX, 500):
        found |= {one.law for one in runs.some(SEED, first, 500).failures}
        if found:
            break
    return found


def test_no_law_is_broken() -> None:
    found = runs.fuzz(SEED, 0, RECORDS)
    assert found.records == RECORDS
    assert [one.as_json() for one in found.failures] == []
    assert found.accepted > RECORDS, "arrays of events among them"
    assert found.letters > RECORDS / 2
    assert set(found.kinds) == {
        "bare", "damaged", "foreign", "glued", "long", "mixed", "mutated", "noise", "swelling", "valid",
    }  # fmt: skip


def test_the_same_number_is_the_same_record() -> None:
    drawn = [specimen(SEED, number) for number in range(300)]
    assert drawn == [specimen(SEED, number) for number in range(300)]
    assert len({one.value for one in drawn}) > 200
    assert {one.topic for one in drawn} == {CONVERSATIONS, USERS, CHANGES}
    assert drawn != [specimen(SEED + 1, number) for number in range(300)]


def test_good_records_are_accepted_whole() -> None:
    ways = Ways()
    for number in range(2_000):
        record = specimen(SEED, number)
        if record.kind == "valid" and record.topic != CHANGES:
            course, _ = judge(ways, record)
            assert course.letters == []
            assert course.accepted > 0
    ways.close()


def test_a_decoder_that_drops_an_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = EventDecoder.decode

    def decode(self: EventDecoder[Any], value: bytes | None) -> Decoded[Any]:
        found = real(self, value)
        return Decoded(found.events[:5], found.rejected)

    assert broken(monkeypatch, EventDecoder, "decode", decode) == {ACCOUNTED}


def test_a_decoder_that_loses_a_rejected_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = EventDecoder.decode

    def decode(self: EventDecoder[Any], value: bytes | None) -> Decoded[Any]:
        found = real(self, value)
        return Decoded(found.events, found.rejected[:1])

    assert broken(monkeypatch, EventDecoder, "decode", decode) == {ACCOUNTED}


def test_a_decoder_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(self: EventDecoder[Any], value: bytes, reason: str) -> Decoded[Any]:
        raise UnicodeDecodeError("utf-8", value, 0, 1, reason)

    assert broken(monkeypatch, EventDecoder, "_apart", apart) == {CRASH}


def test_a_decoder_that_takes_what_does_not_fit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = EventDecoder.__init__

    def lax(self: EventDecoder[Any], event_type: Any) -> None:
        real(self, event_type)
        self._one = codec.msgspec.json.Decoder(event_type, strict=False)
        self._many = codec.msgspec.json.Decoder(list[event_type], strict=False)

    for decoder in (codec.CONVERSATION_EVENTS, codec.USER_EVENTS):
        lax(decoder, decoder._type)
    try:
        assert ACCOUNTED in broken(monkeypatch, EventDecoder, "__init__", real)
    finally:
        for decoder in (codec.CONVERSATION_EVENTS, codec.USER_EVENTS):
            real(decoder, decoder._type)


def test_a_bad_event_that_costs_its_neighbours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken(monkeypatch, codec, "_by_shape", lambda value: None) == {ACCOUNTED}


def test_a_number_that_cassandra_has_no_room_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = materializer.decode_change

    def decode(value: bytes | None) -> Any:
        change = real(value)
        return replace(change, read_seq=2**63) if isinstance(change, ReadChange) else change

    assert broken(monkeypatch, materializer, "decode_change", decode) == {CRASH}


def test_a_change_that_the_materializer_refuses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Diffusion._joined

    def joined(self: Diffusion, conversation: Any, event: Any, stamp: int) -> None:
        real(self, conversation, replace(event, at_ms=2**53), stamp)

    assert broken(monkeypatch, Diffusion, "_joined", joined) == {READABLE}


def test_an_event_that_costs_more_than_its_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # A hundredth of the real bound: ten times as many members take a hundred times as long.
    monkeypatch.setattr(diffusion, "WRITE_MEMBERS_MAX", 100)
    monkeypatch.setattr(laws, "MARKS_PER_EVENT_MAX", 100 + 2 * MEMBERS_PER_EVENT_MAX)
    ways = Ways()
    swelling = Specimen(CONVERSATIONS, records.swelling(12), "swelling")
    assert judge(ways, swelling)[1] == []
    monkeypatch.setattr(Diffusion, "_outgrown", lambda *_: False)
    assert [law for law, _ in judge(ways, swelling)[1]] == [BOUNDED]
    ways.close()


def test_a_dead_letter_that_kafka_refuses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken(monkeypatch, dead_letters, "MAX_VALUE_BYTES", 10_000_000) == {BOUNDED}


def test_a_failing_record_is_written_out_and_can_be_run_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(codec, "_by_shape", lambda value: None)
    first, *_ = runs.some(SEED, 0, 1_000).failures
    alone = runs.fuzz(SEED, first.number, 1)
    assert [(one.number, one.seen) for one in alone.failures] == [(first.number, first.seen)]
    runs.write_out(alone.failures, tmp_path)
    (path,) = tmp_path.iterdir()
    written = orjson.loads(path.read_bytes())
    assert (written["seed"], written["number"]) == (SEED, first.number)
    assert bytes.fromhex(written["value"]) == specimen(SEED, first.number).value
