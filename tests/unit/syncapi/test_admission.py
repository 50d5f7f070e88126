"""Who is let in: load, addresses and users, over a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from infra.api_settings import ApiSettings
from syncapi import admission
from syncapi.admission import (
    ADDRESS_SPREAD_S,
    OPEN_COST,
    SHED_FIRST_S,
    SHED_SPREAD_S,
    UNKNOWN,
    USER_UNDER_WAY_MAX,
    Gate,
    Overloaded,
    TooManyRequests,
    network_of,
)
from syncapi.auth import Authenticator, NotAuthenticated, issue
from syncapi.overload import LATE_S, LEAST

HERE = ("203.0.113.7", 40_000)
ELSEWHERE = ("198.51.100.1", 40_000)


class Counting(Authenticator):
    """Knows how many tokens it checked."""

    checks = 0

    def _checked(self, authorization: str | None) -> Any:
        self.checks += 1
        return super()._checked(authorization)


class World:
    """A gate, and the clock it looks at."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ApiSettings(**settings)
        self.now_s = 1_000.0
        self.drawn = 0.5
        self.auth = Counting(self.settings, lambda: 1_000)
        self.gate = Gate(
            self.settings,
            self.auth,
            lambda: self.now_s,
            lambda low, high: low + self.drawn * (high - low),
        )

    def token(self, user: str = "ann", number: int = 0) -> str:
        """A token of a user; of another number it is another text."""
        token = issue(self.settings, user, now_ms=0, lifetime_s=2_000_000_000 + number)
        return f"Bearer {token}"

    def asks(self, token: str | None, client: Any = HERE) -> str:
        try:
            self.gate.identify(token, client)
        except TooManyRequests:
            return "too many"
        except NotAuthenticated:
            return "nobody"
        return "in"

    def flood(self, token: str | None, times: int, client: Any = HERE) -> list[str]:
        return [self.asks(token, client) for _ in range(times)]


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("diffusion_api_refused_total", {"reason": reason}) or 0.0


# Users.


def test_a_user_who_floods_is_refused_and_told_when_to_return() -> None:
    world = World(user_rate=2, user_burst=5)
    before = refused("user")
    assert world.flood(world.token(), 8) == ["in"] * 5 + ["too many"] * 3
    assert refused("user") == before + 3
    with pytest.raises(TooManyRequests) as caught:
        world.gate.admit("ann")
    assert caught.value.retry_after_ms == 500
    world.now_s += 0.5
    assert world.asks(world.token()) == "in"


def test_a_flood_of_one_user_costs_another_nothing() -> None:
    world = World(user_rate=2, user_burst=5)
    ann, bob = world.token("ann"), world.token("bob")
    for _ in range(20):
        world.flood(ann, 100)
        assert world.asks(bob) == "in"
        world.now_s += 0.5


def test_all_tokens_of_a_user_count_together() -> None:
    world = World(user_rate=2, user_burst=5)
    found = [world.asks(world.token(number=number)) for number in range(8)]
    assert found == ["in"] * 5 + ["too many"] * 3


# Addresses.


def test_who_has_no_valid_token_is_soon_checked_no_more() -> None:
    world = World(address_rate=1, address_burst=10)
    before = refused("address")
    found = world.flood("Bearer nonsense", 1_000)
    assert found == ["nobody"] * 10 + ["too many"] * 990
    assert world.auth.checks == 10
    assert refused("address") == before + 990
    world.now_s += 3
    assert world.flood(None, 5) == ["nobody"] * 3 + ["too many"] * 2


def test_who_shares_the_address_goes_on_and_other_addresses_are_not_concerned() -> None:
    world = World(address_rate=1, address_burst=10)
    ann, bob = world.token("ann"), world.token("bob")
    assert world.asks(ann) == "in"
    world.flood("Bearer nonsense", 100)
    assert world.asks(ann) == "in", "remembered: it costs no signature"
    assert world.asks(bob) == "too many", "not known, like those of the flood"
    assert world.asks(bob, ELSEWHERE) == "in"
    assert world.asks(bob) == "in", "seen to be valid meanwhile"


def test_a_crowd_of_valid_tokens_behind_one_address_meets_no_limit() -> None:
    world = World(address_rate=1, address_burst=10)
    assert [world.asks(world.token(f"user-{n}")) for n in range(200)] == ["in"] * 200


def test_a_valid_token_that_cannot_be_remembered_does_not_buy_checks() -> None:
    world = World(user_rate=1, user_burst=5, address_rate=1, address_burst=10)
    long = world.token("x" * 128)
    world.auth._known.clear()
    monkey = pytest.MonkeyPatch()
    monkey.setattr("syncapi.auth.KNOWN_CHARS_MAX", 10)
    try:
        assert world.flood(long, 100) == ["in"] * 5 + ["too many"] * 95
    finally:
        monkey.undo()
    assert world.auth.checks == 5 + 10


def test_who_shares_a_refused_address_is_told_to_return_spread() -> None:
    world = World(address_rate=1, address_burst=1)
    world.asks(None)
    told = []
    for world.drawn in (0.0, 1.0):
        with pytest.raises(TooManyRequests) as caught:
            world.gate.identify(None, HERE)
        told.append(caught.value.retry_after_ms)
    assert told == [1_000, 1_000 + ADDRESS_SPREAD_S * 1_000]


def test_open_routes_cost_more_than_a_check() -> None:
    world = World(address_rate=1, address_burst=3 * OPEN_COST)
    for _ in range(3):
        world.gate.admit_open(HERE)
    with pytest.raises(TooManyRequests):
        world.gate.admit_open(HERE)
    world.gate.admit_open(ELSEWHERE)


@pytest.mark.parametrize("client", [None, ("127.0.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)])
def test_an_address_that_says_nothing_has_no_limit(client: Any) -> None:
    world = World(address_rate=1, address_burst=1)
    assert world.flood(None, 50, client) == ["nobody"] * 50
    for _ in range(50):
        world.gate.admit_open(client)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_customer_is_an_address_or_a_64(one: str, other: str, *, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


@given(st.text(max_size=80) | st.ip_addresses().map(str))
def test_whatever_a_proxy_writes_is_no_long_key(host: str) -> None:
    network = network_of(host)
    assert network is None or len(network) <= 16 or network == UNKNOWN


# Load.


def test_a_process_that_is_full_sends_away_and_spreads_the_return() -> None:
    world = World(requests_max=LEAST)
    for number in range(LEAST):
        world.gate.enter(f"user-{number}")
    before, told = refused("overload"), []
    for world.drawn in (0.0, 1.0):
        with pytest.raises(Overloaded) as caught:
            world.gate.check_load()
        told.append(caught.value.retry_after_ms)
    assert told == [1_000 * SHED_FIRST_S, 1_000 * (SHED_FIRST_S + SHED_SPREAD_S)]
    with pytest.raises(Overloaded):
        world.gate.enter("ann")
    assert refused("overload") == before + 3
    world.gate.leave("user-0")
    world.gate.enter("ann")


def test_one_user_has_only_so_many_under_way() -> None:
    world = World()
    before = refused("user")
    for _ in range(USER_UNDER_WAY_MAX):
        world.gate.enter("ann")
    with pytest.raises(TooManyRequests) as caught:
        world.gate.enter("ann")
    assert caught.value.retry_after_ms == 1_000
    assert refused("user") == before + 1
    world.gate.enter("bob")
    world.gate.leave("ann")
    world.gate.enter("ann")
    for user in ("bob", *["ann"] * USER_UNDER_WAY_MAX):
        world.gate.leave(user)
    assert world.gate._under_way == {}, "nobody is kept"


def test_nothing_is_refused_where_limits_are_off() -> None:
    off = ApiSettings().unlimited()
    world = World(user_rate=off.user_rate, address_rate=off.address_rate, requests_max=0)
    for _ in range(10_000):
        world.gate.enter("ann")
        world.gate.admit("ann")
        world.gate.admit_open(HERE)
    assert set(world.flood(None, 5_000)) == {"nobody"}


def test_the_loop_is_watched_until_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(requests_max=1_000)
    allowed: list[int] = []

    async def sleep(seconds: float) -> None:
        world.now_s += seconds + (2 * LATE_S if len(allowed) < 1 else 0)
        overload = world.gate._overload
        assert overload is not None
        allowed.append(overload.allowed)
        if len(allowed) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(admission.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.gate.watch_for_ever())
    assert allowed == [1_000, 500, 550]
