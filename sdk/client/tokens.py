"""The bearer token: where it comes from, when it is asked for again, and whose it says it is. Pure.

A token is asked for once and kept until the server refuses it. Nothing here checks a signature:
that is the server's; the user's id is read to keep the stores of two users apart.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

import msgspec

from sdk.client.errors import AuthError

_BEARER: Final = re.compile(r"[!-~]+")
"""Visible ASCII: wider than RFC 6750 allows, and nothing that could end a header."""


class _Claims(msgspec.Struct):
    sub: str = ""


def check_token(token: str) -> str:
    """Return the token, or raise `AuthError` if it cannot be one.

    Found here, because an error of the HTTP library would quote it.
    """
    if not _BEARER.fullmatch(token):
        raise AuthError("the token is empty or holds characters that a bearer token cannot")
    return token


def user_of(token: str) -> str | None:
    """Read the user's id (`sub`) of a JSON Web Token; None if this is none, or has none."""
    parts = token.split(".")
    if len(parts) != 3:  # header, claims, signature (RFC 7519)
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(claims, type=_Claims).sub or None
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None


class Tokens:
    """The present token, from a text or a function that blocks. Safe for threads as far as needed:
    two threads that ask at once ask twice.
    """

    def __init__(self, source: str | Callable[[], str], on_token: Callable[[str], None]) -> None:
        self._source = source
        self._on_token = on_token
        self._token: str | None = None

    def present(self) -> tuple[str, bool]:
        """Return the token, and whether it was asked for just now; raises `AuthError`."""
        if self._token is not None:
            return self._token, False
        token = self._source if isinstance(self._source, str) else self._source()
        check_token(token)
        self._on_token(token)
        self._token = token
        return token, not isinstance(self._source, str)

    def refused(self) -> bool:
        """Forget the token; whether another one can be had."""
        self._token = None
        return not isinstance(self._source, str)
