"""Who asks: a bearer token whose `sub` is the user id."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple

import jwt

from infra.clock import Clock, now_ms
from infra.settings import ApiSettings
from schemas.errors import InputError
from schemas.limits import USER_ID_CHARS_MAX

ALGORITHM: Final = "HS256"
LEEWAY_S: Final = 30
"""Clocks of the issuer and of this service may differ by so much."""

TOKEN_CHARS_MAX: Final = 8_000
"""A header line of 8 KiB is what a WebSocket handshake takes, and common proxies do."""

KNOWN_MAX: Final = 20_000
KNOWN_CHARS_MAX: Final = 1_024
"""Headers remembered, and the longest of them: about 400 bytes each, 20 MB at worst. Only such as
are valid, so that nobody fills the room who has no token."""


class NotAuthenticated(InputError):
    """The request does not say in a valid way whose it is."""


class Identity(NamedTuple):
    """Who asks, and until when the token says so (milliseconds since 1970, leeway included)."""

    user_id: str
    until_ms: int


class Authenticator:
    """Checks tokens; a token is valid until it expires. For one event loop.

    What a token was found to say is remembered until then, whole headers by their text: in a
    profile of answers with 20 changed conversations, checking it again was a quarter of the CPU.
    """

    def __init__(self, settings: ApiSettings, clock: Clock = now_ms) -> None:
        self._secret = settings.jwt_secret.get_secret_value()
        self._audience = settings.jwt_audience
        self._clock = clock
        self._known: dict[str, Identity] = {}

    def user_of(self, authorization: str | None) -> str:
        """User id of an `Authorization` header; raises `NotAuthenticated` with the reason."""
        return self.identify(authorization).user_id

    def identify(self, authorization: str | None) -> Identity:
        """Whose an `Authorization` header is, and until when; raises `NotAuthenticated`."""
        known = self._known.get(authorization or "")
        if known is not None:
            if self._clock() < known.until_ms:
                return known
            del self._known[authorization or ""]
        found = self._checked(authorization)
        if authorization is not None and len(authorization) <= KNOWN_CHARS_MAX:
            if len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]  # the one that came first
            self._known[authorization] = found
        return found

    def _checked(self, authorization: str | None) -> Identity:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("Send `Authorization: Bearer <token>`.")
        if len(token) > TOKEN_CHARS_MAX:
            raise NotAuthenticated(f"The token is longer than {TOKEN_CHARS_MAX} characters.")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": ["sub", "exp"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise NotAuthenticated("The token has expired. Ask for a new one.") from error
        except jwt.InvalidTokenError as error:
            raise NotAuthenticated(f"The token is not valid: {error}.") from error
        user_id = claims["sub"]
        if not isinstance(user_id, str) or not 0 < len(user_id) <= USER_ID_CHARS_MAX:
            raise NotAuthenticated("The token's `sub` is not a user id.")
        if not _is_utf8(user_id):
            raise NotAuthenticated("The token's `sub` is not a user id.")
        return Identity(user_id, (int(claims["exp"]) + LEEWAY_S) * 1_000)


def _is_utf8(text: str) -> bool:
    """Half a surrogate pair can be written in JSON, but names nobody in any store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def issue(settings: ApiSettings, user_id: str, *, now_ms: int, lifetime_s: int) -> str:
    """Sign a token for a user: for the demonstration and for tests; a backend does it itself."""
    claims = {
        "sub": user_id,
        "aud": settings.jwt_audience,
        "exp": now_ms // 1_000 + lifetime_s,
    }
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm=ALGORITHM)


def cursor_key(settings: ApiSettings) -> bytes:
    """Key that authenticates cursors: the setting, or one derived from the token secret."""
    own = settings.cursor_secret.get_secret_value()
    if own:
        return hashlib.sha256(own.encode()).digest()
    return hmac.digest(settings.jwt_secret.get_secret_value().encode(), b"cursor", "sha256")
