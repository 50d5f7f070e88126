"""The bearer token: where it comes from, when it is asked for again, and whose it says it is. Pure.

A token is asked for once and kept until the server refuses it. Nothing here checks a signature:
that is the server's; the user's id is read to keep the stores of two users apart.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec

from sdk.client.errors import AuthError, NetworkError

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that gives one; a coroutine function only with `async`."""

_BEARER: Final = re.compile(r"[!-~]+")
"""Visible ASCII: wider than RFC 6750 allows, and nothing that could end a header."""


class _Claims(msgspec.Struct):
    sub: str = ""


def check_token(token: object) -> str:
    """Return the token, or raise `AuthError` if it cannot be one.

    Found here, because an error of the HTTP library would quote it.
    """
    if not isinstance(token, str) or not _BEARER.fullmatch(token):
        raise AuthError("the token is empty, no text, or holds what a bearer token cannot")
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


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """Where a token comes from may be away, too; anything else that the app raises is its own."""
    try:
        yield
    except OSError as error:
        raise NetworkError(f"no token could be had: {error}") from error


class HeldToken:
    """The present token, kept until it is refused. `on_token` is told each before it is used."""

    def __init__(self, source: TokenSource, on_token: Callable[[str], None]) -> None:
        self._source = source
        self._on_token = on_token
        self._token: str | None = None

    def refused(self) -> bool:
        """Forget the token; whether another one can be had."""
        self._token = None
        return not isinstance(self._source, str)

    def _asked(self) -> str | Awaitable[str]:
        return self._source if isinstance(self._source, str) else self._source()

    def _keep(self, token: str) -> tuple[str, bool]:
        self._on_token(check_token(token))
        self._token = token
        return token, not isinstance(self._source, str)


class Tokens(HeldToken):
    """From a text or a function that blocks. Safe for threads as far as needed: two threads that
    ask at once ask twice.
    """

    def present(self) -> tuple[str, bool]:
        """Return the token, and whether it was asked for just now; raises `AuthError`."""
        if self._token is not None:
            return self._token, False
        with _asking():
            made = self._asked()
        if inspect.isawaitable(made):
            if inspect.iscoroutine(made):
                made.close()
            raise TypeError(
                "the token function is asynchronous: use `async with SyncClient(...)`, "
                "or give a function that returns the token"
            )
        return self._keep(made)


class AsyncTokens(HeldToken):
    """From a text or a function, which may be a coroutine's."""

    async def present(self) -> tuple[str, bool]:
        """Return the token, and whether it was asked for just now; raises `AuthError`."""
        if self._token is not None:
            return self._token, False
        with _asking():
            made = self._asked()
            if inspect.isawaitable(made):
                made = await made
        return self._keep(made)
