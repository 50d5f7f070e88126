"""Compare what devices hold with what the oracle says, user by user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import local
from typing import Final

from diffusion.oracle import Oracle, compare
from diffusion.system import System
from sdk.client import HttpTransport, SyncClient

DEVICES_AT_ONCE: Final = 4
"""Devices that sync at the same time; two cores are not faster with more."""

DIFFERENCES_SHOWN: Final = 20


@dataclass(slots=True)
class Verdict:
    """How many users were looked at, how many agree, and the first differences of the others."""

    checked: int = 0
    converged: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, user_id: str, found: Iterable[str]) -> None:
        """Count one user."""
        found = list(found)
        self.checked += 1
        self.converged += not found
        room = DIFFERENCES_SHOWN - len(self.differences)
        self.differences.extend(f"user {user_id}: {one}" for one in found[:room])


def differences(oracle: Oracle, client: SyncClient, user_id: str) -> list[str]:
    """What a device that has just synced holds otherwise than the oracle says."""
    return [str(one) for one in compare(oracle.states(user_id), client.state())]


def fresh_devices(
    system: System,
    oracle: Oracle,
    user_ids: Iterable[str],
    on_user: Callable[[], None] = lambda: None,
) -> Verdict:
    """Sync a new device for every user and compare it with the oracle."""
    users, verdict, transports = list(user_ids), Verdict(), local()

    def check(user_id: str) -> tuple[str, list[str]]:
        with (
            _shared_connection(system, transports, user_id) as transport,
            SyncClient(
                user_id=user_id, device_id="verify", store=":memory:", transport=transport
            ) as client,
        ):
            client.sync()
            return user_id, differences(oracle, client, user_id)

    with ThreadPoolExecutor(DEVICES_AT_ONCE) as pool:
        for user_id, found in pool.map(check, users):
            verdict.add(user_id, found)
            on_user()
    return verdict


@contextmanager
def _shared_connection(system: System, held: local, user_id: str) -> Iterator[HttpTransport]:
    """One connection a thread: the cost to measure is that of a sync, not of a thousand
    connects.
    """
    held.token = system.token(user_id)
    if not hasattr(held, "transport"):
        held.transport = HttpTransport(system.url, lambda: held.token)
    yield held.transport
