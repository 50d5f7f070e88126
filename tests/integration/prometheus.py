"""A real Prometheus beside the system: the settings and rules of the repository, a scrape a second."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

import infra.dashboards
from diffusion.targets import listed
from infra.local.ports import free_ports
from infra.local.prometheus import Tools
from tests.integration.support import wait_until

FOLDER = Path(infra.dashboards.__file__).parent
STEP_S = 1
WINDOW = "10s"
"""In place of Grafana's `$__rate_interval`, which is at least four scrapes."""

NOT_SLOWER = ("scrape_interval: 15s", "evaluation_interval: 15s")


class Prometheus:
    """A running one, asked over its API."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def close(self) -> None:
        self._http.close()

    def ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data of an answer; an expression that Prometheus refuses fails the test."""
        answer = self._http.get(f"/api/v1/{path}", params=parameters)
        found = answer.json()
        assert found["status"] == "success", (parameters, found)
        return found["data"]

    def values(self, expression: str, since_s: float, until_s: float) -> list[float]:
        """All numbers that an expression had within a time, of all its series."""
        found = self.ask(
            "query_range",
            query=expression.replace("$__rate_interval", WINDOW),
            start=since_s,
            end=until_s,
            step=STEP_S,
        )
        numbers = [float(text) for one in found["result"] for _, text in one["values"]]
        return [number for number in numbers if not math.isnan(number)]

    def number(self, expression: str) -> float:
        """What an expression with one series is now; NaN for none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else math.nan

    def series(self, selector: str) -> list[dict[str, str]]:
        """Labels of all series that a selector finds."""
        found: list[dict[str, str]] = self.ask("series", **{"match[]": selector})
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@contextmanager
def watching(
    tools: Tools, folder: Path, addresses: Mapping[str, Sequence[str]]
) -> Iterator[Prometheus]:
    """Run one that scrapes these addresses, by program."""
    settings = (FOLDER / "prometheus.yml").read_text()
    for line in NOT_SLOWER:
        assert line in settings
        settings = settings.replace(line, line.replace("15s", f"{STEP_S}s"))
    (folder / "prometheus.yml").write_text(settings)
    (folder / "targets.json").write_bytes(orjson.dumps(listed(addresses)))
    shutil.copy(FOLDER / "rules.yml", folder)
    (port,) = free_ports(1)
    command = [
        str(tools.prometheus),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: prometheus.ready() or process.poll() is not None, "Prometheus is ready")
        assert process.poll() is None, log.read_text()
        yield prometheus
        prometheus.close()
    finally:
        process.terminate()
        process.wait(30)
