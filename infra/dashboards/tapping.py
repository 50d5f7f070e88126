"""The row of the tap of an OpenIM deployment, where there is one."""

from __future__ import annotations

from typing import Final

from infra.dashboards.panels import Panel, Query, Row, each, rate

TAP: Final = Row(
    "OpenIM tap: what comes from a deployment beside (empty where there is none)",
    (
        Panel(
            "Records of OpenIM's",
            "Records taken from OpenIM's own topic, by what they are: chat, notices of members, "
            "read receipts, and content types that are not known and passed by.",
            "recps",
            each("diffusion_openim_records_total", "content"),
            stacked=True,
            quiet=True,
        ),
        Panel(
            "What became of them",
            "Told as events, passed because they say nothing of conversations, or dead: a part of "
            "them could not be used, and `diffusion dlq` shows why.",
            "recps",
            each("diffusion_openim_records_total", "outcome"),
            quiet=True,
        ),
        Panel(
            "Events told",
            "Write events made of the records, by type. They are the events in of the first row.",
            "eps",
            each("diffusion_openim_events_total", "type"),
            stacked=True,
            quiet=True,
        ),
        Panel(
            "Behind OpenIM",
            "Records of OpenIM's topic that are not told yet. Should come back to 0.",
            "short",
            (Query("sum(diffusion_openim_lag_records)", "records"),),
            quiet=True,
        ),
        Panel(
            "Age of the oldest record not told",
            "So late is the tap: devices are not told of anything since then.",
            "s",
            (Query("max(diffusion_openim_oldest_untold_seconds)", "age"),),
            quiet=True,
        ),
        Panel(
            "Questions to the engine",
            "Notices that do not say all, for which the tap waits for the stream workers and asks "
            "Cassandra: dismissals, and conversations that it has not seen before.",
            "cps",
            (Query(rate("diffusion_openim_questions_total"), "asked"),),
            quiet=True,
        ),
        Panel(
            "Batches of the tap",
            "Batches of records, and the records in them. Many of one record each: there is little "
            "to do.",
            "cps",
            (
                Query(rate("diffusion_openim_batch_records_count"), "batches"),
                Query(rate("diffusion_openim_batch_records_sum"), "records"),
            ),
            quiet=True,
        ),
        Panel(
            "How busy the tap is",
            "Seconds a second from a batch taken to its events delivered: at 1, more records than "
            "these wait.",
            "short",
            (Query(rate("diffusion_openim_batch_seconds_sum"), "busy"),),
            quiet=True,
        ),
    ),
)
