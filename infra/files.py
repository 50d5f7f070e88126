"""How many files this process may have open; a connection is one."""

from __future__ import annotations

from typing import Final

FILES_BESIDE_CONNECTIONS: Final = 512
"""Of an API process: requests over HTTP, Kafka, Cassandra, libraries."""


def allow_open_files(wanted: int) -> int:
    """Raise the soft limit to `wanted`, as far as the hard one allows; returns what is allowed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised


def open_files_max() -> int | None:
    """How many a process may have at most (the hard limit); None: as many as it likes."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard
