"""The rows of what writing costs, and of who decides about it."""

from __future__ import annotations

from typing import Final

from infra.dashboards.panels import Panel, Query, Row, each, rate, spread

VOLUME: Final = Row(
    "Diffusion volume: what writing costs",
    (
        Panel(
            "Events in",
            "Write events of the backend, by type: messages, reads, joins, settings. Everything "
            "below is caused by them.",
            "eps",
            each("diffusion_stream_events_total", "type"),
            stacked=True,
        ),
        Panel(
            "Users marked",
            "Users that are told of a change, by kind of change: the diffusion volume. A message "
            "to a group of 500 marks 500.",
            "cps",
            each("diffusion_stream_marks_total", "kind"),
            stacked=True,
        ),
        Panel(
            "Rows written",
            "Rows written to Cassandra, by table: what is left of the marks when changes of the "
            "same conversation are folded.",
            "rowsps",
            each("diffusion_materializer_rows_total", "table"),
            stacked=True,
        ),
        Panel(
            "Users marked by one message",
            "How wide writes spread: half of the messages mark at most so many users, 99 of 100 at "
            "most so many.",
            "short",
            spread("diffusion_stream_fan_out_users"),
        ),
        Panel(
            "For each event",
            "Users marked and rows written for one event in. When it rises, writes have become "
            "more expensive: larger groups, or fewer of them read-diffused.",
            "short",
            (
                Query(
                    f"{rate('diffusion_stream_marks_total')}"
                    f" / {rate('diffusion_stream_events_total')}",
                    "users marked",
                ),
                Query(
                    f"{rate('diffusion_materializer_rows_total')}"
                    f" / {rate('diffusion_stream_events_total')}",
                    "rows written",
                ),
            ),
        ),
        Panel(
            "Folded",
            "Work that was not done because changes came together: users not marked because a "
            "later message of the same batch marks them, and marks without a row of their own.",
            "cps",
            (
                Query(rate("diffusion_stream_folded_marks_total"), "not marked"),
                Query(rate("diffusion_materializer_coalesced_marks_total"), "no row of their own"),
            ),
        ),
        Panel(
            "Change records",
            "Records between the two stages: emitted by stream workers, applied by materializers. "
            "The two lines should lie on each other.",
            "recps",
            (
                Query(rate("diffusion_stream_changes_total"), "emitted"),
                Query(rate("diffusion_materializer_records_total"), "applied"),
                Query(rate("diffusion_materializer_marks_total"), "users named by them"),
            ),
        ),
        Panel(
            "Saved by the policy",
            "Users not marked because their conversation is read-diffused: they look at its head "
            "when they sync.",
            "cps",
            (Query(rate("diffusion_stream_saved_marks_total"), "not marked"),),
        ),
    ),
)

POLICY: Final = Row(
    "Policy: who is diffused how",
    (
        Panel(
            "Conversations not plainly diffused",
            "Conversations that members look at themselves (read), or that are on the way there "
            "(leaving) or back (returning). All others are write-diffused.",
            "short",
            (Query("sum by (mode) (diffusion_stream_swept_conversations)", "{{mode}}"),),
            stacked=True,
        ),
        Panel(
            "Switches, by new mode",
            "How often conversations change their mode. Each switch costs a row for every member; "
            "a conversation goes through leaving or returning on its way.",
            "cps",
            each("diffusion_stream_mode_switches_total", "to"),
        ),
        Panel(
            "Switches, by reason",
            "Why: number of members, rows a second, an override of the backend, or because the "
            "present way costs more.",
            "cps",
            each("diffusion_stream_mode_switches_total", "reason"),
        ),
        Panel(
            "Sent back by the sweep",
            "Conversations found to be due for their return although nobody writes to them.",
            "cps",
            (Query(rate("diffusion_stream_reconsidered_total"), "found"),),
            quiet=True,
        ),
        Panel(
            "Where the state of conversations came from",
            "Memory of the worker, or Cassandra. Much from the store for long: the cache is too "
            "small (`stream.cached_members_max`, `stream.cached_packed_mb`).",
            "cps",
            each("diffusion_stream_conversation_loads_total", "source"),
            stacked=True,
        ),
        Panel(
            "Conversations in memory",
            "Held by the stream workers, ready as objects or packed.",
            "short",
            (Query("sum by (held_as) (diffusion_stream_cached_conversations)", "{{held_as}}"),),
            stacked=True,
        ),
    ),
)
