"""A real Prometheus for what is tested against one: this machine's own, or Debian's in the cache.

Debian's package is fetched and unpacked without being installed: no root is needed, and nothing
outside the cache changes. Which version it is, and its sha256, stand here, so that what runs is the
same everywhere; a machine without apt, or whose Debian has another one, uses its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.local.data_dir import check_free_space
from infra.local.debian import own_lists, run
from infra.local.errors import PrometheusMissingError
from infra.local.file_lock import file_lock
from infra.local.jars import sha256_of
from infra.local.settings import FREE_CACHE_BYTES_MIN, LOCK_WAIT_S

VERSION: Final = "2.42.0+ds-5+deb12u1"
"""Of Debian 12."""

SHA256: Final = {
    "amd64": "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
    "arm64": "ca131aa102390083398afbc80be9c8dd1dda78f9f92154fc00df8f7f1f4556e9",
}
"""Of the package, by Debian's name of the architecture."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The server, and the program that checks rules."""

    prometheus: Path
    promtool: Path


def tools(cache_dir: Path) -> Tools:
    """Find both programs; fetch them when neither this machine nor the cache has them.

    Raises PrometheusMissingError, DiskFullError, BusyError.
    """
    server, checker = shutil.which("prometheus"), shutil.which("promtool")
    if server and checker:
        return Tools(Path(server), Path(checker))
    folder = cache_dir / f"prometheus-{VERSION}"
    if not folder.exists():
        with file_lock(cache_dir / "lock", wait_s=LOCK_WAIT_S):
            # Looked at again under the lock: the process waited for may have brought it.
            if not folder.exists():
                _fetch(cache_dir, folder)
    return Tools(folder / "usr/bin/prometheus", folder / "usr/bin/promtool")


def _fetch(cache_dir: Path, folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PrometheusMissingError("this is no Debian, whose package would do")
    architecture = _run(["dpkg", "--print-architecture"], cache_dir).strip()
    if architecture not in SHA256:
        raise PrometheusMissingError(f"Debian's package for {architecture} is not known here")
    check_free_space(cache_dir, FREE_CACHE_BYTES_MIN)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="staging-") as staging:
        package = _download(Path(staging))
        found = sha256_of(package)
        if found != SHA256[architecture]:
            raise PrometheusMissingError(f"Debian's package is another one: sha256 {found[:16]}…")
        unpacked = Path(staging) / "unpacked"
        _run(["dpkg-deb", "--extract", str(package), str(unpacked)], cache_dir)
        # Whatever has this name is whole.
        unpacked.replace(folder)


def _download(staging: Path) -> Path:
    """Fetch the package by the lists that the machine has, else by lists of our own."""
    try:
        _apt_download(staging, ())
    except PrometheusMissingError:
        own = own_lists(staging)
        _run(["apt-get", "-q", *own, "update"], staging)
        _apt_download(staging, own)
    (package,) = staging.glob("*.deb")
    return package


def _apt_download(staging: Path, options: Sequence[str]) -> None:
    _run(["apt-get", "-q", *options, "download", f"prometheus={VERSION}"], staging)


def _run(command: list[str], folder: Path) -> str:
    """Run to its end; raises PrometheusMissingError with the last line that it wrote."""
    return run(command, folder, PrometheusMissingError)
