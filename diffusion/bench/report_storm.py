"""The result of the benchmark of storms, for a person."""

from __future__ import annotations

from rich.console import Console

from diffusion.bench.report import print_held, print_memory
from diffusion.bench.storm import Outcome


def show_storm(found: Outcome) -> None:
    """Print what a storm costs, beside ordinary sync."""
    console = Console(highlight=False)
    console.print(
        f"{found.users:,} users came back within {found.seconds:g} s, {found.changed_p50} changed "
        f"conversations each in the median, {found.changed_min} to {found.changed_max}: "
        f"{found.errors} errors, {found.p50_ms:,.0f} ms in the median, {found.p99_ms:,.0f} ms at "
        f"the 99th percentile, {found.max_ms:,.0f} ms at most; the last one was done after "
        f"{found.ended_s:.1f} s. {found.listen_overflows} attempts to connect were dropped."
    )
    console.print(
        f"Meanwhile {found.writes_per_second:,.0f} messages a second, news for "
        f"{found.marks_per_second:,.0f} members a second."
    )
    console.print(
        f"{found.cpu_ms_per_sync:.2f} ms of CPU of the API process a sync, "
        f"{found.ratio:.0f} times less than the {found.baseline_cpu_ms_per_sync:,.0f} ms of "
        f"ordinary incremental sync with {found.baseline_conversations:,} conversations. It used "
        f"{found.api_cpu_share:.0%} of a core, and {found.quiet_cpu_share:.1%} under the same "
        "writes without a storm, which is not subtracted."
    )
    console.print(
        f"All devices were compared with the oracle after the storm, {found.users_checked} of them "
        "and as many new ones when all was quiet."
    )
    for error, count in found.error_kinds.items():
        console.print(f"{count:,} times {error}", markup=False)
    print_memory(console, found.peak_memory_mb)
    console.print(found.machine, markup=False)
    print_held(console, found.held, found.differences)
