"""Compare what devices hold with what the oracle says, user by user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

import httpx

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


class Devices:
    """Makes devices that share connections: what is to be measured is the cost of a sync, and a
    thousand devices of one process need no thousand TLS contexts. Thread-safe.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._wire = SharedWire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.shut()

    @contextmanager
    def make(self, user_id: str, device_id: str) -> Iterator[SyncClient]:
        """A new device of a user, with nothing in its store."""
        transport = HttpTransport(self._system.url, self._system.token(user_id), wire=self._wire)
        with SyncClient(
            user_id=user_id, device_id=device_id, store=":memory:", transport=transport
        ) as client:
            yield client


class SharedWire(httpx.HTTPTransport):
    """Outlives the clients that use it."""

    def close(self) -> None:
        """Stay open: another device goes on."""

    def shut(self) -> None:
        """Close for good."""
        super().close()


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
    users, verdict = list(user_ids), Verdict()
    with Devices(system) as devices, ThreadPoolExecutor(DEVICES_AT_ONCE) as pool:

        def check(user_id: str) -> tuple[str, list[str]]:
            with devices.make(user_id, "verify") as client:
                client.sync()
                return user_id, differences(oracle, client, user_id)

        for user_id, found in pool.map(check, users):
            verdict.add(user_id, found)
            on_user()
    return verdict
