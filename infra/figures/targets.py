"""Where processes serve their metrics, as Prometheus reads it from files (`file_sd_configs`):
`diffusion targets` writes one, and the programs of this machine announce themselves in others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import PermanentError

JOBS: Final = {
    "stream-worker": "diffusion-stream",
    "materializer": "diffusion-materializer",
    "api": "diffusion-api",
    "openim-tap": "diffusion-openim",
}
"""Program -> job, by which `infra/dashboards/rules.yml` and the dashboard tell them apart."""

TARGETS_MAX: Final = 64
"""Processes that are asked by one viewer. Each costs him some 5 ms a look; for more of them there
is Prometheus."""

FILE_BYTES_MAX: Final = 262_144
"""Of one file: more than a thousand processes."""

FILES_MAX: Final = 256
"""Files that one pattern may find: one for each process of a machine."""

PORT_MAX: Final = 65_535

_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)
_PROGRAMS: Final = {job: program for program, job in JOBS.items()}
_ORDER: Final = {program: place for place, program in enumerate(JOBS)}


@dataclass(frozen=True, slots=True)
class Target:
    """One process: what it runs, and where its metrics are."""

    program: str
    address: str
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Of its metrics."""
        return f"{self.scheme}://{self.address}/metrics"


class _Group(msgspec.Struct):
    targets: list[str]
    labels: dict[str, str] = {}


def read(text: bytes) -> list[Target]:
    """Targets of one file: JSON, as Prometheus takes it. Jobs that are none of ours are passed by.

    Raises `PermanentError` for what is no such file.
    """
    try:
        groups = msgspec.json.decode(text, type=list[_Group])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(f"it is no list of targets in JSON ({error})") from error
    return [
        Target(_PROGRAMS[job], _checked(address), group.labels.get("__scheme__", "http"))
        for group in groups
        if (job := group.labels.get("job", "")) in _PROGRAMS
        for address in group.targets
    ]


def _checked(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[1]) <= PORT_MAX:
        raise PermanentError(f"{address!r} is no host:port")
    return address


def find(pattern: str) -> list[Target]:
    """Targets of all files that a path, or a pattern such as `/run/diffusion/*.json`, finds: each
    address once, in the order of programs and addresses.

    Raises `PermanentError` for a file that cannot be used, or for more of either than is allowed.
    """
    path = Path(pattern)
    paths = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    if len(paths) > FILES_MAX:
        raise PermanentError(f"{pattern} finds {len(paths)} files, and {FILES_MAX} are allowed.")
    found: dict[str, Target] = {}
    for one in paths:
        for target in _of_file(one, may_go="*" in path.name):
            found.setdefault(target.address, target)
    if len(found) > TARGETS_MAX:
        raise PermanentError(
            f"{pattern} names {len(found)} processes, and {TARGETS_MAX} are shown at most: name "
            "fewer, or watch all of them with Prometheus (infra/dashboards)."
        )
    return sorted(found.values(), key=lambda one: (_ORDER[one.program], one.address))


def _of_file(path: Path, *, may_go: bool) -> list[Target]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        if may_go:  # its process ended while we looked
            return []
        raise PermanentError(_unusable(path, "there is no such file")) from error
    except OSError as error:
        raise PermanentError(_unusable(path, str(error.strerror))) from error
    if len(text) > FILE_BYTES_MAX:
        raise PermanentError(_unusable(path, f"it has more than {FILE_BYTES_MAX:,} bytes"))
    try:
        return read(text)
    except PermanentError as error:
        raise PermanentError(_unusable(path, str(error))) from error


def _unusable(path: Path, why: str) -> str:
    return (
        f"The list of targets {path} cannot be used: {why}. Write one by `diffusion targets > FILE`"
    )


def names(targets: Iterable[Target]) -> list[str]:
    """What to call each: its program, with a number where there are several of it."""
    listed = [target.program for target in targets]
    many = Counter(listed)
    seen: Counter[str] = Counter()
    found = []
    for program in listed:
        seen[program] += 1
        found.append(f"{program} {seen[program]}" if many[program] > 1 else program)
    return found
