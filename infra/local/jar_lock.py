"""The lock of the released jars: which files make a server, each with its sha256.

Text, one jar a line, in sections that are the class paths:

    [kafka]
    org.apache.kafka:kafka_2.13:4.1.2 <sha256>
    group:artifact:version:classifier <sha256>

The order in a section is the order on the class path. The lock names no host: where a jar comes
from does not matter, since it is only used when it is the file named here. Parsing and rendering
only; no network, and no file but the one that is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import LockFormatError

LOCK_PATH = Path(__file__).with_name("jars.lock")

HEADER = "# Made by `python -m infra.local.lock`; change the versions there.\n"

_SECTION = re.compile(r"\[([a-z]+)\]")
_JAR = re.compile(r"([^\s:]+):([^\s:]+):([^\s:]+)(?::([^\s:]+))? ([0-9a-f]{64})")

Lock = dict[str, tuple["Jar", ...]]
"""Server name to its class path."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One released file and its sha256 in lower-case hex."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """`group:artifact:version`, and `:classifier` if there is one."""
        parts = (self.group, self.artifact, self.version, self.classifier)
        return ":".join(part for part in parts if part)

    @property
    def file_name(self) -> str:
        """The name that the file has wherever Maven puts it."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{suffix}.jar"

    def path_in(self, jars_dir: Path) -> Path:
        """Its place in the cache; the group keeps equal file names apart."""
        return jars_dir / self.group / self.file_name


def parse_lock(text: str, path: Path = LOCK_PATH) -> Lock:
    """The sections of `text`. Raises LockFormatError, which names `path` and the line."""
    sections: dict[str, list[Jar]] = {}
    current: list[Jar] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if section := _SECTION.fullmatch(line):
            current = sections.setdefault(section[1], [])
        elif (jar := _JAR.fullmatch(line)) is None:
            raise LockFormatError(path, number, "not a `group:artifact:version sha256` line")
        elif current is None:
            raise LockFormatError(path, number, "a jar before the first [section]")
        else:
            current.append(Jar(jar[1], jar[2], jar[3], jar[4] or "", jar[5]))
    return {name: tuple(jars) for name, jars in sections.items()}


def render_lock(lock: Lock) -> str:
    """The text that `parse_lock` reads back."""
    blocks = (
        f"[{name}]\n" + "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in jars)
        for name, jars in lock.items()
    )
    return HEADER + "\n" + "\n".join(blocks)


def read_lock(path: Path = LOCK_PATH) -> Lock:
    """The committed lock. Raises LockFormatError, also when the file is missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LockFormatError(path, 0, "the file is missing") from None
    return parse_lock(text, path)
