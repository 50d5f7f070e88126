"""However many look at the page, the processes are asked once a second; this one is among them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from infra import metrics
from infra.figures.counting import Window
from infra.figures.figures import Figures, figures
from infra.figures.targets import Target
from syncapi.page.board import AGE_S, ALONE, NOBODY, UNUSABLE, Board
from tests.unit.infra.figures.test_scrape import exported, served


class Looks:
    """In place of a viewer: keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Target], dict[str, Any]]] = []
        self.closed = False

    async def look(self, targets: Sequence[Target], **options: Any) -> Figures:
        self.asked.append((list(targets), options))
        await asyncio.sleep(0)
        return replace(figures(Window([]), (), len(self.asked)), missing=options["missing"])

    async def close(self) -> None:
        self.closed = True


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def board(pattern: str = "") -> tuple[Board, Looks, Clock]:
    looks, clock = Looks(), Clock()
    return Board(pattern, lambda: b"own", clock, looks), looks, clock  # type: ignore[arg-type]


def written(path: Path, **jobs: str) -> str:
    groups = [
        {"targets": [address], "labels": {"job": f"diffusion-{job}"}}
        for job, address in jobs.items()
    ]
    path.write_bytes(orjson.dumps(groups))
    return str(path)


def test_all_who_look_within_a_second_are_told_the_same() -> None:
    found, looks, clock = board()

    async def run() -> None:
        together = await asyncio.gather(*(found.figures() for _ in range(20)))
        assert {one.at_ms for one in together} == {1}
        clock.now_s += AGE_S - 0.01
        assert (await found.figures()).at_ms == 1
        clock.now_s += 0.01
        assert (await found.figures()).at_ms == 2

    asyncio.run(run())
    assert len(looks.asked) == 2


def test_alone_it_speaks_for_itself_and_says_how_to_see_more() -> None:
    found, looks, _ = board()
    assert asyncio.run(found.figures()).missing == ALONE
    assert looks.asked == [([], {"own": ("api", b"own"), "missing": ALONE, "addresses": False})]


def test_beside_workers_it_still_speaks_for_itself(tmp_path: Path) -> None:
    found, looks, _ = board(written(tmp_path / "t.json", stream="a:1"))
    assert asyncio.run(found.figures()).missing == ""
    ((targets, options),) = looks.asked
    assert targets == [Target("stream-worker", "a:1")]
    assert options["own"] == ("api", b"own")


def test_named_among_the_others_it_is_not_counted_twice(tmp_path: Path) -> None:
    found, looks, _ = board(written(tmp_path / "t.json", stream="a:1", api="b:1"))
    asyncio.run(found.figures())
    ((_, options),) = looks.asked
    assert options["own"] is None


def test_without_workers_it_says_what_to_start(tmp_path: Path) -> None:
    found, _, _ = board(written(tmp_path / "t.json", api="b:1"))
    assert asyncio.run(found.figures()).missing == NOBODY


def test_a_list_that_cannot_be_used_is_told_in_the_log_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, looks, clock = board(str(tmp_path / "missing.json"))
    for _ in range(3):
        assert asyncio.run(found.figures()).missing == UNUSABLE
        clock.now_s += 2
    assert len(looks.asked) == 3
    assert caplog.text.count("missing.json") == 1


def test_it_asks_for_real_and_ends_its_connections(tmp_path: Path) -> None:
    async def run(path: str) -> Figures:
        found = Board(path, lambda: exported(metrics.Program.API), Clock())
        try:
            return await found.figures()
        finally:
            await found.close()

    with served(body=exported(metrics.Program.STREAM)) as address:
        found = asyncio.run(run(written(tmp_path / "t.json", stream=address)))
    assert [(one.name, one.state, one.address) for one in found.processes] == [
        ("stream-worker", "up", ""),
        ("api", "up", ""),
    ]
    assert found.volume.events_total is not None
    assert found.sync.connections_max is not None
