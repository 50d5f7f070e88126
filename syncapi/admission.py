"""Who is let in: before body and token are looked at, by load; then by address; then by user.

- *Load*: with too many requests under way everybody is sent away for a while, by 503.
- *Address*: a token that is not remembered costs a signature to check. An address whose checks came
  to nothing too often has none made for a while (429). Those behind it whose tokens are remembered
  go on: thousands may share an address, and one of them is no reason to refuse the others.
- *User*: each sync and each frame counts, whatever the transport, and how many of his are under way
  (429), so that what one user asks does not make the loop late for the others.

Nothing is written to the log: a flood would be one there too. `diffusion_api_refused_total` counts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from infra import metrics
from infra.api_settings import ApiSettings
from schemas.errors import InputError, RetryableError
from syncapi.auth import Authenticator, Identity, NotAuthenticated
from syncapi.limiter import Limiter
from syncapi.overload import BEAT_S, Overload

USERS_MAX: Final = 50_000
"""Users remembered, 200 bytes each. To have one forgotten within the 15 s in which his burst comes
back by itself, as many others must ask meanwhile: 3,300 a second, more than a process answers."""

USER_UNDER_WAY_MAX: Final = 32
"""Syncs of one user under way: 4 for each of 8 connections (`syncapi.connections`), where one for
each device is right. That many pages of a snapshot, at 10 ms, make the loop late by 0.3 s."""

USER_AGAIN_S: Final = 1.0
"""Who has as many under way is told to come back after so long."""

ADDRESSES_MAX: Final = 20_000
"""Addresses remembered. Who has more of them has as many bursts anyway."""

ADDRESS_SPREAD_S: Final = 10.0
"""Who shares an address that is refused is told to come back spread over so long."""

SHED_FIRST_S: Final = 1.0
SHED_SPREAD_S: Final = 10.0
"""Who is sent away for the load comes back after so long, spread over so long: a bound full of
requests is answered in a second or so, and those that return are a tenth more for each second."""

OPEN_COST: Final = 10
"""An open route (metrics, the description) counts as so many checks: it costs milliseconds."""

UNKNOWN: Final = "unknown"
"""The address of all that have none that can be read: what a proxy wrote there is not kept."""

NETWORK_BITS: Final = 64
"""Of an IPv6 address, what names a customer: the rest he chooses (RFC 6177)."""

_refused = cache(metrics.api_refused.labels)


class TooManyRequests(InputError):
    """More requests than one user or address may make; `retry_after_ms` says when to come back."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Overloaded(RetryableError):
    """More requests are under way than this process answers in time."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Gate:
    """Lets requests in, or raises why not. For one event loop."""

    def __init__(
        self,
        settings: ApiSettings,
        auth: Authenticator,
        monotonic_s: Callable[[], float],
        uniform: Callable[[float, float], float],
    ) -> None:
        self._auth = auth
        self._users = _limiter(settings.user_rate, settings.user_burst, USERS_MAX)
        self._addresses = _limiter(settings.address_rate, settings.address_burst, ADDRESSES_MAX)
        self._overload = Overload(settings.requests_max) if settings.requests_max else None
        self._under_way: dict[str, int] = {}
        self._monotonic_s = monotonic_s
        self._uniform = uniform

    def check_load(self) -> None:
        """Raise `Overloaded` if a request would be one too many."""
        if self._overload is not None and self._overload.is_full:
            _refused("overload").inc()
            wait_s = self._uniform(SHED_FIRST_S, SHED_FIRST_S + SHED_SPREAD_S)
            raise Overloaded("More is asked than can be answered in time.", _ms(wait_s))

    def enter(self, user_id: str) -> None:
        """Begin to answer; `leave` ends it. Only once there is nothing to wait for but our own
        work: a body that drips in, or an answer nobody reads, would take the room of others.

        Raises `Overloaded` and `TooManyRequests`.
        """
        self.check_load()
        if self._users is not None:
            mine = self._under_way.get(user_id, 0)
            if mine >= USER_UNDER_WAY_MAX:
                _refused("user").inc()
                raise TooManyRequests("The user asks too much at a time.", _ms(USER_AGAIN_S))
            self._under_way[user_id] = mine + 1
        if self._overload is not None:
            self._overload.under_way += 1

    def leave(self, user_id: str) -> None:
        """The answer is there, or will not be."""
        if self._users is not None:
            mine = self._under_way.pop(user_id) - 1
            if mine:
                self._under_way[user_id] = mine
        if self._overload is not None:
            self._overload.under_way -= 1

    def identify(self, authorization: str | None, client: Any) -> Identity:
        """Say whose a request is, and count it; `client` is ASGI's: host and port, or None.

        Raises `NotAuthenticated` and `TooManyRequests`.
        """
        identity = self._auth.remembered(authorization)
        if identity is not None:
            self.admit(identity.user_id)
            return identity
        network = self._check_address(client)
        try:
            identity = self._auth.identify(authorization)
            # Of a token too long to be remembered, or else each of a flood would be checked.
            self.admit(identity.user_id)
        except (NotAuthenticated, TooManyRequests):
            self._charge(network, 1)
            raise
        return identity

    def admit(self, user_id: str) -> None:
        """Count a request of a user; raises `TooManyRequests`."""
        if self._users is None:
            return
        wait_s = self._users.take(user_id, self._monotonic_s())
        if wait_s:
            _refused("user").inc()
            raise TooManyRequests("The user asks too often. Wait, and ask again.", _ms(wait_s))

    def admit_open(self, client: Any) -> None:
        """Count a request for an open route; raises `TooManyRequests`."""
        self._charge(self._check_address(client), OPEN_COST)

    def _check_address(self, client: Any) -> str | None:
        """Name of an address; raises `TooManyRequests` if it has had what it may."""
        if self._addresses is None:
            return None
        network = network_of(client[0] if client else None)
        if network is None:
            return None
        wait_s = self._addresses.wait_s(network, self._monotonic_s())
        if wait_s:
            _refused("address").inc()
            wait_s += self._uniform(0.0, ADDRESS_SPREAD_S)
            raise TooManyRequests(
                "Too many requests without a valid token come from this address.", _ms(wait_s)
            )
        return network

    def _charge(self, network: str | None, requests: int) -> None:
        if self._addresses is not None and network is not None:
            self._addresses.charge(network, self._monotonic_s(), requests)

    async def watch_for_ever(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while self._overload is not None:
            due_s = self._monotonic_s() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._overload.beat(self._monotonic_s() - due_s)
            metrics.api_requests.set(self._overload.under_way)
            metrics.api_requests_allowed.set(self._overload.allowed)


def network_of(host: str | None) -> str | None:
    """Name who is behind an address: the address itself, or the /64 of IPv6.

    None for loopback: it is this machine, or a proxy that is not in `api.trusted_proxies`, and then
    says nothing about who asks.
    """
    if host is None:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else address.packed[: NETWORK_BITS // 8].hex()
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)


def _limiter(rate: float, burst: int, keys_max: int) -> Limiter | None:
    return Limiter(rate, burst, keys_max) if rate else None


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1_000)
