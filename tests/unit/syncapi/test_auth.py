"""Who asks: a token says it in one valid way, and everything else says nothing."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.api_settings import LEEWAY_S, ApiSettings
from schemas.limits import USER_ID_CHARS_MAX
from syncapi import auth
from syncapi.auth import (
    KNOWN_CHARS_MAX,
    TOKEN_CHARS_MAX,
    Authenticator,
    NotAuthenticated,
    cursor_key,
    issue,
)

SETTINGS = ApiSettings()
SECRET = SETTINGS.jwt_secret.get_secret_value()
AUTH = Authenticator(SETTINGS)


def now_s() -> int:
    return int(time.time())


def claims(**changed: Any) -> dict[str, Any]:
    good = {"sub": "ann", "aud": SETTINGS.jwt_audience, "exp": now_s() + 600, **changed}
    return {name: value for name, value in good.items() if value is not None}


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}') -> str:
    """A token with a good signature over whatever it says."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


def token(**changed: Any) -> str:
    return signed(json.dumps(claims(**changed)).encode())


def refused(authorization: str | None) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        AUTH.user_of(authorization)
    return str(caught.value)


def test_a_good_token_says_who() -> None:
    assert AUTH.user_of(f"Bearer {token()}") == "ann"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    assert AUTH.user_of(f"{scheme} {token()}") == "ann"


def test_what_is_issued_is_accepted_until_it_expires() -> None:
    def issued(lifetime_s: int) -> str:
        return issue(SETTINGS, "ann", now_ms=now_s() * 1_000, lifetime_s=lifetime_s)

    assert AUTH.user_of(f"Bearer {issued(60)}") == "ann"
    assert AUTH.user_of(f"Bearer {issued(-LEEWAY_S // 2)}") == "ann"
    assert "expired" in refused(f"Bearer {issued(-LEEWAY_S - 60)}")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic YW5uOng=", "Token x", token(), f"Bearer{token()}"],
)
def test_no_bearer_token_is_nobody(authorization: str | None) -> None:
    assert "Authorization: Bearer" in refused(authorization)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": now_s() - 3_600}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"aud": "another"}, "udience"),
        ({"aud": None}, "aud"),
        ({"aud": {}}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "ubject"),
        ({"sub": ["ann"]}, "ubject"),
        ({"sub": ""}, "user id"),
        ({"sub": "x" * (USER_ID_CHARS_MAX + 1)}, "user id"),
        ({"sub": "\ud800"}, "user id"),
        ({"nbf": now_s() + 3_600}, "not yet valid"),
    ],
)
def test_a_signed_token_that_does_not_fit_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert reason in refused(f"Bearer {token(**changed)}")


def test_a_user_id_may_be_as_long_as_the_contract_allows() -> None:
    longest = "\N{GRINNING FACE}" * USER_ID_CHARS_MAX
    assert AUTH.user_of(f"Bearer {token(sub=longest)}") == longest


def test_a_signature_by_another_secret_is_refused() -> None:
    other = jwt.encode(claims(), "another-secret-of-at-least-32-bytes!", algorithm="HS256")
    assert "ignature" in refused(f"Bearer {other}")


@pytest.mark.parametrize("alg", ["none", "None", "HS512", "RS256"])
def test_no_other_algorithm_is_taken(alg: str) -> None:
    """Neither unsigned nor signed otherwise, whatever the header says."""
    header = json.dumps({"alg": alg}).encode()
    payload = json.dumps(claims()).encode()
    refused(f"Bearer {part(header)}.{part(payload)}.")
    refused(f"Bearer {signed(payload, header)}")


def test_changed_claims_break_the_signature() -> None:
    head, _, signature = token().split(".")
    forged = part(json.dumps(claims(sub="bob")).encode())
    assert "ignature" in refused(f"Bearer {head}.{forged}.{signature}")


def test_a_token_above_the_bound_is_refused_before_it_is_read() -> None:
    assert "longer" in refused(f"Bearer {'x' * (TOKEN_CHARS_MAX + 1)}")


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"null", b"7", b"{", b"\xff", b"[" * 5_000, b'{"sub":' * 500]
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    refused(f"Bearer {signed(payload)}")


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b"{", b"[" * 5_000, b'{"alg":[1]}', b"{}"])
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    refused(f"Bearer {signed(b'{}', header)}")


@given(st.text(max_size=80))
def test_no_text_is_anybody(text: str) -> None:
    for authorization in (text, f"Bearer {text}", f"Bearer {text}.{text}.{text}"):
        refused(authorization)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "aud", "nbf", "iat", "iss", "jti"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_no_signed_claims_are_an_error(changed: dict[str, Any]) -> None:
    try:
        user = AUTH.user_of(f"Bearer {token(**changed)}")
    except NotAuthenticated:
        return
    assert user == changed.get("sub", "ann")


def test_the_cursor_key_is_its_own_secret_or_made_of_the_token_secret() -> None:
    derived = cursor_key(SETTINGS)
    own = cursor_key(ApiSettings(cursor_secret="x" * 40))
    assert derived != own
    assert SECRET.encode() not in (derived, own)
    assert cursor_key(ApiSettings(jwt_secret="y" * 40)) != derived
    assert cursor_key(ApiSettings(jwt_secret="y" * 40, cursor_secret="x" * 40)) == own


# What is remembered.


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tokens whose signature was checked."""
    seen: list[str] = []
    decode = jwt.decode

    def noting(text: str, *arguments: Any, **options: Any) -> Any:
        seen.append(text)
        return decode(text, *arguments, **options)

    monkeypatch.setattr(auth.jwt, "decode", noting)
    return seen


def test_a_token_is_checked_once_and_then_known(looks: list[str]) -> None:
    authenticator, header = Authenticator(SETTINGS), f"Bearer {token()}"
    first, second = authenticator.identify(header), authenticator.identify(header)
    assert first == second
    assert first.user_id == "ann"
    assert len(looks) == 1


def test_a_known_token_is_not_known_beyond_its_end(looks: list[str]) -> None:
    ends_ms = (now_s() + 600 + LEEWAY_S) * 1_000
    clock = [ends_ms - 1]
    authenticator = Authenticator(SETTINGS, lambda: clock[0])
    header = f"Bearer {token(exp=now_s() + 600)}"
    assert authenticator.identify(header).until_ms == ends_ms
    authenticator.identify(header)
    assert len(looks) == 1
    clock[0] = ends_ms
    authenticator.identify(header)
    assert len(looks) == 2, "and now the library says what it is worth"


def test_a_refused_token_is_refused_again(looks: list[str]) -> None:
    authenticator, header = Authenticator(SETTINGS), f"Bearer {token(exp=now_s() - 3_600)}"
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            authenticator.identify(header)
    assert len(looks) == 2


def test_a_known_token_says_nothing_of_one_that_is_changed() -> None:
    authenticator, good = Authenticator(SETTINGS), token()
    authenticator.identify(f"Bearer {good}")
    for changed in (good[:-1], good + "A", good.swapcase(), f"{good} "):
        with pytest.raises(NotAuthenticated):
            authenticator.identify(f"Bearer {changed}")
    other = issue(SETTINGS, "bob", now_ms=now_s() * 1_000, lifetime_s=60)
    assert authenticator.user_of(f"Bearer {other}") == "bob"


def test_no_more_than_so_many_tokens_are_known(
    looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KNOWN_MAX", 2)
    authenticator = Authenticator(SETTINGS)
    headers = [f"Bearer {token(sub=user)}" for user in ("ann", "bob", "cid")]
    for header in (*headers, *headers[1:]):
        authenticator.identify(header)
    assert len(looks) == 3
    authenticator.identify(headers[0])
    assert len(looks) == 4, "the first made room for the third"


def test_a_very_long_token_is_checked_each_time(looks: list[str]) -> None:
    authenticator, header = Authenticator(SETTINGS), f"Bearer {token(x='x' * KNOWN_CHARS_MAX)}"
    for _ in range(2):
        assert authenticator.user_of(header) == "ann"
    assert len(looks) == 2
