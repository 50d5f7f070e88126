"""Metrics, declared once, each with what it counts (`infra.metrics.declare` has the rules).

`docs/metrics.md` is made of this module by `python -m infra.metrics`, and a test holds it to that.
What is said here is what somebody reads there who has a number in front of him.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

import psutil

from infra.metrics.declare import Program, counter, declared, gauge, histogram, registry_of
from schemas.changes import Change
from schemas.events import ConversationEvent, UserEvent
from schemas.heads import Mode, ModeReason
from schemas.protocol import REFUSALS, AnswerPath, Reason
from schemas.topics import WRITE_TOPICS

__all__ = ["Program", "declared", "registry_of"]

# Buckets: upper bounds, in the unit of the name.
_BATCH = (1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_AGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
_USERS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_BYTES = (64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384, 65_536, 262_144, 1_048_576)
_HOUR, _DAY = 3_600, 86_400
_AWAY = (1, 10, 60, 600, _HOUR, 6 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY)

# What labels can say.
EVENT_TYPES: Final = sorted(
    {one.__struct_config__.tag for one in get_args(ConversationEvent | UserEvent)}
)
CHANGE_KINDS: Final = [one.__struct_config__.tag for one in get_args(Change)]
MODES: Final = [mode.name.lower() for mode in Mode]
READ_MODES: Final = [mode.name.lower() for mode in Mode if mode is not Mode.WRITE]
SOURCES: Final = [topic.name for topic in WRITE_TOPICS]
PATHS: Final = get_args(AnswerPath)
REASONS: Final = ["none", *(reason.value for reason in Reason if reason not in REFUSALS)]
_REFUSED, _FAILED = (400, 401, 403, 404, 405, 406, 413, 415, 429, 431), (500, 503)
STATUSES: Final = [str(status) for status in (*_REFUSED, *_FAILED)]
OPERATIONS: Final = ("read", "write")
OPENIM_CONTENTS: Final = (
    *("chat", "friend", "user", "group", "membership"),
    *("conversation", "business", "removal", "read", "unknown"),
)
"""As `consumers.openim.content_types` tells content types apart."""

# Stream worker: write events in, change records out.
stream_events = counter(
    "diffusion_stream_events_total", "Write events processed, by type of event.", type=EVENT_TYPES
)
stream_changes = counter(
    "diffusion_stream_changes_total",
    "Change records emitted, by kind of change.",
    kind=CHANGE_KINDS,
)
stream_marks = counter(
    "diffusion_stream_marks_total",
    "Users marked by change records, by kind of change: the diffusion volume.",
    kind=CHANGE_KINDS,
)
stream_saved_marks = counter(
    "diffusion_stream_saved_marks_total",
    "Users not marked, because their conversation is read-diffused: what the policy saves.",
)
stream_folded_marks = counter(
    "diffusion_stream_folded_marks_total",
    "Users not marked, because a later message of the same batch marks them.",
)
stream_fan_out_users = histogram(
    "diffusion_stream_fan_out_users",
    "Users marked for one message, or for several that are told as one: how wide a write spreads.",
    _USERS,
)
stream_dead_letters = counter(
    "diffusion_stream_dead_letters_total",
    "Events that could not be used, by source topic; `diffusion dlq` shows them.",
    topic=SOURCES,
)
stream_mode_switches = counter(
    "diffusion_stream_mode_switches_total",
    "Mode changes of conversations, by new mode and reason.",
    to=MODES,
    reason=[reason.value for reason in ModeReason],
)
stream_swept_conversations = gauge(
    "diffusion_stream_swept_conversations",
    "Conversations that are not plainly diffused, by mode, as the last sweep of this worker saw "
    "them; all others are in mode write.",
    mode=READ_MODES,
)
stream_reconsidered = counter(
    "diffusion_stream_reconsidered_total",
    "Conversations that a sweep found to be due for their return.",
)
stream_batch_records = histogram(
    "diffusion_stream_batch_records", "Source records in a batch.", _BATCH
)
stream_batch_seconds = histogram(
    "diffusion_stream_batch_seconds",
    "Time from a batch taken to its records acknowledged.",
    _SECONDS,
)
stream_rebalances = counter(
    "diffusion_stream_rebalances_total",
    "Times this worker's partitions were taken away, to be given out anew; its cache is dropped.",
)
stream_lag_records = gauge(
    "diffusion_stream_lag_records",
    "Source records of this worker's partitions that are not done yet, by topic.",
    topic=SOURCES,
)
stream_oldest_undone_seconds = gauge(
    "diffusion_stream_oldest_undone_seconds",
    "Age of the oldest source record that is not done yet, by topic.",
    topic=SOURCES,
)
stream_cached_conversations = gauge(
    "diffusion_stream_cached_conversations",
    "Conversations whose state is in memory, as objects or packed.",
    held_as=("objects", "packed"),
)
stream_conversation_loads = counter(
    "diffusion_stream_conversation_loads_total",
    "Conversations of batches, by where their state came from: memory, or the store.",
    source=("memory", "store"),
)

# Materializer: change records in, rows out.
materializer_records = counter("diffusion_materializer_records_total", "Change records applied.")
materializer_marks = counter(
    "diffusion_materializer_marks_total", "Users named by the change records applied."
)
materializer_rows = counter(
    "diffusion_materializer_rows_total",
    "Rows written, by table.",
    table=("changes_by_user", "inbox", "module_changes_by_user"),
)
materializer_coalesced = counter(
    "diffusion_materializer_coalesced_marks_total",
    "Marks that needed no row of their own, because a batch held a newer one for the same row.",
)
materializer_dead_letters = counter(
    "diffusion_materializer_dead_letters_total",
    "Change records that could not be used; `diffusion dlq` shows them.",
)
materializer_batch_records = histogram(
    "diffusion_materializer_batch_records", "Change records in a batch.", _BATCH
)
materializer_batch_seconds = histogram(
    "diffusion_materializer_batch_seconds",
    "Time from a batch taken to its offsets committed.",
    _SECONDS,
)
materializer_lag_records = gauge(
    "diffusion_materializer_lag_records",
    "Change records of this materializer's partitions that are not applied yet.",
)
materializer_oldest_unapplied_seconds = gauge(
    "diffusion_materializer_oldest_unapplied_seconds",
    "Age of the oldest change that is not applied yet.",
)
materializer_change_age_seconds = histogram(
    "diffusion_materializer_change_age_seconds",
    "Age of the oldest change of a batch when its rows were written.",
    _AGES,
)

# Sync API.
api_syncs = counter(
    "diffusion_api_syncs_total",
    "Sync answers, by path and by the reason why it is not a whole delta.",
    path=PATHS,
    reason=REASONS,
)
api_sync_seconds = histogram(
    "diffusion_api_sync_seconds", "Time to answer a sync request, by path.", _SECONDS, path=PATHS
)
api_entries = histogram(
    "diffusion_api_entries", "Conversations in a sync answer, by path.", _BATCH, path=PATHS
)
api_request_bytes = histogram(
    "diffusion_api_request_bytes",
    "Bytes of a sync request as it came, by transport: a body of HTTP, or a frame of a connection.",
    _BYTES,
    transport=("http", "connection"),
)
api_answer_bytes = histogram(
    "diffusion_api_answer_bytes",
    "Bytes of a sync answer as it was sent, by path.",
    _BYTES,
    path=PATHS,
)
api_pending_corrections = gauge(
    "diffusion_api_pending_corrections",
    "Users whose whole state is being read, or waits to be, to be compared with a device's.",
)
api_device_notes = counter(
    "diffusion_api_device_notes_total",
    "Cursors that devices sent back, by outcome: written, skipped, dropped or failed.",
    outcome=("written", "skipped", "dropped", "failed"),
)
api_device_age_seconds = histogram(
    "diffusion_api_device_age_seconds",
    "Time from a cursor issued to its device coming back with it.",
    _AWAY,
)
api_errors = counter(
    "diffusion_api_errors_total", "Requests refused or failed, by status.", status=STATUSES
)
api_refused = counter(
    "diffusion_api_refused_total",
    "Requests and frames refused for their number, by reason: user, address (checks of tokens that "
    "came to nothing, open routes), overload.",
    reason=("user", "address", "overload"),
)
api_requests = gauge("diffusion_api_requests", "Requests and frames being answered.")
api_requests_allowed = gauge(
    "diffusion_api_requests_allowed",
    "How many may be: fewer than `api.requests_max` while the event loop is late. 0, as "
    "`diffusion_api_requests` is, where that bound is off.",
)

api_connections = gauge("diffusion_api_connections", "Persistent connections that stand.")
api_connections_max = gauge(
    "diffusion_api_connections_max", "Persistent connections that this process takes at most."
)
api_frames = counter(
    "diffusion_api_frames_total",
    "Frames of persistent connections, by kind: sync, ping, unreadable came; answer, pong, "
    "problem, poke, drain were sent.",
    kind=("sync", "ping", "unreadable", "answer", "pong", "problem", "poke", "drain"),
)
api_closes = counter(
    "diffusion_api_closes_total",
    "Connections that ended, by reason: gone (the client, or the way to it), idle, resync (a slow "
    "reader), expired, drain.",
    reason=("gone", "idle", "resync", "expired", "drain"),
)
api_pokes = counter(
    "diffusion_api_pokes_total",
    "Pokes, by outcome: sent, coalesced with one not yet taken, no_connection.",
    outcome=("sent", "coalesced", "no_connection"),
)
api_poke_seconds = histogram(
    "diffusion_api_poke_seconds",
    "Time from a change appended to the change log to the poke of its user.",
    _SECONDS,
)
api_poke_feed = gauge(
    "diffusion_api_poke_feed",
    "0 while the change log should be followed for pokes and is not, else 1; always 1 where "
    "`api.pokes` is off.",
)
api_poke_feed_gaps = counter(
    "diffusion_api_poke_feed_gaps_total",
    "Times the change log was taken up anew, and everybody poked.",
)
api_poke_feed_lag_seconds = gauge(
    "diffusion_api_poke_feed_lag_seconds", "Age of the last change record when it was seen."
)

# Tap of OpenIM: its records in, write events out.
openim_records = counter(
    "diffusion_openim_records_total",
    "Records of OpenIM's topic, by class of content type and outcome: told (as events), passed "
    "(they say nothing), dead (a part of them could not be used).",
    content=OPENIM_CONTENTS,
    outcome=("told", "passed", "dead"),
)
openim_events = counter(
    "diffusion_openim_events_total", "Write events told, by type.", type=EVENT_TYPES
)
openim_questions = counter(
    "diffusion_openim_questions_total",
    "Times the engine was asked for what a notice does not say; each waits for the stream workers.",
)
openim_batch_records = histogram(
    "diffusion_openim_batch_records", "Records of OpenIM's in a batch.", _BATCH
)
openim_batch_seconds = histogram(
    "diffusion_openim_batch_seconds", "Time from a batch taken to its events delivered.", _SECONDS
)
openim_lag_records = gauge(
    "diffusion_openim_lag_records", "Records of this tap's partitions that are not told yet."
)
openim_oldest_untold_seconds = gauge(
    "diffusion_openim_oldest_untold_seconds", "Age of the oldest record that is not told yet."
)

# Common to all programs.
store_seconds = histogram(
    "diffusion_store_seconds",
    "Time from a statement sent to Cassandra to its answer, all pages of a read, by operation.",
    _SECONDS,
    operation=OPERATIONS,
)
store_failures = counter(
    "diffusion_store_failures_total",
    "Statements that Cassandra did not carry out, by operation and whether it was away or refused; "
    "writes are tried again while it is away.",
    operation=OPERATIONS,
    outcome=("away", "refused"),
)
process_stopped = gauge(
    "diffusion_process_stopped",
    "1 while this worker stands, because most of what comes cannot be read; always 0 of the API.",
)
process_peak = gauge(
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
