"""Packages of Debian, fetched and not installed: no root is needed, and nothing changes but where
they are put. Apt itself checks that they are Debian's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.local.errors import LocalServerError

APT_TIMEOUT_S: Final = 180.0
"""For one call: the lists of packages are 10 MB, a browser with its libraries 100 MB."""


def own_lists(staging: Path) -> list[str]:
    """Options by which apt keeps everything in the folder."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (staging / folder).mkdir(parents=True)
    places = {
        "Dir::State": staging,
        "Dir::State::lists": staging / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": staging / "cache",
        # As root, apt would change to a user who may not write here.
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "_apt",
    }
    return [part for name, value in places.items() for part in ("-o", f"{name}={value}")]


def run(command: list[str], folder: Path, refused: Callable[[str], LocalServerError]) -> str:
    """Run to its end, and give what it printed; raises `refused` with the last line of an error."""
    try:
        done = subprocess.run(  # noqa: S603  # a command line of our own
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=APT_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise refused(f"{command[0]}: {last[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise refused(f"{command[0]} took longer than {error.timeout:.0f} s") from error
    return done.stdout
