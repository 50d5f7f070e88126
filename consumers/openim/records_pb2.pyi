from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Pushed(_message.Message):
    __slots__ = ("message", "conversation_id")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    message: Message
    conversation_id: str
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., conversation_id: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("sender_id", "receiver_id", "group_id", "session_type", "content_type", "content", "seq", "sent_at_ms", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    sender_id: str
    receiver_id: str
    group_id: str
    session_type: int
    content_type: int
    content: bytes
    seq: int
    sent_at_ms: int
    options: _containers.ScalarMap[str, bool]
    def __init__(self, sender_id: _Optional[str] = ..., receiver_id: _Optional[str] = ..., group_id: _Optional[str] = ..., session_type: _Optional[int] = ..., content_type: _Optional[int] = ..., content: _Optional[bytes] = ..., seq: _Optional[int] = ..., sent_at_ms: _Optional[int] = ..., options: _Optional[_Mapping[str, bool]] = ...) -> None: ...
