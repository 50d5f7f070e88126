"""What an app pays for the import: no server package, no HTTP library before the first request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
PROBE = "import sys, sdk.client; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def test_importing_the_client_pulls_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    servers = {"infra", "streams", "consumers", "syncapi", "diffusion"}
    drivers = {"cassandra", "confluent_kafka", "aiokafka", "faust", "mode", "litestar"}
    later = {
        "httpx",
        "httpcore",
        "zstandard",
        "anyio",
        "asyncio",
        "ssl",
        "orjson",
        "prometheus_client",
    }
    assert loaded & (servers | drivers | later) == set()
    assert {"sdk", "schemas", "msgspec", "sqlite3"} <= loaded


def test_types_and_migrations_are_beside_the_code() -> None:
    folder = ROOT / "sdk" / "client"
    assert (folder / "py.typed").exists()
    assert (folder / "migrations" / "001_init.sql").exists()
    assert (folder / "migrations" / "002_add_total.sql").exists()
