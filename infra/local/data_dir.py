"""The data directory: made by us, marked as ours, measured, and emptied only when marked.

    data_dir/
        .write-diffusion-servers   the marker: without it nothing here is ever deleted
        lock                       held by whoever starts or stops servers here
        run/                       pid files
        kafka/  cassandra/         data; `config/` and `tmp/` of each beside it
        logs/

Deleting is limited to the names above. Nothing here knows what a server is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.local.errors import DataDirError, DiskFullError

MARKER = ".write-diffusion-servers"
LOCK = "lock"
OWNED = ("run", "kafka", "cassandra", "config", "tmp", "logs")
"""All that servers may put here, and so all that is ever deleted."""

_MARKER_TEXT = (
    "Made by write-diffusion for its local servers; `up --fresh` empties this directory.\n"
)
_BLOCK_BYTES = 512  # st_blocks counts these whatever the file system's block size is, by POSIX


def prepare(data_dir: Path) -> None:
    """Make the directory and mark it. Raises DataDirError when it holds somebody else's files."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        marker = data_dir / MARKER
        if marker.exists():
            return
        foreign = sorted(entry.name for entry in data_dir.iterdir() if entry.name != LOCK)
        if foreign:
            raise DataDirError(
                f"{data_dir} holds files of somebody else ({foreign[0]}, for instance); choose "
                "an empty or a new directory for the data of the servers."
            )
        marker.write_text(_MARKER_TEXT, encoding="utf-8")
    except OSError as error:
        raise DataDirError(
            f"{data_dir} cannot be used for the data of the servers ({error.strerror}); choose "
            "another directory."
        ) from error


def empty(data_dir: Path) -> None:
    """Delete all data in a marked directory. Raises DataDirError when it has no marker."""
    if not (data_dir / MARKER).exists():
        raise DataDirError(
            f"{data_dir} was not made by these servers and is not emptied; delete it by hand, or "
            "choose another directory."
        )
    for name in OWNED:
        path = data_dir / name
        if path.is_symlink():  # never follow one: what it points to is not ours
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


def check_free_space(path: Path, needed_bytes: int) -> None:
    """Raises DiskFullError when the disk that `path` is (or will be) on has less than needed."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DiskFullError(path, free, needed_bytes)


def used_bytes(path: Path) -> int:
    """Disk space of the files under `path`, in blocks: Kafka's index files are sparse."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                stat = os.lstat(os.path.join(folder, name))  # noqa: PTH118  # hot, many files
            except FileNotFoundError:  # compacted away while we look
                continue
            total += stat.st_blocks * _BLOCK_BYTES
    return total
