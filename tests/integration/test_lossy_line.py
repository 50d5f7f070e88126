"""A bad mobile line between a device and the real API: what is told arrives, and costs little more.

The same at full size, with the figures of the SDK's page: `diffusion bench recovery`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from diffusion.bench.bad_line import BAD_LINE_CHANGED, reconnect
from diffusion.bench.chats import Account
from diffusion.bench.recovery import CUT_RATIO_MAX, places
from diffusion.lossy import LossyProxy, Weather
from diffusion.oracle import compare
from diffusion.system import System
from infra.local.settings import LOOPBACK
from schemas import ids
from schemas.events import Message
from sdk.client import HttpTransport, NetworkError, SyncClient, Traffic
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]

CONVERSATIONS = 1_500
CUTS = 3
"""As many to a conversation as 20 to 10,000."""

ACCOUNT = 90_001
"""His ids are random, as real ones: those that differ in a digit compress to nothing."""

SEEDS = (1, 2, 3)


def messages(user: str, count: int, seq: int) -> list[Message]:
    chats = [(f"{user}-peer{n}", n) for n in range(count)]
    return [
        Message(ids.one_to_one(user, peer), seq, peer, NOW_MS + n, (user, peer))
        for peer, n in chats
    ]


def test_a_reconnect_over_a_bad_line_ends_well(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann, world = unique("ann"), World(system)
    world.write(*messages(ann, 2 * BAD_LINE_CHANGED, 1))
    with world.device(ann, tmp_path / "older.db") as device:
        device.sync()
    world.write(*messages(ann, BAD_LINE_CHANGED, 2))
    for seed in SEEDS:
        store = tmp_path / f"{seed}.db"
        shutil.copy(tmp_path / "older.db", store)
        token = system.token(ann)
        found, state = reconnect(system.settings.api.port, token, store, seed)
        assert found.completed
        assert compare(world.oracle.states(ann), state) == []


def test_a_full_correction_that_is_cut_goes_on_where_it_was(system: System, tmp_path: Path) -> None:
    world, account = World(system), Account(ACCOUNT, CONVERSATIONS, seed=1)
    world.write(*account.imported())
    token = system.token(account.user_id)
    spent: list[Traffic] = []
    with LossyProxy(LOOPBACK, system.settings.api.port, Weather(), seed=1) as proxy:
        for name in ("whole", "cut"):
            with (
                closing(HttpTransport(proxy.url, token)) as transport,
                SyncClient(
                    user_id=account.user_id, store=tmp_path / f"{name}.db", transport=transport
                ) as device,
            ):
                if name == "cut":
                    before_the_end = spent[0].bytes_down * 3 // 4
                    for bytes_down in places(before_the_end, CUTS, random.Random(1)):
                        proxy.cut_after(bytes_down)
                        with pytest.raises(NetworkError):
                            device.sync()
                device.sync()
                assert world.differences(device, account.user_id) == []
                spent.append(transport.traffic)
    whole, cut = (one.bytes_up + one.bytes_down for one in spent)
    assert whole < cut <= CUT_RATIO_MAX * whole
