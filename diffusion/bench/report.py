"""Results of benchmarks, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from diffusion.bench import correction, latency, recovery, sync, write
from diffusion.bench.bad_line import BAD_LINE_CHANGED
from diffusion.bench.connect import Outcome
from diffusion.bench.policy import (
    RATIO_MAX,
    RATIO_REAL_MAX,
    RATIO_STATIC_MAX,
    Costed,
)
from diffusion.bench.throughput import CONNECTIONS, Throughput


def show_policy(found: list[Costed]) -> None:
    """Print costs as multiples of the optimum."""
    table = Table(box=None, pad_edge=False)
    table.add_column("world")
    for name in ("optimum", "policy", "write", "read", "size", "switches", "held"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.name,
            f"{one.optimum:,.0f} rows",
            *(
                f"{value / one.optimum:.2f}"
                for value in (one.cost, one.always_write, one.always_read, one.size_only)
            ),
            f"{one.switches:,}",
            "yes" if one.held else "NO",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Multiples of the offline optimum. Held: at most {RATIO_MAX} of it, {RATIO_REAL_MAX} on "
        f"real traces, and {RATIO_STATIC_MAX} of the better of always write and always read."
    )


def show_connect(found: Outcome) -> None:
    """Print what connections cost, and how soon they are poked."""
    console = Console(highlight=False)
    console.print(
        f"{found.connections:,} connections on one API process: {found.api_resident_mb:.0f} MB "
        f"resident, {found.api_peak_mb:.0f} MB at most, {found.api_before_mb:.0f} MB before them"
    )
    console.print(
        f"{found.writes_per_second:,.0f} writes a second, {found.pokes:,} pokes; from write to "
        f"poke {found.poke_p50_ms:,.0f} ms in the median, {found.poke_p99_ms:,.0f} ms at the 99th "
        f"percentile, {found.poke_max_ms:,.0f} ms at most, of {found.pokes_measured:,} measured; "
        f"{found.pokes_missed} missed"
    )
    console.print(
        f"{found.users_current} of {found.users_checked} users that were looked at are current"
    )


def show_sync(found: sync.Outcome) -> None:
    """Print reconnects and fresh starts, each beside the yardstick."""
    table = table_of(
        "reconnect of a user with",
        *("trips", "bytes up", "down", "p50 ms", "p99 ms", "CPU ms"),
        *("ordinary: trips", "bytes", "p50 ms", "CPU ms"),
    )
    crowded = [] if found.crowded is None else [found.crowded]
    for case in (*found.cases, *crowded):
        after = ", straight after the import" if case in crowded else ""
        table.add_row(
            f"{case.conversations:,} conversations, {case.changed} changed{after}",
            str(case.round_trips),
            f"{case.bytes_up:,}",
            f"{case.bytes_down:,}",
            f"{case.p50_ms:.1f}",
            f"{case.p99_ms:.1f}",
            f"{case.cpu_ms:.2f}",
            str(case.baseline_round_trips),
            f"{case.baseline_bytes:,}",
            f"{case.baseline_p50_ms:,.0f}",
            f"{case.baseline_cpu_ms:,.0f}",
        )
    fresh = table_of("fresh start", "trips", "bytes down", "seconds", "CPU ms", "ordinary: trips")
    for start in found.fresh:
        fresh.add_row(
            f"{start.conversations:,} conversations",
            str(start.round_trips),
            f"{start.bytes_down:,}",
            f"{start.seconds:.2f}",
            f"{start.cpu_ms:,.0f}",
            str(start.baseline_round_trips),
        )
    console = Console(highlight=False)
    for part in (table, fresh) if found.cases else ():
        console.print(part)
    _print_throughput(console, found.throughput)
    print_memory(console, found.peak_memory_mb)
    console.print(found.machine, markup=False)
    console.print(
        "Bytes are those of bodies, CPU that of the API process. Ordinary sync: both answers that "
        "name every conversation, gzipped, and the time to read, write and pack them; its other "
        "requests and its transport are counted as round trips only. The load of the machine was "
        f"{found.load:.1f} before."
    )
    print_held(console, found.held, found.differences)


def _print_throughput(console: Console, found: Sequence[Throughput]) -> None:
    many = table_of(
        "one API process, requests of",
        *("a second", "p50 ms", "p99 ms", "bare reads", "ratio", "at once", "ratio"),
    )
    for one in found:
        many.add_row(
            f"{one.changed} changed conversations",
            f"{one.requests_per_second:,.0f}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.bare_requests_per_second:,.0f}",
            f"{one.ratio:.2f}",
            f"{one.bare_concurrent_requests_per_second:,.0f}",
            f"{one.ratio_concurrent:.2f}",
        )
    console.print(many)
    console.print(
        "Bare reads: the same reads of Cassandra by the driver alone, a second, one after the "
        f"other and {CONNECTIONS} at once; the API answers {CONNECTIONS} connections."
    )


def show_correction(found: correction.Outcome) -> None:
    """Print corrections, each beside other ways."""
    table = table_of(
        "correction of",
        *("trips", "bytes", "without rows", "ms", "CPU ms"),
        *("listing", "sketch", "one trip", "negentropy"),
    )
    for case in found.cases:
        table.add_row(
            f"{case.differing:,} of {case.conversations:,} rows",
            str(case.round_trips),
            f"{case.bytes:,}",
            f"{case.bytes_without_payload:,}",
            f"{case.milliseconds_median:,.0f}",
            f"{case.api_cpu_ms:,.0f}",
            *(
                "-" if size is None else f"{size:,}"
                for size in (
                    case.listing_bytes,
                    case.sketch_bytes,
                    case.one_trip_bytes,
                    case.negentropy_bytes,
                )
            ),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"The worst of {correction.REPETITIONS} damages each. Listing: hashes of the rows of the "
        "parts that differ; sketch: of the whole, by how many parts differ; one trip: the sketch "
        f"alone, for who knows how many rows differ. The root makes a request {found.root.request} "
        f"bytes longer, and an answer {found.root.answer}."
    )
    print_held(console, found.held, found.differences)


def show_recovery(found: recovery.Outcome) -> None:
    """Print what each abnormal case costs, and how a bad line was borne."""
    table = table_of(
        f"{found.conversations:,} conversations",
        *("path", "reason", "attempts", "trips", "bytes up", "down", "on the line"),
    )
    for case in found.cases:
        counts = case.attempts, case.round_trips, case.bytes_up, case.bytes_down, case.bytes_line
        table.add_row(case.name, case.path, case.reason or "", *(f"{one:,}" for one in counts))
    console, line = Console(highlight=False), found.bad_line
    console.print(table)
    console.print(
        f"A full correction that is cut {recovery.CUTS} times costs {found.cut_ratios[-1]:.2f} "
        f"times the bytes of one that is not, in the worst of {recovery.DRAWS} draws; if the app "
        f"is killed each time, {found.killed_ratios[-1]:.2f} times. With the heads of HTTP: "
        f"{found.cut_line_ratios[-1]:.2f} and {found.killed_line_ratios[-1]:.2f}."
    )
    console.print(
        f"{line.completed} of {line.reconnects} reconnects with {BAD_LINE_CHANGED} "
        f"changed conversations over a bad line ended well: {line.seconds_p50:.1f} s in the "
        f"median, {line.seconds_max:.1f} s at most; {line.resets} resets, at most "
        f"{line.attempts_max} attempts; {line.bytes_line_p50:,} bytes in the median, "
        f"{line.bytes_line_max:,} at most."
    )
    for one in found.wrong_paths:
        console.print(one, markup=False)
    print_held(console, found.held, found.differences)


def show_write(found: write.Outcome) -> None:
    """Print what writing costs beside the yardsticks."""
    table = table_of("a second", "median", "least", "most", "ratio")
    ratios, pipeline = found.ratios, found.pipeline
    for name, rates, ratio in (
        (f"rows, the driver alone ({found.best[0]} a batch)", found.limit, None),
        ("rows, the materializer", found.materializer, ratios["materializer"]),
        ("events, a stock Faust agent", found.stock, None),
        ("events, the stream stage", found.stream, ratios["stream"]),
        ("marks, an insert for each", found.naive, None),
        ("marks, the whole pipeline", None, ratios["pipeline"]),
    ):
        rounds = (pipeline.marks_per_second,) if rates is None else rates.rounds
        counts = median(rounds), min(rounds), max(rounds)
        table.add_row(
            name, *(f"{one:,.0f}" for one in counts), "" if ratio is None else f"{ratio:.2f}"
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{pipeline.messages:,} messages are {pipeline.marks:,} marks (messages times members), in "
        f"{pipeline.seconds:.1f} s: {pipeline.told:,} users marked, {pipeline.folded:,} told by a "
        f"later message, {pipeline.saved:,} left to be looked at."
    )
    console.print(f"{found.users_checked:,} users were compared with the oracle.")
    print_memory(console, found.peak_memory_mb)
    console.print(found.machine, markup=False)
    print_held(console, found.held, found.differences)


def show_latency(found: latency.Outcome) -> None:
    """Print how soon writes can be read."""
    console = Console(highlight=False)
    maximum, full = found.maximum, found.full_speed
    console.print(
        f"Maximum: {maximum.messages_per_second:,.0f} messages a second, which are "
        f"{maximum.marks_per_second:,.0f} marks (messages times members), is the greatest of "
        f"{len(found.steps)} rates tried at which what waits does not grow. At full speed "
        f"{full.messages:,} messages were all readable after {full.seconds:.1f} s: "
        f"{full.messages_per_second:,.0f} a second, folded in the backlog that this makes."
    )
    shown = table_of(
        "of the maximum",
        *("messages a second", "p50 ms", "p99 ms", "max ms", "probes", "missed"),
        *("call to report: p50", "p99", "resolution: p50", "p99"),
    )
    for case in found.cases:
        told = latency.case_as_json(case)
        names = (
            *("messages_per_second", "p50_ms", "p99_ms", "max_ms", "probes", "missed"),
            *("accepted_p50_ms", "accepted_p99_ms", "resolution_p50_ms", "resolution_p99_ms"),
        )
        shown.add_row(
            f"{case.share:.0%}", *(f"{told[name]:,.0f}" if name in told else "-" for name in names)
        )
    console.print(shown)
    console.print(
        f"From the delivery report to an answer that tells it. The load: {found.mix.in_words()}. "
        "The resolution is the time since the last answer that did not tell it."
    )
    console.print(f"{found.users_checked:,} users were compared with the oracle.")
    print_memory(console, found.peak_memory_mb)
    console.print(found.machine, markup=False)
    print_held(console, found.held, found.differences)


def table_of(first: str, *others: str) -> Table:
    """A table whose first column is words, and the others numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def print_memory(console: Console, peak_memory_mb: Mapping[str, float]) -> None:
    """Print the largest resident memory of each process."""
    memory = ", ".join(f"{name} {peak:.0f}" for name, peak in peak_memory_mb.items())
    console.print(f"Largest resident memory, MB: {memory}.")


def print_held(console: Console, held: dict[str, bool], differences: tuple[str, ...]) -> None:
    """Print bounds, and what was found otherwise than the oracle says."""
    table = table_of("bound", "held")
    for name, holds in held.items():
        table.add_row(name, "yes" if holds else "NO")
    console.print(table)
    for one in differences:
        console.print(one, markup=False)
