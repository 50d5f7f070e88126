"""The contract in other words agrees with itself: counts, what fits, and what cannot be told."""

from __future__ import annotations

import pytest

from diffusion.fuzz import contract
from diffusion.fuzz.contract import WHOLE, Reading
from diffusion.fuzz.records import CONVERSATIONS, USERS
from schemas.limits import EVENT_RECORD_BYTES_MAX

READ = b'{"type":"read","user_id":"u","conversation_id":"c","read_seq":1}'


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, WHOLE),
        (b"", WHOLE),
        (READ, Reading(1, 1)),
        (b" [" + READ + b" , " + READ + b"]\n", Reading(2, 2)),
        (b"[]", Reading(0, 0)),
        (b"7", Reading(1, 0)),
        (READ.replace(b"1", b"-1"), Reading(1, 0)),
        (READ.replace(b"1", b"1.0"), Reading(1, 0)),
        (READ.replace(b"1", b"9007199254740992"), Reading(1, 0)),
        (READ.replace(b'"u"', b'"\\ud800"'), Reading(1, 0)),
        (READ.replace(b"}", b',"read_seq":2}'), Reading(1, None)),
        (READ.replace(b'"u"', b'"\xff"'), Reading(1, None)),
        (b"[" + READ + b",NaN]", Reading(2, None)),
        (b'[",]\\"",{"a":[1,2]},x]', Reading(3, None)),
        (b'["\\ud800"' + b',["u"]' * 20_000 + b"]", WHOLE),
        (b'["\\ud800",["u"' + b',"u"' * 20_000 + b"]]", Reading(None, None)),
        (b"[" + READ + b",", WHOLE),
        (b"[" + READ + b"]]", WHOLE),
        (b"[" + b",".join([b"1"] * 501) + b"]", WHOLE),
        (b" " * (EVENT_RECORD_BYTES_MAX + 1), WHOLE),
    ],
)
def test_records_are_read(value: bytes | None, found: Reading) -> None:
    assert contract.read(USERS, value) == found


def test_an_event_of_the_other_topic_does_not_fit() -> None:
    assert contract.read(CONVERSATIONS, READ) == Reading(1, 0)
