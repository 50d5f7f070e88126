"""Tokens come back as they were made, and only those."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cursor import TAG_BYTES, Cursor, PageToken, _tag, seal, unseal, user_digest
from schemas.errors import TokenError
from schemas.limits import CURSOR_CHARS_MAX, EPOCH_MAX, SEQ_MAX, TIME_MS_MAX

KEY = b"k" * 32
CURSOR = Cursor(user_digest("u1"), 1, 2**43 + 5, 2**43 + 3, 1_000, 2_000, 1_700_000_000_000)
PAGE = PageToken(CURSOR, "sg_42")

times = st.integers(0, TIME_MS_MAX)
versions = st.integers(0, SEQ_MAX)
cursors = st.builds(
    Cursor,
    st.text(max_size=20).map(user_digest),
    st.integers(0, EPOCH_MAX),
    versions,
    versions,
    times,
    times,
    times,
)


@given(cursors, st.text(max_size=300), st.binary(min_size=1, max_size=64))
def test_a_token_comes_back(cursor: Cursor, after: str, key: bytes) -> None:
    assert unseal(seal(cursor, key), Cursor, key) == cursor
    page = PageToken(cursor, after)
    assert unseal(seal(page, key), PageToken, key) == page


@given(cursors, st.text(max_size=300))
def test_a_token_is_short_and_safe_in_a_header(cursor: Cursor, after: str) -> None:
    for token in (cursor, PageToken(cursor, after)):
        text = seal(token, KEY)
        assert len(text) <= CURSOR_CHARS_MAX
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize("kind", [Cursor, PageToken])
def test_any_changed_byte_is_noticed(kind: type[Cursor | PageToken]) -> None:
    text = seal(CURSOR if kind is Cursor else PAGE, KEY)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for place in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[place] ^= 1 << bit
            forged = base64.urlsafe_b64encode(bytes(damaged)).rstrip(b"=").decode()
            with pytest.raises(TokenError):
                unseal(forged, kind, KEY)


def test_any_shortened_token_is_noticed() -> None:
    text = seal(CURSOR, KEY)
    for length in range(len(text)):
        with pytest.raises(TokenError):
            unseal(text[:length], Cursor, KEY)


def test_an_ordinary_cursor_has_some_100_characters() -> None:
    """Half of them are digests and the tag."""
    now_ms = 1_800_000_000_123
    cursor = Cursor(
        user_digest("u1"),
        7,
        7 * 2**43 + 2**31,
        7 * 2**43 + 2**30,
        now_ms - 600_000,
        now_ms - 7_200_000,
        now_ms,
        b"8" * 8,
        b"8" * 8,
    )
    assert len(seal(cursor, KEY)) <= 111


def test_another_key_is_noticed() -> None:
    with pytest.raises(TokenError, match="not issued"):
        unseal(seal(CURSOR, KEY), Cursor, b"l" * 32)


def test_another_kind_is_noticed() -> None:
    with pytest.raises(TokenError, match="another kind"):
        unseal(seal(CURSOR, KEY), PageToken, KEY)
    with pytest.raises(TokenError, match="another kind"):
        unseal(seal(PAGE, KEY), Cursor, KEY)


@pytest.mark.parametrize(
    "payload",
    [
        ["c3"],
        ["c3", b"d", 0, -1, 0, 0, 0, 0],
        ["c3", b"d", EPOCH_MAX + 1, 0, 0, 0, 0, 0],
        ["c3", b"d", 0, SEQ_MAX + 1, 0, 0, 0, 0],
        ["c3", b"d", 0, 5, 6, 0, 0, 0],
        ["c3", b"d", 0, 0, 0, TIME_MS_MAX + 1, 0, 0],
        ["c3", b"d", 0, 0, 0, 5, 6, 0],
        ["c2", b"d", 1, 0, 0, 0, 0, 0],
        "text",
    ],
)
def test_a_payload_of_another_version_is_refused_though_its_tag_is_right(payload: object) -> None:
    """As left behind by another release with the same key."""
    data = msgspec.msgpack.encode(payload)
    text = base64.urlsafe_b64encode(data + _tag(data, KEY)).rstrip(b"=").decode()
    with pytest.raises(TokenError, match="another version"):
        unseal(text, Cursor, KEY)


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        unseal(text, Cursor, KEY)


@pytest.mark.parametrize("text", ["", "A", "AA", "====", "a b", "a+/b", "\u00e9", "A" * 2_049])
def test_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        unseal(text, Cursor, KEY)


@given(st.text(alphabet="=\n AB", min_size=1, max_size=3), st.booleans())
def test_what_is_put_around_a_token_makes_no_other_token(extra: str, before: bool) -> None:
    text = seal(CURSOR, KEY)
    try:
        found = unseal(extra + text if before else text + extra, Cursor, KEY)
    except TokenError:
        return
    assert found == CURSOR, "padding alone may be read over"


def test_users_are_told_apart() -> None:
    digests = {user_digest(f"u{number}") for number in range(1_000)}
    assert len(digests) == 1_000
    assert {len(digest) for digest in digests} == {8}
    assert TAG_BYTES == 16
