"""The package as a backend sees it: its names, and what importing it brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sdk.backend


def test_what_is_exported_is_there() -> None:
    assert sorted(sdk.backend.__all__) == sdk.backend.__all__
    assert all(hasattr(sdk.backend, name) for name in sdk.backend.__all__)
    assert (Path(sdk.backend.__file__).parent / "py.typed").exists()


def test_importing_it_brings_no_server_code() -> None:
    code = "import sys, sdk.backend; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    unwanted = {
        "infra",
        "streams",
        "consumers",
        "syncapi",
        "cassandra",
        "faust",
        "httpx",
        "aiokafka",
    }
    assert "schemas" in loaded
    assert not loaded & unwanted
