"""The figures, named and grouped as on the dashboard: what writing costs comes first.

Fields end in their unit: `_per_s` is a rate of the last seconds, `_total` what the processes have
counted since they started, `_s` a time in seconds. What is not known is None: a rate before the
second look, a time of something that did not happen. No figure names a user or a conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from infra.figures.counting import START, Pair, Samples, Spread, Window

State: TypeAlias = Literal["up", "stopped", "down"]
"""`stopped` answers and does no work: most of what came to it could not be read."""


class Volume(Struct, frozen=True, kw_only=True):
    """What writing costs: from events of the backend to rows in Cassandra."""

    events_per_s: float | None = None
    events_by_type: dict[str, float] = {}
    changes_per_s: float | None = None
    marks_per_s: float | None = None
    rows_per_s: float | None = None
    rows_by_table: dict[str, float] = {}
    fan_out_users: Spread = Spread()
    marks_per_event: float | None = None
    rows_per_event: float | None = None
    folded_per_s: float | None = None
    coalesced_per_s: float | None = None
    saved_per_s: float | None = None
    events_total: float | None = None
    marks_total: float | None = None
    rows_total: float | None = None
    folded_total: float | None = None
    coalesced_total: float | None = None
    saved_total: float | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """Who is diffused how: conversations that are not plainly diffused, and switches."""

    conversations: dict[str, float] = {}
    switches_per_s: float | None = None
    switches_by_mode: dict[str, float] = {}
    switches_by_reason: dict[str, float] = {}
    switches_total: float | None = None


class Lateness(Struct, frozen=True, kw_only=True):
    """Whether it keeps up: what waits, and how old the oldest of it is."""

    stream_records: float | None = None
    stream_oldest_s: float | None = None
    change_records: float | None = None
    change_oldest_s: float | None = None
    change_to_rows_s: Spread = Spread()
    poke_s: Spread = Spread()
    dead_letters_per_s: float | None = None
    dead_letters_total: float | None = None


class Store(Struct, frozen=True, kw_only=True):
    """Cassandra, as our programs see it."""

    reads_per_s: float | None = None
    writes_per_s: float | None = None
    read_s: Spread = Spread()
    write_s: Spread = Spread()
    failures_per_s: float | None = None


class Sync(Struct, frozen=True, kw_only=True):
    """What devices get."""

    answers_per_s: float | None = None
    by_path: dict[str, float] = {}
    by_reason: dict[str, float] = {}
    answer_s: Spread = Spread()
    answer_bytes: float | None = None
    request_bytes: float | None = None
    bytes_per_s: float | None = None
    answers_total: float | None = None
    total_by_path: dict[str, float] = {}
    connections: float | None = None
    connections_max: float | None = None
    pokes_per_s: float | None = None
    pending_corrections: float | None = None
    refused_per_s: float | None = None
    failed_per_s: float | None = None


class Tap(Struct, frozen=True, kw_only=True):
    """The tap of an OpenIM deployment, where there is one."""

    records_per_s: float | None = None
    lag_records: float | None = None
    oldest_s: float | None = None


class ProcessFigures(Struct, frozen=True, kw_only=True):
    """One process. `address` is empty where it is nobody's business; `problem` says what is wrong,
    `advice` what to do about it.
    """

    name: str
    program: str
    state: State
    address: str = ""
    cores: float | None = None
    resident_bytes: float | None = None
    uptime_s: float | None = None
    problem: str = ""
    advice: str = ""


class Figures(Struct, frozen=True, kw_only=True):
    """All of it. `at_ms` is wall-clock time; `seconds` how far the rates look back."""

    at_ms: int
    seconds: float | None
    volume: Volume
    policy: Policy
    lateness: Lateness
    store: Store
    sync: Sync
    processes: tuple[ProcessFigures, ...]
    tap: Tap | None = None
    missing: str = ""
    """Why not all processes are here, and what to do; empty if all are that should be."""


def figures(
    window: Window, processes: Sequence[ProcessFigures], at_ms: int, missing: str = ""
) -> Figures:
    """What the processes say together; `processes` are those asked, with what is known of each."""
    return Figures(
        at_ms=at_ms,
        seconds=window.seconds,
        volume=_volume(window),
        policy=_policy(window),
        lateness=_lateness(window),
        store=_store(window),
        sync=_sync(window),
        tap=_tap(window),
        processes=tuple(processes),
        missing=missing,
    )


def _volume(window: Window) -> Volume:
    events = window.rate("diffusion_stream_events_total")
    marks = window.rate("diffusion_stream_marks_total")
    rows = window.rate("diffusion_materializer_rows_total")
    return Volume(
        events_per_s=events,
        events_by_type=window.rates("diffusion_stream_events_total", "type"),
        changes_per_s=window.rate("diffusion_stream_changes_total"),
        marks_per_s=marks,
        rows_per_s=rows,
        rows_by_table=window.rates("diffusion_materializer_rows_total", "table"),
        fan_out_users=window.spread("diffusion_stream_fan_out_users"),
        marks_per_event=marks / events if marks is not None and events else None,
        rows_per_event=rows / events if rows is not None and events else None,
        folded_per_s=window.rate("diffusion_stream_folded_marks_total"),
        coalesced_per_s=window.rate("diffusion_materializer_coalesced_marks_total"),
        saved_per_s=window.rate("diffusion_stream_saved_marks_total"),
        events_total=window.sum("diffusion_stream_events_total"),
        marks_total=window.sum("diffusion_stream_marks_total"),
        rows_total=window.sum("diffusion_materializer_rows_total"),
        folded_total=window.sum("diffusion_stream_folded_marks_total"),
        coalesced_total=window.sum("diffusion_materializer_coalesced_marks_total"),
        saved_total=window.sum("diffusion_stream_saved_marks_total"),
    )


def _policy(window: Window) -> Policy:
    switches = "diffusion_stream_mode_switches_total"
    return Policy(
        conversations=window.sums("diffusion_stream_swept_conversations", "mode"),
        switches_per_s=window.rate(switches),
        switches_by_mode=window.sums(switches, "to"),
        switches_by_reason=window.sums(switches, "reason"),
        switches_total=window.sum(switches),
    )


def _lateness(window: Window) -> Lateness:
    dead = ("diffusion_stream_dead_letters_total", "diffusion_materializer_dead_letters_total")
    return Lateness(
        stream_records=window.sum("diffusion_stream_lag_records"),
        stream_oldest_s=window.max("diffusion_stream_oldest_undone_seconds"),
        change_records=window.sum("diffusion_materializer_lag_records"),
        change_oldest_s=window.max("diffusion_materializer_oldest_unapplied_seconds"),
        change_to_rows_s=window.spread("diffusion_materializer_change_age_seconds"),
        poke_s=window.spread("diffusion_api_poke_seconds"),
        dead_letters_per_s=_added(*(window.rate(name) for name in dead)),
        dead_letters_total=_added(*(window.sum(name) for name in dead)),
    )


def _store(window: Window) -> Store:
    name = "diffusion_store_seconds"
    return Store(
        reads_per_s=window.rate(f"{name}_count", operation="read"),
        writes_per_s=window.rate(f"{name}_count", operation="write"),
        read_s=window.spread(name, operation="read"),
        write_s=window.spread(name, operation="write"),
        failures_per_s=window.rate("diffusion_store_failures_total"),
    )


def _sync(window: Window) -> Sync:
    reasons = window.rates("diffusion_api_syncs_total", "reason")
    errors = window.rates("diffusion_api_errors_total", "status")
    known = window.rate("diffusion_api_errors_total") is not None
    return Sync(
        answers_per_s=window.rate("diffusion_api_syncs_total"),
        by_path=window.rates("diffusion_api_syncs_total", "path"),
        by_reason={reason: rate for reason, rate in reasons.items() if reason != "none"},
        answer_s=window.spread("diffusion_api_sync_seconds"),
        answer_bytes=window.mean("diffusion_api_answer_bytes"),
        request_bytes=window.mean("diffusion_api_request_bytes"),
        bytes_per_s=window.rate("diffusion_api_answer_bytes_sum"),
        answers_total=window.sum("diffusion_api_syncs_total"),
        total_by_path=window.sums("diffusion_api_syncs_total", "path"),
        connections=window.sum("diffusion_api_connections"),
        connections_max=window.sum("diffusion_api_connections_max"),
        pokes_per_s=window.rate("diffusion_api_pokes_total", outcome="sent"),
        pending_corrections=window.sum("diffusion_api_pending_corrections"),
        refused_per_s=_of_class(errors, "4") if known else None,
        failed_per_s=_of_class(errors, "5") if known else None,
    )


def _tap(window: Window) -> Tap | None:
    if window.sum("diffusion_openim_lag_records") is None:
        return None
    return Tap(
        records_per_s=window.rate("diffusion_openim_records_total"),
        lag_records=window.sum("diffusion_openim_lag_records"),
        oldest_s=window.max("diffusion_openim_oldest_untold_seconds"),
    )


def answering(name: str, program: str, address: str, pair: Pair, at_ms: int) -> ProcessFigures:
    """What is known of a process that answers."""
    own = Window([pair])
    started_s = own.sum(START)
    stopped = bool(own.sum("diffusion_process_stopped"))
    return ProcessFigures(
        name=name,
        program=program,
        state="stopped" if stopped else "up",
        address=address,
        cores=own.rate("process_cpu_seconds_total"),
        resident_bytes=own.sum("process_resident_memory_bytes"),
        uptime_s=None if started_s is None else max(0.0, at_ms / 1_000 - started_s),
        problem="It stands: most of what came to it could not be read." if stopped else "",
        advice=STOPPED_ADVICE if stopped else "",
    )


def is_ours(samples: Samples) -> bool:
    """Whether it is a process of ours that said so."""
    return "diffusion_process_stopped" in samples


STOPPED_ADVICE: Final = "See what came by `diffusion dlq list`; mend who sends it; start it anew."


def _added(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _of_class(by_status: dict[str, float], first: str) -> float:
    return sum(rate for status, rate in by_status.items() if status.startswith(first))
