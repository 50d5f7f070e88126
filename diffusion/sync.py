"""`diffusion sync`: the SDK on the command line, once or following live."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec.structs import asdict
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.clock import now_ms
from infra.settings import load
from sdk.client import ConversationView, SyncClient, SyncReport
from sdk.client.events import (
    ClientEvent,
    FullPutOff,
    PageApplied,
    StateChanged,
    StoreSetAside,
    SyncFailed,
    SyncFinished,
)
from syncapi.auth import issue

TOKEN_LIFETIME_S: Final = 3_600

REDRAW_S: Final = 0.25
"""How often the table is drawn at most: a person reads no faster."""


def sync(  # noqa: PLR0913 (the options of a command)
    user: str,
    *,
    url: str | None,
    token: str | None,
    ca_file: Path | None,
    device: str | None,
    store: str,
    limit: int,
    verify: bool,
    follow: bool,
    json: bool,
) -> None:
    """Sync and print the list, and go on if told to; raises `ClientError` if the API is away."""
    settings = load()

    def signed() -> str:
        return issue(settings.api, user, now_ms=now_ms(), lifetime_s=TOKEN_LIFETIME_S)

    screen = _Screen(limit, json=json)
    client = SyncClient(
        url or settings.api.url,
        user_id=user,
        device_id=device,
        token=token or signed,
        store=store,
        ca_file=ca_file,
        on_event=screen.hear,
    )
    with client:
        report = client.sync(verify=verify)
        screen.take(client)
        if not follow:
            screen.print_once(report)
            return
        client.follow()
        screen.run(client)


class _Screen:
    """What is shown: the list, what the client is doing, and what the last sync cost."""

    def __init__(self, limit: int, *, json: bool) -> None:
        self._limit = limit
        self._json = json
        self._found: list[ConversationView] = []
        self._total = 0
        self._state = "offline"
        self._said = ""
        self._alarm = ""
        self._bytes = self._syncs = 0
        self._changed = threading.Event()
        self._following = False

    def hear(self, event: ClientEvent) -> None:
        """Take note; called by the thread that syncs."""
        match event:
            case StateChanged(_, after):
                self._state = after.value
            case SyncFinished(_, report):
                self._said = in_words(report)
                self._syncs += 1
                self._bytes += report.bytes_up + report.bytes_down
            case SyncFailed(_, error, retry_ms):
                again = "" if retry_ms is None else f"; again in {retry_ms / 1_000:.1f} s"
                self._said = f"{error}{again}"
            case PageApplied(_, "full", _, _, done, total):
                self._said = f"full correction: {done:,} of {total or 0:,}"
            case FullPutOff(_, reason, wait_ms):
                self._alarm = f"a full correction ({reason}) waits {wait_ms / 60_000:.0f} minutes"
            case StoreSetAside(path, why, _):
                self._alarm = f"{why}; it is now {path}"
        if self._json and self._following:
            _write({"event": type(event).__name__, **_plain(event)})
        self._changed.set()

    def take(self, client: SyncClient) -> None:
        """Read what is shown."""
        self._found = client.conversations(limit=self._limit)
        self._total = client.unread_total()

    def print_once(self, report: SyncReport) -> None:
        """Print all of it."""
        if self._json:
            conversations = [asdict(one) for one in self._found]
            value = {"report": asdict(report), "conversations": conversations}
            _write(value | {"unread_total": self._total})
            return
        console = Console(highlight=False)
        console.print(in_words(report))
        if self._alarm:
            console.print(self._alarm, markup=False)
        console.print(_table(self._found))
        console.print(f"{self._total:,} unread")

    def run(self, client: SyncClient) -> None:
        """Show what changes until Ctrl-C, or until following ends by itself (raises why)."""
        self._following = True
        with suppress(KeyboardInterrupt):  # the way to end it
            if self._json:
                self._watch(client, lambda: None)
                return
            with Live(self._drawn(), console=Console(highlight=False), auto_refresh=False) as live:
                self._watch(client, lambda: live.update(self._drawn(), refresh=True))

    def _watch(self, client: SyncClient, draw: Callable[[], None]) -> None:
        while True:
            client.check()
            if not self._changed.wait(1):
                continue
            self._changed.clear()
            self.take(client)
            draw()
            threading.Event().wait(REDRAW_S)

    def _drawn(self) -> Group:
        parts: list[Any] = [
            Text(f"{self._state}: {self._said}"),
            Text(f"{self._syncs:,} syncs, {self._bytes:,} bytes since the start; Ctrl-C ends"),
        ]
        parts += [Text(self._alarm, style="bold")] if self._alarm else []
        return Group(*parts, _table(self._found), Text(f"{self._total:,} unread"))


def in_words(report: SyncReport) -> str:
    """Say in one line what a sync did, and what it cost."""
    reason = f" ({report.reason})" if report.reason else ""
    return (
        f"path {report.path}{reason}: {report.entries} conversations in {report.round_trips} round "
        f"trips, {report.bytes_up:,} bytes up, {report.bytes_down:,} down, "
        f"{report.seconds * 1_000:.0f} ms"
    )


def _table(found: list[ConversationView]) -> Table:
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
            Text(one.conversation_id), str(one.unread), str(one.last_seq), active, " ".join(flags)
        )
    return table


def _plain(event: ClientEvent) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, SyncReport):
            value = asdict(value)
        elif isinstance(value, frozenset):
            value = sorted(one.value for one in value)
        elif isinstance(value, Exception):
            value = str(value)
        found[name] = getattr(value, "value", value)
    return found


def _write(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()
