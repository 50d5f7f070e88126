"""What is stored: bytes of the change index on disk, and of the change log in Kafka.

Cassandra keeps what was just written in memory. When it is started again it replays its commit log
into tables on disk; so it is stopped and started, and the files of the table are added up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from diffusion.bench.growth_cost import cassandra_pid, wait_calm
from diffusion.local import managed
from infra.settings import Settings
from schemas import topics

TABLE: Final = "changes_by_user-*"


def bytes_stored(settings: Settings, rows: int, records: int) -> dict[str, float]:
    """Bytes for each of so many rows of the index, written twice at most, and each of so many
    change records. Starts Cassandra again; nothing else may use it then.
    """
    local = managed(settings)
    folder = settings.local.data_dir
    assert local is not None, "a benchmark has servers of its own"
    assert folder is not None, "and their data is under a folder of its own"
    local.stop("cassandra")
    local.start("cassandra")
    wait_calm(cassandra_pid(settings))
    index = _bytes(folder / "cassandra", f"**/{settings.cassandra.keyspace}/{TABLE}/*.db")
    log = _bytes(folder / "kafka", f"**/{topics.CHANGES.name}-*/*.log")
    return {
        "index_bytes_per_row": round(index / rows, 1),
        "log_bytes_per_record": round(log / records, 1),
        "log_bytes_per_mark": round(log / rows, 1),
    }


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))
