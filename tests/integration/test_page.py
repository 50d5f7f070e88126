"""`diffusion top` and the API's page, watched while the system works.

    ./dev test tests/integration/test_page.py --pictures docs

makes the pictures of the README anew, of such a run.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from rich.console import Console

from diffusion.announced import announced, pattern_of
from diffusion.system import System, environment_of
from diffusion.top_view import HISTORY, WIDTH, History, view
from infra.figures.scrape import Viewer
from infra.figures.targets import JOBS, find
from infra.local.chromium import Browser, browser
from infra.local.errors import BrowserMissingError
from infra.local.settings import default_cache_dir
from infra.settings import Settings
from tests.integration.browser import Tab, tab
from tests.integration.support import wait_until
from tests.integration.traffic import Traffic

CHARTS = ("volume", "paths", "spared", "late")
LOOKS = 5
"""Of the page, before its lines are looked at."""

LOOKS_PICTURED = 45
PICTURE_BYTES_MAX = 150_000
PAGE = {"width": 1120, "height": 1000}

ALWAYS = {
    "volume": ("events_per_s", "marks_per_s", "rows_per_s", "folded_per_s", "coalesced_per_s", "saved_per_s",
               "changes_per_s", "marks_per_event", "rows_per_event", "events_total", "marks_total", "rows_total"),
    "store": ("reads_per_s", "writes_per_s"),
    "sync": ("answers_per_s", "answer_bytes", "request_bytes", "connections", "connections_max", "pokes_per_s"),
}  # fmt: skip
"""Figures that are more than zero under this load."""


@pytest.fixture(scope="module")
def busy(system: System) -> Iterator[System]:
    """The system under load, which has come through to the syncs."""
    for kind in JOBS:  # what processes left that other tests have killed
        with announced(kind, system.settings):
            pass
    with Traffic(system, lambda name: f"page-{name}").running():
        url = f"{system.url}/figures"

        def all_there() -> bool:
            found = httpx.get(url).json()
            return all(found[part][name] for part, names in ALWAYS.items() for name in names)

        wait_until(all_there, "all figures are there")
        yield system


def top(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffusion", "top", *arguments],
        env={**os.environ, **environment_of(system.settings)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_all_there(found: dict[str, Any]) -> None:
    for part, names in ALWAYS.items():
        for name in names:
            assert found[part][name] > 0, (part, name)
    assert found["sync"]["by_path"].keys() == {"delta", "correction", "full"}
    for path, rate in found["sync"]["by_path"].items():
        assert rate > 0, path
    for part, name in (
        ("store", "read_s"),
        ("store", "write_s"),
        ("sync", "answer_s"),
        ("lateness", "change_to_rows_s"),
    ):
        assert 0 < found[part][name]["half"] <= found[part][name]["most"], name
    programs = [one["program"] for one in found["processes"] if one["state"] == "up"]
    assert (programs.count("stream-worker"), programs.count("materializer")) >= (2, 2)
    assert "api" in programs


def test_top_tells_all_of_it_as_json(busy: System) -> None:
    done = top(busy, "--json", "--interval", "4")
    assert done.returncode == 0, done.stderr
    assert_all_there(orjson.loads(done.stdout))


def test_top_once_is_plain_text_of_80_columns(busy: System) -> None:
    done = top(busy, "--once", "--interval", "4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert max(map(len, lines)) <= 80
    for label in (
        "events in",
        "users marked",
        "rows written",
        "saved by the policy",
        "folded into",
    ):
        (line,) = [one for one in lines if one.startswith(label)]
        rate = re.findall(r"[\d,.]+", line)[0]
        assert float(rate.replace(",", "")) > 0, line


def test_top_draws_until_ctrl_c_and_leaves_the_terminal_as_it_was(busy: System) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "diffusion", "top", "--interval", "0.5"],
        env={**os.environ, **environment_of(busy.settings), "TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    shown = b""

    def read_on() -> bool:
        nonlocal shown
        while select.select([parent], [], [], 0)[0]:
            try:
                some = os.read(parent, 65_536)
            except OSError:  # its other end is closed
                break
            if not some:
                break
            shown += some
        return shown.count(b"DIFFUSION VOLUME") > 3

    try:
        wait_until(read_on, "it has drawn several times")
        process.send_signal(signal.SIGINT)
        wait_until(lambda: (read_on() or True) and process.poll() is not None, "it has ended")
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert process.returncode == 0, shown[-2_000:]
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h")


def test_the_page_is_given_the_same_without_addresses(busy: System) -> None:
    httpx.get(f"{busy.url}/figures")
    time.sleep(4)  # rates need two looks
    first = httpx.get(f"{busy.url}/figures").json()
    assert_all_there(first)
    assert first["missing"] == ""
    assert {one["address"] for one in first["processes"]} == {""}
    # Named by more than one viewer, looked at once.
    assert httpx.get(f"{busy.url}/figures").json()["at_ms"] - first["at_ms"] in range(5_000)


@pytest.fixture(scope="module")
def chromium() -> Browser:
    try:
        return browser(Settings().local.cache_dir or default_cache_dir())
    except BrowserMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path | None:
    folder = request.config.getoption("--pictures")
    return None if folder is None else Path(folder)


def drawn(page: Tab, chart: str) -> list[int]:
    """Points of each line of a chart."""
    found: list[int] = page.value(
        f"[...document.querySelectorAll('svg[data-chart={chart}] path.line')]"
        ".map(line => line.getAttribute('d').split('L').length)"
    )
    return found


def test_the_page_draws_what_comes_and_asks_nobody_else(
    busy: System, chromium: Browser, tmp_path: Path, pictures: Path | None
) -> None:
    looks = LOOKS if pictures is None else LOOKS_PICTURED
    with tab(chromium, tmp_path) as page:
        page.look_like(**PAGE)
        page.open(f"{busy.url}/")
        wait_until(
            lambda: page.value("typeof points === 'undefined' ? 0 : points.length") >= looks,
            "the page has looked",
            120,
        )
        for chart, lines in (("volume", 3), ("paths", 3), ("spared", 3), ("late", 2)):
            found = drawn(page, chart)
            assert len(found) >= lines, chart
            assert max(found) >= looks - 1, (chart, found)
        for name in ("events", "marks", "rows", "syncs"):
            text = page.value(
                f"document.querySelector('[data-value={name}]').firstChild.textContent"
            )
            assert float(text.replace(",", "")) > 0, name
        heights = page.value(
            "[...document.querySelector('svg[data-chart=volume] path.line').getAttribute('d')"
            ".matchAll(/,([\\d.]+)/g)].map(found => Number(found[1]))"
        )
        assert min(heights) < max(heights), "a line that is flat shows nothing"
        assert page.value("document.getElementById('status').className") == "status good"
        assert page.value("document.getElementById('missing').hidden")
        assert page.value("document.documentElement.scrollWidth <= window.innerWidth")
        for scheme in ("light", "dark"):
            page.look_like(**PAGE, scheme=scheme)
            bottom = page.value("document.getElementById('charts').getBoundingClientRect().bottom")
            page.look_like(width=PAGE["width"], height=round(bottom) + 14, scheme=scheme)
            page.value("CHARTS.forEach(draw)")
            taken = (pictures or tmp_path) / f"page-{scheme}.png"
            page.picture(taken)
            assert taken.stat().st_size > 20_000
            assert pictures is None or taken.stat().st_size < PICTURE_BYTES_MAX
        page.look_like(width=400, height=900)
        assert page.value("document.documentElement.scrollWidth <= 400"), (
            "a telephone shows it whole"
        )
        assert page.complaints == []
        assert page.requested
        assert all(url.startswith(f"{busy.url}/") for url in page.requested), page.requested


def test_a_picture_of_top(
    busy: System, chromium: Browser, tmp_path: Path, pictures: Path | None
) -> None:
    """What the terminal shows after a while, as a browser draws it."""
    looks = 3 if pictures is None else HISTORY

    async def watch() -> tuple[Any, History]:
        viewer, history = Viewer(), History()
        pattern = pattern_of(busy.settings)
        try:
            for _ in range(looks):
                found = await viewer.look(find(pattern))
                history.add(found)
                await asyncio.sleep(1)
        finally:
            await viewer.close()
        return found, history

    found, history = asyncio.run(watch())
    with (tmp_path / "nothing").open("w") as nothing:
        console = Console(
            record=True,
            width=WIDTH,
            file=nothing,
            highlight=False,
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(view(found, history))
    # Its fonts would come from elsewhere; the browser has one.
    text = re.sub(
        r"@font-face \{.*?\}", "", console.export_svg(title="diffusion top"), flags=re.DOTALL
    )
    text = text.replace("Fira Code", "DejaVu Sans Mono")
    svg = tmp_path / "top.svg"
    svg.write_text(text)
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0])
    with tab(chromium, tmp_path) as page:
        page.look_like(width=round(width), height=round(height))
        page.open(svg.as_uri())
        wait_until(lambda: page.value("document.readyState") == "complete", "it is drawn")
        time.sleep(0.5)
        taken = (pictures or tmp_path) / "top.png"
        page.picture(taken)
        assert taken.stat().st_size > 20_000
        assert pictures is None or taken.stat().st_size < PICTURE_BYTES_MAX
        assert [one for one in page.requested if not one.startswith("file:")] == []
