"""The errors of the device client. Whose fault it is decides the branch.

    ClientError (DiffusionError)
    ├── NetworkError *             the server was not reached, or the answer broke off
    ├── ServerError *              the server failed (5xx, 408); the same request may succeed later
    │   └── ServerBusyError *      429 or 503: wait, `retry_after_seconds` if the server said so
    ├── AuthError                  401 or 403: the token is missing, expired, or not allowed
    ├── ProtocolError              the two ends do not understand each other
    │   ├── RequestRefusedError    400, 410 and other 4xx, with the server's problem document
    │   └── InvalidAnswerError     an answer that cannot be read, or that nothing asked for
    └── StoreError                 the file on this device
        ├── StoreOwnerError        it belongs to another user
        ├── StoreVersionError      a newer version of the client wrote it
        ├── StoreDamagedError      it is damaged: the next sync sets it aside and begins a new one
        └── StoreConflictError *   another process synced it in the middle of this sync

Those with a star are also `RetryableError`: calling `sync()` again later is all there is to do.
After any of them the store is as some earlier, complete transaction left it.
"""

from __future__ import annotations

from msgspec import Struct

from schemas.errors import DiffusionError, RetryableError


class Problem(Struct, frozen=True):
    """A problem document (RFC 9457), as far as the server filled it in; the rest is ignored.

    `reason` is, for a token that was refused, a value of `schemas.protocol.Reason`; `request_id` is
    how the server's log calls the request.
    """

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    reason: str | None = None
    request_id: str | None = None

    def in_words(self) -> str:
        """Say it in one line."""
        said = ": ".join(part for part in (self.title, self.detail) if part) or self.type
        return said if self.request_id is None else f"{said} (request {self.request_id})"


class ClientError(DiffusionError):
    """Root of the errors of the device client."""


class NetworkError(ClientError, RetryableError):
    """The server was not reached, or the answer broke off. Nothing was applied."""


class ServerError(ClientError, RetryableError):
    """The server failed; the same request may succeed later. Nothing was applied."""


class ServerBusyError(ServerError):
    """The server asks to wait, for `retry_after_seconds` if it said how long."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AuthError(ClientError):
    """The server did not accept the token: get a new one and sync again."""


class ProtocolError(ClientError):
    """The two ends do not understand each other; retrying alone does not mend it."""


class RequestRefusedError(ProtocolError):
    """The server refused the request; `status` and `problem` say why."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(f"the server refused the request with {status}: {problem.in_words()}")
        self.status = status
        self.problem = problem


class InvalidAnswerError(ProtocolError):
    """The answer cannot be read, or does not fit the request that was sent. Nothing was applied."""


class StoreError(ClientError):
    """The store on this device cannot be used; the message says what to do."""


class StoreOwnerError(StoreError):
    """The store belongs to another user; every user needs a store of his own."""


class StoreVersionError(StoreError):
    """A newer version of the client wrote the store in a form that this version cannot read."""


class StoreDamagedError(StoreError):
    """The file is damaged, or no store. Nothing was applied.

    The next sync sets it aside, and fetches everything into a new one; so does opening it again.
    """


class StoreConflictError(StoreError, RetryableError):
    """Another process synced the same store in the middle of this sync. Nothing was applied."""
