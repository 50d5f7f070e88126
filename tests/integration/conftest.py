"""Real servers for the whole run, and the whole system on top of them.

Tests share one system, so each uses ids of its own (`unique`). The size policy is small, so that
groups of the real trace are switched both ways on the way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffusion.demo import own_servers
from diffusion.local import managed
from diffusion.system import System, running
from infra.settings import MaterializerSettings, PolicySettings, Settings, StreamSettings

MEMBERS_MAX = 40
MEMBERS_RETURN = 30
SWEEP_S = 2
"""Short, so that what only a sweep sees is seen within a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where `test_page` puts its pictures, if they are to be kept: `--pictures docs`."""
    parser.addoption("--pictures", default=None)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("servers")
    policy = PolicySettings(
        members_max=MEMBERS_MAX, members_return=MEMBERS_RETURN, sweep_seconds=SWEEP_S
    )
    settings = own_servers(
        Settings(
            policy=policy,
            # Some tests write little else than what cannot be read; `test_outages` has the bound.
            stream=StreamSettings(dead_share_max=1),
            materializer=MaterializerSettings(dead_share_max=1),
        ),
        folder / "data",
    )
    local = managed(settings)
    assert local is not None
    local.up()
    try:
        yield settings
    finally:
        local.down()


@pytest.fixture(scope="session")
def system(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    logs: Path = tmp_path_factory.mktemp("logs")
    with running(
        servers, logs=logs, stream_workers=2, materializers=2, report=print
    ) as running_system:
        yield running_system


_numbers = itertools.count(1)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Make ids that no other test uses."""
    number = next(_numbers)
    return lambda name: f"t{number}-{name}"
