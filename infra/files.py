"""How many files this process may have open; a connection is one."""

from __future__ import annotations


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
