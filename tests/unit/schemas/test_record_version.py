"""Which records are newer, and what is said of them."""

from __future__ import annotations

import msgspec
import pytest

from schemas.record_version import MAJOR, MINOR, OLDEST, Versioned, is_newer, refusal

UPGRADE = "upgrade something"
NOW = f"{MAJOR}.{MINOR}"


class Thing(Versioned, frozen=True, tag="thing"):
    name: str


def test_what_is_said_of_nothing_is_the_oldest_version() -> None:
    assert msgspec.json.encode(Thing("a")) == b'{"type":"thing","name":"a"}'
    assert msgspec.json.decode(b'{"type":"thing","name":"a"}', type=Thing).v == OLDEST


@pytest.mark.parametrize("v", [NOW, f"{MAJOR}.{MINOR + 1}", f"{MAJOR}.9999"])
def test_a_newer_minor_version_fits(v: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(Thing("a", v=v)), type=Thing).v == v
    assert is_newer(v) is (v != NOW)


@pytest.mark.parametrize("v", [f"{MAJOR + 1}.0", f"{MAJOR - 1}.0", "1", "1.x", " 1.0"])
def test_another_version_does_not_fit(v: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.v"):
        msgspec.json.decode(msgspec.json.encode({"type": "thing", "name": "a", "v": v}), type=Thing)


def test_a_reason_is_told_where_it_says_something() -> None:
    minor = refusal(b'{"v":"1.12"}', "name is missing", UPGRADE)
    assert minor == (
        f"version 1.12 is newer than {NOW}, which this program knows (name is missing): {UPGRADE}"
    )
    major = refusal(b'{"v":"2.0"}', "name is missing", UPGRADE)
    assert major == f"version 2.0 is newer than {NOW}, which this program knows: {UPGRADE}"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"5",
        b"[]",
        b'[{"v":"2.0"}]',
        b'{"v":2}',
        b'{"v":"2"}',
        b'{"v":"2.0',
        b'{"v":"\xff.0"}',
        b'{"v":"1.0"}',
        b'{"v":"0.9"}',
        b'{"a":' * 100_000,
    ],
    ids=repr,
)
def test_what_does_not_say_that_it_is_newer_is_judged_by_others(value: bytes) -> None:
    assert refusal(value, "name is missing", UPGRADE) is None
