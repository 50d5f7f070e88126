"""Whom the client believes to be the server, and what to do when it does not.

Without a file that is what `httpx` and the system trust; with one, the authorities in it, for
requests and for the connection that pokes alike. There is no way to look away.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Final

from sdk.client.wire import check_url

_ENDED: Final = {"RemoteProtocolError", "ReadError", "InvalidMessage", "ConnectionResetError"}
"""Errors of httpx, websockets and the system for a line that stood, and had no answer on it."""


def context_of(url: str, ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    """Believe the authorities of a PEM file and no others; raises `ValueError` if that cannot be
    used, or the address has no use for it.
    """
    if not check_url(url).startswith("https"):
        raise ValueError(f"{url!r} has no use for a ca_file: give https://host[:port]")
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    except OSError as error:
        why = error.strerror or str(error)
        raise ValueError(
            f"the ca_file {os.fspath(ca_file)} cannot be used ({why}): name a file of certificates "
            "in PEM"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def advice(url: str, error: BaseException) -> str:
    """Say what to do about a connection that was not made; nothing if TLS has no part in it."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return (
            "; if a private authority signed the certificate, give its own as `ca_file`, and "
            "address the server by a name that the certificate has"
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "; if the server speaks no TLS, its address begins with http://"
    plain = url.startswith(("http:", "ws:"))
    if plain and type(error).__name__ in _ENDED:
        return "; if the server speaks TLS, its address begins with https://"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
