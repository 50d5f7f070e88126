"""`POST /v1/sync` as a plain ASGI application: bytes in, bytes out.

The one request that comes in masses goes past Litestar, which still routes and describes it: what
its records mean is negotiated by `syncapi.negotiation` and read by `schemas.encoding`, the same for
every transport, so that nothing is left for a framework to validate, inject or render.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from infra import metrics, tracing
from schemas.encoding import Coding, Format, compress, decode_request, decompress, encode, shrink
from schemas.errors import TooLargeError, UnreadableError
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncResponse
from syncapi.admission import Gate
from syncapi.answers import answered
from syncapi.negotiation import Agreement, agree
from syncapi.problems import Refusal, refusal_of
from syncapi.request_ids import REQUEST_ID, asked_id
from syncapi.service import SyncService

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

log = logging.getLogger("diffusion.api")

SYNC_PATH: Final = "/v1/sync"

Written: TypeAlias = tuple[list[tuple[bytes, bytes]], bytes]
"""Headers and body of an answer."""

_TYPES: Final = {form: (b"content-type", form.value.encode()) for form in Format}
_CODINGS: Final = {
    coding: (b"content-encoding", coding.token.encode()) for coding in Coding if coding
}

_REQUEST_ID: Final = REQUEST_ID.lower().encode()

# Looked up once.
_request_bytes = metrics.api_request_bytes.labels("http")
_answer_bytes = cache(metrics.api_answer_bytes.labels)


class SyncRoute:
    """Answers with a delta, or with a page of the whole state when there is no delta to give.

    Whatever is no answer is a problem document. For one event loop.
    """

    def __init__(self, gate: Gate, service: SyncService) -> None:
        self._gate = gate
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        try:
            headers, body = await self._answer(scope, receive)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer
            asked = _request_id(scope["headers"])
            await refuse(send, refusal_of("POST", scope["path"], error, asked))
        else:
            await _send(send, 200, headers, body)

    async def _answer(self, scope: Any, receive: Receive) -> Written:
        headers = scope["headers"]
        self._gate.check_load()
        identity = self._gate.identify(_authorization(headers), scope.get("client"))
        agreement = agree(headers)
        body = await _body(headers, receive)
        _request_bytes.observe(len(body))
        plain = decompress(body, agreement.request_coding, REQUEST_BYTES_MAX)
        request = decode_request(plain, agreement.request_format)
        self._gate.enter(identity.user_id)
        try:
            answer = await answered(self._service, identity, request)
        finally:
            self._gate.leave(identity.user_id)
        written = _written(answer, agreement)
        if (asked := _request_id(headers)) is not None:
            written[0].append((_REQUEST_ID, asked.encode()))
            told = {"request_id": asked, "answer": answer.path, "status": 200}
            log.info("a sync is answered", extra=told)
        return written


def _request_id(headers: Any) -> str | None:
    """The id that an answer is to have, whatever it is: none, if nobody would look for it."""
    asked = asked_id(headers)
    if asked is None and (context := tracing.spans().context()) is not None:
        return context.trace_id
    return asked


async def refuse(send: Send, refusal: Refusal) -> None:
    """Answer with a problem, as ASGI has it."""
    await _send(send, refusal.status, refusal.raw_headers(), refusal.body)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _authorization(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"authorization":
            text: str = value.decode("latin-1")
            return text
    return None


async def _body(headers: Any, receive: Receive) -> bytes:
    """Read a body of at most `REQUEST_BYTES_MAX` bytes; one that says it is longer is not begun."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > REQUEST_BYTES_MAX:
            raise _too_large()
    message: Any = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        # As nearly all come: in one piece, of which no copy is made.
        body: bytes = message.get("body", b"")
        if len(body) > REQUEST_BYTES_MAX:
            raise _too_large()
        return body
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > REQUEST_BYTES_MAX:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
    # The client went away within its body: its business, and no line in our log.
    raise UnreadableError("The body broke off.")


def _too_large() -> TooLargeError:
    return TooLargeError(f"The body is larger than {REQUEST_BYTES_MAX:,} bytes.")


def _written(answer: SyncResponse, agreement: Agreement) -> Written:
    body = encode(answer, agreement.answer_format)
    coding = agreement.answer_codings[0]
    if Coding.IDENTITY in agreement.answer_codings:
        body, coding = shrink(body, coding)
    else:
        body = compress(body, coding)
    _answer_bytes(answer.path).observe(len(body))
    headers = [_TYPES[agreement.answer_format]]
    if coding is not Coding.IDENTITY:
        headers.append(_CODINGS[coding])
    return headers, body
