"""`diffusion sync`: the SDK on the command line."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.table import Table

from infra.clock import now_ms
from infra.settings import load
from sdk.client import ConversationView, SyncClient, SyncReport
from syncapi.auth import issue

TOKEN_LIFETIME_S = 3_600


def sync(  # the options of a command
    user: str,
    *,
    url: str | None,
    token: str | None,
    device: str,
    store: str,
    limit: int,
    json: bool,
) -> None:
    """Sync once and print the list; raises `ClientError` when the API cannot be asked."""
    settings = load()
    client = SyncClient(
        url or f"http://{settings.api.host}:{settings.api.port}",
        user_id=user,
        device_id=device,
        token=token or issue(settings.api, user, now_ms=now_ms(), lifetime_s=TOKEN_LIFETIME_S),
        store=store,
    )
    with client:
        report = client.sync()
        found = client.conversations(limit=limit)
        total = client.unread_total()
    if json:
        value = {
            "report": asdict(report),
            "conversations": [asdict(one) for one in found],
            "unread_total": total,
        }
        sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
        return
    _show(report, found, total)


def _show(report: SyncReport, found: list[ConversationView], total: int) -> None:
    console = Console(highlight=False)
    reason = f" ({report.reason})" if report.reason else ""
    console.print(
        f"path {report.path}{reason}: {report.entries} conversations in {report.round_trips} round "
        f"trips, {report.bytes_up:,} bytes up, {report.bytes_down:,} down, "
        f"{report.seconds * 1_000:.0f} ms"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("conversation")
    table.add_column("unread", justify="right")
    table.add_column("last", justify="right")
    table.add_column("active")
    table.add_column("")
    for one in found:
        flags = [name for name, on in (("pinned", one.pinned), ("muted", one.muted)) if on]
        flags += [] if one.member else ["left"]
        active = datetime.fromtimestamp(one.activity_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            one.conversation_id, str(one.unread), str(one.last_seq), active, " ".join(flags)
        )
    console.print(table)
    console.print(f"{total:,} unread")
