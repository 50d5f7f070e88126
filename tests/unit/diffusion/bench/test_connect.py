"""The benchmark of connections: who chats with whom, and its client against our own server."""

from __future__ import annotations

import asyncio

import pytest

from diffusion.bench.connect import GROUP_MEMBERS, Outcome, _Chats
from diffusion.bench.sockets import Lost, Socket
from schemas.protocol import SyncRequest
from tests.unit.syncapi.test_sockets import Running, running, wait

USERS = [f"u{number}" for number in range(40)]


def test_a_measured_user_is_written_to_by_nobody_but_his_own_sender() -> None:
    chats = _Chats(USERS)
    assert len(chats.measured) == 10
    for user in chats.measured:
        (conversation_id,) = chats.of[user]
        assert conversation_id not in chats.others
        (sender,) = set(chats.members[conversation_id]) - {user}
        assert sender not in USERS
    for user in set(USERS) - set(chats.measured):
        assert chats.of[user]
    assert len(chats.others) == 15 + 4
    assert all(len(joined.user_ids) <= GROUP_MEMBERS for joined in chats.beginning())


def test_messages_of_a_conversation_are_numbered() -> None:
    chats = _Chats(USERS)
    conversation_id = chats.others[0]
    assert [chats.message(conversation_id, "u10").seq for _ in range(3)] == [1, 2, 3]
    assert chats.last[conversation_id] == 3


@pytest.mark.parametrize(
    ("missed", "current", "good"), [(0, 5, True), (1, 5, False), (0, 4, False)]
)
def test_a_missed_poke_or_an_old_state_is_not_good(missed: int, current: int, good: bool) -> None:
    found = Outcome(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, missed, 5, current)
    assert found.good is good
    assert found.as_json()["users_checked"] == 5


def test_the_client_syncs_is_poked_and_hears_of_the_end() -> None:
    async def work(api: Running) -> None:
        poked = asyncio.Event()
        socket = await Socket.open("127.0.0.1", api.port, api.token(), poked.set)
        answer = await socket.sync(SyncRequest("bench"))
        assert answer.total == 2
        (server,) = api.server.servers
        server.get_loop().call_soon_threadsafe(api.hub.poke, ["ann"])
        await asyncio.wait_for(poked.wait(), 5)
        assert socket.stands
        socket.close()
        with pytest.raises(Lost, match="401"):
            await Socket.open("127.0.0.1", api.port, "nonsense")

    with running() as api:
        asyncio.run(work(api))
        wait(lambda: len(api.hub) == 0)
