"""Syncs over the cheap client: what a device would send, in MessagePack, and its answer.

Answers are asked for uncompressed unless something else is said.
"""

from __future__ import annotations

from diffusion.bench.raw_http import Answer, Connection, request_bytes
from schemas.encoding import Format, decode, encode
from schemas.errors import RetryableError
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.statuses import STATUS_OK
from sdk.client.wire import SYNC_PATH


def sync_bytes(
    host: str, port: int, token: str, request: SyncRequest, *, accept_encoding: str = ""
) -> bytes:
    """A sync as it goes over the line."""
    body, form = encode(request, Format.MSGPACK), Format.MSGPACK.value
    place = f"{host}:{port}"
    return request_bytes(SYNC_PATH, place, token, body, form, accept_encoding=accept_encoding)


async def exchange(connection: Connection, asked: bytes) -> Answer:
    """Send it and wait; raises `RetryableError` for anything but an answer."""
    answer = await connection.exchange(asked)
    if answer.status != STATUS_OK:
        raise RetryableError(f"The API answered {answer.status}: {answer.body[:300]!r}")
    return answer


async def ask(connection: Connection, asked: bytes) -> SyncResponse:
    """`exchange`, and read what was told."""
    return decode((await exchange(connection, asked)).body, SyncResponse, Format.MSGPACK)


def tells_nothing(answer: SyncResponse) -> bool:
    """Whether a delta has no conversation."""
    return answer.path == "delta" and not answer.conversations
