"""Table `swept_conversations`: conversations that are not plainly diffused, for the sweep."""

from __future__ import annotations

from typing import Final

from infra.cassandra.session import Session, Statement
from schemas.heads import Head, Mode
from schemas.partitioner import partition_of

SELECT_BUCKET: Final = "SELECT conversation_id, swept FROM ks.swept_conversations WHERE bucket = ?"
UPDATE_ON: Final = (
    "UPDATE ks.swept_conversations USING TIMESTAMP ? SET swept = true "
    "WHERE bucket = ? AND conversation_id = ?"
)
UPDATE_OFF: Final = (
    "UPDATE ks.swept_conversations USING TTL ? AND TIMESTAMP ? SET swept = false "
    "WHERE bucket = ? AND conversation_id = ?"
)

BUCKETS: Final = 64
"""Fixed for ever, unlike partitions: more than workers, few enough to sweep quickly when empty."""

OFF_TTL_S: Final = 7 * 86_400
"""A conversation that came back leaves its row for a week; what it covers is older by then."""


def bucket_of(conversation_id: str) -> int:
    """Bucket of a conversation, 0 inclusive to `BUCKETS` exclusive."""
    return partition_of(conversation_id, BUCKETS)


async def read(session: Session, bucket: int) -> list[str]:
    """Conversations of a bucket that are to be looked at."""
    rows = await session.aread(SELECT_BUCKET, (bucket,))
    return [conversation_id for conversation_id, swept in rows if swept]


def put(session: Session, head: Head) -> Statement:
    """Note a conversation by its mode: anything but WRITE is to be looked at."""
    place = (bucket_of(head.conversation_id), head.conversation_id)
    if head.mode is Mode.WRITE:
        return session.bind(UPDATE_OFF, (OFF_TTL_S, head.mode_epoch, *place))
    return session.bind(UPDATE_ON, (head.mode_epoch, *place))
