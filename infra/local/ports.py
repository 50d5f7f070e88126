"""TCP ports on loopback: is one free, who has it, and which ones are for tests.

Looks and never keeps: between a look and a server's own bind somebody else may be faster, and the
server's log then says so.
"""

from __future__ import annotations

import random
import socket
import time
from itertools import islice

import psutil

from infra.clock import monotonic_s
from infra.local.settings import LOOPBACK

FREE_PORTS = range(20_000, 30_000)
"""Where `free_ports` looks: below every usual ephemeral range (Linux 32768, others 49152). A client
that keeps connecting to a dead server's port inside that range may be given this very port as its
own, connect to itself, and so keep the server from coming back."""

_POLL_S = 0.05


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        # As the JVM does; without it, connections of a server just ended make the port look taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
            sock.listen(1)  # some systems let two sockets bind and refuse only here
        except OSError:
            return False
    return True


def becomes_free(port: int, patience_s: float) -> bool:
    """Whether it is free, or will be within `patience_s`."""
    deadline = monotonic_s() + patience_s
    while not is_free(port):
        if monotonic_s() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def holder_pid(port: int) -> int | None:
    """The process that listens there, or None when the system does not tell (others' processes)."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells root only
        return None
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.laddr and connection.laddr.port == port:
            pid: int | None = connection.pid
            return pid
    return None


def describe_holder(port: int) -> str | None:
    """`name (process 123)` of who listens there, or None when the system does not tell."""
    pid = holder_pid(port)
    if pid is None:
        return None
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def accepts(port: int, timeout_s: float) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Different ports that are free now; random, so that parallel test runs rarely meet."""
    candidates = list(FREE_PORTS)
    random.shuffle(candidates)
    found = list(islice(filter(is_free, candidates), count))
    if len(found) < count:
        raise RuntimeError(f"no {count} free ports in {FREE_PORTS}")
    return found
