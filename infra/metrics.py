"""Metrics, declared once, each with what it counts. Labels are enums, never ids.

Names: `diffusion_<stream|materializer|api>_<noun>_<unit>`; counters end in `_total`.
"""

from __future__ import annotations

from pathlib import Path

import psutil
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

from schemas.errors import PermanentError

_BATCH = (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

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
stream_cached_conversations = Gauge(
    "diffusion_stream_cached_conversations", "Conversations whose state is in memory."
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
materializer_change_age_seconds = Gauge(
    "diffusion_materializer_change_age_seconds",
    "Age of the oldest change in the last batch when its rows were written.",
)

# Sync API.
api_syncs = Counter(
    "diffusion_api_syncs", "Sync answers, by path and reset reason.", ["path", "reset"]
)
api_sync_seconds = Histogram(
    "diffusion_api_sync_seconds", "Time to answer a sync request.", ["path"], buckets=_SECONDS
)
api_entries = Histogram(
    "diffusion_api_entries", "Conversations in a sync answer.", ["path"], buckets=_BATCH
)
api_errors = Counter("diffusion_api_errors", "Requests refused or failed, by status.", ["status"])

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


def serve(port: int) -> None:
    """Serve `/metrics` on loopback; 0 serves nothing. Raises `PermanentError` for a taken port."""
    if not port:
        return
    try:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
    except OSError as error:
        raise PermanentError(
            f"Port {port} for /metrics cannot be had ({error.strerror}): set another one."
        ) from error
