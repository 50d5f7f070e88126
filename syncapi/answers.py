"""One sync, counted: the same for every transport."""

from __future__ import annotations

from functools import cache

from infra import metrics
from infra.clock import monotonic_s
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.auth import Identity
from syncapi.service import SyncService

# Looked up once for each of their few labels.
_syncs = cache(metrics.api_syncs.labels)
_seconds = cache(metrics.api_sync_seconds.labels)
_entries = cache(metrics.api_entries.labels)


async def answered(service: SyncService, identity: Identity, request: SyncRequest) -> SyncResponse:
    """Answer a request of an authenticated user; raises `OtherDevice` where the token is another
    device's, and what `SyncService.sync` does.
    """
    started = monotonic_s()
    identity.check(request.device_id)
    answer = await service.sync(identity.user_id, request)
    reason = answer.reason.value if answer.reason is not None else "none"
    _syncs(answer.path, reason).inc()
    _seconds(answer.path).observe(monotonic_s() - started)
    _entries(answer.path).observe(len(answer.conversations))
    return answer
