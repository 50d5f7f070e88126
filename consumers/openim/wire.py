"""Bytes of OpenIM's push topic to records, by Google's protobuf runtime and `records.proto`.

A library and not a reader of our own: the format is a few rules, but its corner cases (packed and
repeated fields, unknown groups, wrong wire types) are somebody's whole work, and the runtime does a
record in a few microseconds. Fields of newer versions are passed by.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError as ProtobufError

from consumers.openim.records import Record
from consumers.openim.records_pb2 import Pushed
from schemas.errors import DecodeError


def decode(value: bytes | None) -> Record:
    """Decode a record; raises `DecodeError` for what is none of OpenIM's."""
    try:
        pushed = Pushed.FromString(value or b"")
    except ProtobufError as error:
        raise DecodeError(f"not a record of OpenIM's push topic: {error}") from error
    # Almost any bytes are a valid message of unknown fields; what OpenIM writes names these two.
    if not pushed.conversation_id or not pushed.HasField("message"):
        raise DecodeError("not a record of OpenIM's push topic: it names no conversation")
    message = pushed.message
    return Record(
        conversation_id=pushed.conversation_id,
        sender_id=message.sender_id,
        receiver_id=message.receiver_id,
        group_id=message.group_id,
        session_type=message.session_type,
        content_type=message.content_type,
        content=message.content,
        seq=message.seq,
        sent_at_ms=message.sent_at_ms,
        options=message.options,
    )
