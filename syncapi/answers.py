"""One sync, counted: the same for every transport."""

from __future__ import annotations

from functools import cache
from typing import Final

from infra import metrics, tracing
from infra.clock import monotonic_s
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.auth import Identity
from syncapi.service import SyncService

PLACES_MAX: Final = 8
"""Change records that a span of a sync names, the newest."""

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
    if (spans := tracing.spans()).on:
        spans.note(_about(service, identity, answer))
    return answer


def _about(
    service: SyncService, identity: Identity, answer: SyncResponse
) -> dict[str, tracing.Value]:
    """What a span says of an answer. The places are those of the newest change records that it
    tells of: by them `diffusion trace --at` finds the writes.
    """
    about: dict[str, tracing.Value] = {
        "diffusion.sync.path": answer.path,
        "diffusion.sync.entries": len(answer.conversations),
    }
    if answer.reason is not None:
        about["diffusion.sync.reason"] = answer.reason.value
    if answer.path != "delta":  # its entries have the version of the whole
        return about
    versions = {entry.version for entry in answer.conversations}
    newest = sorted(versions, reverse=True)[:PLACES_MAX]
    places = service.places(identity.user_id, newest)
    if places:
        about["diffusion.sync.changes"] = places
    return about
