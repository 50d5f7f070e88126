"""A record of OpenIM's push topic, as far as the tap looks at it. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the push topic: a message or notice, and the conversation that it is in.

    `seq` is 0 for what OpenIM does not store: typing, most notices, read receipts of groups.
    """

    conversation_id: str
    sender_id: str
    receiver_id: str
    group_id: str
    session_type: int
    content_type: int
    content: bytes
    seq: int
    sent_at_ms: int
    options: Mapping[str, bool]
