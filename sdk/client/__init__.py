"""The device SDK: keeps a user's conversations on a device in step with the server.

Needs neither Kafka nor Cassandra, only msgspec, httpx (imported with the first request) and the
standard library's SQLite.

    transport ─> answers ─> session ──ops──> store ─> apply ─> rows, kinds, pending ─> database
      bytes       checks     course           lock     one transaction per answer       file
                                └─ correction: what differs

`client` joins them. An app needs what is named here; everything else is free to change.
"""

from schemas.conversations import ConversationState
from schemas.protocol import Reason, SyncRequest, SyncResponse
from sdk.client.client import SyncClient
from sdk.client.course import SyncCourse
from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    NetworkError,
    Problem,
    ProtocolError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    StoreConflictError,
    StoreDamagedError,
    StoreError,
    StoreOwnerError,
    StoreVersionError,
)
from sdk.client.kinds import Kinds
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.report import SyncReport
from sdk.client.rows import ConversationView
from sdk.client.traffic import Traffic
from sdk.client.transport import Connection, HttpTransport, Signal, Transport

__all__ = [
    "AuthError",
    "ClientError",
    "Connection",
    "ConversationState",
    "ConversationView",
    "HttpTransport",
    "InvalidAnswerError",
    "Kinds",
    "NetworkError",
    "PendingEntry",
    "PendingItem",
    "Problem",
    "ProtocolError",
    "Reason",
    "RequestRefusedError",
    "ServerBusyError",
    "ServerError",
    "Signal",
    "StoreConflictError",
    "StoreDamagedError",
    "StoreError",
    "StoreOwnerError",
    "StoreVersionError",
    "SyncClient",
    "SyncCourse",
    "SyncReport",
    "SyncRequest",
    "SyncResponse",
    "Traffic",
    "Transport",
]
