"""The hub: limits, pokes that coalesce, slow readers, idleness, expiry, and sending all away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from schemas.encoding import Coding, unpack
from schemas.frames import ServerFrame
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import ConversationEntry, SyncResponse
from syncapi.connections import (
    Close,
    Connection,
    Gone,
    Hub,
    Limits,
    NoRoom,
    SlowReader,
    TooManyConnections,
)

LIMITS = Limits(connections=3, per_user=2, idle_s=60, spread_s=30)


class FakeWire:
    """A socket whose reader may be stopped, slow, or gone."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.ended = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.error: Exception | None = None

    async def send(self, data: str | bytes) -> None:
        await self.reads.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(data)

    def close(self, code: int, reason: str) -> None:
        assert self.closed is None, "closed once"
        self.closed = (code, reason)
        self.ended.set()

    @property
    def frames(self) -> list[ServerFrame]:
        return [
            msgspec.json.decode(data, type=ServerFrame)
            if isinstance(data, str)
            else unpack(data, ServerFrame, REQUEST_BYTES_MAX)
            for data in self.sent
        ]


class World:
    """A hub with a clock of its own."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now_s = 1_000.0
        self.hub = Hub(limits, lambda: self.now_s, lambda low, high: (low + high) / 2)

    def connect(self, user: str = "ann", lifetime_s: float = 600) -> tuple[Connection, FakeWire]:
        wire = FakeWire()
        connection = self.hub.add(user, wire, lifetime_s)
        connection.stand()
        return connection, wire


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_answers_are_measured_in_bytes_whatever_the_frame_is() -> None:
    def told() -> float:
        return counted("diffusion_api_answer_bytes_sum", path="delta")

    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        answer = SyncResponse(path="delta", conversations=(ConversationEntry("sg_ü", 1),))
        for form in (None, Coding.IDENTITY):
            before = told()
            await connection.send(ServerFrame(id=1, answer=answer), form)
            data = wire.sent[-1]
            sent = data.encode() if isinstance(data, str) else data
            assert told() - before == len(sent)
        before = told()
        await connection.send(ServerFrame(id=2), None)
        assert told() == before

    run(work())


# Limits.


def test_a_user_may_have_so_many_connections_and_the_process_so_many() -> None:
    async def work() -> None:
        world = World()
        first, _ = world.connect()
        world.connect()
        with pytest.raises(TooManyConnections, match="2"):
            world.connect()
        world.connect("bob")
        with pytest.raises(NoRoom):
            world.connect("cid")
        assert len(world.hub) == 3
        world.hub.remove(first)
        world.connect("cid")

    run(work())


def test_what_ended_leaves_nothing_behind() -> None:
    async def work() -> None:
        world = World()
        pairs = [world.connect(), world.connect(), world.connect("bob")]
        for connection, _ in pairs:
            world.hub.remove(connection)
        assert (len(world.hub), world.hub.users, world.hub._notices) == (0, {}, set())

    run(work())


# Pokes.


def test_a_poke_reaches_all_connections_of_a_user_and_nobody_else() -> None:
    async def work() -> None:
        world = World()
        (_, one), (_, two), (_, other) = world.connect(), world.connect(), world.connect("bob")
        before = counted("diffusion_api_pokes_total", outcome="no_connection")
        world.hub.poke(["ann", "nobody"])
        await settle()
        assert one.frames == two.frames == [ServerFrame(poke=True)]
        assert other.frames == []
        assert counted("diffusion_api_pokes_total", outcome="no_connection") == before + 1

    run(work())


def test_pokes_that_are_not_taken_are_one() -> None:
    async def work() -> None:
        world = World()
        _, wire = world.connect()
        wire.reads.clear()
        world.hub.poke(["ann"])
        await settle()  # being written: what comes now is another one
        for _ in range(100):
            world.hub.poke(["ann"])
        assert len(world.hub._notices) == 2
        wire.reads.set()
        await settle()
        assert len(wire.frames) == 2

    run(work())


def test_a_poke_before_the_handshake_is_done_waits_for_it() -> None:
    async def work() -> None:
        world = World()
        wire = FakeWire()
        connection = world.hub.add("ann", wire, 60)
        world.hub.poke(["ann"])
        await settle()
        assert wire.frames == []
        connection.stand()
        await settle()
        assert wire.frames == [ServerFrame(poke=True)]

    run(work())


def test_pokes_come_in_the_form_of_the_last_frame() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        for binary in (False, True):
            world.hub.heard(connection, binary=binary, coding=Coding.IDENTITY)
            world.hub.poke(["ann"])
            await settle()
        assert [type(data) for data in wire.sent] == [str, bytes]

    run(work())


# Readers that do not read, or are gone.


def test_a_slow_reader_is_closed_and_gets_nothing_more() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        wire.error = SlowReader()
        await connection.send(ServerFrame(id=1), None)
        assert wire.closed == (4002, "resync")
        wire.error = None
        await connection.send(ServerFrame(id=2), None)
        connection.close(Close.IDLE)
        assert (wire.sent, wire.closed) == ([], (4002, "resync"))

    run(work())


def test_sending_to_who_is_gone_is_nothing() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        wire.error = Gone()
        await connection.send(ServerFrame(id=1), None)
        assert (wire.closed, connection.busy) == (None, False)

    run(work())


def test_frames_are_written_one_by_one_in_order() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        wire.reads.clear()
        sends = [asyncio.create_task(connection.send(ServerFrame(id=n), None)) for n in range(4)]
        await settle()
        assert connection.sending == 4
        wire.reads.set()
        await asyncio.gather(*sends)
        assert [frame.id for frame in wire.frames] == [0, 1, 2, 3]
        assert not connection.busy

    run(work())


# Time.


def test_who_is_silent_too_long_is_closed() -> None:
    async def work() -> None:
        world = World()
        (_, silent), (speaks, wire) = world.connect(), world.connect("bob")
        world.now_s += 50
        world.hub.heard(speaks, binary=False, coding=Coding.IDENTITY)
        world.now_s += 10
        world.hub.sweep()
        assert silent.closed == (4000, "idle")
        assert wire.closed is None

    run(work())


def test_who_waits_for_an_answer_is_not_idle() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        work = asyncio.create_task(asyncio.sleep(60))
        connection.tasks.add(work)
        world.now_s += 61
        world.hub.sweep()
        assert wire.closed is None
        work.cancel()

    run(work())


def test_a_connection_ends_with_its_token() -> None:
    async def work() -> None:
        world = World()
        (_, short), (_, long) = world.connect(lifetime_s=10), world.connect(lifetime_s=11)
        world.now_s += 10
        world.hub.sweep()
        assert short.closed == (4401, "expired")
        assert long.closed is None

    run(work())


# The end.


def ends(world: World, connection: Connection, wire: FakeWire) -> asyncio.Task[None]:
    """As the route does: a connection that was closed is removed."""

    async def watch() -> None:
        await wire.ended.wait()
        world.hub.remove(connection)

    return asyncio.create_task(watch())


def test_a_drain_tells_everybody_when_to_come_back_and_closes() -> None:
    async def work() -> None:
        world = World()
        pairs = [world.connect(), world.connect("bob")]
        watches = [ends(world, *pair) for pair in pairs]
        await world.hub.drain(5)
        await asyncio.gather(*watches)
        for _, wire in pairs:
            assert wire.frames == [ServerFrame(drain_ms=15_000)]
            assert wire.closed == (1012, "drain")
        with pytest.raises(NoRoom):
            world.connect("cid")
        with pytest.raises(NoRoom):
            world.hub.check_staying()

    run(work())


def test_a_drain_waits_for_what_is_under_way() -> None:
    async def work() -> None:
        world = World()
        connection, wire = world.connect()
        watch = ends(world, connection, wire)
        at_work = asyncio.Event()
        task = asyncio.create_task(at_work.wait())
        connection.tasks.add(task)  # type: ignore[arg-type]
        task.add_done_callback(connection.tasks.discard)  # type: ignore[arg-type]
        draining = asyncio.create_task(world.hub.drain(5))
        await asyncio.sleep(0.15)
        assert wire.frames == [ServerFrame(drain_ms=15_000)]
        assert wire.closed is None
        at_work.set()
        await draining
        await watch
        assert wire.closed == (1012, "drain")

    run(work())


def test_a_drain_does_not_wait_for_ever() -> None:
    async def work() -> None:
        world = World()
        _, wire = world.connect()
        wire.reads.clear()
        draining = asyncio.create_task(world.hub.drain(5))
        await asyncio.sleep(0.1)
        assert not draining.done()
        world.now_s += 6
        await asyncio.wait_for(draining, 1)
        assert wire.closed == (1012, "drain")
        wire.reads.set()

    run(work())


def test_the_codes_are_those_of_the_protocol() -> None:
    codes = {close.name: close.code for close in Close}
    assert codes == {"IDLE": 4000, "SLOW": 4002, "EXPIRED": 4401, "DRAIN": 1012}
