"""One sync, counted: the same for every transport."""

from __future__ import annotations

from infra import metrics
from infra.clock import monotonic_s
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.service import SyncService


async def answered(service: SyncService, user_id: str, request: SyncRequest) -> SyncResponse:
    """Answer a request of an authenticated user; raises what `SyncService.sync` does."""
    started = monotonic_s()
    answer = await service.sync(user_id, request)
    reason = answer.reason.value if answer.reason is not None else "none"
    metrics.api_syncs.labels(answer.path, reason).inc()
    metrics.api_sync_seconds.labels(answer.path).observe(monotonic_s() - started)
    metrics.api_entries.labels(answer.path).observe(len(answer.conversations))
    return answer
