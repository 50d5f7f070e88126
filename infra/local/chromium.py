"""A real browser for the tests of the API's page: this machine's Chromium, or Debian's in the
cache, with the libraries and fonts that the machine lacks.

Fetched and unpacked without being installed (`infra.local.debian`). Its version is whatever Debian
has, since an old browser is taken away as soon as a new one is there; apt checks whose it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.local.data_dir import check_free_space
from infra.local.debian import own_lists, run
from infra.local.errors import BrowserMissingError
from infra.local.file_lock import file_lock
from infra.local.settings import LOCK_WAIT_S

PACKAGES: Final = ("chromium-headless-shell", "fonts-liberation", "fonts-dejavu-core")

FREE_BYTES_MIN: Final = 1 << 30
"""100 MB are fetched, and 300 MB unpacked."""

_ON_PATH: Final = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
_FONTS: Final = """<?xml version="1.0"?>
<fontconfig>
  <dir>{own}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
</fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """A program, and the environment that it needs besides."""

    program: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def browser(cache_dir: Path) -> Browser:
    """Find one; fetch it when neither this machine nor the cache has one.

    Raises BrowserMissingError, DiskFullError, BusyError.
    """
    for name in _ON_PATH:
        if found := shutil.which(name):
            return Browser(Path(found))
    folder = cache_dir / "chromium"
    if not folder.exists():
        with file_lock(cache_dir / "lock", wait_s=LOCK_WAIT_S):
            # Looked at again under the lock: the process waited for may have brought it.
            if not folder.exists():
                _fetch(cache_dir, folder)
    libraries = [
        path
        for pattern in (
            "usr/lib/*-linux-gnu*",
            "usr/lib/*-linux-gnu*/pulseaudio",
            "lib/*-linux-gnu*",
        )
        for path in folder.glob(pattern)
    ]
    fonts = folder / "fonts.conf"
    fonts.write_text(_FONTS.format(own=folder / "usr/share/fonts", cache=folder / "fonts-cache"))
    return Browser(
        folder / "usr/lib/chromium/chromium-headless-shell",
        {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "FONTCONFIG_FILE": str(fonts)},
    )


def _fetch(cache_dir: Path, folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise BrowserMissingError("this is no Debian, whose package would do")
    check_free_space(cache_dir, FREE_BYTES_MIN)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="staging-") as text:
        staging = Path(text)
        own = own_lists(staging)
        for words in (
            ("update",),
            # What the machine has already is left out.
            ("--yes", "--no-install-recommends", "--download-only", "install", *PACKAGES),
        ):
            run(["apt-get", "-q", *own, *words], staging, BrowserMissingError)
        unpacked = staging / "unpacked"
        for package in sorted((staging / "cache/archives").glob("*.deb")):
            run(
                ["dpkg-deb", "--extract", str(package), str(unpacked)], staging, BrowserMissingError
            )
        if not (unpacked / "usr/lib/chromium/chromium-headless-shell").exists():
            raise BrowserMissingError("Debian's package has it in another place")
        # Whatever has this name is whole.
        unpacked.replace(folder)
