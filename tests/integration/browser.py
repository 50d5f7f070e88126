"""Headless Chromium, spoken to by its own protocol: what a page draws, asks for and complains of."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
from websockets.sync.client import ClientConnection, connect

from infra.local.chromium import Browser
from tests.integration.support import wait_until

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""A screenshot comes in one frame."""

ANSWER_S = 30


class Tab:
    """One page. `requested` has the addresses of all that it asked for, `complaints` what it wrote to
    its console, threw, or was refused.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.requested: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScrollbarsHidden", hidden=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(orjson.dumps(asked).decode())
        while True:
            told = orjson.loads(self._socket.recv(timeout=ANSWER_S))
            if told.get("id") == self._number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found
            self._note(told)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What an expression is on the page now."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def look_like(
        self, *, width: int, height: int, scheme: str = "light", scale: float = 1
    ) -> None:
        """Take the size of a window, and light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(told["data"]))

    def _note(self, told: Mapping[str, Any]) -> None:
        method, said = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])
        elif method == "Network.loadingFailed":
            self.complaints.append(f"failed: {said}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"log: {said['entry']}")
        elif method in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
            self.complaints.append(f"{method}: {said}")


@contextmanager
def tab(browser: Browser, folder: Path) -> Iterator[Tab]:
    """Run the browser with a profile of its own under the folder, and one tab."""
    command = [
        str(browser.program),
        "--headless",
        "--no-sandbox",  # tests may run as root, and what is opened is our own
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}/profile",
        "about:blank",
    ]
    log = folder / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **browser.environment}, stdout=output, stderr=output
        )
    try:
        place = folder / "profile/DevToolsActivePort"
        wait_until(lambda: place.exists() or process.poll() is not None, "Chromium answers")
        assert process.poll() is None, log.read_text(errors="replace")
        with connect(_first_page(place), max_size=FRAME_BYTES_MAX, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(30)


def _first_page(place: Path) -> str:
    deadline = time.monotonic() + ANSWER_S
    while True:
        port = place.read_text().splitlines()[0]
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        for page in pages:
            if page["type"] == "page":
                url: str = page["webSocketDebuggerUrl"]
                return url
        assert time.monotonic() < deadline, "no page"
        time.sleep(0.1)
