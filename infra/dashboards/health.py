"""The row of whether it keeps up."""

from __future__ import annotations

from typing import Final

from infra.dashboards.panels import OURS, Panel, Query, Row, rate, spread

HEALTH: Final = Row(
    "Health: is it keeping up",
    (
        Panel(
            "Behind",
            "Records that wait: source records for the stream workers, change records for the "
            "materializers. Zero when all is done; it may rise in a burst and must fall again.",
            "short",
            (
                Query("sum by (topic) (diffusion_stream_lag_records)", "{{topic}}"),
                Query("sum (diffusion_materializer_lag_records)", "change log"),
            ),
            quiet=True,
        ),
        Panel(
            "Age of the oldest that waits",
            "How late the slowest part is: the age of the oldest record that is not done.",
            "s",
            (
                Query("max by (topic) (diffusion_stream_oldest_undone_seconds)", "{{topic}}"),
                Query("max (diffusion_materializer_oldest_unapplied_seconds)", "change log"),
            ),
            quiet=True,
        ),
        Panel(
            "From change to rows",
            "Age of the oldest change of a batch when its rows were written.",
            "s",
            spread("diffusion_materializer_change_age_seconds"),
        ),
        Panel(
            "Dead letters",
            "Records that could not be used. None is right: `diffusion dlq list` shows them, and "
            "why.",
            "cps",
            (
                Query(rate("diffusion_stream_dead_letters_total", "topic"), "{{topic}}"),
                Query(rate("diffusion_materializer_dead_letters_total"), "change log"),
            ),
        ),
        Panel(
            "Records in a batch",
            "Large batches are cheap, and mean that there is much to do.",
            "short",
            (
                *spread("diffusion_stream_batch_records", "stream workers,"),
                *spread("diffusion_materializer_batch_records", "materializers,"),
            ),
        ),
        Panel(
            "Time of a batch",
            "From taken to acknowledged. As a rule it is the time of Cassandra, several times.",
            "s",
            (
                *spread("diffusion_stream_batch_seconds", "stream workers,"),
                *spread("diffusion_materializer_batch_seconds", "materializers,"),
            ),
        ),
        Panel(
            "Cassandra",
            "Time of its answers, by operation, as our programs see it.",
            "s",
            spread("diffusion_store_seconds", by="operation"),
        ),
        Panel(
            "Cassandra's failures",
            "Statements it did not carry out: away, they are tried again; refused, it is something "
            "to be mended.",
            "cps",
            (
                Query(
                    rate("diffusion_store_failures_total", "operation, outcome"),
                    "{{operation}} {{outcome}}",
                ),
            ),
            quiet=True,
        ),
        Panel(
            "Poke feed",
            "1 while every API process follows the change log for pokes, 0 while one does not; and "
            "how often it was taken up anew.",
            "short",
            (
                Query("min (diffusion_api_poke_feed)", "followed"),
                Query(
                    "sum (increase(diffusion_api_poke_feed_gaps_total[$__rate_interval]))",
                    "taken up anew",
                ),
            ),
            quiet=True,
        ),
        Panel(
            "How far the poke feed is behind",
            "Age of the last change record when an API process saw it.",
            "s",
            (Query("max (diffusion_api_poke_feed_lag_seconds)", "slowest process"),),
            quiet=True,
        ),
        Panel(
            "Memory",
            "Resident memory of the largest process of each kind, now and at its peak.",
            "bytes",
            (
                Query(f"max by (job) (process_resident_memory_bytes{{{OURS}}})", "{{job}}"),
                Query(
                    "max by (job) (diffusion_process_peak_resident_bytes)", "{{job}} at its peak"
                ),
            ),
        ),
        Panel(
            "Cores in use",
            "CPU of all processes of each kind. A worker is one thread: at 1 a process is at its "
            "end, and another one helps.",
            "short",
            (Query(rate("process_cpu_seconds_total", "job", OURS), "{{job}}"),),
            stacked=True,
        ),
        Panel(
            "Processes that answer",
            "How many of each kind Prometheus reaches.",
            "short",
            (Query(f"sum by (job) (up{{{OURS}}})", "{{job}}"),),
        ),
        Panel(
            "Workers that stopped",
            "How many of each kind stand, because most of what comes to them cannot be read. None "
            "is right: a worker that stopped waits for somebody.",
            "short",
            (Query("sum by (job) (diffusion_process_stopped)", "{{job}}"),),
            quiet=True,
        ),
        Panel(
            "Restarts",
            "Of all processes of each kind within the last hour. A worker that ends is started "
            "again, and repeats what it had not finished: its log says why it ended.",
            "short",
            (
                Query(
                    f"sum by (job) (changes(process_start_time_seconds{{{OURS}}}[1h]))", "{{job}}"
                ),
            ),
            quiet=True,
        ),
        Panel(
            "Partitions given out anew",
            "Rebalances that stream workers took part in: when one comes or goes. Their caches "
            "begin empty.",
            "cps",
            (Query(rate("diffusion_stream_rebalances_total"), "rebalances"),),
            quiet=True,
        ),
    ),
)
