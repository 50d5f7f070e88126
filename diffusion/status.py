"""What runs: the servers, ours or somebody else's, and how far the two stages are behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from diffusion.local import existing, managed
from infra.kafka.admin import Admin
from infra.settings import Settings
from schemas.errors import DiffusionError
from schemas.topics import CHANGES, WRITE_TOPICS


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One line of `diffusion status`."""

    name: str
    state: str
    where: str
    answers: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def rows(settings: Settings) -> list[StatusRow]:
    """Look at both servers, and at the lag of both stages if Kafka answers."""
    servers = managed(settings)
    found: list[StatusRow] = []
    if servers is None:
        for one in existing(settings):
            state = "answers" if one.answers else "away"
            found.append(StatusRow(one.name, state, one.address, one.answers, one.detail))
    else:
        for status in servers.status():
            detail = f"version {status.version}, {status.data_bytes / 2**20:,.0f} MB of data"
            if status.uptime_s is not None:
                detail += f", pid {status.pid}, up {status.uptime_s:,.0f} s"
            where = f"127.0.0.1:{status.port}"
            running = status.state == "running"
            found.append(StatusRow(status.name, status.state, where, running, detail))
    if all(row.answers for row in found if row.name == "kafka"):
        found.extend(_stages(settings))
    return found


def _stages(settings: Settings) -> list[StatusRow]:
    kafka = settings.kafka
    stages = (
        ("stream stage", kafka.stream_group, [topic.name for topic in WRITE_TOPICS]),
        ("materializer stage", kafka.materializer_group, [CHANGES.name]),
    )
    found: list[StatusRow] = []
    with Admin(kafka) as admin:
        for name, group, topics in stages:
            try:
                lag = f"{admin.lag(group, topics):,} records behind"
            except DiffusionError as error:
                lag = str(error)
            found.append(StatusRow(name, "-", group, answers=True, detail=lag))
    return found


def show(found: list[StatusRow]) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "state", "where", "detail"):
        table.add_column(column)
    for row in found:
        table.add_row(row.name, row.state, row.where, row.detail)
    Console().print(table)
