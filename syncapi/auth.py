"""Who asks: a bearer token whose `sub` is the user id, and whose `device_id`, if it has one, is the
only device it is good for.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final, NamedTuple

import jwt

from infra.api_settings import ApiSettings
from infra.clock import Clock, now_ms
from schemas.errors import InputError, PermanentError
from schemas.limits import DEVICE_ID_CHARS_MAX, USER_ID_CHARS_MAX
from syncapi.keys import HMAC, keys_of

TOKEN_CHARS_MAX: Final = 8_000
"""A header line of 8 KiB is what a WebSocket handshake takes, and common proxies do."""

KNOWN_MAX: Final = 20_000
KNOWN_CHARS_MAX: Final = 1_024
"""Headers remembered, and the longest of them: about 400 bytes each, 20 MB at worst. Only such as
are valid, so that nobody fills the room who has no token."""


class NotAuthenticated(InputError):
    """The request does not say in a valid way whose it is."""


class OtherDevice(InputError):
    """The token is good for another device than the one that asks."""


class Identity(NamedTuple):
    """Who asks, and until when the token says so (milliseconds since 1970, leeway included);
    `device_id` None: from any device.
    """

    user_id: str
    until_ms: int
    device_id: str | None = None

    def check(self, device_id: str) -> None:
        """Raise `OtherDevice` unless the token is good for this device."""
        if self.device_id is not None and device_id != self.device_id:
            raise OtherDevice("The token is another device's: ask for one for this device.")


class Authenticator:
    """Checks tokens; a token is valid until it expires. For one event loop.

    What a token was found to say is remembered until then, whole headers by their text: in a
    profile of answers with 20 changed conversations, checking it again was a quarter of the CPU.
    """

    def __init__(self, settings: ApiSettings, clock: Clock = now_ms) -> None:
        self._keys = keys_of(settings)
        self._audience = settings.jwt_audience
        self._leeway_s = settings.jwt_leeway_s
        self._device_required = settings.jwt_device_required
        self._clock = clock
        self._known: dict[str, Identity] = {}

    def user_of(self, authorization: str | None) -> str:
        """User id of an `Authorization` header; raises `NotAuthenticated` with the reason."""
        return self.identify(authorization).user_id

    def identify(self, authorization: str | None) -> Identity:
        """Whose an `Authorization` header is, and until when; raises `NotAuthenticated`."""
        known = self.remembered(authorization)
        if known is not None:
            return known
        found = self._checked(authorization)
        if authorization is not None and len(authorization) <= KNOWN_CHARS_MAX:
            if len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]  # the one that came first
            self._known[authorization] = found
        return found

    def remembered(self, authorization: str | None) -> Identity | None:
        """What a header was found to say before, and still does; None: it has to be checked."""
        if self._keys.refresh():
            self._known.clear()  # a key may be gone, and its tokens with it
        known = self._known.get(authorization or "")
        if known is not None and self._clock() >= known.until_ms:
            del self._known[authorization or ""]
            return None
        return known

    def _checked(self, authorization: str | None) -> Identity:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("Send `Authorization: Bearer <token>`.")
        if len(token) > TOKEN_CHARS_MAX:
            raise NotAuthenticated(f"The token is longer than {TOKEN_CHARS_MAX} characters.")
        try:
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise NotAuthenticated("The token is signed by a key that is not known here.")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                leeway=self._leeway_s,
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
        until_ms = (int(claims["exp"]) + self._leeway_s) * 1_000
        return Identity(user_id, until_ms, self._device_of(claims))

    def _device_of(self, claims: dict[str, Any]) -> str | None:
        device_id = claims.get("device_id")
        if device_id is None and not self._device_required:
            return None
        if not isinstance(device_id, str) or not 0 < len(device_id) <= DEVICE_ID_CHARS_MAX:
            raise NotAuthenticated("The token's `device_id` is not a device id.")
        return device_id


def _is_utf8(text: str) -> bool:
    """Half a surrogate pair can be written in JSON, but names nobody in any store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def issue(
    settings: ApiSettings,
    user_id: str,
    *,
    now_ms: int,
    lifetime_s: int,
    device_id: str | None = None,
) -> str:
    """Sign a token for a user, perhaps for one device only: for the demonstration and for tests; a
    backend does it itself. Raises `PermanentError` where it is others who sign.
    """
    if settings.jwt_keys_file is not None:
        raise PermanentError(
            f"Tokens are signed by whoever has the keys of {settings.jwt_keys_file}: ask there."
        )
    claims: dict[str, Any] = {
        "sub": user_id,
        "aud": settings.jwt_audience,
        "exp": now_ms // 1_000 + lifetime_s,
    }
    if device_id is not None:
        claims["device_id"] = device_id
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm=HMAC)


def cursor_key(settings: ApiSettings) -> bytes:
    """Key that authenticates cursors: the setting, or one derived from the token secret."""
    own = settings.cursor_secret.get_secret_value()
    if own:
        return hashlib.sha256(own.encode()).digest()
    return hmac.digest(settings.jwt_secret.get_secret_value().encode(), b"cursor", "sha256")
