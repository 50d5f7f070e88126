"""Metrics, declared once, each with what it counts. Labels are enums, never ids.

Names: `diffusion_<stream|materializer|api>_<noun>_<unit>`; counters end in `_total`.
"""

from __future__ import annotations

from pathlib import Path

import psutil
from prometheus_client import Counter, Gauge, Histogram

_BATCH = (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_HOUR, _DAY = 3_600, 86_400
_AWAY = (1, 10, 60, 600, _HOUR, 6 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY)

# Stream worker: write events in, change records out.
stream_events = Counter(
    "diffusion_stream_events", "Write events processed, by type of event.", ["type"]
)
stream_changes = Counter(
    "diffusion_stream_changes", "Change records emitted, by kind of change.", ["kind"]
)
stream_marks = Counter(
    "diffusion_stream_marks", "Users marked by change records: the diffusion volume.", ["kind"]
)
stream_saved_marks = Counter(
    "diffusion_stream_saved_marks",
    "Users not marked, because their conversation is read-diffused.",
)
stream_folded_marks = Counter(
    "diffusion_stream_folded_marks",
    "Users not marked, because a later message of the same batch marks them.",
)
stream_dead_letters = Counter(
    "diffusion_stream_dead_letters", "Events that could not be used, by source topic.", ["topic"]
)
stream_mode_switches = Counter(
    "diffusion_stream_mode_switches",
    "Mode changes of conversations, by new mode and reason.",
    ["to", "reason"],
)
stream_read_conversations = Gauge(
    "diffusion_stream_read_conversations",
    "Conversations that are not plainly diffused, in the buckets this worker sweeps.",
)
stream_reconsidered = Counter(
    "diffusion_stream_reconsidered",
    "Conversations that a sweep found to be due for their return.",
)
stream_batch_records = Histogram(
    "diffusion_stream_batch_records", "Source records in a batch.", buckets=_BATCH
)
stream_batch_seconds = Histogram(
    "diffusion_stream_batch_seconds",
    "Time from a batch taken to its records acknowledged.",
    buckets=_SECONDS,
)
stream_rebalances = Counter(
    "diffusion_stream_rebalances",
    "Times this worker's partitions were taken away, to be given out anew; its cache is dropped.",
)
stream_lag_records = Gauge(
    "diffusion_stream_lag_records",
    "Source records of this worker's partitions that are not done yet, by topic.",
    ["topic"],
)
stream_oldest_undone_seconds = Gauge(
    "diffusion_stream_oldest_undone_seconds",
    "Age of the oldest source record that is not done yet, by topic.",
    ["topic"],
)
stream_cached_conversations = Gauge(
    "diffusion_stream_cached_conversations",
    "Conversations whose state is in memory, as objects or packed.",
    ["held_as"],
)
stream_conversation_loads = Counter(
    "diffusion_stream_conversation_loads",
    "Conversations of batches, by where their state came from: memory, or the store.",
    ["source"],
)

# Materializer: change records in, rows out.
materializer_records = Counter("diffusion_materializer_records", "Change records applied.")
materializer_marks = Counter(
    "diffusion_materializer_marks", "Users named by the change records applied."
)
materializer_rows = Counter("diffusion_materializer_rows", "Rows written, by table.", ["table"])
materializer_coalesced = Counter(
    "diffusion_materializer_coalesced_marks",
    "Marks that needed no row of their own, because a batch held a newer one for the same row.",
)
materializer_dead_letters = Counter(
    "diffusion_materializer_dead_letters", "Change records that could not be used."
)
materializer_batch_records = Histogram(
    "diffusion_materializer_batch_records", "Change records in a batch.", buckets=_BATCH
)
materializer_batch_seconds = Histogram(
    "diffusion_materializer_batch_seconds",
    "Time from a batch taken to its offsets committed.",
    buckets=_SECONDS,
)
materializer_lag_records = Gauge(
    "diffusion_materializer_lag_records",
    "Change records of this materializer's partitions that are not applied yet.",
)
materializer_oldest_unapplied_seconds = Gauge(
    "diffusion_materializer_oldest_unapplied_seconds",
    "Age of the oldest change that is not applied yet.",
)
materializer_change_age_seconds = Gauge(
    "diffusion_materializer_change_age_seconds",
    "Age of the oldest change in the last batch when its rows were written.",
)

# Sync API.
api_syncs = Counter("diffusion_api_syncs", "Sync answers, by path and reason.", ["path", "reason"])
api_sync_seconds = Histogram(
    "diffusion_api_sync_seconds", "Time to answer a sync request.", ["path"], buckets=_SECONDS
)
api_entries = Histogram(
    "diffusion_api_entries", "Conversations in a sync answer.", ["path"], buckets=_BATCH
)
api_device_notes = Counter(
    "diffusion_api_device_notes",
    "Cursors that devices sent back, by outcome: written, skipped, dropped or failed.",
    ["outcome"],
)
api_device_age_seconds = Histogram(
    "diffusion_api_device_age_seconds",
    "Time from a cursor issued to its device coming back with it.",
    buckets=_AWAY,
)
api_errors = Counter("diffusion_api_errors", "Requests refused or failed, by status.", ["status"])
api_refused = Counter(
    "diffusion_api_refused",
    "Requests and frames refused for their number, by reason: user, address (checks of tokens that "
    "came to nothing, open routes), overload.",
    ["reason"],
)
api_requests = Gauge("diffusion_api_requests", "Requests and frames being answered.")
api_requests_allowed = Gauge(
    "diffusion_api_requests_allowed",
    "How many may be: fewer than `api.requests_max` while the event loop is late.",
)

api_connections = Gauge("diffusion_api_connections", "Persistent connections that stand.")
api_frames = Counter(
    "diffusion_api_frames",
    "Frames of persistent connections, by kind: sync, ping, unreadable; answer, pong, problem, "
    "poke, drain.",
    ["kind"],
)
api_closes = Counter(
    "diffusion_api_closes",
    "Connections that ended, by reason: gone (the client, or the way to it), idle, resync (a slow "
    "reader), expired, drain.",
    ["reason"],
)
api_pokes = Counter(
    "diffusion_api_pokes",
    "Pokes, by outcome: sent, coalesced with one not yet taken, no_connection.",
    ["outcome"],
)
api_poke_seconds = Histogram(
    "diffusion_api_poke_seconds",
    "Time from a change appended to the change log to the poke of its user.",
    buckets=_SECONDS,
)
api_poke_feed = Gauge(
    "diffusion_api_poke_feed", "1 while the change log is followed for pokes, 0 while it is not."
)
api_poke_feed_gaps = Counter(
    "diffusion_api_poke_feed_gaps", "Times the change log was taken up anew, and everybody poked."
)
api_poke_feed_lag_seconds = Gauge(
    "diffusion_api_poke_feed_lag_seconds", "Age of the last change record when it was seen."
)

process_stopped = Gauge(
    "diffusion_process_stopped",
    "1 while this worker stands, because most of what comes cannot be read.",
)
process_peak = Gauge(
    "diffusion_process_peak_resident_bytes", "Largest resident memory of this process so far."
)


def peak_resident_bytes(pid: int | None = None) -> int:
    """Largest resident memory of a process so far (Linux), else the present one."""
    try:
        with Path(f"/proc/{pid or 'self'}/status").open(encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1_024
    except OSError:
        pass
    return int(psutil.Process(pid).memory_info().rss)


process_peak.set_function(lambda: float(peak_resident_bytes()))
